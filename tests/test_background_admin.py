"""Fetches in the background, and paused fetches, in the admin."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection
from django.http import HttpRequest
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_iletimerkezi import services
from django_iletimerkezi.admin import GroupAdmin, fetch_runs, progress, tree
from django_iletimerkezi.exceptions import FetchPaused, ServiceUnavailable
from django_iletimerkezi.mirror import crawl, recorder
from django_iletimerkezi.models import Change, Fetch, Group

from .forest import Forest, tree_of
from .records import Kind, State, failures, record, stop_clock
from .task_queue import queue, work
from .test_history_admin import client_with, page_of, register
from .visitors import LINKS, NAMES, act, client_for, fetch, messages, plant, text, url

__all__ = ["register"]  # A fixture.

pytestmark = pytest.mark.django_db(transaction=True)

ENGINE = "tests.test_background_admin.enqueue"
REFUSING = "tests.test_background_admin.refuse"
in_transaction: list[bool] = []


def enqueue(fetch_id: int) -> None:
    queue.append(fetch_id)
    in_transaction.append(connection.in_atomic_block)


def refuse(fetch_id: int) -> None:
    raise ConnectionError("no route to amqp://user:password@broker")


@pytest.fixture(autouse=True)
def _empty_queue() -> None:
    queue.clear()
    in_transaction.clear()


@pytest.fixture
def engine(settings: Any) -> None:
    settings.ILETIMERKEZI_ENQUEUE = ENGINE


@pytest.fixture
def client() -> Client:
    return client_for("superuser")


@pytest.fixture
def server(settings: Any) -> Iterator[Forest]:
    """A vendor with the main group 1 and 29 groups below it."""
    with Forest(tree_of(30, 5)) as server:
        server.main_ids = [1]
        for name, value in server.settings.items():
            setattr(settings, name, value)
        yield server


@pytest.fixture
def end_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """End the time of the web request after so many more groups were answered."""
    return stop_clock(monkeypatch)


def unfinished(**fields: Any) -> Fetch:
    """Store a fetch that was started 60 seconds ago and is not finished."""
    now = timezone.now()
    usual: dict[str, Any] = {
        "state": State.RUNNING,
        "token": uuid4(),
        "alive_at": now,
        "finished_at": None,
    }
    return record(**(usual | {"started_at": now - timedelta(seconds=60)} | fields))


SILENT = timedelta(minutes=4)


def paused(**fields: Any) -> Fetch:
    return unfinished(**({"state": State.QUEUED, "token": None} | fields))


def states() -> list[tuple[int | None, str]]:
    return list(Fetch.objects.order_by("pk").values_list("group_id", "state"))


# With a task queue


@pytest.mark.usefixtures("engine")
def test_the_fetch_form_queues_a_fetch_and_redirects_to_its_page(
    client: Client, server: Forest
) -> None:
    answer = client.post(url("fetch"), {"group_id": 1, "recursive": "on"}, follow=True)
    queued = Fetch.objects.get()
    assert answer.redirect_chain == [(page_of("change", queued.pk), 302)]
    assert messages(answer) == [("success", "1 fetch is running in the background.")]
    assert f'href="{page_of("change", queued.pk)}">Details</a>' in answer.content.decode()
    assert (queued.source, queued.started_by) == (Fetch.Source.ADMIN, "superuser")
    assert (queued.group_id, queued.depth, queued.state) == (1, None, State.QUEUED)
    assert "Waiting for a worker." in text(answer)
    assert server.asked == []
    work()
    page = text(client.get(page_of("change", queued.pk)))
    assert "State: succeeded" in page
    assert "created (30)" in page
    assert "Waiting" not in page


@pytest.mark.usefixtures("engine")
def test_the_fetch_form_queues_a_fetch_of_the_phone_book(client: Client, server: Forest) -> None:
    answer = client.post(url("fetch"), {"phone_book": "on"}, follow=True)
    queued = Fetch.objects.get()
    assert answer.redirect_chain == [(page_of("change", queued.pk), 302)]
    assert (queued.kind, queued.source) == (Fetch.Kind.PHONE_BOOK, Fetch.Source.ADMIN)
    work()
    queued.refresh_from_db()
    assert (queued.state, queued.created) == (State.SUCCEEDED, 30)


@pytest.mark.usefixtures("engine", "server")
def test_users_who_may_not_view_fetches_are_redirected_to_the_list_of_groups() -> None:
    client = client_for("fetcher")
    answer = client.post(url("fetch"), {"group_id": 1}, follow=True)
    assert answer.redirect_chain == [(url("changelist"), 302)]
    assert messages(answer) == [("success", "1 fetch is running in the background.")]
    assert "Details" not in text(answer)


@pytest.mark.usefixtures("engine", "server")
def test_the_fetch_action_queues_a_fetch_for_each_selected_group(client: Client) -> None:
    plant(LINKS, NAMES)
    answer = act(client, "fetch_selected", 3, 4)
    assert answer.redirect_chain[-1] == (url("changelist"), 302)
    assert messages(answer) == [("success", "2 fetches are running in the background.")]
    assert sorted(states()) == [(3, "queued"), (4, "queued")]
    link = re.search(r'href="([^"]*)">Details', answer.content.decode())
    assert link
    listed = client.get(link[1].replace("&amp;", "&"))
    assert len(listed.context["cl"].result_list) == 2


@pytest.mark.usefixtures("engine", "server")
def test_an_action_that_queues_only_one_fetch_redirects_to_the_page_of_the_fetch(
    client: Client,
) -> None:
    plant(LINKS, NAMES)
    answer = act(client, "fetch_selected_recursively", 2, 3)
    queued = Fetch.objects.get()
    assert (queued.group_id, queued.depth) == (2, None)
    assert answer.redirect_chain[-1] == (page_of("change", queued.pk), 302)


@pytest.mark.usefixtures("engine", "server")
def test_a_retry_queues_a_fetch_for_each_failed_group(client: Client) -> None:
    one, two = record(**failures(3)), record(depth=0, **failures(4, 5))
    answer = client.post(page_of("retry", one.pk), follow=True)
    queued = Fetch.objects.get(group_id=3)
    assert answer.redirect_chain == [(page_of("change", queued.pk), 302)]
    answer = client.post(page_of("retry", two.pk), follow=True)
    assert [each.group_id for each in answer.context["cl"].result_list] == [5, 4]
    assert {each.depth for each in answer.context["cl"].result_list} == {0}


@pytest.mark.usefixtures("engine", "server")
def test_the_fetch_form_redirects_to_the_page_of_a_fetch_that_is_already_queued(
    client: Client,
) -> None:
    for _ in range(2):
        answer = client.post(url("fetch"), {"group_id": 1}, follow=True)
        assert answer.redirect_chain == [(page_of("change", Fetch.objects.get().pk), 302)]


@pytest.mark.usefixtures("engine")
def test_fetches_are_queued_outside_the_transaction_of_the_request(
    client: Client, server: Forest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    plant(LINKS, NAMES)
    failed = record(**failures(6))
    fetch(client, group_id=1)
    fetch(client, phone_book="on")
    act(client, "fetch_selected", 3)
    client.post(page_of("retry", failed.pk))
    assert in_transaction == [False] * 4


def test_a_task_queue_error_is_shown_as_a_message(client: Client, settings: Any) -> None:
    settings.ILETIMERKEZI_ENQUEUE = REFUSING
    error = "The task queue refused the fetch: ConnectionError: no route to amqp://…@broker"
    answer = client.post(url("fetch"), {"group_id": 1})
    assert messages(answer) == [("error", error)]
    assert Fetch.objects.get().state == State.FAILED
    plant(LINKS, NAMES)
    answer = act(client, "fetch_selected", *range(1, 7))
    refused, rest = messages(answer)
    assert refused == ("error", error)
    assert rest[1].startswith("5 groups were not fetched: ")
    failed = record(**failures(*range(1, 30)))
    answer = client.post(page_of("retry", failed.pk), follow=True)
    assert answer.redirect_chain == [(page_of("change", failed.pk), 302)]
    ids = ", ".join(map(str, range(2, 22)))
    assert messages(answer)[1] == ("error", f"28 groups were not fetched: {ids}…")


@pytest.mark.usefixtures("engine", "server")
def test_a_database_error_while_a_fetch_is_queued_is_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(fetch_runs, "start_fetch", fail)
    answer = client.post(url("fetch"), {"phone_book": "on"}, follow=True)
    assert messages(answer) == [("error", "Database error: disk full.")]


@pytest.mark.usefixtures("server")
def test_invalid_settings_of_the_task_queue_are_reported(client: Client, settings: Any) -> None:
    settings.ILETIMERKEZI_ENQUEUE = "nowhere.enqueue"
    waiting = paused()
    level, error = "error", "ILETIMERKEZI_ENQUEUE: No module named 'nowhere'."
    for form in ({"group_id": 1}, {"phone_book": "on"}):
        answer = client.post(url("fetch"), form, follow=True)
        assert messages(answer) == [(level, error)]
    answer = client.post(page_of("continue", waiting.pk), follow=True)
    assert messages(answer) == [(level, error)]
    for address in (url("fetch"), page_of("changelist"), page_of("change", waiting.pk)):
        assert client.get(address).status_code == 200
    assert Fetch.objects.count() == 1


@pytest.mark.parametrize("query", ["", "?phone_book=1"])
def test_the_fetch_forms_mention_the_web_server_timeout_only_if_there_is_no_task_queue(
    client: Client, settings: Any, query: str
) -> None:
    assert "web server's timeout" in text(client.get(url("fetch") + query))
    settings.ILETIMERKEZI_ENQUEUE = ENGINE
    page = text(client.get(url("fetch") + query))
    assert "timeout" not in page
    assert "The fetch runs in the background." in page


class FetchingOnlySmallIds(GroupAdmin):
    def has_fetch_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return obj is None or obj.pk < 3


@pytest.mark.usefixtures("engine", "server")
def test_only_groups_that_the_user_may_fetch_are_queued(
    client: Client, register: Callable[..., None]
) -> None:
    register(FetchingOnlySmallIds)
    plant(LINKS, NAMES)
    assert client.post(url("fetch"), {"group_id": 3}).status_code == 403
    client.post(page_of("retry", record(**failures(2, 3)).pk))
    assert list(queue) == [Fetch.objects.get(group_id=2).pk]
    forbidden = unfinished(kind=Fetch.Kind.GROUP, group_id=3)
    assert client.post(page_of("cancel", forbidden.pk)).status_code == 403
    assert client.post(page_of("continue", forbidden.pk)).status_code == 403
    page = client.get(page_of("change", forbidden.pk)).content.decode()
    assert "formaction" not in page


# Without a task queue


def test_the_fetch_of_a_large_group_pauses_and_can_be_continued(
    client: Client, server: Forest, end_after: Callable[[int], None]
) -> None:
    end_after(8)
    answer = client.post(url("fetch"), {"group_id": 1, "recursive": "on"}, follow=True)
    stopped = Fetch.objects.get()
    assert answer.redirect_chain == [(page_of("change", stopped.pk), 302)]
    assert (stopped.state, stopped.token) == (State.QUEUED, None)
    assert 1 <= stopped.asked < 30
    pause = (
        f"Paused after 20 seconds: {stopped.asked} of {stopped.known} known groups have been "
        "fetched and stored."
    )
    assert messages(answer) == [("warning", pause)]
    assert "Paused. All answers so far are stored." in text(answer)
    address = page_of("continue", stopped.pk)
    assert f'formaction="{address}"' in answer.content.decode()
    answer = client.post(address, follow=True)
    assert answer.redirect_chain == [(page_of("change", stopped.pk), 302)]
    assert messages(answer) == [("success", "The fetch is finished.")]
    assert "created (30)" in text(answer)
    stopped.refresh_from_db()
    assert (stopped.state, stopped.asked, stopped.created) == (State.SUCCEEDED, 30, 30)
    answer = client.post(address, follow=True)
    finished = "The fetch is finished, or another process is working on it."
    assert messages(answer) == [("warning", finished)]


def test_a_continued_fetch_pauses_again_at_the_time_limit(
    client: Client, server: Forest, end_after: Callable[[int], None]
) -> None:
    end_after(3)
    answer = client.post(url("fetch"), {"phone_book": "on"}, follow=True)
    stopped = Fetch.objects.get()
    assert answer.redirect_chain == [(page_of("change", stopped.pk), 302)]
    assert [level for level, _text in messages(answer)] == ["warning"]
    asked = stopped.asked
    end_after(1)
    answer = client.post(page_of("continue", stopped.pk), follow=True)
    assert [level for level, _text in messages(answer)] == ["warning"]
    stopped.refresh_from_db()
    assert (stopped.state, stopped.token) == (State.QUEUED, None)
    assert stopped.asked > asked


def test_an_action_lists_the_groups_that_it_did_not_fetch_within_the_time_limit(
    client: Client, server: Forest, end_after: Callable[[int], None]
) -> None:
    plant(LINKS, NAMES)
    end_after(1)
    answer = act(client, "fetch_selected", 3, 4, 5)
    assert [level for level, _text in messages(answer)] == ["success", "error"]
    assert messages(answer)[1][1].startswith("2 groups were not fetched: ")
    assert len(server.asked) == 1


def test_an_action_pauses_the_fetch_of_a_large_group(
    client: Client, server: Forest, end_after: Callable[[int], None]
) -> None:
    plant({1: None})
    end_after(5)
    answer = act(client, "fetch_selected_recursively", 1)
    stopped = Fetch.objects.get()
    assert answer.redirect_chain[-1] == (page_of("change", stopped.pk), 302)
    assert stopped.state == State.QUEUED


def test_fetch_each_stops_after_a_paused_fetch(
    server: Forest, end_after: Callable[[int], None]
) -> None:
    server.list_of = lambda pk: [8, 9] if pk == 2 else []
    end_after(3)
    outcomes = list(
        services.fetch_each([1, 2, 3], recursive=True, seconds=fetch_runs.REQUEST_SECONDS)
    )
    assert [fetched.group_id for fetched in outcomes] == [1, 2]
    assert isinstance(outcomes[1].outcome, FetchPaused)


@pytest.mark.parametrize("outcome", ["answered", "alias", "failed"])
def test_fetch_each_pauses_the_second_fetch_after_any_outcome_of_the_first_fetch(
    server: Forest, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    is_over = threading.Event()
    server.list_of = lambda pk: []
    server.failing = {1: 500} if outcome == "failed" else {}
    server._aliases = {1: 8} if outcome == "alias" else {}
    server.before_sending = lambda number: number == 1 or is_over.wait()
    monkeypatch.setattr(crawl, "TICK", 0.01)
    monkeypatch.setattr(recorder, "monotonic", lambda: 3600 if 2 in server.asked else 0)
    outcomes = list(services.fetch_each([1, 2, 3], seconds=fetch_runs.REQUEST_SECONDS))
    is_over.set()
    assert [fetched.group_id for fetched in outcomes] == [1, 2]
    assert isinstance(outcomes[1].outcome, FetchPaused)


@pytest.mark.parametrize(
    "fetching",
    [
        lambda: services.fetch_group(1, recursive=True, seconds=fetch_runs.REQUEST_SECONDS),
        lambda: services.fetch_groups(seconds=fetch_runs.REQUEST_SECONDS),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_fetch_with_a_time_limit_pauses_when_the_time_is_up(
    fetching: Callable[[], object], end_after: Callable[[int], None]
) -> None:
    end_after(4)
    with pytest.raises(FetchPaused) as caught:
        fetching()
    assert caught.value.fetch.state == State.QUEUED


def test_a_fetch_without_an_answer_fails_at_its_time_limit(server: Forest) -> None:
    is_over = threading.Event()
    server.before_sending = lambda number: is_over.wait()
    with pytest.raises(ServiceUnavailable, match="did not answer for any group within 0 seconds"):
        services.fetch_group(1, seconds=0)
    is_over.set()
    assert states() == [(1, State.FAILED)]


def test_a_fetch_that_runs_in_another_process_cannot_be_continued(
    client: Client, server: Forest
) -> None:
    running = unfinished(kind=Fetch.Kind.GROUP, group_id=1)
    page = client.get(page_of("change", running.pk)).content.decode()
    assert page_of("continue", running.pk) not in page
    answer = client.post(page_of("continue", running.pk), follow=True)
    assert [level for level, _text in messages(answer)] == ["warning"]
    assert server.asked == []


def test_an_interrupted_fetch_can_be_continued(client: Client, server: Forest) -> None:
    lost = unfinished(kind=Fetch.Kind.GROUP, group_id=1, depth=0, alive_at=timezone.now() - SILENT)
    assert "Interrupted: the fetch has stored nothing" in text(
        client.get(page_of("change", lost.pk))
    )
    client.post(page_of("continue", lost.pk))
    lost.refresh_from_db()
    assert (lost.state, lost.asked) == (State.SUCCEEDED, 1)


def test_the_error_of_a_continued_fetch_is_shown(client: Client, server: Forest) -> None:
    waiting = paused(kind=Fetch.Kind.GROUP, group_id=99)
    answer = client.post(page_of("continue", waiting.pk), follow=True)
    [(level, error)] = messages(answer)
    assert level == "error"
    assert "463" in error
    waiting.refresh_from_db()
    assert waiting.state == State.FAILED


def test_the_page_of_a_part_has_no_continue_button_if_there_is_no_task_queue(
    client: Client,
) -> None:
    part = paused(kind=Fetch.Kind.GROUP, group_id=1, parent=unfinished())
    page = client.get(page_of("change", part.pk)).content.decode()
    assert page_of("cancel", part.pk) in page
    assert page_of("continue", part.pk) not in page


# Continuing with a task queue


@pytest.mark.usefixtures("engine")
def test_the_continue_button_queues_a_silent_fetch_again(client: Client) -> None:
    waiting = paused()
    address = page_of("continue", waiting.pk)
    assert address not in client.get(page_of("change", waiting.pk)).content.decode()
    Fetch.objects.update(alive_at=timezone.now() - SILENT)
    assert address in client.get(page_of("change", waiting.pk)).content.decode()
    answer = client.post(address, follow=True)
    assert messages(answer) == [("success", "The fetch was queued again.")]
    assert list(queue) == [waiting.pk]


@pytest.mark.parametrize("engine", [None, ENGINE], ids=["no task queue", "task queue"])
def test_a_fetch_that_was_silent_for_too_long_fails(client: Client, engine: str | None) -> None:
    waiting = paused(alive_at=timezone.now() - timedelta(days=2))
    with override_settings(ILETIMERKEZI_ENQUEUE=engine):
        answer = client.post(page_of("continue", waiting.pk), follow=True)
    assert messages(answer) == [
        ("error", "The fetch was interrupted for too long to be continued.")
    ]
    assert Fetch.objects.get().state == State.FAILED
    assert list(queue) == []


# Cancelling


def test_a_running_fetch_is_cancelled(client: Client) -> None:
    running = unfinished()
    part = unfinished(kind=Fetch.Kind.GROUP, group_id=1, parent=running)
    page = client.get(page_of("change", running.pk)).content.decode()
    address = page_of("cancel", running.pk)
    assert f'formaction="{address}"' in page
    answer = client.post(address, follow=True)
    assert answer.redirect_chain == [(page_of("change", running.pk), 302)]
    assert messages(answer) == [("success", "The fetch was cancelled.")]
    assert set(Fetch.objects.values_list("pk", "state")) == {
        (running.pk, "cancelled"),
        (part.pk, "cancelled"),
    }
    assert "formaction" not in answer.content.decode()
    answer = client.post(address, follow=True)
    assert messages(answer) == [("warning", "The fetch had already finished.")]


def test_a_database_error_while_a_fetch_is_cancelled_is_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(fetch_runs, "cancel_fetch", fail)
    answer = client.post(page_of("cancel", unfinished().pk), follow=True)
    assert messages(answer) == [("error", "Database error: disk full.")]


@pytest.mark.parametrize("page", ["continue", "cancel"])
def test_only_users_with_fetch_permission_can_continue_or_cancel_a_fetch(page: str) -> None:
    waiting = paused()
    viewer = client_with("view_fetch", "view_group")
    assert "formaction" not in viewer.get(page_of("change", waiting.pk)).content.decode()
    for client, status in (
        (viewer, 403),
        (client_with("view_group", "fetch_group"), 403),
        (client_with("view_fetch"), 403),
        (Client(), 302),
    ):
        assert client.post(page_of(page, waiting.pk)).status_code == status
    waiting.refresh_from_db()
    assert waiting.state == State.QUEUED
    assert viewer.post(page_of(page, 10**30)).status_code == 403
    superuser = client_for("superuser", checks_csrf=True)
    assert superuser.get(page_of(page, waiting.pk)).status_code == 405
    assert superuser.post(page_of(page, waiting.pk)).status_code == 403
    assert (
        client_with("view_fetch", "view_group", "fetch_group")
        .post(page_of(page, 10**30))
        .status_code
        == 404
    )


# The progress


def test_the_progress_of_a_fetch_is_returned_as_json(client: Client) -> None:
    running = unfinished(asked=600, known=12_000, created=3)
    answer = client.get(page_of("progress", running.pk))
    assert "no-store" in answer["Cache-Control"]
    found = answer.json()
    elements = found.pop("elements")
    assert found == {"finished": False, "asked": 600, "known": 12_000}
    shown = " ".join(re.sub(r"<[^>]*>", " ", "".join(elements)).split())
    assert "Running. About 19 minutes left." in shown
    assert "600 of 12,000 groups, 10 groups per second" in shown
    assert "3 new" in shown
    page = client.get(page_of("change", running.pk)).content.decode()
    assert f'data-iletimerkezi-progress="{page_of("progress", running.pk)}"' in page
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in page
    assert 'max="12000" value="600"' in page
    for element in elements:
        name = re.match(r'<\w+ data-iletimerkezi-live="\w+">', element)
        assert name
        assert name[0] in page


def test_the_page_of_a_finished_fetch_does_not_poll_the_progress(client: Client) -> None:
    finished = record(kind=Fetch.Kind.GROUP, group_id=1, asked=1, known=1)
    assert client.get(page_of("progress", finished.pk)).json() == {
        "finished": True,
        "asked": 1,
        "known": 1,
        "elements": [],
    }
    page = client.get(page_of("change", finished.pk)).content.decode()
    assert "data-iletimerkezi-progress" not in page
    assert "http-equiv" not in page


def test_only_users_who_may_view_fetches_can_read_the_progress() -> None:
    running = unfinished()
    assert client_with("view_group").get(page_of("progress", running.pk)).status_code == 403
    assert Client().get(page_of("progress", running.pk)).status_code == 302
    viewer = client_with("view_fetch")
    assert viewer.get(page_of("progress", running.pk)).status_code == 200
    assert viewer.get(page_of("progress", 10**30)).status_code == 404
    assert viewer.get(page_of("progress", "x")).status_code == 404
    assert viewer.post(page_of("progress", running.pk)).status_code == 405


@pytest.mark.parametrize(
    ("asked", "known", "seconds", "status", "numbers"),
    [
        (0, 0, 0, "Running.", ""),
        (3, 9, 4, "Running.", "3 of 9 groups"),
        (0, 9, 60, "Running.", "0 of 9 groups"),
        (9, 9, 45, "Running.", "9 of 9 groups, 0.2 groups per second"),
        (30, 40, 60, "Running. Less than a minute left.", "30 of 40 groups, 0.5 groups per second"),
        (
            *(50, 150, 100),
            "Running. About 3 minutes left.",
            "50 of 150 groups, 0.5 groups per second",
        ),
        (
            *(90_000, 10**6, 60),
            "Running. About 10 minutes left.",
            "90,000 of 1,000,000 groups, 1,500 groups per second",
        ),
    ],
)
def test_the_progress_shows_counts_speed_and_the_estimated_time_left(
    asked: int, known: int, seconds: int, status: str, numbers: str
) -> None:
    now = timezone.now()
    running = Fetch(
        state=State.RUNNING,
        asked=asked,
        known=known,
        started_at=now - timedelta(seconds=seconds),
        alive_at=now,
    )
    assert progress.describe_status(running, is_queueing=True) == status
    assert progress.describe_numbers(running) == numbers


def test_the_progress_of_a_fetch_is_shown_in_turkish(client: Client) -> None:
    running = unfinished(asked=600, known=12_000)
    with override_settings(LANGUAGE_CODE="tr"):
        page = text(client.get(page_of("change", running.pk)))
    assert "Sürüyor. Yaklaşık 19 dakika kaldı." in page
    assert "600 / 12.000 grup, saniyede 10 grup" in page
    assert "İşlemi iptal et" in page


# Parts


@pytest.fixture
def phone_book() -> Fetch:
    """An unfinished fetch of the phone book with a part in each state."""
    plant(LINKS, NAMES)
    parent = unfinished(token=None, asked=5, known=50)
    for pk, state in enumerate(State, start=1):
        is_finished = state not in {State.QUEUED, State.RUNNING}
        record(
            (pk, Kind.CREATED, None, "x"),
            kind=Fetch.Kind.GROUP,
            group_id=pk,
            parent=parent,
            state=state,
            asked=pk,
            known=10,
            created=1,
            finished_at=timezone.now() if is_finished else None,
        )
    return parent


def test_the_page_of_a_phone_book_fetch_shows_running_and_failed_parts(
    client: Client, phone_book: Fetch
) -> None:
    answer = client.get(page_of("change", phone_book.pk))
    table = answer.content.decode().split('id="parts"')[1].split("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL)
    assert [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in rows] == [
        "Müşteriler (id 2) running 2 of 10 1 new",
        "Kadıköy (id 4) partly succeeded 4 of 10 1 new",
        "Isparta (id 5) failed 5 of 10 1 new",
        "Şişli (id 6) cancelled 6 of 10 1 new",
    ]
    running = phone_book.parts.get(state=State.RUNNING)
    assert f'href="{page_of("change", running.pk)}"' in rows[0]
    assert any('id="parts"' in element for element in _elements(client, phone_book))


def _elements(client: Client, found: Fetch) -> list[str]:
    elements: list[str] = client.get(page_of("progress", found.pk)).json()["elements"]
    return elements


def test_warnings_appear_while_the_fetch_runs(client: Client) -> None:
    running = unfinished(maybe_other_account=True)
    assert any("another account?" in element for element in _elements(client, running))


def test_parts_beyond_the_page_limit_are_only_counted(
    client: Client, phone_book: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "PAGE", 4)
    assert "more." not in text(client.get(page_of("change", phone_book.pk)))
    monkeypatch.setattr(tree, "PAGE", 3)
    assert "… and 1 more." in text(client.get(page_of("change", phone_book.pk)))


class HidingIstanbul(GroupAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).exclude(pk=2)


def test_the_parts_of_a_fetch_do_not_show_the_names_of_hidden_groups(
    client: Client, phone_book: Fetch, register: Callable[..., None]
) -> None:
    register(HidingIstanbul)
    page = text(client.get(page_of("change", phone_book.pk)))
    assert "Müşteriler" not in page
    assert "Group 2 running" in page


def test_the_page_of_a_part_links_to_its_phone_book_fetch(
    client: Client, phone_book: Fetch
) -> None:
    part = phone_book.parts.get(state=State.FAILED)
    answer = client.get(page_of("change", part.pk))
    assert f'href="{page_of("change", phone_book.pk)}"' in answer.content.decode()
    assert "Part of a fetch of the whole phone book" in text(answer)
    assert page_of("delete", part.pk) not in answer.content.decode()
    assert client.post(page_of("delete", part.pk), {"post": "yes"}).status_code == 403


def test_the_list_of_fetches_does_not_show_parts(client: Client, phone_book: Fetch) -> None:
    answer = client.get(page_of("changelist"))
    assert list(answer.context["cl"].result_list) == [phone_book]


def test_the_fetch_of_a_phone_book_is_deleted_with_its_parts(
    client: Client, phone_book: Fetch
) -> None:
    services.cancel_fetch(phone_book)
    page = text(client.get(page_of("delete", phone_book.pk)))
    assert "Changes: 6" in page
    client.post(page_of("delete", phone_book.pk), {"post": "yes"})
    assert (Fetch.objects.count(), Change.objects.count()) == (0, 0)


# The lists


@pytest.mark.usefixtures("engine")
def test_opening_the_list_of_fetches_queues_interrupted_fetches_again(client: Client) -> None:
    lost = unfinished(alive_at=timezone.now() - SILENT)
    unfinished()
    assert client_for("viewer").get(page_of("changelist")).status_code == 403
    assert list(queue) == []
    client.get(page_of("changelist"))
    client.get(page_of("changelist"))
    assert list(queue) == [lost.pk]


@pytest.mark.usefixtures("engine")
def test_a_database_error_while_fetches_are_queued_again_is_logged(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(fetch_runs, "resume_fetches", fail)
    assert client.get(page_of("changelist")).status_code == 200
    assert "Interrupted fetches could not be queued again." in caplog.text


@pytest.mark.usefixtures("engine")
def test_the_list_of_fetches_needs_five_queries_with_a_task_queue(client: Client) -> None:
    record()
    ContentType.objects.get_for_model(Fetch)  # Cached for the process.
    with CaptureQueriesContext(connection) as queries:
        client.get(page_of("changelist"))
    # Session, user, interrupted fetches, count and fetches.
    assert len(queries) == 5


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "A fetch is running. Details"),
        ({"state": State.QUEUED}, "A fetch is waiting. Details"),
        ({"alive_at": timezone.now() - SILENT}, None),
        ({"finished_at": timezone.now(), "state": State.SUCCEEDED}, None),
    ],
)
def test_the_tree_says_that_a_fetch_is_running(
    client: Client, fields: dict[str, Any], sentence: str | None
) -> None:
    plant(LINKS, NAMES)
    running = unfinished(**fields)
    unfinished(parent=running, kind=Fetch.Kind.GROUP, group_id=1)
    answer = client.get(url("changelist"))
    assert ("A fetch is" in text(answer)) == bool(sentence)
    assert (sentence or "") in text(answer)
    link = f'href="{page_of("change", running.pk)}" class="iletimerkezi-details">Details</a>'
    assert (link in answer.content.decode()) == bool(sentence)
    assert "A fetch is" not in text(client.get(f"{url('changelist')}?_popup=1"))


def test_the_tree_links_to_a_running_fetch_only_for_users_who_may_view_fetches() -> None:
    unfinished()
    page = text(client_for("fetcher").get(url("changelist")))
    assert "A fetch is running." in page
    assert "Details" not in page
    assert "A fetch is" not in text(client_for("viewer").get(url("changelist")))
