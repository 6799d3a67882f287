"""The rules of the mirror, on rows in memory."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_iletimerkezi.api.parsing import Absence, Listing, Reply
from django_iletimerkezi.mirror import rules
from django_iletimerkezi.mirror.rules import Difference
from django_iletimerkezi.models import Change, Group

from .answers import IDS, absence, answer, at, batches, group, histories, listing

Rows = dict[int, Group]


def apply(rows: Rows, *answers: Reply) -> list[tuple[Any, ...]]:
    """Apply answers one by one; return the differences of the last."""
    changes: list[Difference] = []
    for given_answer in answers:
        changes = rules.apply(rows, [given_answer])
    return [
        (change.group_id, change.kind)
        if change.before == change.after
        else (change.group_id, change.kind, change.before, change.after)
        for change in changes
    ]


def test_a_new_group_with_an_unstorable_name_gets_no_row_and_its_subgroups_stay_at_the_top() -> (
    None
):
    rows: Rows = {}
    changes = rules.apply(rows, [answer(1, group(1, group(2, 3)))], {2})
    assert [(change.group_id, change.kind) for change in changes] == [
        (1, "created"),
        (3, "created"),
    ]
    assert parents(rows) == {1: None, 3: None}
    apply(rows, answer(2, group(1, 2)))
    assert parents(rows) == {1: None, 2: 1, 3: 2}


def test_a_group_with_an_unstorable_new_name_keeps_its_old_name() -> None:
    rows: Rows = {}
    apply(rows, answer(1, group(1, group(2, name="a"))))
    [change] = rules.apply(rows, [answer(2, group(1, group(2, name="b", count=5)))], {2})
    assert change == Difference(2, Change.Kind.RECOUNTED, 0, 5)
    assert (rows[2].name, rows[2].seen_at, missing(rows)) == ("a", at(2), set())


def test_a_requested_group_with_an_unstorable_name_is_skipped_but_its_subgroup_is_stored() -> None:
    rows: Rows = {}
    rules.apply(rows, [answer(1, group(1, 2))], {1})
    assert parents(rows) == {2: None}


def parents(rows: Rows) -> dict[int, int | None]:
    return {pk: rows[pk].parent_id for pk in sorted(rows)}


def missing(rows: Rows) -> set[int]:
    return {pk for pk, row in rows.items() if row.missing_since}


@pytest.fixture
def rows() -> Rows:
    return {}


def test_the_first_answer_creates_the_group_and_its_subgroups(rows: Rows) -> None:
    changes = apply(rows, answer(1, group(1, group(2, name="iki", count=7), name="bir", count=5)))
    assert changes == [(1, "created", None, "bir"), (2, "created", None, "iki")]
    first, second = rows[1], rows[2]
    assert (first.name, first.count, first.parent_id) == ("bir", 5, None)
    assert (first.seen_at, first.fetched_at, first.listed_at) == (at(1), at(1), at(1))
    assert (second.name, second.count, second.parent_id) == ("iki", 7, 1)
    assert (second.seen_at, second.placed_at, second.named_parent_id) == (at(1), at(1), 1)
    assert (second.fetched_at, second.listed_at) == (None, None)


def test_a_repeated_answer_changes_only_the_stored_times(rows: Rows) -> None:
    assert apply(rows, answer(1, group(1, 2)), answer(2, group(1, 2))) == []
    assert (rows[1].seen_at, rows[2].seen_at, rows[2].placed_at) == (at(2), at(2), at(2))


def test_each_changed_field_of_a_group_is_reported_as_a_separate_change(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, name="eski", count=1))), answer(1, group(3)))
    assert apply(rows, answer(2, group(3, group(2, name="yeni", count=9)))) == [
        (2, "renamed", "eski", "yeni"),
        (2, "recounted", 1, 9),
        (2, "moved", 1, 3),
    ]


def test_a_subgroup_keeps_its_parent_when_the_subgroup_itself_is_fetched(rows: Rows) -> None:
    apply(rows, answer(1, group(1, 2)), answer(2, group(2, 3)))
    assert parents(rows) == {1: None, 2: 1, 3: 2}


# Presence


def test_a_group_no_longer_listed_by_its_parent_is_marked_missing_and_keeps_its_place(
    rows: Rows,
) -> None:
    assert apply(rows, answer(1, group(1, 2, 3)), answer(2, group(1, 3))) == [(2, "missing")]
    assert rows[2].missing_since == at(2)
    assert parents(rows) == {1: None, 2: 1, 3: 1}


def test_later_answers_that_omit_a_missing_group_do_not_change_missing_since(rows: Rows) -> None:
    assert apply(rows, answer(1, group(1, 2)), answer(2, group(1)), answer(3, group(1))) == []
    assert rows[2].missing_since == at(2)


def test_an_older_answer_that_omits_a_missing_group_does_not_change_missing_since(
    rows: Rows,
) -> None:
    apply(rows, answer(1, group(1, 2)), absence(3, 2), answer(2, group(1)))
    assert rows[2].missing_since == at(3)


@pytest.mark.parametrize("again", [group(1, 2), group(2), group(3, 2), group(3, group(4, 2))])
def test_a_missing_group_returns_when_any_answer_contains_it(rows: Rows, again: Any) -> None:
    changes = apply(rows, answer(1, group(1, 2)), answer(2, group(1)), answer(3, again))
    assert (2, "returned") in changes
    assert missing(rows) == set()


def test_missing_since_is_set_again_when_a_returned_group_disappears(rows: Rows) -> None:
    apply(rows, *[answer(minute, group(1, *ids)) for minute, ids in enumerate([[2], [], [2], []])])
    assert rows[2].missing_since == at(3)


def test_subgroups_of_a_missing_group_do_not_change(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, 3))), answer(2, group(1)))
    assert missing(rows) == {2}
    assert (rows[3].parent_id, rows[3].seen_at) == (2, at(1))


def test_a_group_that_moved_within_one_answer_is_not_marked_missing(rows: Rows) -> None:
    apply(rows, answer(1, group(1, 2, 3)), answer(2, group(1, group(3, 2))))
    assert parents(rows) == {1: None, 2: 3, 3: 1}
    assert missing(rows) == set()


def test_a_subgroup_absent_from_a_nested_list_is_not_marked_missing(rows: Rows) -> None:
    apply(rows, answer(1, group(2, 3, 4)), answer(2, group(1, group(2, 3))), answer(3, group(5, 2)))
    assert parents(rows) == {1: None, 2: 5, 3: 2, 4: 2, 5: None}
    assert missing(rows) == set()


def test_463_marks_a_known_group_missing_and_keeps_its_place(rows: Rows) -> None:
    changes = apply(rows, answer(1, group(1, group(2, 3))), absence(2, 2))
    assert changes == [(2, "missing")]
    row = rows[2]
    assert (row.missing_since, row.denied_at, row.fetched_at) == (at(2), at(2), at(2))
    assert (row.seen_at, row.listed_at) == (at(1), None)
    assert parents(rows) == {1: None, 2: 1, 3: 2}


def test_463_for_an_unknown_group_does_not_create_a_row(rows: Rows) -> None:
    assert apply(rows, absence(1, 1)) == []
    assert rows == {}


def test_a_463_does_not_mark_the_subgroups_missing(rows: Rows) -> None:
    apply(rows, answer(1, group(1, 2)), absence(2, 1))
    assert missing(rows) == {1}


def test_a_newer_answer_overrides_an_older_463(rows: Rows) -> None:
    apply(rows, answer(2, group(1)), absence(1, 1))
    assert missing(rows) == set()


def test_a_newer_463_overrides_an_older_answer(rows: Rows) -> None:
    apply(rows, answer(1, group(1)), absence(3, 1), answer(2, group(1, 2, name="yeni")))
    assert (missing(rows), rows[1].name) == ({1}, "yeni")


def test_an_older_463_that_arrives_late_does_not_move_times_back(rows: Rows) -> None:
    apply(rows, answer(1, group(1)), absence(5, 1), absence(3, 1))
    assert (rows[1].denied_at, rows[1].fetched_at) == (at(5), at(5))


def test_an_older_answer_that_arrives_late_does_not_move_times_back(rows: Rows) -> None:
    apply(rows, answer(5, group(1)), answer(3, group(1)))
    assert (rows[1].seen_at, rows[1].fetched_at, rows[1].listed_at) == (at(5), at(5), at(5))


def test_missing_since_is_newer_than_the_last_answer_that_contained_the_group(rows: Rows) -> None:
    apply(rows, answer(1, group(1)), absence(2, 1))
    rules.apply(rows, [answer(2, group(1)), absence(3, 1)])
    assert rows[1].missing_since == at(3)


def test_a_group_that_only_an_older_answer_lists_is_created_as_missing(rows: Rows) -> None:
    changes = apply(rows, answer(3, group(1)), answer(2, group(1, group(2, name="iki"))))
    assert changes == [(2, "created", None, "iki"), (2, "missing")]


def test_a_late_answer_about_another_parent_moves_and_restores_a_missing_group(rows: Rows) -> None:
    apply(rows, answer(1, group(1, 2)), answer(3, group(1)), answer(2, group(9, 2)))
    assert (parents(rows)[2], missing(rows)) == (9, set())


# Answers about another group


def test_an_alias_does_not_change_the_requested_group(rows: Rows) -> None:
    apply(rows, answer(1, group(5, 6, name="beş")))
    before = {pk: vars(row) for pk, row in rows.items()}
    apply(rows, answer(2, group(97101, 97489), asked_for=5))
    assert {pk: vars(rows[pk]) for pk in before} == before
    assert (rows[97101].fetched_at, rows[97101].listed_at) == (None, None)


def test_an_alias_does_not_mark_subgroups_missing(rows: Rows) -> None:
    apply(rows, answer(1, group(97101, 97489)), answer(2, group(97101), asked_for=5))
    assert missing(rows) == set()


def test_a_group_that_occurs_twice_in_an_answer_is_stored_at_its_last_place(rows: Rows) -> None:
    early, late = group(4, name="erken", count=1), group(4, name="geç")
    apply(rows, answer(1, group(1, group(2, early), group(3, late))))
    assert (rows[4].parent_id, rows[4].name, rows[4].count) == (3, "geç", 0)


# Loops


def test_a_loop_is_cut_at_its_oldest_link(rows: Rows) -> None:
    changes = apply(rows, answer(1, group(1, 2)), answer(2, group(2, 1)))
    assert parents(rows) == {1: 2, 2: None}
    assert changes == [(1, "moved", None, 2), (2, "moved", 1, None)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_three_answers_that_form_a_loop_give_the_same_tree_in_any_order(
    rows: Rows, order: tuple[int, ...]
) -> None:
    answers = [answer(10, group(4, 1)), answer(20, group(1, 5)), answer(30, group(5, 4))]
    apply(rows, *[answers[index] for index in order])
    assert parents(rows) == {1: None, 4: 5, 5: 1}


def test_a_cut_link_is_restored_when_its_loop_is_resolved(rows: Rows) -> None:
    apply(rows, answer(1, group(1, 2)), answer(2, group(2, 1)))
    assert apply(rows, answer(3, group(9, 1))) == [
        (1, "moved", 2, 9),
        (2, "moved", None, 1),
        (9, "created", None, ""),
    ]
    assert parents(rows) == {1: 9, 2: 1, 9: None}


def test_a_loop_of_equally_old_links_is_cut_at_the_smallest_id(rows: Rows) -> None:
    apply(rows, answer(1, group(2, 1)), answer(1, group(1, 2)))
    assert parents(rows) == {1: None, 2: 1}


def test_a_group_with_a_cut_link_is_marked_missing_when_its_named_parent_stops_listing_the_group(
    rows: Rows,
) -> None:
    apply(rows, answer(1, group(1, 2)), answer(2, group(2, 1)), answer(3, group(1)))
    assert (parents(rows), missing(rows)) == ({1: 2, 2: None}, {2})


@pytest.mark.parametrize("loop", [{1: 1}, {1: 2, 2: 1}, {1: 2, 2: 3, 3: 1}])
def test_a_loop_stored_by_hand_is_cut_by_the_next_answer(loop: dict[int, int]) -> None:
    rows = {pk: Group(pk, parent_id=parent, seen_at=at(1), count=0) for pk, parent in loop.items()}
    apply(rows, answer(2, group(7, 8)))
    assert None in {rows[pk].parent_id for pk in loop}


def test_a_parent_stored_by_hand_stays_until_the_vendor_names_a_parent() -> None:
    rows = {pk: Group(pk, parent_id=pk - 1 or None, seen_at=at(1), count=0) for pk in (1, 2)}
    apply(rows, answer(2, group(2)))
    assert parents(rows) == {1: None, 2: 1}
    apply(rows, answer(3, group(9, 2)))
    assert parents(rows) == {1: None, 2: 9, 9: None}


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_parent_stored_by_hand_is_restored_when_its_loop_is_resolved(is_reversed: bool) -> None:
    rows = {
        4: Group(4, seen_at=at(1), count=0),
        5: Group(5, parent_id=4, seen_at=at(1), count=0),
    }
    answers = [answer(10, group(5, 4)), answer(20, group(6, 4))]
    apply(rows, *(reversed(answers) if is_reversed else answers))
    assert parents(rows) == {4: 6, 5: 4, 6: None}


def test_a_subgroup_placed_by_hand_is_marked_missing_if_its_parent_does_not_list_the_group() -> (
    None
):
    rows = {pk: Group(pk, parent_id=pk - 1 or None, seen_at=at(1), count=0) for pk in (1, 2)}
    apply(rows, answer(2, group(1, 3)))
    assert missing(rows) == {2}


def test_a_group_moves_to_the_top_if_the_row_of_its_parent_was_deleted(rows: Rows) -> None:
    apply(rows, answer(1, group(1, 2)))
    del rows[1]
    apply(rows, answer(2, group(2)))
    assert parents(rows) == {2: None}


# The listing of main groups


def test_a_listing_creates_main_groups_and_their_subgroups(rows: Rows) -> None:
    apply(rows, listing(1, group(1, 2), 3))
    assert parents(rows) == {1: None, 2: 1, 3: None}
    assert (rows[1].seen_at, rows[1].placed_at, rows[2].placed_at) == (at(1), at(1), at(1))
    assert (rows[1].fetched_at, rows[1].listed_at) == (None, None)


def test_a_subgroup_that_a_newer_listing_names_as_main_group_moves_to_the_top(rows: Rows) -> None:
    changes = apply(rows, answer(1, group(1, group(2, 3))), listing(2, 1, group(2)))
    assert changes == [(2, "moved", 1, None)]
    assert parents(rows) == {1: None, 2: None, 3: 2}
    assert apply(rows, answer(3, group(1))) == []


def test_an_older_listing_does_not_move_a_group(rows: Rows) -> None:
    apply(rows, answer(2, group(1, 2)), listing(1, 1, 2))
    assert parents(rows) == {1: None, 2: 1}


def test_a_main_group_moves_below_the_parent_that_a_later_answer_names(rows: Rows) -> None:
    changes = apply(rows, listing(1, 1, 2), answer(2, group(1, 2)))
    assert changes == [(2, "moved", None, 1)]


def test_a_listed_main_group_leaves_a_parent_that_was_set_by_hand(rows: Rows) -> None:
    apply(rows, listing(1, 1))
    rows[2] = Group(id=2, name="elle", count=1, seen_at=at(0), parent_id=1)
    assert (2, "moved", 1, None) in apply(rows, listing(2, 1, 2))
    assert parents(rows) == {1: None, 2: None}


def test_groups_absent_from_a_listing_are_not_marked_missing(rows: Rows) -> None:
    assert apply(rows, listing(1, group(1, 2, 3), 4), listing(2, group(1, 2))) == []
    assert missing(rows) == set()


def test_a_missing_group_returns_when_a_listing_contains_it(rows: Rows) -> None:
    changes = apply(rows, listing(1, 1), absence(2, 1), listing(3, 1))
    assert changes == [(1, "returned")]


@pytest.mark.parametrize("groups", [[group(1, 2), 2], [2, group(1, 2)]])
def test_a_group_listed_as_main_group_and_as_subgroup_is_stored_as_a_subgroup(
    rows: Rows, groups: Any
) -> None:
    apply(rows, listing(1, *groups))
    assert parents(rows) == {1: None, 2: 1}


# Sums


def recount(rows: Rows) -> dict[int, rules.Sums]:
    """Sum up each group with everything below it, one by one."""
    sums = dict.fromkeys(rows, (0, 0))
    for row in rows.values():
        above: int | None = row.pk
        while above is not None:
            total, unexplored = sums[above]
            if row.missing_since is None:
                sums[above] = total + row.count, unexplored + (row.listed_at is None)
            above = rows[above].parent_id
    return sums


def sums(rows: Rows) -> dict[int, rules.Sums]:
    return {pk: (row.total, row.unexplored) for pk, row in rows.items()}


def test_sums_include_all_descendants_and_count_unexplored_groups(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, group(3, count=4), count=2), count=1)))
    assert sums(rows) == {1: (7, 2), 2: (6, 2), 3: (4, 1)}
    apply(rows, answer(2, group(2, group(3, count=5), count=2)))
    assert sums(rows) == {1: (8, 1), 2: (7, 1), 3: (5, 1)}


def test_missing_groups_do_not_count_in_sums(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, group(3, count=4), count=2), count=1)))
    apply(rows, answer(2, group(1, count=1)))
    assert sums(rows) == {1: (5, 1), 2: (4, 1), 3: (4, 1)}


def test_groups_that_are_not_loaded_stay_in_the_sums(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, 3, count=1), count=1)), answer(1, group(2, 3, count=1)))
    rows[1].total, rows[1].unexplored = 102, 11
    rows[2].total, rows[2].unexplored = 51, 6
    apply(rows, answer(2, group(3, count=7)))
    assert sums(rows) == {1: (109, 10), 2: (58, 5), 3: (7, 0)}


def test_a_fetch_corrects_wrong_sums_of_a_group_created_by_hand(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, count=3), count=5)))
    rows[1].total, rows[1].unexplored = 0, 9
    apply(rows, answer(2, group(1, group(2, count=3), count=5)))
    assert sums(rows) == {1: (8, 1), 2: (3, 1)}


def test_a_row_that_was_moved_by_hand_is_not_counted_twice(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, group(5, count=5), count=2), group(3), count=1)))
    rows[5].parent_id = 3
    apply(rows, answer(2, group(5, count=5)))
    assert sums(rows) == {1: (8, 2), 2: (7, 1), 3: (0, 1), 5: (5, 0)}


def test_sums_that_are_too_small_never_become_negative(rows: Rows) -> None:
    apply(rows, answer(1, group(1, group(2, count=3), count=5)))
    rows[1].total, rows[1].unexplored = 0, 0
    apply(rows, answer(2, group(2)))
    assert sums(rows)[1] == (5, 0)


@pytest.mark.parametrize(
    ("removed", "expected"), [([2], {1: (1, 0), 3: (4, 1)}), ([1], {2: (6, 2), 3: (4, 1)})]
)
def test_removed_groups_are_subtracted_from_the_sums_of_their_ancestors(
    rows: Rows, removed: list[int], expected: dict[int, rules.Sums]
) -> None:
    apply(rows, answer(1, group(1, group(2, group(3, count=4), count=2), count=1)))
    rules.remove(rows, removed)
    assert sums(rows) == expected


# Any order, any batches


def expected(history: list[Reply]) -> dict[int, tuple[object, ...]]:
    """Work out name, count, parent and presence from all answers at once, fact by fact."""
    seen: dict[int, tuple[datetime, int, str]] = {}
    placed: dict[int, tuple[datetime, int]] = {}
    listed: dict[int, datetime] = {}
    denied: dict[int, datetime] = {}
    for given_answer in history:
        moment = given_answer.asked_at
        if isinstance(given_answer, Absence):
            denied[given_answer.asked_for] = max(denied.get(given_answer.asked_for, moment), moment)
            continue
        for data, parent in rules.mentions(given_answer).values():
            fact = (moment, data.count, data.name)
            seen[data.id] = max(seen.get(data.id, fact), fact)
            if parent is not None:
                place = (moment, parent)
                placed[data.id] = max(placed.get(data.id, place), place)
        if isinstance(given_answer, Listing):
            continue
        if given_answer.asked_for == given_answer.group.id:
            listed[given_answer.asked_for] = max(listed.get(given_answer.asked_for, moment), moment)
    named = {pk: parent for pk, (_moment, parent) in placed.items() if parent}
    state: dict[int, tuple[object, ...]] = {}
    for pk, (moment, count, name) in seen.items():
        denials = [denied.get(pk), listed.get(named.get(pk, 0))]
        is_missing = any(denial is not None and denial > moment for denial in denials)
        parent = None if is_cut(pk, named, placed) else named.get(pk)
        state[pk] = (name, count, parent, is_missing)
    return state


def is_cut(group_id: int, named: dict[int, int], placed: dict[int, tuple[datetime, int]]) -> bool:
    """Is this group's link the oldest of a loop?"""
    loop = [group_id]
    while (above := named.get(loop[-1])) is not None and above not in loop:
        loop.append(above)
    if above != group_id:
        return False
    return group_id == min(loop, key=lambda pk: (placed[pk][0], pk))


