"""The recorded fetches and changes in a real browser."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.admin import site
from django.contrib.auth.models import Group as AuthGroup
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from django_iletimerkezi.models import Fetch, Group
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox

from ..records import Kind, failures, record, record_changes, record_sample
from ..visitors import LINKS, NAMES, plant
from .conftest import Open
from .test_axe import violations

OURS = "django_iletimerkezi/"
LIST = f"{OURS}fetch/"
any_theme = pytest.mark.themes
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOCALES = {"en": "en-US", "tr": "tr-TR"}
TEXTS = {
    "en": {
        "badge": "partly succeeded",
        "outcome": "1 new, 4 changed, 1 missing, 3 failed",
        "failures": "Failed groups",
        "moved": "moved (2)",
        "chart": re.compile("^Contacts over time: from 1,100 to 1,440"),
        "table": "Show as a table",
        "contacts": "1,180",
        "mark": "changed",
        "filter": "Changed in the last day",
    },
    "tr": {
        "badge": "kısmen başarılı",
        "outcome": "1 yeni, 4 güncellendi, 1 artık listede yok, 3 getirilemedi",
        "failures": "Getirilemeyen gruplar",
        "moved": "taşındı (2)",
        "chart": re.compile("^Zaman içinde kişi sayısı: ilk değer 1.100, son değer 1.440"),
        "table": "Tablo olarak göster",
        "contacts": "1.180",
        "mark": "güncellendi",
        "filter": "Son bir günde değişen",
    },
}


@pytest.fixture
def sample(transactional_db: None) -> dict[str, Fetch]:
    plant(LINKS | {7: 2}, NAMES | {7: "Beşiktaş"})
    Group.objects.filter(pk=3).update(count=1440)
    return record_sample()


def page_of(fetch: Fetch) -> str:
    return f"{LIST}{fetch.pk}/change/"


def expect_to_fit(page: Page) -> None:
    """The page itself does not scroll sideways, but its tables may."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def follow_with_enter(page: Page, link: Locator, url: str) -> None:
    link.press("Enter")
    page.wait_for_url(url)
    # The browser takes the focus away when it first draws the part that the address names.
    page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_history_is_shown_in_each_language_width_and_colour_scheme(
    open_page: Open,
    sample: dict[str, Fetch],
    language: str,
    viewport: dict[str, int],
    colours: str,
) -> None:
    texts: dict[str, Any] = TEXTS[language]
    page = open_page(LIST, locale=LOCALES[language], viewport=viewport, color_scheme=colours)
    expect(page.locator(".iletimerkezi-partial")).to_have_text(texts["badge"])
    expect(page.get_by_role("cell", name=texts["outcome"])).to_be_visible()
    expect_to_fit(page)
    page.goto(f"/admin/{page_of(sample['partial'])}")
    expect(page.get_by_role("heading", name=texts["failures"])).to_be_visible()
    page.get_by_role("link", name=texts["moved"]).click()
    expect(page.locator(".iletimerkezi-moved")).to_have_count(2)
    expect_to_fit(page)
    page.goto(f"/admin/{OURS}group/3/change/")
    chart = page.get_by_role("img", name=texts["chart"])
    expect(chart).to_be_visible()
    line = page.locator(".iletimerkezi-line")
    stroke = line.evaluate("line => getComputedStyle(line).stroke")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert stroke not in {"none", background}
    page.get_by_text(texts["table"]).click()
    expect(page.get_by_role("cell", name=texts["contacts"], exact=True)).to_be_visible()
    expect_to_fit(page)
    page.goto(f"/admin/{OURS}group/")
    expect(page.locator("#m3")).to_have_text(texts["mark"])
    expect(page.get_by_role("link", name=texts["filter"])).to_be_visible()
    expect_to_fit(page)


@any_theme
def test_the_history_is_shown_in_each_theme(open_page: Open, sample: dict[str, Fetch]) -> None:
    page = open_page(LIST)
    expect(page.locator(".iletimerkezi-partial")).to_be_visible()
    page.goto(f"/admin/{page_of(sample['partial'])}")
    expect(page.locator(".iletimerkezi-moved")).to_have_count(2)
    expect(page.get_by_role("button", name="Fetch the failed groups again")).to_be_visible()
    page.goto(f"/admin/{OURS}group/3/change/")
    expect(page.get_by_role("img", name="Contacts over time")).to_be_visible()


