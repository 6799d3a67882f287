"""Take the pictures of the README and the documentation: ``make screenshots``."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Page, expect

from django_iletimerkezi import doctor
from django_iletimerkezi.models import Fetch, Group
from django_iletimerkezi.services import fetch_groups
from django_iletimerkezi.testing import Sandbox

from ..records import Kind, State, record
from .conftest import Open
from .test_history import LOCALES, OURS, page_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
THEME = getattr(settings, "THEME", "")
# A theme has one picture of the tree.
LOOKS = [
    (language, colours)
    for language in (["en"] if THEME else LOCALES)
    for colours in (["light"] if THEME else ["light", "dark"])
]
each_look = pytest.mark.parametrize(("language", "colours"), LOOKS)


@pytest.fixture(autouse=True)
def phone_book(sandbox: Sandbox, transactional_db: None) -> None:
    """The phone book of the sandbox, fetched three hours ago, with a missing group."""
    fetch_groups()
    now = timezone.now()
    Fetch.objects.all().delete()
    then = now - timedelta(hours=3)
    Group.objects.update(seen_at=then, fetched_at=then, listed_at=then, placed_at=then)
    Group.objects.filter(pk=1332).update(missing_since=now - timedelta(days=2))
    list(doctor.repair())  # Compute the totals without the missing group.


@pytest.fixture
def look(language: str, colours: str) -> dict[str, object]:
    size = {"width": 1280, "height": 820} if THEME else {"width": 1040, "height": 740}
    return {"locale": LOCALES[language], "color_scheme": colours, "viewport": size}


def take(page: Page, name: str, language: str, colours: str, *, middle: str = "") -> None:
    """Save a picture of a page without the list of apps, a focus or a pointer."""
    if not THEME:
        page.locator("#toggle-nav-sidebar").click()
    page.mouse.move(0, 0)
    page.locator("body").click(position={"x": 5, "y": 5})
    if middle:
        page.locator(middle).evaluate("shown => shown.scrollIntoView({block: 'center'})")
    file = THEME or f"pictures/{name}-{language}-{colours}"
    page.screenshot(path=DOCS / f"{file}.png")


@pytest.mark.themes
@each_look
def test_a_screenshot_of_the_tree_is_saved(
    open_page: Open, look: dict[str, object], language: str, colours: str
) -> None:
    page = open_page(f"{OURS}group/", **look)
    page.locator('tr[data-id="1240"] .iletimerkezi-toggle').click()
    take(page, "tree", language, colours)


@each_look
def test_a_screenshot_of_a_running_fetch_is_saved(
    open_page: Open, look: dict[str, object], language: str, colours: str, settings: Any
) -> None:
    settings.ILETIMERKEZI_ENQUEUE = "builtins.print"  # A task queue, which gets nothing here.
    start = timezone.now() - timedelta(seconds=75)
    fetch = record(
        state=State.RUNNING,
        token=uuid4(),
        started_at=start,
        requested_at=start,
        finished_at=None,
        asked=1840,
        known=3047,
        created=12,
        changed=85,
        source=Fetch.Source.SCHEDULE,
    )
    page = open_page(page_of(fetch), **look)
    expect(page.get_by_role("progressbar")).to_be_visible()
    take(page, "fetch", language, colours)


@each_look
def test_a_screenshot_of_the_history_of_a_group_is_saved(
    open_page: Open, look: dict[str, object], language: str, colours: str
) -> None:
    day = timedelta(days=1)
    counts = [431, 440, 452, 449, 463, 471, 480]
    scheduled = {"source": Fetch.Source.SCHEDULE}
    record((1110, Kind.CREATED, None, "Istanbul"), age=60 * day)
    record((1110, Kind.RENAMED, "Istanbul", "İstanbul"), age=45 * day)
    for age, (before, after) in zip(range(36, 0, -6), pairwise(counts), strict=True):
        record((1110, Kind.RECOUNTED, str(before), str(after)), age=age * day, **scheduled)
    page = open_page(f"{OURS}group/1110/change/", **look)
    take(page, "history", language, colours, middle=".iletimerkezi-over-time")