def state(rows: Rows) -> dict[int, tuple[object, ...]]:
    return {
        pk: (row.name, row.count, row.parent_id, row.missing_since is not None)
        for pk, row in rows.items()
    }


EVERY_GROUP: list[Reply] = [answer(0, group(pk)) for pk in IDS]
"""Gives each group a row, because a 463 for a group without a row stores nothing."""


@pytest.mark.no_cover
@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data(), history=histories())
def test_answers_in_any_order_and_batches_give_the_same_mirror(
    data: st.DataObject, history: list[Reply]
) -> None:
    rows: Rows = {}
    rules.apply(rows, EVERY_GROUP)
    for batch in data.draw(batches(history)):
        before = state(rows)
        changes = rules.apply(rows, batch)
        assert replayed(before, changes) == state(rows)
        assert sums(rows) == recount(rows)
    assert state(rows) == expected(EVERY_GROUP + history)


def replayed(
    before: dict[int, tuple[object, ...]], changes: list[Difference]
) -> dict[int, tuple[object, ...]]:
    """Return the state after some differences."""
    after = {pk: list(values) for pk, values in before.items()}
    places = {"renamed": 0, "recounted": 1, "moved": 2}
    for change in changes:
        if change.kind in places:
            assert after[change.group_id][places[change.kind]] == change.before
            after[change.group_id][places[change.kind]] = change.after
        else:
            after[change.group_id][3] = change.kind == "missing"
    return {pk: tuple(values) for pk, values in after.items()}


def test_add_up_returns_the_groups_that_form_a_loop() -> None:
    totals, unexplored = [1, 2, 3, 4], [0, 0, 0, 1]
    assert rules.add_up([1, 0, -1, 2], totals, unexplored) == {0, 1}
    assert (totals[2:], unexplored[2:]) == ([7, 4], [1, 1])
