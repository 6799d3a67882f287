"""Fetches in the background, with a list instead of a task queue."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, transaction
from django.db.models import JSONField, Value
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_iletimerkezi import background, services
from django_iletimerkezi.exceptions import FetchPaused, FetchTakenOver
from django_iletimerkezi.mirror import crawl, recorder
from django_iletimerkezi.mirror.journal import Journal, changes_of
from django_iletimerkezi.models import Change, Fetch, Group
from django_iletimerkezi.signals import fetch_finished, groups_changed

from . import vendor
from .changes import assert_changes_end_in_rows
from .databases import close, conflict
from .forest import Forest, tree_of
from .task_queue import ENGINE, queue, work
from .vendor import Vendor

pytestmark = pytest.mark.django_db(transaction=True)

State = Fetch.State


@pytest.fixture(autouse=True)
def _engine() -> Iterator[None]:
    queue.clear()
    with override_settings(ILETIMERKEZI_ENQUEUE=ENGINE):
        yield


def refuse(fetch_id: int) -> None:
    raise ConnectionError("cannot reach amqp://user:s@cr/et@broker/")


@contextmanager
def serve(server: Forest, **settings: Any) -> Iterator[None]:
    with server, override_settings(**server.settings, **settings):
        yield


class Killed(BaseException):
    """Ends a fetch without cleaning up, as kill -9 does."""


@contextmanager
def at_step(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` once, at the given step of the next crawl, in the thread of the worker."""
    usual, steps = recorder.Recorder.tick, itertools.count(1)

    def tick(own: recorder.Recorder) -> None:
        if next(steps) == number:
            act()
        usual(own)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder.Recorder, "tick", tick)
        yield


@contextmanager
def cut_after(steps: int, *, kill: bool = False) -> Iterator[None]:
    """Pause each fetch after some steps of its crawl, or kill its process."""

    class ShortLimit(recorder.Limit):
        left = steps

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Killed if kill else FetchPaused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "Limit", ShortLimit)
        if kill:
            patch.setattr(recorder.Recorder, "_release", lambda *args: None)
            patch.setattr(recorder.Recorder, "rescue", lambda *args: None)
        yield


def let_time_pass(**duration: float) -> None:
    """Set the last sign of life of all fetches to so long ago."""
    Fetch.objects.update(alive_at=timezone.now() - timedelta(**duration))


def reread(fetch: Fetch) -> Fetch:
    return Fetch.objects.get(pk=fetch.pk)


def outcome(fetch: Fetch) -> tuple[str, int, int]:
    fetch = reread(fetch)
    return fetch.state, fetch.asked, fetch.known


# From the queue to the end


def test_a_group_is_fetched_in_the_background() -> None:
    with serve(Forest(tree_of(30, 5))):
        fetch = services.start_fetch(1, recursive=True, started_by="ayşe")
        assert (fetch.state, list(queue)) == ("queued", [fetch.pk])
        work()
    fetch = reread(fetch)
    assert outcome(fetch) == ("succeeded", 30, 30)
    assert (fetch.created, fetch.started_by) == (30, "ayşe")
    assert (fetch.token, fetch.active_key) == (None, None)


def test_a_background_fetch_stops_at_its_depth() -> None:
    with serve(server := Forest(tree_of(31, 2))):
        fetch = services.start_fetch(1, depth=2)
        work()
    assert sorted(server.asked) == list(range(1, 8))
    assert outcome(fetch) == ("succeeded", 7, 7)


@pytest.mark.parametrize(
    "arguments", [{"group_id": 0}, {"group_id": 5, "depth": -1}, {"depth": -1}]
)
def test_start_fetch_rejects_invalid_arguments_and_queues_nothing(
    arguments: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r"must be|from 1 to"):
        services.start_fetch(**arguments)
    assert not queue
    assert not Fetch.objects.exists()


def test_a_fetch_of_an_unknown_group_fails_with_a_reason() -> None:
    with serve(Forest({})):
        fetch = services.start_fetch(5)
        work()
    assert reread(fetch).state == State.FAILED
    assert reread(fetch).error.startswith("iletimerkezi answered 463")


def test_a_fetch_fails_with_a_reason_if_the_worker_has_no_credentials() -> None:
    fetch = services.start_fetch(5)
    with override_settings(ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH=""):
        work()
    assert reread(fetch).state == State.FAILED
    assert reread(fetch).error.startswith("The credentials of iletimerkezi are missing")


def test_tasks_of_finished_or_deleted_fetches_do_nothing() -> None:
    with serve(server := Forest({5: []})):
        fetch = services.start_fetch(5)
        work()
        services.run_fetch(fetch.pk)
        services.run_fetch(fetch.pk + 1)
    assert server.asked == [5]


