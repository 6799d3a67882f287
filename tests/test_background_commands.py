"""``--background`` of the fetch commands, and ``manage.py resume_fetches``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import override_settings
from django.utils import timezone

from django_iletimerkezi import services
from django_iletimerkezi.management import fetching
from django_iletimerkezi.management.commands import resume_fetches as module
from django_iletimerkezi.models import Fetch, Group

from .commands import run
from .databases import close
from .forest import Forest, tree_of
from .task_queue import ENGINE, queue, work

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/django_iletimerkezi/fetch/{}/change/"


def refuse(fetch_id: int) -> None:
    raise ConnectionError("no broker")


with_engine = override_settings(ILETIMERKEZI_ENQUEUE=ENGINE)
with_refusing_engine = override_settings(
    ILETIMERKEZI_ENQUEUE="tests.test_background_commands.refuse"
)


@pytest.fixture(autouse=True)
def _empty_queue() -> None:
    queue.clear()


@pytest.fixture
def server() -> Iterator[Forest]:
    with Forest(tree_of(30, 5)) as server, override_settings(**server.settings):
        server.main_ids = [1]
        yield server


def interrupt(fetch: Fetch, *, ago: timedelta = timedelta(minutes=5)) -> None:
    Fetch.objects.filter(pk=fetch.pk).update(alive_at=timezone.now() - ago)


@with_engine
def test_fetch_group_queues_a_fetch_with_the_options_of_the_command(server: Forest) -> None:
    outcome = run("fetch_group", "1", "--depth", "1", "--background")
    fetch = Fetch.objects.get()
    assert outcome.out == f"Fetch {fetch.pk} (group 1) is queued: {PAGE.format(fetch.pk)}\n"
    assert (outcome.status, outcome.err, list(queue)) == (0, "", [fetch.pk])
    assert (fetch.state, fetch.source, fetch.depth) == ("queued", "command", 1)
    work()
    assert sorted(server.asked) == [1, 2, 3, 4, 5, 6]


@with_engine
def test_fetch_group_queues_a_separate_fetch_for_each_group(server: Forest) -> None:
    outcome = run("fetch_group", "5", "6", "-r", "--background")
    fetches = list(Fetch.objects.order_by("pk"))
    assert [(fetch.group_id, fetch.depth) for fetch in fetches] == [(5, None), (6, None)]
    assert [f"Fetch {fetch.pk} " in outcome.out for fetch in fetches] == [True, True]
    assert server.asked == []


@with_engine
def test_fetch_groups_queues_a_fetch_of_the_phone_book(server: Forest) -> None:
    outcome = run("fetch_groups", "--background", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    work()
    fetch = Fetch.objects.get(parent=None)
    assert (fetch.kind, fetch.state, fetch.created) == ("phone_book", "succeeded", 30)


@with_engine
def test_the_background_option_reports_that_a_fetch_was_already_queued() -> None:
    run("fetch_groups", "--background")
    outcome = run("fetch_groups", "--background")
    fetch = Fetch.objects.get()
    page = PAGE.format(fetch.pk)
    line = f"Fetch {fetch.pk} (phone book) was already queued or running: {page}\n"
    assert outcome.out == line
    assert list(queue) == [fetch.pk]


@with_engine
@pytest.mark.parametrize("urls", [None, "tests.test_background_commands"])
def test_the_background_option_mentions_the_list_of_fetches_if_the_fetch_page_has_no_url(
    urls: str | None,
) -> None:
    with override_settings(ROOT_URLCONF=urls):
        outcome = run("fetch_group", "5", "--background")
    assert "(group 5) is queued: see the list of fetches in the admin\n" in outcome.out


urlpatterns: list[Any] = []


def test_the_background_option_explains_how_to_set_up_a_missing_task_queue() -> None:
    outcome = run("fetch_groups", "--background")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("CommandError: No task queue is set up: set TASKS ")
    assert not Fetch.objects.exists()


@with_refusing_engine
def test_the_background_option_fails_if_the_task_queue_refuses_a_fetch() -> None:
    outcome = run("fetch_group", "5", "6", "--background")
    reason = "The task queue refused the fetch: ConnectionError: no broker"
    assert outcome.status == 1
    assert outcome.err == f"CommandError: {reason}\n{reason}\n"
    assert set(Fetch.objects.values_list("state", flat=True)) == {"failed"}


@pytest.mark.parametrize("option", [["--format", "json"], ["--full"], ["--changes"]])
def test_the_background_option_cannot_be_combined_with_output_options(option: list[str]) -> None:
    outcome = run("fetch_group", "5", "--background", *option)
    assert outcome.status == 1
    assert "--background prints no groups: omit --format, --full and --changes." in outcome.err


def test_ctrl_c_stops_a_command_that_is_queueing_a_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "start_fetch", interrupted)
    outcome = run("fetch_groups", "--background")
    assert (outcome.status, outcome.err) == (130, "CommandError: Stopped.\n")


@with_engine
def test_interrupted_fetches_are_queued_again(server: Forest) -> None:
    fetch = services.start_fetch(1)
    queue.clear()
    assert run("resume_fetches").out == "Queued 0 fetches again.\n"
    interrupt(fetch)
    outcome = run("resume_fetches")
    assert (outcome.status, outcome.out, outcome.err) == (0, "Queued 1 fetch again.\n", "")
    assert list(queue) == [fetch.pk]
    assert run("resume_fetches", "-v", "0").out == ""


@with_engine
def test_a_fetch_that_was_interrupted_for_two_days_fails() -> None:
    fetch = services.start_fetch(1)
    interrupt(fetch, ago=timedelta(days=2))
    assert run("resume_fetches").out == "Queued 0 fetches again.\n"
    fetch.refresh_from_db()
    reason = "The fetch was interrupted for too long to be continued."
    assert (fetch.state, fetch.error) == ("failed", reason)


def start(group_id: int | None = None, **options: Any) -> Fetch:
    with with_engine:
        return services.start_fetch(group_id, **options)


def test_resume_fetches_runs_waiting_fetches_itself_if_there_is_no_task_queue(
    server: Forest,
) -> None:
    phone_book, group = start(), start(2)
    old = start(3)
    interrupt(old, ago=timedelta(days=2))
    outcome = run("resume_fetches")
    assert outcome.out.splitlines() == [
        f"Fetch {group.pk} (group 2): succeeded",
        f"Fetch {phone_book.pk} (phone book): succeeded",
    ]
    assert (outcome.status, outcome.err) == (0, "")
    assert Group.objects.count() == 30
    old.refresh_from_db()
    assert old.state == "failed"


def test_resume_fetches_runs_the_parts_of_a_phone_book_itself_if_there_is_no_task_queue(
    server: Forest,
) -> None:
    phone_book = start()
    with with_engine:
        services.run_fetch(phone_book.pk)
    part = phone_book.parts.get()
    outcome = run("resume_fetches")
    assert outcome.out.splitlines() == [
        f"Fetch {part.pk} (group 1): succeeded",
        f"Fetch {phone_book.pk} (phone book): succeeded",
    ]
    assert sorted(server.asked) == list(range(1, 31))


def test_resume_fetches_reports_failed_fetches_and_failed_groups(server: Forest) -> None:
    absent, tree = start(99), start(1, recursive=True)
    server.failing = {30: 500}
    outcome = run("resume_fetches", "-v", "0")
    assert (outcome.status, outcome.out) == (1, "")
    first, second = outcome.err.removeprefix("CommandError: ").splitlines()
    assert first == f"Fetch {tree.pk} (group 1): partly succeeded: 1 group failed"
    assert second.startswith(f"Fetch {absent.pk} (group 99): iletimerkezi answered 463")


def test_resume_fetches_reports_missing_credentials() -> None:
    fetch = start(1)
    with override_settings(ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH=""):
        outcome = run("resume_fetches")
    assert outcome.status == 1
    assert f"Fetch {fetch.pk} (group 1): The credentials of iletimerkezi are missing" in outcome.err


def test_a_fetch_that_is_cancelled_while_resume_fetches_runs_is_not_continued(
    server: Forest,
) -> None:
    first, second = start(1), start(2)

    def cancel() -> None:  # in a thread of the server
        services.cancel_fetch(first)
        close(transaction.get_connection())

    server.at_answer(1, cancel)
    outcome = run("resume_fetches")
    assert outcome.out.splitlines() == [
        f"Fetch {second.pk} (group 2): succeeded",
        f"Fetch {first.pk} (group 1): Stopped: the fetch was cancelled or taken over by "
        "another process.",
    ]
    assert outcome.status == 0


def test_resume_fetches_reports_an_invalid_task_queue_setting() -> None:
    with override_settings(ILETIMERKEZI_ENQUEUE="no.such.function"):
        outcome = run("resume_fetches")
    assert outcome.status == 1
    assert outcome.err.startswith("CommandError: ILETIMERKEZI_ENQUEUE")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [(KeyboardInterrupt(), 130, "Stopped."), (DatabaseError("locked"), 1, "locked")],
)
def test_resume_fetches_reports_ctrl_c_and_database_errors(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, text: str
) -> None:
    def fail(*args: object) -> None:
        raise error

    start(1)
    monkeypatch.setattr(module, "continue_fetch", fail)
    outcome = run("resume_fetches")
    assert outcome.status == status
    assert text in outcome.err
