"""Answers are stored in the table of a real database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import NotSupportedError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_iletimerkezi.api.parsing import Absence, Answer, GroupData, Reply
from django_iletimerkezi.mirror import bulk, rules
from django_iletimerkezi.mirror.store import remove, store
from django_iletimerkezi.models import Change, Group
from django_iletimerkezi.turkish import sort_key

from .answers import absence, answer, at, batches, group, histories
from .databases import DISMISSALS, conflict, deadlock, dismiss, session_id

pytestmark = pytest.mark.django_db


def parents() -> dict[int, int | None]:
    return dict(Group.objects.order_by("pk").values_list("pk", "parent_id"))


def missing() -> set[int]:
    return set(Group.objects.missing().values_list("pk", flat=True))


def test_every_column_of_a_first_answer_is_stored() -> None:
    store([answer(1, group(1, group(2, name="iki", count=7), name="bir", count=5))])
    assert list(Group.objects.order_by("pk").values()) == [
        {
            "id": pk,
            "parent_id": parent,
            "named_parent_id": parent,
            "name": name,
            "sort_key": sort_key(name),
            "search_key": name,
            "count": count,
            "total": total,
            "unexplored": 1,
            "seen_at": at(1),
            "placed_at": at(1) if parent else None,
            "fetched_at": None if parent else at(1),
            "listed_at": None if parent else at(1),
            "denied_at": None,
            "missing_since": None,
        }
        for pk, parent, name, count, total in [(1, None, "bir", 5, 12), (2, 1, "iki", 7, 7)]
    ]


def test_parents_are_written_first_if_the_database_checks_foreign_keys_row_by_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MariaDB checks foreign keys row by row, even within one statement."""
    store([answer(1, group(2, group(3, group(1, group(4)))))])
    monkeypatch.setattr(connection.features, "can_defer_constraint_checks", False)
    written: list[int] = []
    upsert = bulk.upsert

    def record(using: str, model: type[Group], rows: list[Group], update: Any) -> None:
        written.extend(row.pk for row in rows)
        upsert(using, model, rows, update)

    monkeypatch.setattr(bulk, "upsert", record)
    store([answer(2, group(4, group(1, group(3, group(2)))))])
    assert written == [4, 1, 3, 2]
    assert parents() == {1: 4, 2: 3, 3: 1, 4: None}


def test_every_column_of_a_changed_group_is_stored() -> None:
    store([answer(1, group(1, group(2, name="iki"))), absence(1, 2)])
    store([answer(2, group(3, group(2, name="Ilgaz", count=9)))])
    store([absence(3, 2)])
    row = Group.objects.get(pk=2)
    assert (row.name, row.sort_key, row.search_key, row.count) == (
        "Ilgaz",
        sort_key("Ilgaz"),
        "ilgaz",
        9,
    )
    assert (row.parent_id, row.named_parent_id, row.placed_at, row.seen_at) == (3, 3, at(2), at(2))
    assert (row.denied_at, row.fetched_at, row.missing_since) == (at(3), at(3), at(3))


def test_store_returns_the_differences() -> None:
    store([answer(1, group(1, group(2, name="iki")))])
    assert store([answer(2, group(1, group(2, name="two")))]) == [
        rules.Difference(2, Change.Kind.RENAMED, "iki", "two")
    ]


def test_a_group_that_is_no_longer_listed_keeps_its_row_and_place() -> None:
    store([answer(1, group(1, 2, 3))])
    store([answer(2, group(1, 3))])
    assert (parents(), missing()) == ({1: None, 2: 1, 3: 1}, {2})


def test_a_subgroup_listed_twice_is_stored_below_its_last_parent() -> None:
    store([answer(1, group(1, 2, group(3, 2)))])
    assert parents() == {1: None, 2: 3, 3: 1}


def test_a_chain_with_descending_ids_is_stored_in_one_batch() -> None:
    chain = group(1)
    for pk in range(2, 60):
        chain = group(pk, chain)
    store([answer(1, chain)])
    store([answer(2, chain), answer(2, group(100, 59))])
    assert parents() == {pk: pk + 1 for pk in range(1, 59)} | {59: 100, 100: None}


def test_loops_across_batches_are_cut() -> None:
    for minute, (parent, child) in enumerate([(1, 2), (2, 3), (3, 4), (4, 1)]):
        store([answer(minute, group(parent, child))])
    assert parents() == {1: 4, 2: None, 3: 2, 4: 3}


