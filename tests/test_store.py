"""What stands in the table after which answers, in whatever order they arrive."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import NotSupportedError, connection, connections
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from django_iletimerkezi.api.parsing import Absence, Answer, GroupData
from django_iletimerkezi.mirror import store as mirror
from django_iletimerkezi.mirror.rules import Batch
from django_iletimerkezi.mirror.store import Outcome, store
from django_iletimerkezi.models import Group
from django_iletimerkezi.turkish import sort_key

pytestmark = pytest.mark.django_db

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def group(group_id: int, *children: GroupData | int, name: str = "", count: int = 0) -> GroupData:
    below = tuple(child if isinstance(child, GroupData) else group(child) for child in children)
    return GroupData(group_id, name, count, below)


def answer(minute: int, data: GroupData, *, asked_for: int | None = None) -> dict[int, Outcome]:
    return store([Answer(asked_for or data.id, at(minute), data)])


def mark_missing(group_id: int, moment: datetime) -> dict[int, Outcome]:
    return store([Absence(group_id, moment)])


def links() -> dict[int, int | None]:
    return dict(Group.objects.order_by("pk").values_list("pk", "parent_id"))


def missing() -> set[int]:
    return set(Group.objects.missing().values_list("pk", flat=True))


def counts(outcomes: dict[int, Outcome]) -> tuple[int, int, int, int]:
    number = Counter(outcomes.values())
    return number["created"], number["changed"], number["unchanged"], number["missing"]


def test_a_first_answer_creates_the_group_and_its_subgroups() -> None:
    result = answer(1, group(1, group(2, name="iki", count=7), 3, name="bir", count=5))
    assert counts(result) == (3, 0, 0, 0)
    assert list(Group.objects.order_by("pk").values()) == [
        {
            "id": pk,
            "parent_id": parent,
            "name": name,
            "sort_key": sort_key(name),
            "search_key": name,
            "count": count,
            "seen_at": at(1),
            "placed_at": at(1) if parent else None,
            "fetched_at": None if parent else at(1),
            "listed_at": None if parent else at(1),
            "missing_since": None,
        }
        for pk, parent, name, count in [(1, None, "bir", 5), (2, 1, "iki", 7), (3, 1, "", 0)]
    ]


def test_the_same_answer_again_changes_timestamps_only() -> None:
    answer(1, group(1, 2, 3))
    with CaptureQueriesContext(connection) as queries:
        result = answer(2, group(1, 2, 3))
    assert counts(result) == (0, 0, 3, 0)
    assert set(Group.objects.values_list("seen_at", flat=True)) == {at(2)}
    written = [query["sql"] for query in queries if "django_iletimerkezi_group" in query["sql"]]
    written = [statement for statement in written if statement.startswith("INSERT")]
    assert len(written) == 1
    assert "seen_at" in written[0].partition("UPDATE")[2]
    assert "name" not in written[0].partition("UPDATE")[2]


@pytest.mark.parametrize(
    "second", [group(1, group(2, name="yeni")), group(1, group(2, count=9)), group(3, 2)]
)
def test_a_new_name_count_or_place_is_a_change(second: GroupData) -> None:
    answer(1, group(1, 2))
    assert counts(answer(2, second))[1] == 1


def test_asking_for_a_child_keeps_its_parent() -> None:
    answer(1, group(1, 2))
    answer(2, group(2, 3))
    assert links() == {1: None, 2: 1, 3: 2}


def test_a_group_that_is_no_longer_listed_keeps_its_row_and_is_missing() -> None:
    answer(1, group(1, 2, 3))
    assert counts(answer(2, group(1, 3))) == (0, 0, 2, 1)
    assert Group.objects.get(pk=2).missing_since == at(2)
    assert links() == {1: None, 2: 1, 3: 1}


def test_missing_since_stays_at_the_first_answer_without_the_group() -> None:
    answer(1, group(1, 2))
    answer(2, group(1))
    assert counts(answer(3, group(1))) == (0, 0, 1, 0)
    assert Group.objects.get(pk=2).missing_since == at(2)


@pytest.mark.parametrize("again", [group(1, 2), group(2), group(3, 2), group(3, group(4, 2))])
def test_a_group_that_is_seen_again_is_no_longer_missing(again: GroupData) -> None:
    answer(1, group(1, 2))
    answer(2, group(1))
    assert counts(answer(3, again))[1] == 1
    assert missing() == set()


def test_what_hangs_below_a_missing_group_is_left_as_it_was() -> None:
    answer(1, group(1, group(2, 3)))
    before = Group.objects.filter(pk=3).values().get()
    answer(2, group(1))
    assert Group.objects.filter(pk=3).values().get() == before


def test_a_group_that_moved_within_one_answer_is_not_missing() -> None:
    answer(1, group(1, 2, 3))
    assert counts(answer(2, group(1, group(3, 2)))) == (0, 1, 2, 0)
    assert links() == {1: None, 2: 3, 3: 1}
    assert missing() == set()


def test_a_subgroup_listed_without_children_keeps_those_it_had() -> None:
    answer(1, group(2, 3))
    answer(2, group(1, 2))
    assert links() == {1: None, 2: 1, 3: 2}
    assert missing() == set()


def test_a_subgroup_listed_with_fewer_children_says_nothing_about_the_others() -> None:
    answer(1, group(2, 3, 4))
    answer(2, group(1, group(2, 3)))
    assert missing() == set()


def test_463_marks_a_mirrored_group_missing_and_leaves_the_rest() -> None:
    answer(1, group(1, group(2, 3)))
    mark_missing(2, at(2))
    assert missing() == {2}
    stored = Group.objects.get(pk=2)
    assert (stored.missing_since, stored.fetched_at, stored.seen_at) == (at(2), at(2), at(1))
    assert links() == {1: None, 2: 1, 3: 2}


def test_463_again_keeps_the_first_time() -> None:
    answer(1, group(1))
    mark_missing(1, at(2))
    mark_missing(1, at(3))
    stored = Group.objects.get()
    assert (stored.missing_since, stored.fetched_at) == (at(2), at(3))


def test_463_for_a_group_that_is_not_mirrored_stores_nothing() -> None:
    mark_missing(1, at(1))
    assert not Group.objects.exists()


def test_a_late_463_does_not_count_against_a_newer_answer() -> None:
    answer(2, group(1))
    mark_missing(1, at(1))
    assert missing() == set()


def test_a_late_answer_does_not_count_against_a_newer_463() -> None:
    answer(1, group(1))
    mark_missing(1, at(3))
    answer(2, group(1, name="eski"))
    assert Group.objects.get().missing_since == at(3)


def test_the_list_of_a_group_that_is_gone_is_not_taken_for_empty() -> None:
    answer(1, group(1))
    mark_missing(1, at(3))
    answer(2, group(1, 2))
    assert missing() == {1}


def test_a_late_answer_overwrites_neither_name_nor_count_nor_place_nor_time() -> None:
    answer(3, group(1, group(2, name="yeni", count=3)))
    before = list(Group.objects.filter(pk=2).values())
    assert counts(answer(2, group(9, group(2, name="eski", count=2)))) == (1, 0, 1, 0)
    assert list(Group.objects.filter(pk=2).values()) == before


def test_a_late_list_does_not_make_missing_what_was_seen_since() -> None:
    answer(3, group(1, 2))
    answer(2, group(1))
    assert missing() == set()


def test_a_late_list_does_not_bring_back_what_a_newer_one_left_out() -> None:
    answer(1, group(1, 2))
    answer(3, group(1))
    answer(2, group(1, 2))
    assert Group.objects.get(pk=2).missing_since == at(3)


def test_a_group_that_only_a_late_list_knows_is_stored_as_missing() -> None:
    answer(3, group(1))
    answer(2, group(1, 2))
    assert Group.objects.get(pk=2).missing_since == at(3)


def test_a_late_mention_does_not_hide_that_two_newer_lists_left_a_group_out() -> None:
    answer(1, group(1, 2))
    answer(3, group(1))
    answer(5, group(1))
    answer(4, group(2))
    assert missing() == {2}


def test_a_late_list_that_places_a_group_elsewhere_counts_more_than_its_absence() -> None:
    answer(1, group(1, 2))
    answer(3, group(1))
    answer(2, group(9, 2))
    assert links()[2] == 9
    assert missing() == set()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_without_loops_the_order_of_arrival_does_not_matter(order: tuple[int, ...]) -> None:
    answers = [
        (1, group(1, group(2, name="a"), 3)),
        (2, group(4, group(3, name="b"))),
        (3, group(1, group(2, name="c", count=3))),
        (4, group(1, 5, name="d")),
    ]
    for index in order:
        answer(*answers[index])
    assert links() == {1: None, 2: 1, 3: 4, 4: None, 5: 1}
    assert missing() == {2}
    assert list(Group.objects.order_by("pk").values_list("name", "count", "seen_at")) == [
        ("d", 0, at(4)),
        ("c", 3, at(3)),
        ("b", 0, at(2)),
        ("", 0, at(2)),
        ("", 0, at(4)),
    ]


def test_in_a_loop_the_stored_link_gives_way_and_the_answering_group_is_a_root() -> None:
    answer(1, group(1, 2))
    assert counts(answer(2, group(2, 1))) == (0, 2, 0, 0)
    assert links() == {1: 2, 2: None}


def test_in_a_longer_loop_too() -> None:
    answer(1, group(1, 2))
    answer(2, group(2, 3))
    answer(3, group(3, 4))
    answer(4, group(4, 1))
    assert links() == {1: 4, 2: 1, 3: 2, 4: None}


def test_in_a_loop_a_stored_link_that_is_newer_stays_and_the_answers_is_dropped() -> None:
    answer(2, group(1, 2))
    answer(1, group(2, 1, 3))
    assert links() == {1: None, 2: 1, 3: 2}


def test_in_a_loop_the_age_of_the_answering_groups_own_link_counts() -> None:
    answer(1, group(2, 3))
    answer(5, group(1, 2))
    answer(3, group(3, 1))
    assert links() == {1: 3, 2: 1, 3: None}


def test_a_loop_through_nested_subgroups_is_broken_as_well() -> None:
    answer(1, group(3, 1))
    assert counts(answer(2, group(1, group(2, 3)))) == (1, 2, 0, 0)
    assert links() == {1: None, 2: 1, 3: 2}


def test_a_loop_below_a_subgroup_whose_own_link_is_newer_is_broken_as_well() -> None:
    answer(1, group(9, 4))
    answer(5, group(4, 2))
    answer(3, group(1, group(2, 4)))
    assert links() == {1: None, 2: 4, 4: 9, 9: None}


def test_of_two_answers_of_the_same_moment_the_second_breaks_the_loop_that_it_closes() -> None:
    answer(1, group(1, 2))
    answer(1, group(2, 1))
    assert links() == {1: 2, 2: None}


def test_a_463_does_not_pass_for_a_list() -> None:
    answer(1, group(1, 2))
    mark_missing(1, at(2))
    answer(3, group(1), asked_for=99)
    answer(4, group(9, 1))
    answer(1, group(2, 7))
    assert missing() == set()


def test_a_463_does_not_hide_an_earlier_list() -> None:
    answer(1, group(1, 2, 3))
    answer(3, group(1))
    mark_missing(1, at(6))
    assert counts(answer(2, group(1, 2, 3))) == (0, 0, 3, 0)
    assert counts(answer(4, group(1))) == (0, 0, 1, 0)
    assert missing() == {1, 2, 3}


def test_a_list_that_arrives_after_a_newer_463_still_says_what_is_missing() -> None:
    answer(1, group(1, 2))
    mark_missing(1, at(5))
    answer(4, group(1))
    assert Group.objects.get(pk=2).missing_since == at(4)


def test_a_late_463_counts_as_an_answer() -> None:
    answer(3, group(9, 1))
    mark_missing(1, at(2))
    assert Group.objects.get(pk=1).fetched_at == at(2)
    assert missing() == set()


@pytest.mark.parametrize("order", [(3, 5), (5, 3)])
def test_missing_since_is_the_first_time_whatever_arrives_first(order: tuple[int, int]) -> None:
    answer(1, group(1, 2))
    answer(order[0], group(1))
    answer(order[1], group(1))
    assert Group.objects.get(pk=2).missing_since == at(3)


def test_many_late_subgroups_that_are_elsewhere_by_now_need_no_more_statements() -> None:
    for number in range(20):
        answer(5, group(100 + number, 200 + number))
        answer(1, group(300 + number, 100 + number))
    nested = group(1, *[group(200 + number, 300 + number) for number in range(20)])
    with CaptureQueriesContext(connection) as queries:
        answer(3, nested)
    assert len(queries) <= 12


def test_a_group_of_a_broken_loop_may_be_placed_by_a_later_answer() -> None:
    answer(1, group(1, 2))
    answer(3, group(2, 1))
    answer(2, group(9, 2))
    assert links() == {1: 2, 2: 9, 9: None}


def test_of_two_mentions_in_one_answer_the_later_in_reading_order_counts() -> None:
    twice = group(1, group(2, group(4, name="erken", count=1)), group(3, group(4, name="geç")))
    assert counts(answer(1, twice)) == (4, 0, 0, 0)
    stored = Group.objects.get(pk=4)
    assert (stored.parent_id, stored.name, stored.count) == (3, "geç", 0)


def test_a_parent_is_stored_before_a_child_that_is_mentioned_before_it() -> None:
    answer(1, group(1, 2, group(3, 2)))
    assert links() == {1: None, 2: 3, 3: 1}


def test_an_answer_about_another_group_leaves_the_one_asked_for_alone() -> None:
    answer(1, group(5, 6, name="beş"))
    before = list(Group.objects.filter(pk__in=[5, 6]).values())
    assert set(answer(2, group(97101, 97489), asked_for=5)) == {97101, 97489}
    assert Group.objects.get(pk=97101).fetched_at is None
    assert list(Group.objects.filter(pk__in=[5, 6]).values()) == before


def test_an_answer_about_another_group_says_nothing_about_absence() -> None:
    answer(1, group(97101, 97489))
    answer(2, group(97101), asked_for=5)
    assert missing() == set()


@pytest.mark.parametrize("loop", [{1: 1}, {1: 2, 2: 1}, {1: 2, 2: 3, 3: 1}])
def test_a_loop_that_somebody_stored_by_hand_hangs_nobody(loop: dict[int, int]) -> None:
    for pk in loop:
        Group.objects.create(pk=pk, count=0, seen_at=at(1))
    for pk, parent in loop.items():
        Group.objects.filter(pk=pk).update(parent=parent)
    answer(2, group(7, 8))
    answer(3, group(1, 7))
    answer(4, group(8, 1))
    assert len(Group.objects.subtree(1)) >= 1


def test_a_project_without_time_zones_stores_local_times() -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Istanbul"):
        answer(1, group(1, 2))
        answer(2, group(1))
        mark_missing(1, at(3))
        stored = Group.objects.get(pk=1)
        assert stored.fetched_at == datetime(2026, 1, 1, 3, 3)  # noqa: DTZ001 - USE_TZ is False here
        assert Group.objects.get(pk=2).missing_since == datetime(2026, 1, 1, 3, 2)  # noqa: DTZ001 - USE_TZ is False here


def test_a_time_zone_of_the_moment_does_not_disturb_stored_times() -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Istanbul"):
        answer(1, group(1, name="eski"))
        with timezone.override("America/New_York"):
            answer(60, group(1, name="yeni"))
        assert Group.objects.get().name == "yeni"


def test_the_largest_values_and_any_text_come_back_unchanged() -> None:
    name = "Müşteriler ıİğĞ 👩‍👩‍👧 \n" + "x" * 5000
    answer(1, group(2**63 - 1, name=name, count=2**63 - 1))
    stored = Group.objects.get()
    assert (stored.pk, stored.name, stored.count) == (2**63 - 1, name, 2**63 - 1)


@pytest.mark.parametrize("size", [3, 1900])
def test_the_number_of_statements_does_not_grow_with_the_children(size: int) -> None:
    children = [group(2 + number) for number in range(size)]
    with CaptureQueriesContext(connection) as first:
        answer(1, group(1, *children))
    with CaptureQueriesContext(connection) as second:
        answer(2, group(1, *children))
    with CaptureQueriesContext(connection) as moved:
        answer(3, group(10**9, *children))
    # Turn, rows, children and write, between savepoint and release.
    assert (len(first), len(second), len(moved)) == (6, 6, 6)


@pytest.mark.parametrize("milliseconds", [1000, 100_000])
def test_the_patience_with_sqlite_is_afterwards_what_it_was(
    milliseconds: int,
) -> None:
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        connection.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
        answer(1, group(1))
        timeout = connection.connection.execute("PRAGMA busy_timeout").fetchone()
        connection.connection.execute("PRAGMA busy_timeout = 5000")
        assert timeout == (milliseconds,)


def test_a_database_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    with pytest.raises(NotSupportedError, match="does not know how to write to "):
        answer(1, group(1))
    assert not Group.objects.exists()


def test_names_of_many_megabytes_are_stored() -> None:
    children = [group(number, name="ş" * 100_000) for number in range(2, 152)]
    answer(1, group(1, *children))
    assert {len(name) for name in Group.objects.exclude(pk=1).values_list("name", flat=True)} == {
        100_000
    }


@pytest.mark.django_db(transaction=True)
def test_a_database_with_an_old_character_set_does_not_garble_names() -> None:
    if connection.vendor == "mysql":
        name = connection.settings_dict["NAME"]
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} CHARACTER SET latin1")
    connection.close()
    answer(1, group(1, name="Şişli 📟"))
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} CHARACTER SET utf8mb4")
    assert Group.objects.get().name == "Şişli 📟"


# SQLite has no server that could close a connection.
DISMISSALS = {
    "postgresql": [("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)")],
    "mysql": [("SELECT CONNECTION_ID()", "KILL %s")],
}


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_has_closed_is_made_anew() -> None:
    answer(1, group(1))
    for who, kill in DISMISSALS.get(connection.vendor, ()):
        with connection.cursor() as cursor:
            cursor.execute(who)
            ours = cursor.fetchone()
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute(kill, ours)
        other.close()
    answer(2, group(1, 2))
    assert links() == {1: None, 2: 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_usable", [True, False])
def test_only_a_connection_that_cannot_be_used_is_closed(
    is_usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(1, group(1))
    closed: list[bool] = []
    monkeypatch.setattr(connection, "is_usable", lambda: is_usable)
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))
    answer(2, group(1))
    assert closed == ([] if is_usable else [True])


@pytest.mark.django_db(transaction=True)
def test_sqlite_waits_a_minute_for_other_writers_and_no_longer_than_usual_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def patience() -> object:
        if connection.vendor != "sqlite":  # The others wait by their own rules.
            return None
        with connection.cursor() as cursor:
            return cursor.execute("PRAGMA busy_timeout").fetchone()[0]

    usual, inside = patience(), []

    class Watched(Batch):
        def apply(self) -> None:
            inside.append(patience())
            super().apply()

    monkeypatch.setattr(mirror, "Batch", Watched)
    answer(1, group(1))
    assert inside == [60_000 if connection.vendor == "sqlite" else None]
    assert patience() == usual