def test_a_task_is_queued_after_the_commit() -> None:
    with transaction.atomic():
        fetch = services.start_fetch(5)
        assert not queue
    assert list(queue) == [fetch.pk]


def test_a_rollback_leaves_no_fetch_and_no_task() -> None:
    with transaction.atomic():
        services.start_fetch(5)
        transaction.set_rollback(True)
    assert not queue
    assert not Fetch.objects.exists()


def test_start_fetch_and_resume_fetches_raise_an_error_if_there_is_no_task_queue() -> None:
    with override_settings(ILETIMERKEZI_ENQUEUE=None):
        for call in (services.start_fetch, services.resume_fetches):
            with pytest.raises(ImproperlyConfigured, match="No task queue is set up"):
                call()
    assert not Fetch.objects.exists()


def test_a_fetch_whose_task_is_refused_fails_and_its_error_hides_the_password() -> None:
    with override_settings(ILETIMERKEZI_ENQUEUE="tests.test_background.refuse"):
        fetch = services.start_fetch(5)
    assert fetch.state == reread(fetch).state == State.FAILED
    assert fetch.error == (
        "The task queue refused the fetch: ConnectionError: cannot reach amqp://…@broker/"
    )
    assert reread(fetch).active_key is None


def test_a_fetch_fails_if_the_task_queue_is_removed_before_the_commit() -> None:
    with override_settings(ILETIMERKEZI_ENQUEUE=None), transaction.atomic():
        with override_settings(ILETIMERKEZI_ENQUEUE=ENGINE):
            fetch = services.start_fetch(5)
    assert reread(fetch).state == State.FAILED
    assert "No task queue is set up" in reread(fetch).error


# One fetch at a time


def test_starting_a_queued_fetch_again_returns_its_record() -> None:
    first = services.start_fetch(5, recursive=True)
    assert services.start_fetch(5, recursive=True) == first
    assert services.start_fetch(5) != first
    assert services.start_fetch() == services.start_fetch() != first
    assert len(queue) == 3


def test_a_finished_fetch_can_be_started_again() -> None:
    with serve(Forest({5: []})):
        first = services.start_fetch(5)
        work()
        assert services.start_fetch(5) != first


def test_only_one_of_two_workers_works_on_a_fetch() -> None:
    with serve(server := Forest(tree_of(20, 19))):
        fetch = services.start_fetch(1, recursive=True)
        with at_step(5, lambda: services.run_fetch(fetch.pk)):
            work()
    assert sorted(server.asked) == list(range(1, 21))
    assert reread(fetch).created == 20


def test_a_worker_that_lost_its_claim_stops_storing_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    stored: list[int] = []

    def take_over() -> None:
        stored.append(Group.objects.exclude(fetched_at=None).count())
        Fetch.objects.update(token="00000000-0000-0000-0000-000000000000")

    with serve(Forest(tree_of(20, 19))):
        fetch = services.start_fetch(1, recursive=True)
        with at_step(5, take_over):
            work()
    assert Group.objects.exclude(fetched_at=None).count() == stored[0] < 20
    assert reread(fetch).state == State.RUNNING


# Slices