def test_a_loop_of_two_thousand_groups_is_cut() -> None:
    size = 2000
    store([answer(2, group(pk, pk + 1)) for pk in range(1, size)])
    store([answer(1, group(size, 1))])
    assert parents()[1] is None
    assert parents()[2] == 1


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), history=histories())
def test_stored_rows_match_the_rules_applied_in_memory(
    data: st.DataObject, history: list[Reply]
) -> None:
    rows: dict[int, Group] = {}
    with transaction.atomic():
        for batch in data.draw(batches(history)):
            changes = rules.apply(rows, batch)
            assert set(store(batch)) == set(changes)
        stored = {row.pk: row for row in Group.objects.all()}
        assert {pk: told(row) for pk, row in stored.items()} == {
            pk: told(row) for pk, row in rows.items()
        }
        transaction.set_rollback(True)


def sums() -> dict[int, tuple[int, int]]:
    return {row.pk: (row.total, row.unexplored) for row in Group.objects.order_by("pk")}


def told(row: Group) -> tuple[Any, ...]:
    return tuple(
        getattr(row, field.attname)
        for field in Group._meta.concrete_fields
        if not field.name.endswith("_key")
    )


def test_subgroups_of_removed_groups_move_to_the_top() -> None:
    store([answer(1, group(1, group(2, group(3, count=3), count=2), count=1))])
    remove(Group.objects.filter(pk=2))
    assert parents() == {1: None, 3: None}
    assert sums() == {1: (1, 0), 3: (3, 1)}


def test_removing_a_deep_group_updates_the_sums_of_all_its_ancestors() -> None:
    chain = group(1500, count=1)
    for pk in range(1499, 0, -1):
        chain = group(pk, chain)
    store([answer(1, chain)])
    remove(Group.objects.filter(pk=1500))
    assert not Group.objects.exclude(total=0).exists()


def test_a_group_that_occurs_twice_in_a_queryset_is_removed_once() -> None:
    store([answer(1, group(1, 2, 3))])
    remove(Group.objects.filter(children__gte=1))
    assert parents() == {2: None, 3: None}


def test_removed_groups_are_subtracted_from_the_sums_of_all_their_ancestors() -> None:
    chain = group(1, group(2, group(3, group(4, group(5, count=5), count=4), count=3), count=2))
    store([answer(1, chain)])
    remove(Group.objects.filter(pk__in=[3, 5]))
    assert sums() == {1: (2, 1), 2: (2, 1), 4: (4, 1)}


def test_a_subgroup_of_a_removed_group_is_placed_again_when_the_group_is_listed_again() -> None:
    store([answer(1, group(1, group(2, 3)))])
    remove(Group.objects.filter(pk=2))
    store([answer(2, group(3))])
    assert parents() == {1: None, 3: None}
    store([answer(3, group(1, group(2, 3)))])
    assert parents() == {1: None, 2: 1, 3: 2}


def test_rows_with_times_in_the_future_accept_new_answers() -> None:
    later = datetime.now(UTC) + timedelta(days=3650)
    now = datetime.now(UTC)
    ahead = Answer(1, later, group(1, group(2, name="old"), 3))
    store([ahead, Absence(3, later)])
    store([Answer(1, now, group(1, group(2, name="new"), 3))])
    assert list(Group.objects.order_by("pk").values_list("name", "seen_at", "missing_since")) == [
        ("", now, None),
        ("new", now, None),
        ("", now, None),
    ]
    store([Answer(9, now, group(9, 2)), Answer(1, now + timedelta(seconds=1), group(1))])
    assert (parents(), missing()) == ({1: None, 2: 9, 3: 1, 9: None}, {3})


def test_a_fetch_repairs_wrong_sort_and_search_keys() -> None:
    """Keys are wrong after a data migration, or after a release that computes keys differently."""
    store([answer(1, group(1, group(2, name="Şişli")))])
    Group.objects.update(sort_key="", search_key="old")
    store([answer(2, group(1, group(2, name="Şişli")))])
    assert Group.objects.get(pk=2).search_key == "sisli"


@pytest.mark.parametrize("is_reversed", [False, True])
def test_answers_after_a_removal_give_the_same_mirror_in_any_order(is_reversed: bool) -> None:
    store([answer(1, group(1, 2, 3))])
    remove(Group.objects.filter(pk=1))
    answers = [answer(3, group(1, 3)), answer(2, group(2))]
    for given_answer in reversed(answers) if is_reversed else answers:
        store([given_answer])
    assert (parents(), missing()) == ({1: None, 2: 1, 3: 1}, {2})


