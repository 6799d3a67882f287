"""Our pages have no accessibility problem that the pages of Django do not have, says axe-core."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.admin import site
from django.contrib.auth.models import Group as AuthGroup
from django.contrib.auth.models import User
from playwright.sync_api import Page

from django_iletimerkezi.models import Group
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox

from ..visitors import SEEN
from .conftest import Open

OURS = "django_iletimerkezi/group/"
PAGES = {
    "tree": (OURS, "auth/group/"),
    "search": (f"{OURS}?q=k", "auth/group/?q=k"),
    "filter": (f"{OURS}?presence=missing", "auth/user/?is_staff__exact=1"),
    "below": (f"{OURS}?_from=1100", "auth/group/"),
    "group": (f"{OURS}1100/change/", "auth/group/1/change/"),
    "fetch": (f"{OURS}fetch/", "auth/group/add/"),
    "delete": (f"{OURS}1100/delete/", "auth/group/1/delete/"),
    "history": (f"{OURS}1100/history/", "auth/group/1/history/"),
}


def violations(page: Page, path: str) -> set[str]:
    page.goto(f"/admin/{path}")
    found: Any = Axe().run(page)
    assert found.response["passes"]
    return {
        f"{violation['id']}: {_kind(node['html'])}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    }


def _kind(html: str) -> str:
    """Return the tag and the classes of an element: the same kind as in the pages of Django."""
    tag, classes = re.match(r'<(\w+)(?:[^>]*?class="([^"]*)")?', html).groups()  # type: ignore[union-attr]  # axe gives elements
    return f"{tag} {classes}"


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_only_problems_that_djangos_own_pages_also_have(
    name: str, open_page: Open, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (AuthGroup, User):  # Ours has such a text too.
        monkeypatch.setattr(site.get_model_admin(model), "search_help_text", "Name.")
    fetch_group(1000, recursive=True)
    Group.objects.filter(pk=1110).update(missing_since=SEEN)
    AuthGroup.objects.create(pk=1, name="kadro")
    page = open_page(bypass_csp=True)
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        ours, djangos = (violations(page, path) for path in PAGES[name])
        assert ours - djangos == set(), colours


@pytest.mark.themes
@pytest.mark.parametrize("path", [OURS, f"{OURS}1110/change/", f"{OURS}fetch/"])
def test_our_buttons_badges_and_toggles_have_enough_contrast(
    path: str, open_page: Open, sandbox: Sandbox
) -> None:
    """What themes colour, the links and cells, is theirs."""
    fetch_group(1000, recursive=True)
    Group.objects.filter(pk=1113).update(missing_since=SEEN)
    page = open_page(bypass_csp=True)
    parts = ".iletimerkezi-button, .iletimerkezi-missing, .iletimerkezi-toggle"
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        page.goto(f"/admin/{path}")
        found: Any = Axe().run(page, parts, {"runOnly": ["color-contrast"]})
        assert found.response["passes"]
        assert found.response["violations"] == []
