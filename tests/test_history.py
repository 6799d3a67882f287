"""The record of each fetch and of each change."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from freezegun import freeze_time

from django_iletimerkezi import services
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    GroupNotFound,
    IletimerkeziError,
)
from django_iletimerkezi.mirror import bulk, prune, recorder
from django_iletimerkezi.mirror.journal import Journal
from django_iletimerkezi.models import Change, Fetch, Group, MirrorLock, history
from django_iletimerkezi.services import fetch_each, fetch_group, fetch_groups, prune_fetches
from django_iletimerkezi.signals import fetch_finished, groups_changed
from django_iletimerkezi.testing import GroupDict, Sandbox

from .changes import assert_changes_end_in_rows, replay
from .commands import run
from .databases import Router, alias
from .forest import Forest, tree_of

pytestmark = pytest.mark.django_db

Kind = Change.Kind


class PhoneBook(Forest):
    """A forest whose names and counts a test can change, by group id."""

    def __init__(self, links: dict[int, list[int]], **options: Any) -> None:
        super().__init__(links, **options)
        self.tree = links
        self.names: dict[int, str] = {}
        self.counts: dict[int, int] = {}

    def find(self, group_id: int) -> GroupDict | None:
        group = super().find(group_id)
        return group and self._edited(group)

    def _edited(self, group: GroupDict) -> dict[str, Any]:
        pk = group["id"]
        name, count = self.names.get(pk, group["name"]), self.counts.get(pk, group["count"])
        children = [self._edited(child) for child in group.get("children", ())]
        return {"id": pk, "name": name, "count": count, "children": children}

    def move(self, pk: int, old: int, new: int) -> None:
        self.tree[old].remove(pk)
        self.tree[new].append(pk)

    def change_a_group(self, chance: random.Random, ids: range) -> None:
        """Give a group other subgroups, another name and another count."""
        pk = chance.choice(ids)
        self.tree[pk] = [child for child in chance.sample(ids, 3) if child != pk]
        self.names[pk] = chance.choice(["a", "b"])
        self.counts[pk] = chance.randint(0, 3)


@contextmanager
def phone_book(links: dict[int, list[int]], **options: Any) -> Iterator[PhoneBook]:
    with PhoneBook(links) as server, override_settings(**server.settings, **options):
        yield server


def changes(fetch: Fetch | None = None) -> list[tuple[Any, ...]]:
    found = Change.objects.filter(fetch=fetch) if fetch else Change.objects.all()
    return list(found.order_by("pk").values_list("group_id", "kind", "before", "after"))


# Fetches


def test_a_fetch_of_a_group_is_recorded(sandbox: Sandbox) -> None:
    start = timezone.now()
    result = fetch_group(1100, recursive=True)
    fetch = Fetch.objects.get()
    assert result.fetch == fetch
    assert (fetch.kind, fetch.group_id, fetch.depth) == (Fetch.Kind.GROUP, 1100, None)
    assert (fetch.source, fetch.started_by) == (Fetch.Source.PYTHON, "")
    assert (fetch.state, fetch.error, fetch.failures) == (Fetch.State.SUCCEEDED, "", [])
    assert (fetch.asked, fetch.known, fetch.failed) == (14, 14, 0)
    assert (fetch.created, fetch.changed, fetch.missing) == (14, 0, 0)
    assert fetch.started_at
    assert fetch.alive_at
    assert fetch.finished_at
    assert start <= fetch.requested_at <= fetch.started_at <= fetch.alive_at <= fetch.finished_at


@pytest.mark.parametrize(
    ("options", "depth"), [({}, 0), ({"depth": 2}, 2), ({"recursive": True}, None)]
)
def test_the_fetch_record_stores_the_depth(
    sandbox: Sandbox, options: dict[str, Any], depth: int | None
) -> None:
    assert fetch_group(1000, **options).fetch.depth == depth


def test_a_depth_too_large_for_the_column_is_stored_as_the_largest_value(sandbox: Sandbox) -> None:
    assert fetch_group(1000, depth=10**30).fetch.depth == 2**63 - 1


def test_a_fetch_of_the_phone_book_is_recorded_without_a_group_id(sandbox: Sandbox) -> None:
    source = Fetch.Source.SCHEDULE
    fetch = fetch_groups(depth=1, source=source, started_by="ayşe").fetch
    fetch.refresh_from_db()
    assert (fetch.kind, fetch.group_id, fetch.depth) == (Fetch.Kind.PHONE_BOOK, None, 1)
    assert (fetch.source, fetch.started_by) == ("schedule", "ayşe")
    assert str(fetch) == "phone book"


def test_fetch_each_records_a_fetch_for_each_group(sandbox: Sandbox) -> None:
    first, second = fetch_each([1200, 98], source=Fetch.Source.ADMIN, started_by="ayşe")
    assert [first.progress.fetch, second.progress.fetch] == list(Fetch.objects.order_by("pk"))
    assert [str(fetch) for fetch in Fetch.objects.order_by("pk")] == ["group 1200", "group 98"]
    assert {fetch.started_by for fetch in Fetch.objects.all()} == {"ayşe"}


@pytest.mark.parametrize("group_id", [0, -1, 2**63, True, "5", 5.0])
def test_a_fetch_with_an_invalid_id_is_not_recorded(sandbox: Sandbox, group_id: Any) -> None:
    with pytest.raises(ValueError, match="a group id is a whole number from 1 to"):
        fetch_group(group_id)
    assert not Fetch.objects.exists()


def test_a_fetch_with_failed_groups_is_partial_and_records_the_first_100_failures() -> None:
    with phone_book(tree_of(121, 120)) as server:
        server.failing = dict.fromkeys(range(2, 122), 500)
        with override_settings(ILETIMERKEZI_RETRIES=0):
            fetch = fetch_group(1, recursive=True).fetch
    fetch.refresh_from_db()
    assert (fetch.state, fetch.failed, fetch.error) == (Fetch.State.PARTIAL, 120, "")
    assert len(fetch.failures) == 100
    assert fetch.failures[0]["reason"].startswith("iletimerkezi is not available: it answered 500")
    assert {failure["id"] for failure in fetch.failures} <= set(range(2, 122))


def test_an_error_that_ends_a_fetch_is_recorded(sandbox: Sandbox) -> None:
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        with pytest.raises(AuthenticationFailed) as caught:
            fetch_group(1000)
    fetch = Fetch.objects.get()
    assert (fetch.state, fetch.error) == (Fetch.State.FAILED, str(caught.value))
    assert caught.value.fetch == fetch
    assert fetch.is_finished
    assert "wrong" not in fetch.error


def test_the_fetch_of_a_denied_group_is_recorded_as_failed_and_the_group_as_missing(
    sandbox: Sandbox,
) -> None:
    Group.objects.create(id=98, name="a", count=0, seen_at=timezone.now() - timedelta(days=1))
    with pytest.raises(GroupNotFound):
        fetch_group(98)
    fetch = Fetch.objects.get()
    assert (fetch.state, fetch.missing) == (Fetch.State.FAILED, 1)
    assert changes(fetch) == [(98, Kind.MISSING, None, None)]


def test_a_bug_in_the_progress_callback_is_recorded_as_a_failed_fetch(sandbox: Sandbox) -> None:
    def report(progress: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fetch_group(1000, report=report)
    assert list(Fetch.objects.values_list("state", "error")) == [("failed", "RuntimeError")]


def test_ctrl_c_cancels_a_fetch_and_keeps_its_changes(sandbox: Sandbox) -> None:
    def report(progress: services.Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_groups(report=report)
    fetch = Fetch.objects.get()
    assert (fetch.state, fetch.is_finished) == (Fetch.State.CANCELLED, True)
    assert fetch.created == Group.objects.count() == len(changes(fetch)) > 0


def test_the_record_of_a_running_fetch_counts_the_groups_stored_so_far(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    seen = []

    def report(progress: services.Progress) -> None:
        fetch = Fetch.objects.get()
        seen.append((fetch.state, fetch.created, fetch.asked))
        assert fetch.created == Group.objects.count()

    fetch_group(1120, recursive=True, report=report)
    assert seen == [("running", 0, 0), ("running", 0, 0), ("running", 3, 2)]


def test_a_running_fetch_without_a_sign_of_life_for_minutes_counts_as_interrupted(
    sandbox: Sandbox,
) -> None:
    fetch = fetch_group(1000).fetch
    assert not fetch.is_interrupted
    for minutes, is_interrupted in [(2, False), (4, True)]:
        fetch.state, fetch.finished_at = Fetch.State.RUNNING, None
        fetch.alive_at = timezone.now() - timedelta(minutes=minutes)
        fetch.save()
        assert fetch.is_interrupted == is_interrupted
        assert Fetch.objects.interrupted().exists() == is_interrupted
    assert list(Fetch.objects.unfinished()) == [fetch]
    assert list(Fetch.objects.finished()) == []


def test_failing_to_record_the_end_of_a_fetch_does_not_hide_the_error_of_the_fetch(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise DatabaseError("no")

    monkeypatch.setattr(Journal, "finish", refuse)
    with override_settings(ILETIMERKEZI_API_HASH="wrong"), pytest.raises(AuthenticationFailed):
        fetch_group(1000)
    assert "The end of the fetch could not be recorded." in caplog.text
    with pytest.raises(DatabaseError):
        fetch_group(1000)
    assert Group.objects.count() == 6


def test_failed_requests_update_the_record_of_a_running_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "BATCH_SECONDS", 0)
    seen = []

    def report(progress: services.Progress) -> None:
        seen.append((progress.done, Fetch.objects.get().asked))

    with phone_book(tree_of(9, 8), ILETIMERKEZI_RETRIES=0) as server:
        server.failing = dict.fromkeys(range(2, 10), 402)
        fetch_group(1, recursive=True, report=report)
    assert seen[-1] == (9, 8)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("\ud800 \x00"), r"\ud800 \x00"),
        (Unprintable(), "Unprintable"),
        (ValueError("x" * 10_000), "x" * 1_000),
    ],
)
def test_an_error_text_is_made_storable_before_being_recorded(
    error: Exception, text: str, sandbox: Sandbox
) -> None:
    def report(progress: object) -> None:
        raise error

    with pytest.raises(type(error)):
        fetch_group(1000, report=report)
    assert list(Fetch.objects.values_list("state", "error")) == [("failed", text)]


@contextmanager
def interrupted_after(method: str, owner: Any = Fetch, only: int = 0) -> Iterator[None]:
    """Send Ctrl-C after a call of a method: after each one, or after the one with this number."""
    usual = getattr(owner, method)
    calls = []

    def call(*args: Any, **options: Any) -> Any:
        result = usual(*args, **options)
        calls.append(1)
        if only in {0, len(calls)}:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, call)
        yield


def assert_counters_match(fetch: Fetch) -> None:
    fetch.refresh_from_db()
    kinds: dict[int, set[str]] = {}
    for pk, kind, *_values in changes(fetch):
        kinds.setdefault(pk, set()).add(kind)
    counted = Counter(
        next((kind for kind in (Kind.MISSING, Kind.CREATED) if kind in found), "changed")
        for found in kinds.values()
    )
    counters = (fetch.created, fetch.changed, fetch.missing)
    assert counters == (counted["created"], counted["changed"], counted["missing"])


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_while_a_batch_is_stored_keeps_the_counters_right(sandbox: Sandbox) -> None:
    with interrupted_after("insert", bulk, only=1), pytest.raises(KeyboardInterrupt):
        fetch_group(1000, recursive=True)
    fetch = Fetch.objects.get()
    assert_counters_match(fetch)
    assert (fetch.state, fetch.created > 0) == (Fetch.State.CANCELLED, True)


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_while_a_group_is_marked_missing_keeps_the_counters_right(sandbox: Sandbox) -> None:
    Group.objects.create(id=98, name="a", count=0, seen_at=timezone.now() - timedelta(days=1))
    with interrupted_after("insert", bulk), pytest.raises(KeyboardInterrupt):
        fetch_group(98)
    assert_counters_match(Fetch.objects.get())
    assert Fetch.objects.get().missing == 1


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_while_the_start_of_a_fetch_is_recorded_cancels_the_fetch(sandbox: Sandbox) -> None:
    with interrupted_after("save", only=1), pytest.raises(KeyboardInterrupt):
        fetch_group(1000)
    assert Fetch.objects.get().state == Fetch.State.CANCELLED
    assert sandbox.asked == []


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_while_the_end_of_a_fetch_is_recorded_still_sends_both_django_signals(
    sandbox: Sandbox,
) -> None:
    with received(fetch_finished) as finished, received(groups_changed) as changed:
        with interrupted_after("_finish", Journal), pytest.raises(KeyboardInterrupt):
            fetch_group(1000)
    assert Fetch.objects.get().state == Fetch.State.SUCCEEDED
    assert len(finished) == len(changed) == 1


@pytest.mark.django_db(transaction=True)
def test_a_system_exit_between_commit_and_counting_keeps_the_counters_right(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(journal: Journal) -> None:
        monkeypatch.undo()
        raise SystemExit

    monkeypatch.setattr(Journal, "confirm", leave)
    with pytest.raises(SystemExit):
        fetch_group(1000, recursive=True)
    assert_counters_match(Fetch.objects.get())
    assert Fetch.objects.get().created > 0


@pytest.mark.django_db(transaction=True)
def test_a_fetch_works_with_autocommit_off(sandbox: Sandbox) -> None:
    transaction.set_autocommit(False)
    try:
        with received(fetch_finished) as finished:
            fetch_group(1000)
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert len(finished) == 1
    assert Fetch.objects.get().created == 6


def test_a_fetch_that_cannot_be_recorded_sends_no_request(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise DatabaseError("no")

    monkeypatch.setattr(Fetch, "save", refuse)
    with pytest.raises(DatabaseError):
        fetch_group(1000)
    assert sandbox.asked == []


def test_a_denied_group_counts_as_asked_and_known(sandbox: Sandbox) -> None:
    with pytest.raises(GroupNotFound):
        fetch_group(98)
    fetch = Fetch.objects.get()
    assert (fetch.asked, fetch.known) == (1, 1)


# Changes


def test_a_first_fetch_records_each_group_as_created(sandbox: Sandbox) -> None:
    result = fetch_group(1400)
    assert changes() == [(1400, "created", None, "Öğrenciler"), (1410, "created", None, "Mezunlar")]
    assert list(result.changes) == list(Change.objects.order_by("pk"))
    assert changes(fetch_group(1400).fetch) == []


OLD_COUNTS = {pk: str(pk % 7) for pk in range(301, 308)}
CHANGED = [
    *((pk, Kind.RENAMED, f"Grup {pk}", f"Yeni {pk}") for pk in range(201, 211)),
    *((pk, Kind.MOVED, "41", "50") for pk in range(402, 407)),
    *((pk, Kind.MISSING, None, None) for pk in (602, 603, 604)),
    *((pk, Kind.RETURNED, None, None) for pk in (198, 199)),
    *((pk, Kind.RECOUNTED, OLD_COUNTS[pk], str(1000 + pk)) for pk in range(301, 308)),
]
"""The 27 changes that ``changed_phone_book`` has for the next fetch."""


@contextmanager
def changed_phone_book() -> Iterator[PhoneBook]:
    """A mirrored phone book of a thousand groups, which has changed since."""
    with phone_book(tree_of(1000, 10)) as server:
        fetch_group(1, recursive=True)
        server.tree[20].remove(198)
        server.tree[20].remove(199)
        fetch_group(1, recursive=True)
        server.tree[20] += [198, 199]
        server.names |= {pk: f"Yeni {pk}" for pk in range(201, 211)}
        server.counts |= {pk: 1000 + pk for pk in range(301, 308)}
        for pk in range(402, 407):
            server.move(pk, 41, 50)
        for pk in (602, 603, 604):
            server.tree[61].remove(pk)
        yield server


def test_changes_among_a_thousand_groups_are_recorded_printed_and_shown_in_the_admin() -> None:
    with changed_phone_book():
        printed = json.loads(run("fetch_group", "1", "-r", "--changes", "--format", "json").out)
    expected = sorted((pk, str(kind)) for pk, kind, *_values in CHANGED)
    assert sorted((change["id"], change["change"]) for change in printed) == expected
    client = Client()
    client.force_login(User.objects.create_superuser("demo"))
    fetch = Fetch.objects.latest("pk")
    assert sorted(changes(fetch)) == sorted(CHANGED)
    assert (fetch.created, fetch.changed, fetch.missing, fetch.asked) == (0, 24, 3, 997)
    page = client.get(reverse("admin:django_iletimerkezi_fetch_change", args=[fetch.pk]))
    shown = sorted((row.group_id, row.kind) for row in page.context["changes"])
    assert shown == expected
    assert page.context["kinds"][0].text == "All (27)"


def test_the_changes_of_a_group_are_sorted_oldest_first() -> None:
    with phone_book({1: [2], 2: []}) as server:
        for count in (2, 9, 4):
            server.counts[2] = count
            fetch_group(2)
    group = Group.objects.get(pk=2)
    assert str(group.changes[0]) == "2: created"
    assert [(change.before, change.after) for change in group.changes] == [
        (None, "Grup 2"),
        ("2", "9"),
        ("9", "4"),
    ]


def test_a_moved_group_is_not_recorded_as_missing_if_its_parents_are_in_different_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    with phone_book({1: [2, 3], 2: [4], 3: [], 4: []}, ILETIMERKEZI_MAX_CONNECTIONS=1) as server:
        fetch_group(1, recursive=True)
        server.move(4, 2, 3)
        result = fetch_group(1, recursive=True)
    assert changes(result.fetch) == [(4, Kind.MOVED, "2", "3")]
    assert (result.fetch.changed, result.fetch.missing) == (1, 0)


def test_a_change_of_kind_missing_is_kept_if_another_fetch_found_the_group_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    with phone_book({1: [2, 3], 2: [4], 3: [], 4: []}, ILETIMERKEZI_MAX_CONNECTIONS=1) as server:
        fetch_group(1, recursive=True)
        server.move(4, 2, 3)

        def fetch_and_lose(progress: services.Progress) -> None:
            if progress.done == 3:  # After group 2 was stored without group 4.
                fetch_group(4)
                fetch_group(2)

        result = fetch_group(1, recursive=True, report=fetch_and_lose)
    states = Change.objects.filter(group_id=4).order_by("pk").values_list("kind", flat=True)
    assert list(states) == ["created", "missing", "returned", "missing", "moved", "returned"]
    assert (result.changed, result.missing) == (1, 0)
    replay(changes())


def test_a_move_to_the_top_level_is_recorded_without_a_new_parent() -> None:
    with phone_book({1: [2], 2: []}) as server:
        server.main_ids = [1]
        fetch_groups()
        server.tree[1] = []
        server.main_ids = [1, 2]
        fetch = fetch_groups().fetch
    assert changes(fetch) == [(2, Kind.MOVED, "1", None)]


@pytest.mark.parametrize("comes_back", [True, False])
def test_changes_stay_consistent_after_the_clock_was_an_hour_ahead(comes_back: bool) -> None:
    with phone_book({1: [2], 2: []}) as server:
        fetch_group(1, recursive=True)
        server.tree[1] = []
        with freeze_time(timezone.now() + timedelta(hours=1)):
            fetch_group(1)
        server.tree[1] = [2] if comes_back else []
        fetch_group(1)
    assert replay(changes())[2]["missing"] != comes_back
    assert Group.objects.listed().filter(pk=2).exists() == comes_back
    assert not Group.objects.filter(missing_since__gt=timezone.now()).exists()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="other databases have no such limit")
@pytest.mark.django_db(transaction=True)
def test_many_simultaneous_moves_do_not_exceed_the_variable_limit_of_sqlite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)
    moved = list(range(10, 1_110))
    with phone_book({1: [2, 3], 2: moved[:], 3: []}, ILETIMERKEZI_MAX_CONNECTIONS=1) as server:
        fetch_group(1, depth=1)
        usual = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
        server.tree[2], server.tree[3] = [], moved
        try:
            fetch = fetch_group(1, depth=1).fetch
            assert fetch.changed == len(moved)
            prune_fetches(older_than=timedelta())
        finally:
            connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, usual)
    assert not Change.objects.exists()


def test_groups_are_not_stored_if_their_changes_cannot_be_stored(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise DatabaseError("no")

    monkeypatch.setattr(bulk, "insert", refuse)
    with pytest.raises(DatabaseError):
        fetch_group(1000)
    assert not Group.objects.exists()
    assert Fetch.objects.get().state == Fetch.State.FAILED


@override_settings(USE_TZ=False)
def test_a_project_without_time_zones_records_local_times(sandbox: Sandbox) -> None:
    fetch = fetch_group(1000).fetch
    assert fetch.started_at
    assert fetch.finished_at
    at = fetch.changes.values_list("at", flat=True).distinct().get()
    assert fetch.started_at <= at <= fetch.finished_at <= timezone.now()
    assert Change.objects.since(timezone.now() - timedelta(minutes=1)).count() == 6


@pytest.mark.parametrize("limit", [0, 500])
def test_changes_since_a_time_exclude_older_changes(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(history, "CHUNK", limit)
    with phone_book({1: [2], 2: []}) as server:
        fetch_group(1)
        moment = timezone.now()
        server.names[2] = "Yeni"
        fetch_group(1)
    assert [change.kind for change in Change.objects.since(moment)] == [Kind.RENAMED]


@pytest.mark.django_db(transaction=True)
def test_the_changes_of_a_result_are_read_from_the_database_that_the_fetch_wrote_to(
    sandbox: Sandbox,
) -> None:
    ours = [Router("primary", [Group, Fetch, Change, MirrorLock])]
    with alias("primary"), override_settings(DATABASE_ROUTERS=ours):
        result = fetch_group(1000)
        assert result.changes.db == "primary"
        assert result.changes.count() == 6


def test_replaying_the_changes_of_contradicting_fetches_gives_the_stored_rows() -> None:
    chance = random.Random(5)
    ids = range(1, 21)
    with phone_book({pk: [] for pk in ids}) as server:
        for _round in range(30):
            server.change_a_group(chance, ids)
            fetch_group(chance.choice(ids), depth=chance.randint(0, 2))
    columns = ("pk", "name", "count", "parent_id", "missing_since")
    rows = {
        pk: {"name": name, "count": count, "parent": parent, "missing": since is not None}
        for pk, name, count, parent, since in Group.objects.values_list(*columns)
    }
    assert_changes_end_in_rows(changes(), rows)
    assert {kind for _pk, kind, *_rest in changes()} == set(Kind)


def test_the_counters_of_each_fetch_match_its_changes() -> None:
    chance = random.Random(6)
    ids = range(1, 11)
    with phone_book({pk: [] for pk in ids}) as server:
        for _round in range(20):
            server.change_a_group(chance, ids)
            fetch_group(chance.choice(ids), depth=2)
    for fetch in Fetch.objects.all():
        assert_counters_match(fetch)


# Signals


@contextmanager
def received(sent: Any) -> Iterator[list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []

    def receive(**kwargs: Any) -> None:
        calls.append(kwargs)

    sent.connect(receive)
    try:
        yield calls
    finally:
        sent.disconnect(receive)


@pytest.mark.django_db(transaction=True)
def test_signals_are_sent_at_the_end_of_a_fetch(sandbox: Sandbox) -> None:
    with received(fetch_finished) as finished, received(groups_changed) as changed:
        fetch = fetch_group(1000).fetch
        fetch_group(1000)
    assert finished[0]["fetch"] == fetch
    assert len(finished) == 2
    assert [(call["fetch"], call["kinds"]) for call in changed] == [(fetch, {Kind.CREATED})]


@pytest.mark.django_db(transaction=True)
def test_signals_of_a_fetch_in_a_transaction_wait_for_the_commit(sandbox: Sandbox) -> None:
    with received(fetch_finished) as finished:
        with transaction.atomic():
            fetch_group(1000)
            assert finished == []
        assert len(finished) == 1
        with transaction.atomic():
            fetch_group(1000)
            transaction.set_rollback(True)
        assert len(finished) == 1


@pytest.mark.django_db(transaction=True)
def test_a_failed_fetch_sends_both_signals() -> None:
    with phone_book({1: [2], 2: []}) as server:
        fetch_group(1)
        del server.tree[2]
        with received(fetch_finished) as finished, received(groups_changed) as changed:
            with pytest.raises(IletimerkeziError):
                fetch_group(2)
    assert finished[0]["fetch"].state == Fetch.State.FAILED
    assert changed[0]["kinds"] == {Kind.MISSING}


@pytest.mark.django_db(transaction=True)
def test_an_error_in_a_signal_receiver_is_logged_and_does_not_fail_the_fetch(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(**kwargs: Any) -> None:
        raise ZeroDivisionError

    groups_changed.connect(receive)
    try:
        with received(fetch_finished) as finished, caplog.at_level(logging.ERROR, "django"):
            assert fetch_group(1000).created == 6
    finally:
        groups_changed.disconnect(receive)
    assert len(finished) == 1
    assert "ZeroDivisionError" in caplog.text


# Pruning


def age(fetch: Fetch, days: int) -> None:
    Fetch.objects.filter(pk=fetch.pk).update(finished_at=timezone.now() - timedelta(days=days))


@pytest.fixture
def fetches(sandbox: Sandbox) -> list[Fetch]:
    """Fetches that finished 100, 95 and 10 days ago, and one that never finished."""
    found = [fetch_group(pk).fetch for pk in (1000, 1100, 1200, 1400)]
    for fetch, days in zip(found, (100, 95, 10), strict=False):
        age(fetch, days)
    Fetch.objects.filter(pk=found[3].pk).update(finished_at=None, state=Fetch.State.RUNNING)
    return found


def test_prune_deletes_old_finished_fetches_with_their_changes(fetches: list[Fetch]) -> None:
    first = Change.objects.filter(fetch__in=fetches[:2]).count()
    assert prune_fetches(older_than=timedelta(days=90)) == (2, first)
    assert list(Fetch.objects.order_by("pk")) == fetches[2:]
    assert set(Change.objects.values_list("fetch", flat=True)) <= {fetches[2].pk, fetches[3].pk}
    assert prune_fetches(older_than=timedelta()) == (1, 4)
    assert list(Fetch.objects.all()) == [fetches[3]]


def test_prune_with_keep_last_keeps_the_newest_fetches(fetches: list[Fetch]) -> None:
    assert prune_fetches(older_than=timedelta(days=90), keep_last=3).fetches == 1
    assert list(Fetch.objects.order_by("pk")) == fetches[1:]


def test_prune_deletes_changes_in_small_transactions(
    fetches: list[Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "MAX_DELETED", 4)
    assert prune_fetches(older_than=timedelta(days=98)) == (1, 6)


def test_groups_stay_when_their_fetches_are_pruned(fetches: list[Fetch]) -> None:
    count = Group.objects.count()
    prune_fetches(older_than=timedelta())
    assert Group.objects.count() == count
