"""Totals that are stored with each group, compared with a recount after each step."""

from __future__ import annotations

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_iletimerkezi import doctor
from django_iletimerkezi.api.parsing import Reply
from django_iletimerkezi.mirror import rules
from django_iletimerkezi.mirror.repair import count_wrong_sums
from django_iletimerkezi.mirror.store import remove, store
from django_iletimerkezi.models import Group

from .answers import IDS, answer, at, batches, group, histories

pytestmark = [pytest.mark.django_db, pytest.mark.no_cover]

Rows = dict[int, Group]


def load() -> Rows:
    return {row.pk: row for row in Group.objects.all()}


def above(rows: Rows, group_id: int) -> list[int]:
    """Return a group and all groups above it. In a loop, the last group occurs twice."""
    path = [group_id]
    while (parent := rows[path[-1]].parent_id) is not None and path.count(parent) < 1:
        path.append(parent)
    return path if parent is None else [*path, parent]


def recount(rows: Rows) -> dict[int, rules.Sums]:
    """Sum up each group with everything below it, except groups in loops."""
    paths = {pk: above(rows, pk) for pk in rows}
    sums = {pk: (0, 0) for pk, path in paths.items() if path[0] != path[-1] or len(path) == 1}
    for pk, row in rows.items():
        if row.missing_since is None:
            for group_id in sums.keys() & set(paths[pk]):
                total, unexplored = sums[group_id]
                sums[group_id] = total + row.count, unexplored + (row.listed_at is None)
    return sums


def wrong(rows: Rows) -> set[int]:
    return {
        pk for pk, sums in recount(rows).items() if sums != (rows[pk].total, rows[pk].unexplored)
    }


def all_above(rows: Rows, group_ids: set[int]) -> set[int]:
    return group_ids.union(*(above(rows, pk) for pk in group_ids & rows.keys()))


ids = st.sampled_from(IDS)


def draw_groups_to_remove(data: st.DataObject) -> set[int]:
    return data.draw(st.sets(ids, max_size=2)) if data.draw(st.integers(0, 2)) == 0 else set()


def make_by_hand(data: st.DataObject) -> set[int]:
    """Create a group or move one, as raw SQL would. Return it and all groups above it."""
    group_id, parent_id = data.draw(ids), data.draw(ids)
    if not Group.objects.filter(pk=parent_id).exists():
        return set()
    before = all_above(load(), {group_id})
    Group.objects.get_or_create(pk=group_id, defaults={"count": 1, "seen_at": at(0)})
    Group.objects.filter(pk=group_id).update(parent=parent_id)
    return before | all_above(load(), {group_id})


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), history=histories())
def test_stored_totals_equal_a_recount(data: st.DataObject, history: list[Reply]) -> None:
    with transaction.atomic():
        for batch in data.draw(batches(history)):
            store(batch)
            assert wrong(load()) == set()
            remove(Group.objects.filter(pk__in=draw_groups_to_remove(data)))
            assert wrong(load()) == set()
        assert count_wrong_sums() == 0
        transaction.set_rollback(True)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), history=histories())
def test_rows_written_by_hand_make_only_their_own_and_ancestor_totals_wrong_before_a_repair(
    data: st.DataObject, history: list[Reply]
) -> None:
    made: set[int] = set()
    doubtful: set[int] = set()
    with transaction.atomic():
        store([answer(0, group(pk)) for pk in IDS])
        for batch in data.draw(batches(history)):
            if data.draw(st.booleans()):
                made |= (new := make_by_hand(data))
                doubtful |= new
                assert count_wrong_sums() == len(wrong(load()))
            store(batch)
            remove(Group.objects.filter(pk__in=draw_groups_to_remove(data)))
            rows = load()
            doubtful |= all_above(rows, doubtful)
            assert wrong(rows) <= doubtful
            if data.draw(st.integers(0, 3)) == 0:
                repair()
                doubtful = all_above(rows, made)
        repair()
        transaction.set_rollback(True)


def repair() -> None:
    assert {finding.verdict for finding in doctor.repair()} == {"ok"}
    assert (wrong(load()), count_wrong_sums()) == (set(), 0)
