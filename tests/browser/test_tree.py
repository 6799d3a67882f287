"""The tree of the admin in a real browser."""

from __future__ import annotations

import re
import time

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from playwright.sync_api import Locator, Page, Request, Route, expect

from django_iletimerkezi.models import Group
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox

from ..visitors import SEEN, plant, plant_tree
from .conftest import PATIENCE, Open

TREE = "django_iletimerkezi/group/"
any_theme = pytest.mark.themes
HOSTILE = "<script>alert('name')</script><img src=x onerror=alert(1)>\"' onmouseover=alert(2) x='"


@pytest.fixture
def phone_book(sandbox: Sandbox, transactional_db: None) -> Sandbox:
    fetch_group(1000, recursive=True)
    return sandbox


def shown(page: Page) -> Locator:
    """Return the names of the visible rows."""
    return page.locator(".iletimerkezi-tree tbody tr:visible a[id]")


def row(page: Page, name: str) -> Locator:
    named = page.get_by_role("link", name=name, exact=True).and_(page.locator("a[id]"))
    return page.locator(".iletimerkezi-tree tbody tr").filter(has=named)


def toggle(page: Page, name: str) -> Locator:
    return row(page, name).locator(".iletimerkezi-toggle")


def notice(page: Page) -> Locator:
    return page.get_by_role("status").and_(page.locator("[data-notice]"))


def select_all(page: Page) -> Locator:
    return page.get_by_role("checkbox", name="Select all contact groups on this page")


def act(page: Page, action: str) -> None:
    """Run an action on the selected groups. Some themes have a button for each action."""
    choice = page.locator("select[name=action]")
    if choice.count():
        choice.select_option(label=action)
        page.locator("button[name=index]").click()
    else:
        page.get_by_role("button", name=action).click()


def expect_message(page: Page, pattern: str) -> None:
    expect(page.get_by_text(re.compile(pattern))).to_be_visible()


def requests_of(page: Page, part: str = "/subgroups/", method: str = "GET") -> list[str]:
    """Return a list that grows with the requests for some pages."""
    addresses: list[str] = []

    def note(request: Request) -> None:
        if part in request.url and request.method == method:
            addresses.append(request.url)

    page.on("request", note)
    return addresses


def hold(page: Page, address: str = "**/subgroups/**", times: int | None = None) -> list[Route]:
    """Return a list of requests that wait until they are released."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(address, keep, times=times)
    return held


def release(page: Page, held: list[Route]) -> None:
    """Send the held requests on; waits for the first of them."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not held:
        assert time.monotonic() < deadline
        page.wait_for_timeout(10)  # The browser's events arrive during this call.
    while held:
        held.pop().continue_()


def test_a_small_tree_is_shown_fully_expanded_after_login(
    open_page: Open, phone_book: Sandbox
) -> None:
    User.objects.create_superuser("ayşe", "", "pa55word")
    page = open_page(TREE, log_in=False)
    page.get_by_label("Username").fill("ayşe")
    page.get_by_label("Password").fill("pa55word")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("treegrid")).to_be_visible()
    expect(shown(page)).to_have_count(32)
    assert shown(page).all_inner_texts()[:4] == ["Rehber", "Bayiler", "Ege Bölgesi", "Güneydoğu"]


@any_theme
def test_closed_rows_stay_closed_after_reloading_and_going_back(
    open_page: Open, phone_book: Sandbox
) -> None:
    page = open_page(TREE)
    asked = requests_of(page)
    toggle(page, "Müşteriler").click()
    expect(row(page, "İstanbul")).to_be_hidden()
    expect(toggle(page, "Müşteriler")).to_have_attribute("aria-expanded", "false")
    expect(row(page, "Müşteriler")).to_have_attribute("aria-expanded", "false")
    closed = shown(page).all_inner_texts()
    page.reload()
    expect(shown(page)).to_have_text(closed)
    row(page, "Bayiler").locator("a[id]").click()
    page.wait_for_url("**/1300/change/*")
    page.go_back()
    expect(row(page, "İstanbul")).to_be_hidden()
    toggle(page, "Müşteriler").click()
    expect(row(page, "İstanbul")).to_be_visible()
    expect(shown(page)).to_have_count(32)
    assert asked == []