@pytest.mark.parametrize("depth", [None, 3])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_fetch_in_slices_repeats_at_most_one_request_per_slice(
    depth: int | None, steps: int
) -> None:
    with serve(server := Forest(tree_of(40, 3)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        fetch = services.start_fetch(1, recursive=depth is None, depth=depth)
        with cut_after(steps):
            services.run_fetch(queue.popleft())
            assert reread(fetch).state == State.QUEUED
            assert reread(fetch).token is None
            assert list(queue) == [fetch.pk]
            work()
    assert outcome(fetch) == ("succeeded", 40, 40)
    assert reread(fetch).created == 40
    # A slice may end while one more request is on its way.
    assert sum(Counter(server.asked).values()) <= 40 + 40 // steps + 1


def test_a_slice_without_groups_left_to_request_counts_all_groups() -> None:
    with serve(server := Forest(tree_of(10, 9))):
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(8):
            work()
    assert sorted(server.asked) == list(range(1, 11))
    assert outcome(fetch) == ("succeeded", 10, 10)


def test_failed_groups_are_recorded_and_not_requested_again_in_the_next_slice() -> None:
    with serve(server := Forest(tree_of(20, 19)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        server.failing = {3: 500, 7: 463}
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(10):
            work()
    assert outcome(fetch) == ("partial", 20, 20)
    assert {each["id"] for each in reread(fetch).failures} == {3, 7}
    assert (server.asked.count(3), server.asked.count(7)) == (1, 1)


def test_a_fetch_whose_subgroups_all_fail_in_several_slices_ends_as_partial() -> None:
    with serve(server := Forest(tree_of(20, 19)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        server.failing = dict.fromkeys(range(2, 21), 500)
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(3):
            work()
    assert outcome(fetch) == ("partial", 20, 20)
    assert reread(fetch).failed == 19


def test_the_phone_book_is_fetched_in_slices_without_a_task_queue() -> None:
    with serve(server := Forest(tree_of(30, 5)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        server.main_ids = [1]
        fetch = services.start_fetch()
        with override_settings(ILETIMERKEZI_ENQUEUE=None), cut_after(10):
            for _ in range(2):
                with pytest.raises(FetchPaused, match="not finished"):
                    services.continue_fetch(reread(fetch))
        services.continue_fetch(reread(fetch))
    assert outcome(fetch) == ("succeeded", 30, 30)
    assert server.listings == 3


def test_a_fetch_fails_after_a_slice_without_any_answer() -> None:
    with Vendor(vendor.hang) as server:
        with override_settings(
            ILETIMERKEZI_API_KEY=vendor.KEY,
            ILETIMERKEZI_API_HASH=vendor.HASH,
            ILETIMERKEZI_BASE_URL=server.url,
            ILETIMERKEZI_TASK_SECONDS=1,
        ):
            fetch = services.start_fetch(5)
            work()
    assert reread(fetch).state == State.FAILED
    assert reread(fetch).error == "iletimerkezi did not answer for any group within 1 seconds."


def test_sigterm_ends_a_slice_and_calls_the_handler_of_the_worker() -> None:
    received: list[int] = []
    usual = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with serve(server := Forest(tree_of(200, 199)), ILETIMERKEZI_MAX_CONNECTIONS=1):
            fetch = services.start_fetch(1, recursive=True)
            server.at_answer(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
            services.run_fetch(queue.popleft())
            assert (reread(fetch).state, list(queue)) == (State.QUEUED, [fetch.pk])
            assert len(server.asked) < 200
            work()
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert received == [signal.SIGTERM]
    assert outcome(fetch) == ("succeeded", 200, 200)


def test_sigterm_ends_the_process_after_the_slice_if_no_handler_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[Any] = []
    with serve(server := Forest(tree_of(200, 199)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        fetch = services.start_fetch(1, recursive=True)
        kill = os.kill
        server.at_answer(5, lambda: kill(os.getpid(), signal.SIGTERM))
        monkeypatch.setattr(os, "kill", lambda *args: killed.append((*args, list(queue))))
        services.run_fetch(queue.popleft())
    assert killed == [(os.getpid(), signal.SIGTERM, [fetch.pk])]
    assert reread(fetch).state == State.QUEUED


def test_a_task_in_a_thread_does_not_change_the_signal_handlers() -> None:
    with serve(Forest({5: []})):
        fetch = services.start_fetch(5)
        usual = signal.getsignal(signal.SIGTERM)

        def run() -> None:
            services.run_fetch(fetch.pk)
            close(transaction.get_connection())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is usual


def test_a_worker_that_exits_during_a_slice_releases_the_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave(*args: object) -> None:
        raise SystemExit

    with serve(Forest(tree_of(20, 5))):
        fetch = services.start_fetch(1, recursive=True)
        with monkeypatch.context() as patch:
            patch.setattr(crawl.Crawl, "_take_back", leave)
            with pytest.raises(SystemExit):
                services.run_fetch(queue.popleft())
        assert (reread(fetch).state, reread(fetch).token) == (State.QUEUED, None)
        services.run_fetch(fetch.pk)
    assert outcome(fetch) == ("succeeded", 20, 20)


def test_a_worker_that_exits_before_it_claims_a_fetch_leaves_the_fetch_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave(*args: object) -> None:
        raise SystemExit

    fetch = services.start_fetch(1)
    monkeypatch.setattr(Journal, "start", leave)
    with pytest.raises(SystemExit):
        services.run_fetch(fetch.pk)
    assert (reread(fetch).state, reread(fetch).started_at) == (State.QUEUED, None)


def test_groups_missing_from_all_answers_are_counted_once_in_any_number_of_slices() -> None:
    yesterday = timezone.now() - timedelta(days=1)
    old = range(100, 110)
    Group.objects.bulk_create([Group(pk=pk, name="Old", count=1, seen_at=yesterday) for pk in old])
    for engine in (ENGINE, None):
        with phone_book(ILETIMERKEZI_MAX_CONNECTIONS=1, ILETIMERKEZI_ENQUEUE=engine) as server:
            links: dict[int, list[int]] = {pk: [] for pk in (*range(1, 7), *old)}
            server.list_of = (links | {1: [3, 4], 2: [5], 4: [6]}).get
            with override_settings(ILETIMERKEZI_ENQUEUE=ENGINE):
                fetch = services.start_fetch()
            with cut_after(4):
                while not reread(fetch).is_finished:
                    queue.append(fetch.pk)
                    work()
        assert outcome(fetch) == ("succeeded", 16, 16)


def test_the_progress_does_not_decrease_while_the_next_slice_waits_for_the_vendor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[tuple[str, int, int]] = []
    has_shown = threading.Event()
    show_life = Journal.show_life

    def show(journal: Journal) -> None:
        show_life(journal)
        shown.append(outcome(journal.fetch))
        has_shown.set()

    with serve(server := Forest(tree_of(20, 19)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(10):
            services.run_fetch(queue.popleft())
        before = outcome(fetch)[1:]
        monkeypatch.setattr(crawl, "TICK", 0.01)
        monkeypatch.setattr(recorder, "BATCH_SECONDS", 0)
        monkeypatch.setattr(Journal, "show_life", show)
        server.before_sending = lambda number: has_shown.wait()
        work()
    assert before[0]
    assert shown[0] == ("running", *before)
    assert outcome(fetch) == ("succeeded", 20, 20)


# Signs of life


@pytest.mark.parametrize("silent_answer", [1, 2])
def test_a_fetch_records_signs_of_life_while_the_vendor_is_silent(
    monkeypatch: pytest.MonkeyPatch, silent_answer: int
) -> None:
    monkeypatch.setattr(crawl, "TICK", 0.01)
    monkeypatch.setattr(recorder, "BATCH_SECONDS", 0.02)
    shown: list[Any] = []
    answered = threading.Event()

    def note(journal: Any) -> None:
        shown.append(journal.fetch.pk)
        if len(shown) == 3:
            answered.set()

    monkeypatch.setattr("django_iletimerkezi.mirror.journal.Journal.show_life", note)
    with serve(server := Forest({5: [6], 6: []})):
        server.at_answer(silent_answer, answered.wait)
        fetch = services.start_fetch(5, recursive=True)
        work()
    assert set(shown) == {fetch.pk}
    assert outcome(fetch)[0] == "succeeded"


def test_resume_fetches_queues_a_silent_fetch_again_only_once() -> None:
    with serve(Forest(tree_of(10, 3))):
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(2, kill=True), pytest.raises(Killed):
            services.run_fetch(queue.popleft())
        assert reread(fetch).state == State.RUNNING
        assert services.resume_fetches() == 0
        let_time_pass(minutes=4)
        assert reread(fetch).is_interrupted
        assert services.resume_fetches() == 1
        assert services.resume_fetches() == 0
        assert list(queue) == [fetch.pk]
        work()
    assert outcome(fetch) == ("succeeded", 10, 10)


def test_starting_a_fetch_resumes_silent_fetches() -> None:
    lost = services.start_fetch(5)
    queue.clear()
    let_time_pass(minutes=4)
    started = services.start_fetch(6)
    assert list(queue) == [lost.pk, started.pk]


def test_a_silent_fetch_is_queued_again_after_the_commit() -> None:
    lost = services.start_fetch(5)
    queue.clear()
    let_time_pass(minutes=4)
    with transaction.atomic():
        assert services.resume_fetches() == 1
        assert not queue
    assert list(queue) == [lost.pk]


def test_a_fetch_that_was_silent_for_too_long_fails() -> None:
    fetch = services.start_fetch(5)
    let_time_pass(hours=25)
    queue.clear()
    assert services.resume_fetches() == 0
    assert not queue
    reason = "The fetch was interrupted for too long to be continued."
    assert (reread(fetch).state, reread(fetch).error) == ("failed", reason)


def test_a_fetch_that_cannot_be_queued_again_is_resumed_later() -> None:
    with serve(Forest(tree_of(10, 9)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(3), override_settings(ILETIMERKEZI_ENQUEUE="tests.test_background.refuse"):
            services.run_fetch(queue.popleft())
        assert reread(fetch).state == State.QUEUED
        let_time_pass(minutes=4)
        assert services.resume_fetches() == 1
        work()
    assert outcome(fetch) == ("succeeded", 10, 10)


def test_resume_fetches_retries_after_a_database_conflict() -> None:
    fetch = services.start_fetch(5)
    queue.clear()
    let_time_pass(minutes=4)
    failing = [conflict()]

    def refuse_update(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and failing:
            raise failing.pop()
        return execute(sql, *args)

    with connection.execute_wrapper(refuse_update):
        assert services.resume_fetches() == 1
    assert list(queue) == [fetch.pk]


def test_a_task_retries_its_first_query_after_a_database_conflict() -> None:
    with serve(Forest({5: []})):
        fetch = services.start_fetch(5)
        failing = [conflict()]

        def refuse_first(execute: Any, *args: Any) -> Any:
            if failing:
                raise failing.pop()
            return execute(*args)

        with connection.execute_wrapper(refuse_first):
            work()
    assert outcome(fetch) == ("succeeded", 1, 1)


def test_a_fetch_that_two_processes_find_silent_is_queued_once() -> None:
    fetch = services.start_fetch(5)
    queue.clear()
    let_time_pass(minutes=4)

    class Once:
        is_done = False

        def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
            if sql.startswith("UPDATE") and not self.is_done:
                self.is_done = True
                assert services.resume_fetches() == 1
            return execute(sql, *args)

    with connection.execute_wrapper(Once()):
        assert services.resume_fetches() == 0
    assert list(queue) == [fetch.pk]


def test_a_fetch_ends_with_a_reason_if_the_worker_has_invalid_settings() -> None:
    fetch = services.start_fetch(5)
    with override_settings(ILETIMERKEZI_TASK_SECONDS="120"):
        work()
    assert reread(fetch).error.startswith("ILETIMERKEZI_TASK_SECONDS must be a whole number")


# The phone book in parts


@contextmanager
def phone_book(**settings: Any) -> Iterator[Forest]:
    """Serve a phone book: main group 1 with 3 groups below it, and main group 2 with 1."""
    server = Forest({1: [3, 4], 2: [5], 3: [], 4: [6], 5: [], 6: []})
    server.main_ids = [1, 2]
    with serve(server, **settings):
        yield server


def test_a_phone_book_is_fetched_in_parts() -> None:
    yesterday = timezone.now() - timedelta(days=1)
    Group.objects.create(pk=99, name="Old", count=1, seen_at=yesterday)
    with phone_book() as server:
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        assert (reread(fetch).state, reread(fetch).known) == ("running", 2)
        assert list(queue) == [part.pk for part in fetch.parts.order_by("pk")]
        work()
    assert outcome(fetch) == ("succeeded", 7, 7)
    fetch = reread(fetch)
    assert (fetch.created, fetch.missing, fetch.failed) == (6, 1, 0)
    assert [outcome(part) for part in fetch.parts.order_by("pk")] == [
        ("succeeded", 4, 4),
        ("succeeded", 2, 2),
    ]
    assert sorted(server.asked) == [1, 2, 3, 4, 5, 6, 99]
    assert server.listings == 1
    assert changes_of(fetch).filter(kind=Change.Kind.CREATED).count() == 6


def test_the_depth_of_a_phone_book_fetch_limits_its_parts() -> None:
    with phone_book() as server:
        fetch = services.start_fetch(depth=2)
        work()
    assert sorted(server.asked) == [1, 2, 3, 4, 5]
    assert outcome(fetch)[0] == "succeeded"


def test_main_groups_that_list_each_other_are_fetched() -> None:
    with serve(server := Forest({1: [2], 2: [1], 3: [4], 4: []})):
        server.main_ids = [1, 2, 3]
        fetch = services.start_fetch()
        work()
    assert sorted(server.asked) == [1, 2, 3, 4]
    assert outcome(fetch) == ("succeeded", 4, 4)
    assert [part.group_id for part in fetch.parts.order_by("pk")] == [3, 1]


def test_a_phone_book_fetch_with_depth_0_needs_no_parts() -> None:
    with phone_book() as server:
        fetch = services.start_fetch(depth=0)
        work()
    assert (server.asked, reread(fetch).state) == ([], "succeeded")
    assert Group.objects.count() == 5


def test_the_progress_of_a_phone_book_fetch_includes_its_parts() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        services.run_fetch(queue.popleft())
        assert (reread(fetch).asked, reread(fetch).known) == (4, 5)


def test_signals_are_sent_for_the_phone_book_fetch_and_not_for_its_parts() -> None:
    sent: list[tuple[Any, int]] = []

    def note(signal: Any, fetch: Fetch, **kwargs: Any) -> None:
        sent.append((signal, fetch.pk))

    fetch_finished.connect(note)
    groups_changed.connect(note)
    try:
        with phone_book():
            fetch = services.start_fetch()
            work()
    finally:
        fetch_finished.disconnect(note)
        groups_changed.disconnect(note)
    assert sent == [(groups_changed, fetch.pk), (fetch_finished, fetch.pk)]


def test_warnings_of_parts_are_recorded_with_the_phone_book_fetch() -> None:
    an_hour = timedelta(hours=1)
    an_hour_ago = format_datetime(datetime.now(UTC) - an_hour, usegmt=True)
    with serve(server := Forest({1: [3], 2: [5], 3: [], 50: []}, aliases={5: 50})):
        server.main_ids = [1, 2]
        server.headers_of = lambda code: {"Date": an_hour_ago}
        fetch = services.start_fetch()
        with cut_after(2):
            work()
    fetch = reread(fetch)
    assert fetch.state == "succeeded"
    assert fetch.aliases == {"5": 50}
    assert an_hour <= (fetch.clock_ahead or timedelta()) < 2 * an_hour


def test_the_wrong_clock_of_one_worker_is_recorded_with_the_phone_book_fetch() -> None:
    a_day_ago = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    with phone_book() as server:
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        server.headers_of = lambda code: {"Date": a_day_ago}
        services.run_fetch(queue.popleft())
        server.headers_of = lambda code: {}
        work()
    assert (reread(fetch).clock_ahead or timedelta()) >= timedelta(days=1)


def test_a_slice_that_fails_early_keeps_earlier_warnings_and_failures() -> None:
    fetch = Fetch.objects.create(
        kind=Fetch.Kind.PHONE_BOOK,
        maybe_other_account=True,
        aliases={"5": 50},
        failed=1,
        failures=[{"id": 3, "reason": "no answer"}],
    )
    with override_settings(ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH=""):
        services.run_fetch(fetch.pk)
    fetch = reread(fetch)
    assert (fetch.state, fetch.error.split(":")[0]) == (
        "failed",
        "The credentials of iletimerkezi are missing",
    )
    assert (fetch.maybe_other_account, fetch.aliases) == (True, {"5": 50})
    assert (fetch.failed, fetch.reasons) == (1, {3: "no answer"})


@pytest.mark.parametrize("written", [[], "x", 7, None, {"x": 1, "0": 5, "5": "50"}])
def test_malformed_json_in_a_fetch_record_does_not_stop_the_fetch(written: Any) -> None:
    json = Value(written, JSONField())
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        Fetch.objects.update(aliases=json, failures=json)
        work()
    assert outcome(fetch)[0] == "succeeded"


def test_a_phone_book_fetch_that_was_interrupted_for_too_long_fails_with_all_its_parts() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        Fetch.objects.update(started_at=timezone.now())
        let_time_pass(days=2)
        part = fetch.parts.order_by("pk")[0]
        assert background.end_if_old(part)
    assert part.state == State.FAILED
    assert set(Fetch.objects.values_list("state", "error")) == {
        ("failed", "The fetch was interrupted for too long to be continued.")
    }


def test_a_fetch_records_that_the_key_may_belong_to_another_account() -> None:
    Group.objects.create(pk=98, name="", count=1, seen_at=timezone.now() - timedelta(days=1))
    Group.objects.create(pk=99, name="", count=1, seen_at=timezone.now() - timedelta(days=1))
    with phone_book():
        fetch = services.start_fetch()
        work()
    assert reread(fetch).maybe_other_account


def test_a_group_missing_from_its_part_but_found_elsewhere_is_recorded_only_as_moved() -> None:
    with serve(server := Forest({1: [3], 3: [4], 4: []})):
        server.main_ids = [1]
        services.fetch_groups()
        server.list_of = {1: [], 3: [], 4: [3]}.get
        fetch = services.start_fetch()
        work()
    changes = changes_of(fetch).filter(group_id=3)
    assert [change.kind for change in changes] == [Change.Kind.MOVED]
    assert (reread(fetch).changed, reread(fetch).missing) == (1, 1)


def test_failures_of_parts_are_recorded_with_the_phone_book_fetch() -> None:
    with phone_book() as server:
        server.failing = {2: 500, 6: 500}
        fetch = services.start_fetch()
        work()
    fetch = reread(fetch)
    assert (fetch.state, fetch.failed) == ("partial", 2)
    assert {each["id"] for each in fetch.failures} == {2, 6}


def test_a_phone_book_fetch_fails_if_all_its_parts_fail() -> None:
    with phone_book() as server:
        server.failing = {1: 500, 2: 500}
        fetch = services.start_fetch()
        work()
    assert reread(fetch).state == State.FAILED
    assert "500" in reread(fetch).error


def test_wrong_credentials_end_all_parts_after_one_request() -> None:
    links: dict[int, list[int]] = {pk: [] for pk in range(1, 51)}
    with serve(server := Forest(links)):
        server.main_ids = list(links)
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        server.key = "another"
        work()
    assert reread(fetch).state == State.FAILED
    assert "401" in reread(fetch).error
    assert not fetch.parts.unfinished().exists()
    assert server.asked == []


def test_a_group_that_moves_between_two_parts_is_not_counted_as_missing() -> None:
    with phone_book() as server:
        services.fetch_groups()
        server.list_of = {1: [3], 2: [5, 4], 3: [], 4: [6], 5: [], 6: []}.get
        fetch = services.start_fetch()
        work()
    assert [
        (change.group_id, change.kind, change.before, change.after) for change in changes_of(fetch)
    ] == [(4, "moved", "1", "2")]
    assert (reread(fetch).changed, reread(fetch).missing) == (1, 0)


def test_a_second_task_of_a_phone_book_fetch_does_not_change_the_result() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        queue.append(fetch.pk)  # A second push of the phone book itself.
        work()
    assert outcome(fetch) == ("succeeded", 6, 6)


def test_a_phone_book_fetch_finishes_after_a_database_error_ended_its_last_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("disk full")

    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        services.run_fetch(queue.popleft())
        with monkeypatch.context() as patch:
            patch.setattr(recorder, "store", fail)
            with pytest.raises(OperationalError):
                services.run_fetch(queue.popleft())
        assert list(queue) == [fetch.pk]
        work()
    assert reread(fetch).state == State.PARTIAL
    assert reread(fetch).failures == [{"id": 2, "reason": "disk full"}]


class Replica:
    """A router that sends all queries for reading to a database without our tables."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type, **hints: Any) -> str:
        return "default"

    def allow_relation(self, *args: Any, **hints: Any) -> bool:
        return True


def test_a_phone_book_fetch_never_reads_from_a_replica() -> None:
    with phone_book(DATABASE_ROUTERS=[Replica()]):
        fetch = services.start_fetch()
        work()
        first, second = services.start_fetch(), services.start_fetch(1)
        services.run_fetch(queue.popleft())
        services.cancel_fetch(first)
        services.cancel_fetch(second)
    assert outcome(fetch) == ("succeeded", 6, 6)


def test_a_process_that_continues_a_phone_book_fetch_also_completes_its_parts() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        services.run_fetch(queue.popleft())
        services.continue_fetch(reread(fetch))
        work()
    assert outcome(fetch) == ("succeeded", 6, 6)
    assert reread(fetch).created == 6
    assert [part.state for part in fetch.parts.order_by("pk")] == ["succeeded", "succeeded"]


def test_lost_tasks_of_parts_are_queued_again() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        queue.clear()
        let_time_pass(minutes=4)
        assert services.resume_fetches() == 1  # The phone book, which queues its parts.
        work()
    assert outcome(fetch) == ("succeeded", 6, 6)


def test_waiting_parts_are_not_queued_again_while_their_phone_book_fetch_is_active() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        let_time_pass(hours=25)
        services.run_fetch(queue.popleft())  # The first part notes that the phone book is alive.
        assert services.resume_fetches() == 0
        work()
    assert outcome(fetch) == ("succeeded", 6, 6)


# Cancelling


def test_a_queued_fetch_is_cancelled() -> None:
    fetch = services.start_fetch(5)
    assert services.cancel_fetch(reread(fetch))
    assert not services.cancel_fetch(reread(fetch))
    with serve(server := Forest({5: []})):
        work()
    assert (reread(fetch).state, server.asked) == ("cancelled", [])
    assert reread(fetch).active_key is None


def test_a_cancelled_fetch_keeps_its_failures() -> None:
    with serve(server := Forest(tree_of(20, 19)), ILETIMERKEZI_MAX_CONNECTIONS=1):
        server.failing = {2: 500}
        fetch = services.start_fetch(1, recursive=True)
        with cut_after(5):
            services.run_fetch(queue.popleft())
        services.cancel_fetch(reread(fetch))
    assert [each["id"] for each in reread(fetch).failures] == [2]


def test_a_running_fetch_stops_soon_after_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    with serve(Forest(tree_of(50, 49))):
        fetch = services.start_fetch(1, recursive=True)
        with at_step(5, lambda: services.cancel_fetch(reread(fetch))):
            work()
    assert reread(fetch).state == State.CANCELLED
    assert Group.objects.exclude(fetched_at=None).count() < 10
    assert not queue


def test_a_foreground_fetch_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    with serve(Forest(tree_of(50, 49))):
        with at_step(5, lambda: services.cancel_fetch(Fetch.objects.get())):
            with pytest.raises(FetchTakenOver, match="was cancelled"):
                services.fetch_group(1, recursive=True)
    assert Fetch.objects.get().state == State.CANCELLED


def test_cancelling_a_phone_book_fetch_cancels_its_parts() -> None:
    with phone_book() as server:
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        services.run_fetch(queue.popleft())
        assert services.cancel_fetch(reread(fetch))
        work()
    assert reread(fetch).state == State.CANCELLED
    assert [part.state for part in fetch.parts.order_by("pk")] == ["succeeded", "cancelled"]
    assert reread(fetch).created == 6
    assert 2 not in server.asked


def test_cancelling_a_phone_book_fetch_with_many_parts_takes_few_queries() -> None:
    links: dict[int, list[int]] = {pk: [] for pk in range(1, 51)}
    with serve(server := Forest(links)):
        server.main_ids = list(links)
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
    with CaptureQueriesContext(connection) as queries:
        services.cancel_fetch(reread(fetch))
    assert len(queries) < 30
    assert not Fetch.objects.unfinished().exists()
    assert fetch.parts.filter(state=State.CANCELLED, active_key=None).count() == 50


def test_continuing_a_phone_book_fetch_without_a_task_queue_ends_all_its_parts() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        with override_settings(ILETIMERKEZI_ENQUEUE=None):
            services.continue_fetch(reread(fetch))
    assert outcome(fetch) == ("succeeded", 6, 6)
    assert not Fetch.objects.unfinished().exists()


def test_a_phone_book_fetch_finishes_after_its_last_part_is_cancelled() -> None:
    with phone_book():
        fetch = services.start_fetch()
        services.run_fetch(queue.popleft())
        services.run_fetch(queue.popleft())
        services.cancel_fetch(fetch.parts.unfinished().get())
        work()
    assert reread(fetch).state == State.PARTIAL
    assert reread(fetch).failures == [{"id": 2, "reason": "cancelled"}]


# Any cut, anywhere


@pytest.mark.parametrize("seed", range(12))
def test_mirror_and_history_are_correct_after_random_pauses_kills_and_duplicate_tasks(
    seed: int,
) -> None:
    chance = random.Random(seed)
    before, after = _random_forest(chance), _random_forest(chance)
    with serve(server := Forest(before), ILETIMERKEZI_MAX_CONNECTIONS=2):
        server.main_ids = [1, 2, 3]
        services.fetch_groups()
        server.list_of = after.get
        fetch = services.start_fetch()
        for _ in range(200):
            if not Fetch.objects.unfinished().exists():
                break
            _do_anything(chance)
    fetch = reread(fetch)
    assert fetch.state == State.SUCCEEDED
    listed = {pk for pk in after if _is_reached(pk, after)}
    parents = {child: parent for parent in listed for child in after[parent]}
    assert set(Group.objects.listed().values_list("pk", flat=True)) == listed
    assert dict(Group.objects.listed().values_list("pk", "parent_id")) == {
        pk: parents.get(pk) for pk in listed
    }
    kinds: dict[int, set[str]] = {}
    for pk, kind in changes_of(fetch).values_list("group_id", "kind"):
        kinds.setdefault(pk, set()).add(kind)
    assert fetch.created == sum("created" in found for found in kinds.values())
    assert fetch.missing == sum("missing" in found for found in kinds.values())
    changes = Change.objects.order_by("pk")
    assert_changes_end_in_rows(
        changes.values_list("group_id", "kind", "before", "after"),
        {
            row.pk: {
                "name": row.name,
                "count": row.count,
                "parent": row.parent_id,
                "missing": row.missing_since is not None,
            }
            for row in Group.objects.all()
        },
    )


def _random_forest(chance: random.Random) -> dict[int, list[int]]:
    """Return three trees with 14 random groups out of 4 to 30, about half of them."""
    links: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for pk in chance.sample(range(4, 31), 14):
        links[chance.choice(list(links))].append(pk)
        links[pk] = []
    return links


def _is_reached(pk: int, links: dict[int, list[int]]) -> bool:
    return pk in {1, 2, 3} or any(pk in children for children in links.values())


def _do_anything(chance: random.Random) -> None:
    """Take a random task, and run it to its end, up to a pause or a kill, twice, or never."""
    if not queue:
        let_time_pass(minutes=4)
        services.resume_fetches()
    chance.shuffle(queue)
    task = queue.popleft()
    match chance.choice(["run", "pause", "kill", "twice", "lose"]):
        case "run":
            services.run_fetch(task)
        case "pause":
            with cut_after(chance.randint(0, 5)):
                services.run_fetch(task)
        case "kill":
            with cut_after(chance.randint(0, 5), kill=True), suppress(Killed):
                services.run_fetch(task)
        case "twice":
            services.run_fetch(task)
            services.run_fetch(task)
