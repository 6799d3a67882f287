"""Users choose a group in a form of the host."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.visitors import LINKS, NAMES, plant

from .conftest import Open

pytestmark = pytest.mark.urls("tests.browser.campaign")


def visit(open_page: Open, address: str, **options: Any) -> Page:
    page = open_page(**options)
    page.goto(address)
    return page


def plant_many() -> None:
    plant(LINKS | dict.fromkeys(range(1000, 1250), 1), NAMES)


def test_a_visitor_chooses_a_group_of_a_small_mirror_from_a_select(open_page: Open) -> None:
    plant(LINKS, NAMES)
    page = visit(open_page, "/campaign/", log_in=False)
    page.get_by_label("Title").fill("Bayram")
    page.get_by_label("Audience").select_option("Rehber › Müşteriler › İstanbul › Kadıköy")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("p")).to_have_text("4")


def test_the_search_for_a_group_of_a_large_mirror_works_without_javascript(open_page: Open) -> None:
    plant_many()
    page = visit(open_page, "/campaign/", log_in=False, java_script_enabled=False)
    page.get_by_label("Title").fill("Bayram")
    page.get_by_label("Audience").fill("istan")
    page.get_by_label("Audience").press("Enter")
    expect(page.get_by_text("Choose a group from the list")).to_be_visible()
    expect(page.get_by_label("Search for a group")).to_have_value("istan")
    page.get_by_label("Audience").select_option("Rehber › Müşteriler › İstanbul")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("p")).to_have_text("3")


def test_axe_finds_no_problem_in_a_form_with_a_group_field(open_page: Open) -> None:
    plant_many()
    page = visit(open_page, "/campaign/", log_in=False)
    assert Axe().run(page).response["violations"] == []
    page.get_by_label("Title").fill("Bayram")
    page.get_by_label("Audience").fill("istan")
    page.get_by_label("Audience").press("Enter")
    expect(page.get_by_label("Search for a group")).to_be_visible()
    assert Axe().run(page).response["violations"] == []


def test_the_admin_autocomplete_shows_paths(open_page: Open) -> None:
    plant_many()
    page = visit(open_page, "/autocomplete/")
    page.locator(".select2-selection").click()
    page.locator(".select2-search__field").fill("kadık")
    page.get_by_role("option", name="Rehber › Müşteriler › İstanbul › Kadıköy").click()
    expect(page.locator(".select2-selection")).to_contain_text("İstanbul › Kadıköy")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("p")).to_have_text("4")
