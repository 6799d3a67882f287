"""The page of a running fetch in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.admin import site
from django.contrib.auth.models import Group as AuthGroup
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Page, expect

from django_iletimerkezi import services
from django_iletimerkezi.mirror import recorder
from django_iletimerkezi.models import Fetch

from ..forest import Forest, tree_of
from ..records import State, record, stop_clock
from ..visitors import LINKS, NAMES, plant
from .conftest import PATIENCE, Open
from .test_axe import violations
from .test_history import LIST, LOCALES, NARROW, OURS, WIDE, any_theme, expect_to_fit, page_of

TEXTS = {
    "en": {
        "link": "Fetch the whole phone book",
        "button": "Fetch",
        "queued": "Waiting for a worker.",
        "running": "Running.",
        "numbers": ["10 of 30 groups", "20 of 30 groups"],
        "state": "succeeded",
        "created": "created (30)",
        "tree": "A fetch is running.",
    },
    "tr": {
        "link": "Tüm rehberi getir",
        "button": "Getir",
        "queued": "Bir worker bekleniyor.",
        "running": "Sürüyor.",
        "numbers": ["10 / 30 grup", "20 / 30 grup"],
        "state": "başarılı",
        "created": "yeni (30)",
        "tree": "Bir getirme işlemi sürüyor.",
    },
}


class Worker(threading.Thread):
    """Works through the queue, as a worker of the host would, until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.arrived = threading.Condition()
        self.queue: list[int] = []
        self.is_stopped = False

    def put(self, fetch_id: int) -> None:
        with self.arrived:
            self.queue.append(fetch_id)
            self.arrived.notify()

    def stop(self) -> None:
        with self.arrived:
            self.is_stopped = True
            self.arrived.notify()
        if self.is_alive():
            self.join(PATIENCE / 1000)

    def run(self) -> None:
        try:
            while True:
                with self.arrived:
                    self.arrived.wait_for(lambda: self.queue or self.is_stopped)
                    if self.is_stopped:
                        return
                    fetch_id = self.queue.pop(0)
                services.run_fetch(fetch_id)
        finally:
            connection.close()


workers: list[Worker] = []


def enqueue(fetch_id: int) -> None:
    workers[-1].put(fetch_id)


@pytest.fixture
def worker(settings: Any, transactional_db: None) -> Iterator[Worker]:
    """A worker that a test has to start."""
    settings.ILETIMERKEZI_ENQUEUE = f"{__name__}.enqueue"
    worker = Worker()
    workers.append(worker)
    yield worker
    worker.stop()


@pytest.fixture
def server(settings: Any) -> Iterator[Forest]:
    """A vendor with 30 groups."""
    with Forest(tree_of(30, 5)) as server:
        server.main_ids = [1]
        given = {"ILETIMERKEZI_MAX_CONNECTIONS": 1, "ILETIMERKEZI_TIMEOUT": 3600}
        for name, value in (server.settings | given).items():
            setattr(settings, name, value)
        yield server


@pytest.fixture
def gates(server: Forest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, threading.Event]]:
    """Events that hold back an answer of the vendor, by its number. Each answer is stored at once.

    The first answer is the listing.
    """
    monkeypatch.setattr(recorder, "BATCH_SECONDS", 0)
    gates = {number: threading.Event() for number in (12, 22)}
    server.before_sending = lambda number: number in gates and gates[number].wait()
    yield gates
    for gate in gates.values():
        gate.set()


def unfinished(**fields: Any) -> Fetch:
    now = timezone.now()
    usual: dict[str, Any] = {
        "state": State.RUNNING,
        "token": uuid4(),
        "started_at": now - timedelta(seconds=60),
        "alive_at": now,
        "finished_at": None,
        "asked": 600,
        "known": 12_000,
    }
    return record(**(usual | fields))


@pytest.fixture
def phone_book(transactional_db: None) -> Fetch:
    """A running fetch of the phone book with running and failed parts."""
    plant(LINKS, NAMES)
    parent = unfinished(token=None)
    for pk, state in enumerate((State.RUNNING, State.FAILED, State.PARTIAL), start=2):
        unfinished(kind=Fetch.Kind.GROUP, group_id=pk, parent=parent, state=state, created=pk)
    return parent


def live(page: Page, name: str) -> Any:
    return page.locator(f'[data-iletimerkezi-live="{name}"]')