def test_a_removed_parent_regains_its_subgroups_when_listed_again() -> None:
    store([answer(1, group(1, group(2, 3)))])
    remove(Group.objects.filter(pk=2))
    store([answer(2, group(1, 2))])
    assert parents() == {1: None, 2: 1, 3: 2}


def test_a_cut_link_is_restored_when_a_group_of_its_loop_is_removed() -> None:
    store([answer(1, group(4, 1)), answer(2, group(1, 5)), answer(3, group(5, 4))])
    assert parents() == {1: None, 4: 5, 5: 1}
    remove(Group.objects.filter(pk=5))
    store([answer(4, group(4, 1))])
    assert parents() == {1: 4, 4: None}


# Values


def test_the_largest_values_and_any_text_are_stored_unchanged() -> None:
    name = "Müşteriler ıİğĞ 👩‍👩‍👧 \n" + "x" * 5000
    store([answer(1, group(2**63 - 1, name=name, count=2**31 - 1))])
    stored = Group.objects.get()
    assert (stored.pk, stored.name, stored.count) == (2**63 - 1, name, 2**31 - 1)


def test_names_of_many_megabytes_in_total_are_stored() -> None:
    children = [group(number, name="ş" * 100_000) for number in range(2, 152)]
    store([answer(1, group(1, *children))])
    names = Group.objects.exclude(pk=1).values_list("name", flat=True)
    assert {len(name) for name in names} == {100_000}


@pytest.mark.django_db(transaction=True)
def test_a_database_with_an_old_character_set_does_not_garble_names() -> None:
    if connection.vendor == "mysql":
        name = connection.settings_dict["NAME"]
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} CHARACTER SET latin1")
    connection.close()
    store([answer(1, group(1, name="Şişli 📟"))])
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} CHARACTER SET utf8mb4")
    assert Group.objects.get().name == "Şişli 📟"


def test_a_project_without_time_zones_stores_local_times() -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Istanbul"):
        store([answer(1, group(1, 2))])
        store([answer(2, group(1)), absence(3, 1)])
        stored = Group.objects.get(pk=1)
        assert stored.fetched_at == datetime(2026, 1, 1, 3, 3)  # noqa: DTZ001 - USE_TZ is False here
        assert Group.objects.get(pk=2).missing_since == datetime(2026, 1, 1, 3, 2)  # noqa: DTZ001 - USE_TZ is False here


def test_the_newest_answer_wins_if_another_time_zone_is_active() -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Istanbul"):
        store([answer(1, group(1, name="eski"))])
        with timezone.override("America/New_York"):
            store([answer(60, group(1, name="yeni"))])
        assert Group.objects.get().name == "yeni"


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_newest_answer_wins_in_the_repeated_hour_of_a_clock_change(data: st.DataObject) -> None:
    """Clocks in Berlin went back to 2 o'clock at 01:00 UTC, amid the answers."""
    rows: dict[int, Group] = {}
    with (
        pytest.MonkeyPatch.context() as patch,
        override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"),
        transaction.atomic(),
    ):
        patch.setattr("tests.answers.START", datetime(2025, 10, 26, 0, 55, tzinfo=UTC))
        for batch in data.draw(batches(data.draw(histories()))):
            changes = rules.apply(rows, batch)
            assert set(store(batch)) == set(changes)
        transaction.set_rollback(True)


def test_times_in_the_repeated_hour_of_a_clock_change_are_shifted_by_at_most_a_microsecond() -> (
    None
):
    first = datetime(2025, 10, 26, 0, 30, 0, 7, tzinfo=UTC)
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"):
        store([Answer(1, first, group(1, 2)), Answer(2, first + timedelta(hours=1), group(2))])
        stored = Group.objects.order_by("pk").values_list("fetched_at", flat=True)
        local = datetime(2025, 10, 26, 2, 30)  # noqa: DTZ001 - USE_TZ is False here
        assert list(stored) == [local.replace(microsecond=6), local.replace(microsecond=7)]


# Statements