@any_theme
def test_a_level_is_loaded_with_one_request_and_restored_after_a_reload(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(1000, 9)
    page = open_page(TREE)
    expect(shown(page)).to_have_count(10)
    asked = requests_of(page)
    toggle(page, "g000003").click()
    expect(row(page, "g000020")).to_be_visible()
    assert len(asked) == 1
    expect(shown(page)).to_have_count(19)
    toggle(page, "g000020").click()
    expect(row(page, "g000173")).to_be_visible()
    assert len(asked) == 2
    opened = shown(page).all_inner_texts()
    page.reload()
    expect(row(page, "g000173")).to_be_visible()
    expect(shown(page)).to_have_text(opened)
    assert len(asked) == 4
    row(page, "g000173").locator("a[id]").click()
    page.wait_for_url("**/173/change/*")
    page.go_back()
    expect(row(page, "g000173")).to_be_visible()
    expect(shown(page)).to_have_text(opened)


@any_theme
def test_a_long_level_is_loaded_in_pages_and_restored_after_a_reload(
    open_page: Open, transactional_db: None
) -> None:
    plant({1: None, 2: 1} | dict.fromkeys(range(10, 260), 2))
    page = open_page(TREE)
    toggle(page, "g000002").click()
    expect(row(page, "g000109")).to_be_visible()
    expect(shown(page)).to_have_count(102)
    page.get_by_role("link", name="More", exact=True).click()
    expect(row(page, "g000110")).to_be_focused()
    page.get_by_role("link", name="More", exact=True).click()
    expect(row(page, "g000259")).to_be_visible()
    expect(shown(page)).to_have_count(252)
    expect(page.get_by_role("link", name="More", exact=True)).to_have_count(0)
    page.reload()
    expect(row(page, "g000259")).to_be_visible()
    expect(shown(page)).to_have_count(252)


def test_open_rows_in_long_levels_are_restored_after_a_reload(
    open_page: Open, transactional_db: None
) -> None:
    links = dict.fromkeys((1, 2, 3)) | {4: 2, 5: 3} | dict.fromkeys(range(10, 700), 1)
    plant(links | {800: 150})
    page = open_page(TREE)
    toggle(page, "g000001").click()
    expect(row(page, "g000010")).to_be_visible()
    page.get_by_role("link", name="More", exact=True).click()
    expect(row(page, "g000150")).to_be_visible()
    toggle(page, "g000150").click()
    toggle(page, "g000002").click()
    expect(row(page, "g000800")).to_be_visible()
    expect(row(page, "g000004")).to_be_visible()
    expect(shown(page)).to_have_count(3 + 200 + 1 + 1)
    opened = shown(page).all_inner_texts()
    page.reload()
    expect(row(page, "g000800")).to_be_visible()
    expect(shown(page)).to_have_text(opened)
    toggle(page, "g000001").click()
    toggle(page, "g000001").click()
    page.reload()
    expect(row(page, "g000800")).to_be_visible()
    expect(shown(page)).to_have_text(opened)


def reload_in_vain(page: Page, query: str, *, has_answer: bool) -> None:
    """Reload the page; a request for subgroups gets no answer, or a page without rows."""

    def answer(route: Route) -> None:
        if has_answer:
            route.fulfill(body='<main id="content">', content_type="text/html")

    address = re.compile(re.escape(f"/subgroups/?{query}") + "$")
    page.route(address, answer)
    with page.expect_response(address) if has_answer else page.expect_request(address):
        page.reload()
    page.unroute(address)


@pytest.mark.parametrize(
    ("query", "has_answer"), [("_from=2", True), ("_from=2&_start=100", True), ("_from=2", False)]
)
def test_open_rows_are_restored_after_a_failed_reload(
    open_page: Open, transactional_db: None, query: str, has_answer: bool
) -> None:
    plant({1: None, 2: 1} | dict.fromkeys(range(10, 260), 2))
    page = open_page(TREE)
    toggle(page, "g000002").click()
    page.get_by_role("link", name="More", exact=True).click()
    expect(row(page, "g000110")).to_be_focused()
    reload_in_vain(page, query, has_answer=has_answer)
    page.reload()
    expect(row(page, "g000209")).to_be_visible()
    expect(shown(page)).to_have_count(202)


def test_collapse_all_also_closes_rows_whose_subgroups_failed_to_load(
    open_page: Open, transactional_db: None
) -> None:
    plant({1: None, 2: 1} | dict.fromkeys(range(10, 260), 2))
    page = open_page(TREE)
    toggle(page, "g000002").click()
    expect(row(page, "g000010")).to_be_visible()
    reload_in_vain(page, "_from=2", has_answer=True)
    page.get_by_role("button", name="Collapse all").click()
    asked = requests_of(page)
    page.reload()
    toggle(page, "g000001").click()
    expect(shown(page)).to_have_text(["g000001", "g000002"])
    assert asked == []


def test_the_scroll_position_is_restored_after_reloading_and_going_back(
    open_page: Open, transactional_db: None
) -> None:
    plant({1: None, 2: 1} | dict.fromkeys(range(10, 260), 2))
    page = open_page(TREE)
    toggle(page, "g000002").click()
    row(page, "g000099").scroll_into_view_if_needed()
    held = hold(page, times=1)  # Until the browser has given up scrolling.
    page.reload()
    release(page, held)
    expect(row(page, "g000099")).to_be_in_viewport()
    page.goto("/admin/")
    page.go_back()
    expect(row(page, "g000099")).to_be_in_viewport()


def test_all_rows_are_restored_if_the_page_is_reloaded_after_expand_all(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(800, 20)
    page = open_page(TREE)
    page.get_by_role("button", name="Expand all").click()
    expect(page.locator(".iletimerkezi-tree tbody tr:visible")).to_have_count(800)
    expect(notice(page)).to_have_text("")
    page.reload()
    expect(page.locator(".iletimerkezi-tree tbody tr:visible")).to_have_count(800)


def test_a_double_click_loads_rows_only_once(open_page: Open, transactional_db: None) -> None:
    plant(
        dict.fromkeys((1, 2)) | dict.fromkeys(range(10, 250), 1) | dict.fromkeys(range(300, 500), 2)
    )
    page = open_page(TREE)
    asked = requests_of(page)
    held = hold(page)
    toggle(page, "g000001").dblclick()
    expect(row(page, "g000001")).to_have_attribute("aria-busy", "true")
    release(page, held)
    expect(row(page, "g000109")).to_be_visible()
    more = page.get_by_role("link", name="More", exact=True)
    more.dblclick()
    release(page, held)
    expect(row(page, "g000209")).to_be_visible()
    expect(more).to_have_count(1)
    assert len(asked) == 2


def test_the_focus_moves_to_the_last_row_if_the_link_to_more_groups_loads_nothing(
    open_page: Open, transactional_db: None
) -> None:
    plant({1: None} | dict.fromkeys(range(10, 250), 1))
    page = open_page(TREE)
    Group.objects.filter(pk__gte=110).delete()
    page.get_by_role("link", name="More", exact=True).click()
    expect(row(page, "g000109")).to_be_focused()


@any_theme
def test_expand_all_stops_at_the_page_limit_and_collapse_all_closes_all_rows(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(3000, 9)
    page = open_page(TREE)
    asked = requests_of(page)
    page.get_by_role("button", name="Expand all").click()
    expect(notice(page)).to_have_text(re.compile("Page limit reached"))
    assert 800 < shown(page).count() <= 900
    assert len(asked) < 30
    page.get_by_role("button", name="Collapse all").click()
    expect(shown(page)).to_have_text(["g000001"])
    expect(notice(page)).to_have_text("")


def test_expand_all_keeps_the_focus_and_ignores_a_second_press(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(300, 9)
    page = open_page(TREE)
    asked = requests_of(page)
    held = hold(page, times=1)
    expand = page.get_by_role("button", name="Expand all")
    expand.focus()
    page.keyboard.press("Enter")
    expect(row(page, "g000002")).to_have_attribute("aria-busy", "true")
    expect(expand).to_be_focused()
    expect(expand).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")
    release(page, held)
    expect(shown(page)).to_have_count(300)
    expect(expand).to_be_focused()
    expect(expand).not_to_have_attribute("aria-disabled", "true")
    assert len(asked) == len(set(asked))


@any_theme
def test_the_tree_can_be_used_with_only_the_keyboard(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(1000, 9)
    page = open_page(TREE)
    page.get_by_role("button", name="Collapse all").focus()
    page.keyboard.press("Tab")  # The checkbox that selects all rows.
    page.keyboard.press("Tab")
    expect(row(page, "g000001")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(row(page, "g000003")).to_be_focused()
    outline = row(page, "g000003").evaluate("row => getComputedStyle(row).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowRight")
    expect(row(page, "g000020")).to_be_visible()
    expect(row(page, "g000003")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(row(page, "g000020")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(row(page, "g000003")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(row(page, "g000020")).to_be_hidden()
    page.keyboard.press("Space")
    expect(row(page, "g000003").get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(toggle(page, "g000003")).to_be_focused()
    page.keyboard.press("Space")
    expect(row(page, "g000020")).to_be_visible()
    expect(toggle(page, "g000003")).to_be_focused()
    page.keyboard.press("End")
    expect(row(page, "g000010")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    expect(row(page, "g000001")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(row(page, "g000001").get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(row(page, "g000001")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/1/change/*")


@pytest.mark.parametrize("has_javascript", [True, False])
def test_the_accessible_name_of_a_row_is_the_name_of_its_group(
    open_page: Open, transactional_db: None, has_javascript: bool
) -> None:
    plant({1: None, 2: 1, 3: 1})
    Group.objects.filter(pk__in=[1, 3]).update(missing_since=SEEN)
    page = open_page(TREE, java_script_enabled=has_javascript)
    for name in ("g000001 missing", "g000002", "g000003 missing"):
        expect(page.get_by_role("rowheader", name=name, exact=True)).to_be_visible()
        if has_javascript:
            expect(page.get_by_role("row", name=name, exact=True)).to_be_visible()
    expect(toggle(page, "g000001")).to_have_accessible_name("Subgroups: g000001")


def test_a_toggle_disappears_if_expanding_its_row_loads_no_subgroups(
    open_page: Open, transactional_db: None
) -> None:
    plant({1: 2, 2: 1, 3: None, 4: 3} | dict.fromkeys(range(10, 210)))
    page = open_page(f"{TREE}?_from=1")
    expect(toggle(page, "g000002")).to_have_attribute("aria-expanded", "false")
    toggle(page, "g000002").focus()
    page.keyboard.press("Enter")
    expect(toggle(page, "g000002")).to_have_count(0)
    expect(row(page, "g000002")).to_be_focused()
    expect(row(page, "g000002")).not_to_have_attribute("aria-expanded", re.compile(".*"))


@any_theme
def test_a_search_shows_each_hit_with_its_path(open_page: Open, phone_book: Sandbox) -> None:
    page = open_page(TREE)
    page.locator("input[name=q]").fill("KADIKOY")
    page.keyboard.press("Enter")
    expect(page.locator(".iletimerkezi-tree .iletimerkezi-path")).to_have_text(
        "Rehber › Müşteriler › İstanbul"
    )
    page.get_by_role("link", name="Müşteriler").click()
    page.wait_for_url("**/1100/change/*")


@any_theme
def test_a_fetched_group_appears_in_the_tree(open_page: Open, sandbox: Sandbox) -> None:
    page = open_page(TREE)
    page.get_by_role("link", name="Fetch a contact group").first.click()
    page.get_by_label("Group id").fill("1110")
    page.get_by_role("button", name="Fetch").click()
    page.wait_for_url("**/1110/change/")
    expect_message(page, "5 created, 0 changed")
    expect(shown(page)).to_have_text(["Beşiktaş", "Kadıköy", "Şişli", "Üsküdar"])
    page.get_by_role("button", name="Fetch with everything below").click()
    page.wait_for_url("**/1110/change/")
    expect_message(page, "5 unchanged, 0 missing")
    assert sorted(sandbox.asked) == [1110, 1110, 1111, 1112, 1113, 1114]
    page.goto(f"/admin/{TREE}")
    expect(shown(page)).to_have_text(["İstanbul", "Beşiktaş", "Kadıköy", "Şişli", "Üsküdar"])


@pytest.mark.parametrize("path", ["fetch/?group_id=1110", "1110/change/"])
def test_a_double_click_fetches_only_once(open_page: Open, sandbox: Sandbox, path: str) -> None:
    plant({1110: None})
    page = open_page(TREE + path)
    button = page.get_by_role("button", name="Fetch").first
    box = button.bounding_box()
    assert box
    asked = requests_of(page, method="POST", part="/fetch/")
    held = hold(page, "**/fetch/**", times=1)
    with page.expect_request("**/fetch/**"):
        page.mouse.click(box["x"] + 5, box["y"] + 5)
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    release(page, held)
    expect(page.locator(".messagelist li")).to_have_count(1)
    assert len(asked) == 1
    page.go_back()
    button.click()
    expect(page.locator(".messagelist li")).to_have_count(1)
    assert len(asked) == 2


@any_theme
def test_an_unknown_id_is_reported_and_stays_in_the_form(open_page: Open, sandbox: Sandbox) -> None:
    page = open_page(f"{TREE}fetch/")
    page.get_by_label("Group id").fill("77")
    page.get_by_label("With everything below it").check()
    page.get_by_role("button", name="Fetch").click()
    expect_message(page, "Group 77: iletimerkezi answered 463")
    expect(page.get_by_label("Group id")).to_have_value("77")
    expect(page.get_by_label("With everything below it")).to_be_checked()


def test_toggles_are_links_to_the_subtree_if_javascript_is_off(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(1000, 9)
    page = open_page(TREE, java_script_enabled=False)
    expect(page.get_by_role("button", name="Expand all")).to_be_hidden()
    toggle(page, "g000003").click()
    page.wait_for_url("**/?_from=3")
    expect(shown(page).nth(0)).to_have_text("g000003")
    expect(shown(page).nth(1)).to_have_text("g000020")
    expect(page.get_by_role("navigation", name="Path")).to_have_text(
        re.compile(r"All contact groups\s+›\s+g000001\s+›\s+g000003")
    )
    page.get_by_role("navigation", name="Path").get_by_role("link", name="g000001").click()
    page.wait_for_url("**/?_from=1")
    expect(shown(page).nth(0)).to_have_text("g000001")


def test_a_script_in_a_name_does_not_run(open_page: Open, sandbox: Sandbox) -> None:
    child = {"id": 2, "name": HOSTILE, "count": 0}
    sandbox.serve([{"id": 1, "name": HOSTILE, "count": 0, "children": [child]}])
    page = open_page(f"{TREE}fetch/")
    page.get_by_label("Group id").fill("1")
    page.get_by_role("button", name="Fetch").click()
    page.wait_for_url("**/1/change/")
    expect(shown(page).nth(0)).to_contain_text("<script>alert('name')</script>")
    for path in ("", "?q=script", "?_from=1", "1/delete/", "1/history/", "2/change/"):
        page.goto(f"/admin/{TREE}{path}")
        expect(page.get_by_text("<script>alert").first).to_be_visible()
        assert page.locator("img[src=x], [onmouseover]").count() == 0


def test_a_script_in_a_name_that_is_loaded_later_does_not_run(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(300, 9)
    Group.objects.filter(parent=3).update(name=HOSTILE)
    page = open_page(TREE)
    toggle(page, "g000003").click()
    expect(page.get_by_text("<script>alert").first).to_be_visible()
    assert page.locator("img[src=x], [onmouseover]").count() == 0


@any_theme
def test_loaded_rows_can_be_selected_and_hidden_rows_are_deselected(
    open_page: Open, transactional_db: None
) -> None:
    plant(dict.fromkeys(range(2000, 2200)) | {2300: 2000} | dict.fromkeys(range(2301, 2450), 2001))
    page = open_page(TREE)
    count = page.get_by_text(re.compile(r"^\d+ of \d+ selected"))
    expect(page.locator("[name=action]")).to_have_count(1)
    toggle(page, "g002000").click()
    row(page, "g002300").get_by_role("checkbox").check()
    expect(count).to_have_text(re.compile("^1 of 101 selected"))
    toggle(page, "g002000").click()
    expect(count).to_have_text(re.compile("^0 of 100 selected"))
    select_all(page).check()
    expect(count).to_have_text(re.compile("^100 of 100 selected"))
    select_all(page).uncheck()
    expect(count).to_have_text(re.compile("^0 of 100 selected"))


def test_loaded_rows_can_be_deleted(open_page: Open, transactional_db: None) -> None:
    plant(dict.fromkeys(range(2000, 2200)) | {2300: 2000} | dict.fromkeys(range(2301, 2450), 2001))
    page = open_page(TREE)
    toggle(page, "g002000").click()
    row(page, "g002300").get_by_role("checkbox").check()
    act(page, "Delete selected contact groups")
    expect(page.get_by_text("This deletes groups only from the mirror")).to_be_visible()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist")).to_have_text("Successfully deleted 1 contact group.")
    assert not Group.objects.filter(pk=2300).exists()


@any_theme
def test_selected_groups_are_fetched_and_the_filtered_list_is_shown_again(
    open_page: Open, phone_book: Sandbox
) -> None:
    phone_book.asked.clear()
    page = open_page(f"{TREE}?presence=listed")
    row(page, "İstanbul").get_by_role("checkbox").check()
    row(page, "Kadıköy").get_by_role("checkbox").check()
    act(page, "Fetch selected groups with everything below")
    expect_message(page, "5 unchanged, 0 missing")
    expect(shown(page)).to_have_count(32)
    assert page.url.endswith(f"/{TREE}?presence=listed")
    assert sorted(phone_book.asked) == [1110, 1111, 1112, 1113, 1114]


@any_theme
def test_an_expired_session_redirects_to_a_login_page_that_returns_to_the_subtree(
    open_page: Open, transactional_db: None
) -> None:
    plant_tree(1000, 9)
    page = open_page(TREE)
    Session.objects.all().delete()
    toggle(page, "g000003").click()
    page.wait_for_url(re.compile(r"/login/\?next=.*_from%3D3$"))


@any_theme
def test_a_group_is_chosen_in_a_popup(open_page: Open, transactional_db: None) -> None:
    plant_tree(1000, 9)
    page = open_page()
    page.evaluate("window.dismissRelatedLookupPopup = (win, id) => { document.title = id; }")
    with page.expect_popup() as opened:
        page.evaluate(f"window.open('/admin/{TREE}?_popup=1', 'choose')")
    popup = opened.value
    popup.wait_for_load_state()
    toggle(popup, "g000003").click()
    row(popup, "g000020").locator("a[id]").click()
    expect(page).to_have_title("20")


def test_the_tree_group_and_fetch_pages_are_shown_in_turkish(
    open_page: Open, phone_book: Sandbox
) -> None:
    page = open_page(TREE, locale="tr-TR")
    for text in ("Tümünü genişlet", "Tümünü daralt"):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    page.goto(f"/admin/{TREE}1110/change/")
    expect(page.get_by_text("Rehber › Müşteriler")).to_be_visible()
    expect(page.get_by_role("button", name="Şimdi getir")).to_be_visible()
    page.goto(f"/admin/{TREE}fetch/")
    expect(page.get_by_label("Grup id’si")).to_be_visible()


def test_the_tree_is_dark_in_a_dark_theme(open_page: Open, phone_book: Sandbox) -> None:
    def lightness(page: Page, selector: str, what: str) -> int:
        colour = page.locator(selector).first.evaluate(f"at => getComputedStyle(at).{what}")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    Group.objects.filter(pk=1110).update(missing_since=SEEN)
    page = open_page(TREE, color_scheme="dark")
    assert lightness(page, "body", "backgroundColor") < 150
    for selector in (".iletimerkezi-tree td", ".iletimerkezi-tree a[id]", ".iletimerkezi-missing"):
        assert lightness(page, selector, "color") > 400
    assert lightness(page, ".iletimerkezi-missing", "backgroundColor") < 300


def test_pages_do_not_scroll_sideways(open_page: Open, phone_book: Sandbox) -> None:
    Group.objects.filter(pk=1110).update(name="W" * 80, search_key="w" * 80)
    page = open_page()
    for path in ("", "1110/change/", "fetch/", "?q=ww", "1110/delete/", "1110/history/"):
        page.goto(f"/admin/{TREE}{path}")
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@any_theme
@pytest.mark.parametrize("locale", ["en", "ar"])
def test_a_narrow_table_fades_out_on_the_side_of_hidden_columns(
    open_page: Open, phone_book: Sandbox, locale: str
) -> None:
    page = open_page(TREE, locale=locale)
    results = page.locator(".iletimerkezi-results")
    ends = ["left", "right"] if locale == "en" else ["right", "left"]

    def expect_fading(*sides: str) -> None:
        for side in ("left", "right"):
            width = "^6" if side in sides else "^[0-4](\\.|px)"  # Scrolling stops at whole pixels.
            expect(results).to_have_css(f"--iletimerkezi-fade-{side}", re.compile(width))

    expect_fading()
    page.set_viewport_size({"width": 390, "height": 700})
    expect_fading(ends[1])
    hidden = results.evaluate("at => at.scrollWidth - at.clientWidth")
    forward = 1 if locale == "en" else -1
    results.evaluate(f"at => at.scrollTo({forward * hidden / 2}, 0)")
    expect_fading(*ends)
    results.evaluate(f"at => at.scrollTo({forward * hidden}, 0)")
    expect_fading(ends[0])


@any_theme
@pytest.mark.parametrize("path", ["", "1100/change/"])
def test_headers_stand_above_their_columns(open_page: Open, phone_book: Sandbox, path: str) -> None:
    page = open_page(TREE + path)
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 700})
        assert [round(offset) for offset in header_offsets(page)] == [0] * 6, width


def header_offsets(page: Page) -> list[float]:
    """Return how far the headers are beside the texts of their columns, in pixels."""
    offsets: list[float] = page.locator(".iletimerkezi-tree").evaluate("""table => {
        const text = (node) => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return range.getBoundingClientRect();
        };
        const [name, ...others] = Array.from(table.tHead.rows[0].cells).slice(-6);
        const cells = Array.from(table.tBodies[0].rows[0].cells).slice(-5);
        const toggle = table.querySelector("a.iletimerkezi-toggle").getBoundingClientRect();
        const ends = others.map((header, at) => {
            const [above, below] = [text(header.querySelector("span")), text(cells[at])];
            return at < 4 ? above.right - below.right : above.left - below.left;
        });
        return [text(name.querySelector("span")).left - toggle.left, ...ends];
    }""")
    return offsets


@pytest.mark.parametrize("locale", ["en", "ar"])
def test_long_names_wrap_beside_a_toggle_of_at_least_24_pixels(
    open_page: Open, transactional_db: None, locale: str
) -> None:
    names = {2: "W" * 80, 3: "uzun bir ad " * 8, 4: "uzun bir ad " * 8}
    plant({1: None, 2: 1, 3: 1, 4: 3, 5: 2}, names)
    page = open_page(TREE, viewport={"width": 360, "height": 700}, locale=locale)
    for pk in (2, 3, 4):
        lines = page.locator(f"#g{pk}").evaluate("""link => {
            const names = Array.from(link.firstChild.getClientRects());
            return names.map((line) => [line.left, line.top, line.right, line.bottom]);
        }""")
        assert len(lines) > 1
        edges = {line[0] if locale == "en" else line[2] for line in lines}
        assert max(edges) - min(edges) < 1
        if pk < 4:
            box = page.locator(f'tr[data-id="{pk}"] .iletimerkezi-toggle').bounding_box()
            assert box
            assert min(box["width"], box["height"]) >= 24
            assert lines[0][1] < box["y"] + box["height"] / 2 < lines[0][3]
            if locale == "en":
                assert box["x"] + box["width"] <= lines[0][0]
            else:
                assert box["x"] >= lines[0][2]


def test_levels_deeper_than_ten_show_their_level_number(
    open_page: Open, transactional_db: None
) -> None:
    plant({1: None} | {pk: pk - 1 for pk in range(2, 14)})
    page = open_page(TREE)
    for pk in range(1, 14):
        number = f'"{pk}"' if pk > 10 else "none"
        expect(page.locator(f'tr[data-id="{pk}"] th')).to_have_css(
            "content", number, pseudo="before"
        )


def test_right_to_left_pages_mirror_the_tree_and_the_arrow_keys(
    open_page: Open, phone_book: Sandbox
) -> None:
    page = open_page(TREE, locale="ar")
    assert page.evaluate("document.dir") == "rtl"
    right = row(page, "Rehber").locator("a[id]").bounding_box()
    inner = row(page, "Bayiler").locator("a[id]").bounding_box()
    assert right
    assert inner
    assert inner["x"] + inner["width"] < right["x"] + right["width"]
    row(page, "Bayiler").focus()
    page.keyboard.press("ArrowRight")
    expect(row(page, "Ege Bölgesi")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(row(page, "Ege Bölgesi")).to_be_visible()


@any_theme
def test_the_tree_on_the_page_of_a_group_loads_and_restores_levels(
    open_page: Open, transactional_db: None
) -> None:
    plant(
        {1: None} | dict.fromkeys(range(10, 250), 1) | {pk: pk % 2 + 10 for pk in range(300, 520)}
    )
    page = open_page(f"{TREE}1/change/")
    expect(shown(page)).to_have_count(100)
    toggle(page, "g000010").click()
    expect(row(page, "g000300")).to_be_visible()
    page.get_by_role("link", name="More", exact=True).last.click()
    expect(row(page, "g000110")).to_be_focused()
    page.reload()
    expect(row(page, "g000110")).to_be_visible()
    expect(row(page, "g000300")).to_be_visible()


# The whole phone book


@any_theme
def test_one_click_fills_an_empty_mirror_with_the_whole_phone_book(
    open_page: Open, sandbox: Sandbox
) -> None:
    page = open_page(TREE)
    button = page.get_by_role("button", name="Fetch the whole phone book", exact=True)
    button.and_(page.locator(".iletimerkezi-button")).click()
    expect_message(page, "Fetched the phone book with 2 main groups: 34 created")
    expect(shown(page)).to_have_count(34)
    expect(page.locator(".iletimerkezi-summary")).to_contain_text("3,050 contacts")


def test_the_phone_book_form_mentions_the_command_and_fetches_all_groups_again(
    open_page: Open, phone_book: Sandbox
) -> None:
    page = open_page(TREE)
    page.get_by_role("link", name="Fetch the whole phone book").click()
    expect(page.get_by_text("manage.py fetch_groups")).to_be_visible()
    page.get_by_role("button", name="Fetch", exact=True).click()
    expect_message(page, "2 created, 0 changed, 32 unchanged")


def test_totals_of_a_partly_fetched_tree_are_shown_as_lower_bounds(
    open_page: Open, sandbox: Sandbox
) -> None:
    fetch_group(1100)
    page = open_page(TREE)
    cell = row(page, "Müşteriler").get_by_text("at least 902")
    expect(cell).to_have_attribute("title", "5 groups have never been fetched")
    page.get_by_role("link", name="Müşteriler").click()
    expect(page.get_by_text("at least 902; 5 groups have never been fetched")).to_be_visible()


def test_only_the_filtered_groups_are_exported(open_page: Open, phone_book: Sandbox) -> None:
    page = open_page(f"{TREE}?q=istanbul")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(";")[1] for line in lines[1:]] == ["Rehber › Müşteriler › İstanbul"]
