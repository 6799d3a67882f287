"""What axe-core says of our pages, beside what it says of Django's own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group as AuthGroup
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
    "below": (f"{OURS}?parent=1100", "auth/group/"),
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
    """Return the tag of an element and its classes, which ours and Django's have in common."""
    tag, classes = re.match(r'<(\w+)(?:[^>]*?class="([^"]*)")?', html).groups()  # type: ignore[union-attr]  # axe gives elements
    return f"{tag} {classes}"


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_that_django_does_not_have(
    name: str, colours: str, open_page: Open, sandbox: Sandbox
) -> None:
    fetch_group(1000, recursive=True)
    Group.objects.filter(pk=1110).update(missing_since=SEEN)
    AuthGroup.objects.create(pk=1, name="kadro")
    page = open_page(color_scheme=colours, bypass_csp=True)
    ours, djangos = (violations(page, path) for path in PAGES[name])
    assert ours - djangos == set()