@pytest.mark.parametrize("size", [3, 1900])
def test_the_number_of_statements_does_not_grow_with_the_number_of_subgroups(size: int) -> None:
    children = [group(2 + number) for number in range(size)]
    counts = []
    for minute, parent in enumerate([1, 1, 10**9]):
        with CaptureQueriesContext(connection) as queries:
            store([answer(minute, group(parent, *children))])
        counts.append(len(queries))
    # The lock, the rows and the upsert, between savepoint and release.
    assert counts == [5, 5, 5]


def test_an_answer_that_is_already_stored_is_not_written_again() -> None:
    store([answer(1, group(1, 2))])
    with CaptureQueriesContext(connection) as queries:
        store([answer(1, group(1, 2))])
    assert len(queries) == 4


def test_an_unsupported_database_is_refused_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    with pytest.raises(NotSupportedError, match="cannot write to "):
        store([answer(1, group(1))])
    assert not Group.objects.exists()


@pytest.mark.parametrize("packet", [1, 200, 10**6])
def test_rows_larger_than_one_packet_are_all_stored(
    packet: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PACKET", packet)
    store([answer(1, group(1, *map(named, range(2, 30))))])
    assert Group.objects.count() == 29


def named(group_id: int) -> GroupData:
    return group(group_id, name="x" * group_id)


# Connections


@pytest.mark.django_db(transaction=True)
def test_store_reconnects_after_the_server_closed_the_connection() -> None:
    store([answer(1, group(1))])
    close_our_connection()
    store([answer(2, group(1, 2))])
    assert parents() == {1: None, 2: 1}


def close_our_connection() -> None:
    """Make the server close the connection of this thread."""
    if connection.vendor in DISMISSALS:
        dismiss([session_id("default")])


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_stored_even_if_the_server_closes_the_connection_during_the_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upsert, attempts = bulk.upsert, []

    def close_and_upsert(*args: Any) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            close_our_connection()
        upsert(*args)

    monkeypatch.setattr(bulk, "upsert", close_and_upsert)
    store([answer(1, group(1, 2))])
    assert parents() == {1: None, 2: 1}
    assert len(attempts) == (3 if connection.vendor in DISMISSALS else 1)


def fail(monkeypatch: pytest.MonkeyPatch, errors: list[OperationalError]) -> None:
    """Make the next attempts to store fail."""
    monkeypatch.setattr("random.uniform", lambda least, most: 0)
    upsert = bulk.upsert

    def fail_or_upsert(*args: Any) -> None:
        if errors:
            raise errors.pop()
        upsert(*args)

    monkeypatch.setattr(bulk, "upsert", fail_or_upsert)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("make_error", [conflict, deadlock])
def test_a_batch_is_stored_after_four_conflicts(
    monkeypatch: pytest.MonkeyPatch, make_error: Callable[[], OperationalError]
) -> None:
    fail(monkeypatch, [make_error() for _ in range(4)])
    assert [change.group_id for change in store([answer(1, group(1, 2))])] == [1, 2]
    assert parents() == {1: None, 2: 1}


@pytest.mark.django_db(transaction=True)
def test_dead_pooled_connections_are_replaced_before_a_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = mock.Mock()
    connection.ensure_connection()
    monkeypatch.setattr(type(connections["default"]), "pool", pool, raising=False)
    fail(monkeypatch, [conflict()])
    store([answer(1, group(1))])
    pool.check.assert_called_once_with()


@pytest.mark.django_db(transaction=True)
def test_the_fifth_conflict_of_a_batch_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, [conflict() for _ in range(5)])
    with pytest.raises(OperationalError):
        store([answer(1, group(1))])
    assert not Group.objects.exists()


def test_a_conflict_within_a_larger_transaction_is_raised_without_a_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = [conflict(), conflict()]
    fail(monkeypatch, errors)
    with pytest.raises(OperationalError):
        store([answer(1, group(1))])
    assert len(errors) == 1


@pytest.mark.django_db(transaction=True)
def test_database_errors_other_than_conflicts_are_not_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = [OperationalError("no"), OperationalError("no")]
    fail(monkeypatch, errors)
    with pytest.raises(OperationalError):
        store([answer(1, group(1))])
    assert len(errors) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_usable", [True, False])
def test_only_an_unusable_connection_is_closed(
    is_usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store([answer(1, group(1))])
    closed: list[bool] = []
    monkeypatch.setattr(connection, "is_usable", lambda: is_usable)
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))
    store([answer(2, group(1))])
    assert closed == ([] if is_usable else [True])