@pytest.mark.parametrize("language", LOCALES)
def test_the_page_of_a_fetch_updates_the_progress_and_finally_shows_the_changes(
    open_page: Open, worker: Worker, gates: dict[int, threading.Event], language: str
) -> None:
    texts: dict[str, Any] = TEXTS[language]
    page = open_page(f"{OURS}group/", locale=LOCALES[language])
    page.get_by_role("link", name=texts["link"]).click()
    page.get_by_role("button", name=texts["button"], exact=True).click()
    expect(live(page, "status")).to_have_text(texts["queued"])
    expect(page.get_by_role("progressbar")).not_to_have_attribute("value", "0")
    worker.start()
    expect(live(page, "numbers")).to_contain_text(texts["numbers"][0])
    expect(live(page, "status")).to_contain_text(texts["running"])
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "10")
    other = open_page(f"{OURS}group/", locale=LOCALES[language])
    expect(other.get_by_text(texts["tree"])).to_be_visible()
    gates[12].set()
    expect(live(page, "numbers")).to_contain_text(texts["numbers"][1])
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "20")
    gates[22].set()
    expect(live(page, "badge")).to_have_text(texts["state"])
    expect(page.get_by_role("link", name=texts["created"])).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_the_page_of_a_fetch_reloads_itself_without_javascript(
    open_page: Open, transactional_db: None
) -> None:
    running = unfinished(kind=Fetch.Kind.GROUP, group_id=1)
    page = open_page(page_of(running), java_script_enabled=False)
    expect(live(page, "numbers")).to_contain_text("600 of 12,000 groups")
    Fetch.objects.update(asked=12_000, finished_at=timezone.now(), state=State.SUCCEEDED)
    expect(live(page, "badge")).to_have_text("succeeded")


def test_the_focus_stays_on_a_button_while_the_progress_is_updated(
    open_page: Open, transactional_db: None
) -> None:
    running = unfinished()
    page = open_page(page_of(running))
    button = page.get_by_role("button", name="Cancel the fetch")
    button.focus()
    Fetch.objects.update(asked=700)
    expect(live(page, "numbers")).to_contain_text("700 of 12,000 groups")
    expect(button).to_be_focused()


def test_a_failed_progress_request_shows_that_updates_have_stopped(
    open_page: Open, transactional_db: None
) -> None:
    running = unfinished()
    page = open_page(page_of(running))
    page.route("**/progress/", lambda route: route.fulfill(body="Log in", status=200))
    notice = page.get_by_text("This page is no longer updated.")
    expect(notice).to_be_hidden()
    expect(notice).to_be_visible()
    expect(live(page, "numbers")).to_contain_text("600 of 12,000 groups")


@any_theme
def test_a_running_fetch_is_cancelled_by_a_button(
    open_page: Open, phone_book: Fetch, worker: Worker
) -> None:
    page = open_page(page_of(phone_book))
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("link", name="Müşteriler (id 2)")).to_be_visible()
    page.get_by_role("button", name="Cancel the fetch").click()
    expect(page.get_by_text("The fetch was cancelled.")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0)
    assert set(Fetch.objects.values_list("state", flat=True)) == {State.CANCELLED}


@any_theme
def test_a_paused_fetch_is_continued_by_a_button(
    open_page: Open, server: Forest, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_clock(monkeypatch)(10)
    page = open_page(f"{OURS}group/fetch/?phone_book=1")
    page.get_by_role("button", name="Fetch", exact=True).click()
    expect(page.get_by_text("Paused after 20 seconds: ")).to_be_visible()
    expect(live(page, "status")).to_have_text("Paused. All answers so far are stored.")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("The fetch is finished.")).to_be_visible()
    expect(page.get_by_role("link", name="created (30)")).to_be_visible()


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_of_a_running_fetch_does_not_scroll_sideways(
    open_page: Open, phone_book: Fetch, language: str, viewport: dict[str, int]
) -> None:
    options = {"locale": LOCALES[language], "viewport": viewport}
    page = open_page(page_of(phone_book), **options)
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect_to_fit(page)
    page.goto(f"/admin/{OURS}group/")
    expect(page.locator(".iletimerkezi-running")).to_be_visible()
    expect_to_fit(page)


@pytest.mark.parametrize("language", LOCALES)
def test_axe_finds_no_problem_on_the_page_of_a_running_fetch(
    open_page: Open, phone_book: Fetch, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.get_model_admin(AuthGroup), "search_help_text", "Name.")  # As ours.
    AuthGroup.objects.create(pk=1, name="kadro")
    page = open_page(bypass_csp=True, locale=LOCALES[language])
    part = phone_book.parts.get(state=State.FAILED)
    pages = {
        page_of(phone_book): "auth/group/1/change/",
        page_of(part): "auth/group/1/change/",
        LIST: "auth/group/",
        f"{OURS}group/": "auth/group/",
    }
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        for ours, djangos in pages.items():
            assert violations(page, ours) - violations(page, djangos) == set(), (ours, colours)


@any_theme
def test_the_page_of_a_running_fetch_has_enough_contrast(
    open_page: Open, phone_book: Fetch
) -> None:
    page = open_page(bypass_csp=True)
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        page.goto(f"/admin/{page_of(phone_book)}")
        parts = ".iletimerkezi-badge, .iletimerkezi-button, .iletimerkezi-head p"
        found: Any = Axe().run(page, parts, {"runOnly": ["color-contrast"]})
        assert found.response["passes"]
        assert found.response["violations"] == []
