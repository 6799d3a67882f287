"""The mirror against a plain model of what must be stored, driven by random answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_iletimerkezi.api.parsing import Absence, Answer, GroupData
from django_iletimerkezi.mirror.store import store
from django_iletimerkezi.models import Group

from .test_store import at

pytestmark = pytest.mark.django_db

IDS = st.integers(1, 5)
"""So few that loops and moves are the rule."""


@st.composite
def groups(draw: st.DrawFn, depth: int = 2, above: tuple[int, ...] = ()) -> GroupData:
    group_id = draw(IDS.filter(lambda number: number not in above))
    below = st.nothing() if depth == 0 or len(above) == 4 else groups(depth - 1, (*above, group_id))
    children = draw(st.lists(below, max_size=3)) if not below.is_empty else []
    name = draw(st.sampled_from(["", "a", "b"]))
    return GroupData(group_id, name, draw(st.integers(0, 2)), tuple(children))


@st.composite
def histories(draw: st.DrawFn, depth: int) -> list[Answer | Absence]:
    """Draw answers in the order of their arrival, each asked at a moment of its own."""
    minutes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=8, unique=True))
    history: list[Answer | Absence] = []
    for minute in minutes:
        if draw(st.integers(0, 5)) == 0:
            history.append(Absence(draw(IDS), at(minute)))
            continue
        group = draw(groups(depth))
        asked_for = group.id if draw(st.integers(0, 5)) else draw(IDS)
        history.append(Answer(asked_for, at(minute), group))
    return history


@dataclass
class Known:
    """All that is known of a group. Minutes: when it was said, None if it never was."""

    told: object
    name: str
    count: int
    parent: int | None = None
    placed: object = None
    listed: object = None
    gone: object = None
    """When the vendor answered 463."""


class Model:
    """The rules of the mirror, word by word, without a thought for speed."""

    def __init__(self) -> None:
        self.known: dict[int, Known] = {}

    def hear(self, said: Answer | Absence) -> None:
        if isinstance(said, Absence):
            if said.asked_for in self.known:
                self.known[said.asked_for].gone = latest(
                    self.known[said.asked_for].gone, said.asked_at
                )
            return
        now = said.asked_at
        last = {group.id: (group, parent) for group, parent in reading_order(said.group, None)}
        for group, _parent in last.values():
            known = self.known.setdefault(group.id, Known(now, group.name, group.count))
            if known.told <= now:  # type: ignore[operator]  # minutes, where not None
                known.told, known.name, known.count = now, group.name, group.count
        linked: set[int] = set()
        for group_id in top_down(last, said.group.id):
            parent, known = last[group_id][1], self.known[group_id]
            if parent is None or (known.placed is not None and known.placed > now):  # type: ignore[operator]  # minutes, where not None
                continue
            path = self.path(parent)
            if group_id in path:
                # The answering group: the first on the way up that this answer did not place.
                holder = self.known[next(pk for pk in path if pk not in linked)]
                if holder.placed is not None and holder.placed > now:  # type: ignore[operator]  # minutes, where not None
                    continue
                holder.parent = None
            known.parent, known.placed = parent, now
            linked.add(group_id)
        if said.asked_for == said.group.id:
            top = self.known[said.group.id]
            top.listed = latest(top.listed, now)

    def path(self, group_id: int | None) -> list[int]:
        path: list[int] = []
        while group_id is not None:
            assert group_id not in path, "a loop"
            path.append(group_id)
            group_id = self.known[group_id].parent
        return path

    def is_missing(self, group_id: int) -> bool:
        known = self.known[group_id]
        parent = self.known[known.parent] if known.parent else None
        denials = [known.gone, parent.listed if parent else None]
        return any(denial is not None and denial > known.told for denial in denials)  # type: ignore[operator]  # minutes, where not None


def latest(one: object, other: object) -> object:
    return other if one is None else max(one, other)  # type: ignore[call-overload]  # minutes, where not None


def reading_order(group: GroupData, parent: int | None) -> Iterator[tuple[GroupData, int | None]]:
    yield group, parent
    for child in group.children:
        yield from reading_order(child, group.id)


def top_down(last: dict[int, tuple[GroupData, int | None]], top: int) -> Iterator[int]:
    level = [top]
    while level:
        yield from level
        level = [pk for parent in level for pk, (_, above) in last.items() if above == parent]


def check(model: Model) -> None:
    stored = {row.pk: row for row in Group.objects.all()}
    assert {
        pk: (row.name, row.count, row.parent_id, row.seen_at, row.placed_at, row.listed_at)
        for pk, row in stored.items()
    } == {
        pk: (known.name, known.count, known.parent, known.told, known.placed, known.listed)
        for pk, known in model.known.items()
    }
    assert {pk for pk, row in stored.items() if row.missing_since} == {
        pk for pk in model.known if model.is_missing(pk)
    }
    for pk in model.known:
        model.path(pk)


quick = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(history=st.one_of(histories(depth=1), histories(depth=3)))
def test_answers_one_by_one_leave_what_the_model_says(history: list[Answer | Absence]) -> None:
    model = Model()
    with transaction.atomic():
        for said in history:
            model.hear(said)
            outcomes = store([said])
            check(model)
            mentioned = (
                {group.id for group, _ in reading_order(said.group, None)}
                if isinstance(said, Answer)
                else set()
            )
            assert mentioned <= set(outcomes)
            assert all(outcomes[pk] == "missing" for pk in set(outcomes) - mentioned)
        transaction.set_rollback(True)


@quick
@given(history=histories(depth=1))
def test_answers_in_one_batch_leave_what_they_leave_one_by_one(
    history: list[Answer | Absence],
) -> None:
    model = Model()
    with transaction.atomic():
        for said in sorted(history, key=lambda said: said.asked_at):
            model.hear(said)
        store(history)
        check(model)
        transaction.set_rollback(True)