@any_theme
def test_the_failed_groups_are_fetched_again_by_a_button(
    open_page: Open, sandbox: Sandbox, transactional_db: None
) -> None:
    failed = record(depth=0, **failures(1200, 1300))
    page = open_page(page_of(failed))
    page.get_by_role("button", name="Fetch the failed groups again").click()
    expect(page.get_by_text("Fetched 2 contact groups: ")).to_be_visible()
    assert sorted(sandbox.asked) == [1200, 1300]
    page.get_by_role("link", name="Details").click()
    expect(page.locator("#result_list tbody tr, .result-list tbody tr")).to_have_count(2)


def test_the_message_after_a_fetch_links_to_the_changes(
    open_page: Open, sandbox: Sandbox, transactional_db: None
) -> None:
    fetch_group(1000)
    sandbox.serve([{"id": 1000, "name": "Yeni", "count": 7}])
    page = open_page(f"{OURS}group/1000/change/")
    page.get_by_role("button", name="Fetch now").click()
    page.get_by_role("link", name="Details").click()
    expect(page.get_by_text("Rehber → Yeni")).to_be_visible()
    page.get_by_role("link", name="Yeni", exact=True).first.click()
    page.wait_for_url("**/group/1000/change/")


def test_the_history_can_be_used_with_the_keyboard(
    open_page: Open, sample: dict[str, Fetch]
) -> None:
    record_changes(
        sample["first"],
        [(1, Kind.RECOUNTED, str(count), str(count + 1)) for count in range(250)],
        timezone.now() - timedelta(days=30),
    )
    page = open_page(page_of(sample["first"]))
    recounted = page.get_by_role("link", name="contacts changed (250)")
    follow_with_enter(page, recounted, "**?kind=recounted#changes")
    expect(recounted).to_have_attribute("aria-current", "true")
    pages = page.get_by_role("navigation", name="Pages")
    follow_with_enter(page, pages.get_by_role("link", name="3"), "**&p=3#changes")
    expect(page.locator(".iletimerkezi-recounted")).to_have_count(50)
    page.get_by_role("group", name="Changes").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".iletimerkezi-history a").first).to_be_focused()
    page.goto(f"/admin/{OURS}group/1/change/")
    page.locator(".iletimerkezi-over-time summary").press("Enter")
    expect(page.locator(".iletimerkezi-over-time table")).to_be_visible()
    older = page.get_by_role("link", name="Older changes")
    follow_with_enter(page, older, "**?changes=2#changes")
    expect(page.get_by_role("link", name="Newer changes")).to_be_visible()


def test_the_history_works_without_javascript(open_page: Open, sample: dict[str, Fetch]) -> None:
    page = open_page(f"{OURS}group/3/change/", java_script_enabled=False)
    expect(page.get_by_role("img", name="Contacts over time")).to_be_visible()
    page.get_by_text("Show as a table").click()
    expect(page.locator(".iletimerkezi-over-time table")).to_be_visible()


@pytest.mark.parametrize("language", LOCALES)
def test_axe_finds_no_problem_in_the_history(
    open_page: Open, sample: dict[str, Fetch], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.get_model_admin(User), "search_help_text", "Name.")  # As ours.
    AuthGroup.objects.create(pk=1, name="kadro")
    page = open_page(bypass_csp=True, locale=LOCALES[language])
    pages = {
        LIST: "auth/group/",
        f"{LIST}?state=failed": "auth/user/?is_staff__exact=1",
        page_of(sample["partial"]): "auth/group/1/change/",
        f"{OURS}group/3/change/": "auth/group/1/change/",
        f"{OURS}group/?changed=day": "auth/user/?is_staff__exact=1",
        f"{LIST}{sample['partial'].pk}/delete/": "auth/group/1/delete/",
    }
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        for ours, djangos in pages.items():
            assert violations(page, ours) - violations(page, djangos) == set(), (ours, colours)


@any_theme
def test_the_history_has_enough_contrast(open_page: Open, sample: dict[str, Fetch]) -> None:
    page = open_page(bypass_csp=True)
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        for path in (LIST, page_of(sample["partial"]), f"{OURS}group/3/change/"):
            page.goto(f"/admin/{path}")
            parts = ".iletimerkezi-badge, .iletimerkezi-button, .iletimerkezi-over-time"
            found: Any = Axe().run(page, parts, {"runOnly": ["color-contrast"]})
            assert found.response["passes"]
            assert found.response["violations"] == []
