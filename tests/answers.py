"""Answers of the vendor in short notation, and random histories of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from django_iletimerkezi.api.parsing import Absence, Answer, GroupData, Listing, Reply

START = datetime(2026, 1, 1, tzinfo=UTC)
IDS = range(1, 6)
"""Few ids, so that most histories have loops and moves."""


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def group(group_id: int, *children: GroupData | int, name: str = "", count: int = 0) -> GroupData:
    below = tuple(child if isinstance(child, GroupData) else group(child) for child in children)
    return GroupData(group_id, name, count, below)


def answer(minute: float, data: GroupData, *, asked_for: int | None = None) -> Answer:
    return Answer(asked_for or data.id, at(minute), data)


def absence(minute: float, group_id: int) -> Absence:
    return Absence(group_id, at(minute))


def listing(minute: float, *main_groups: GroupData | int) -> Listing:
    return Listing(at(minute), group(1, *main_groups).children)


@st.composite
def groups(draw: st.DrawFn, depth: int, above: tuple[int, ...] = ()) -> GroupData:
    group_id = draw(st.sampled_from([pk for pk in IDS if pk not in above]))
    children: list[GroupData] = []
    if depth and len(above) < len(IDS) - 1:
        children = draw(st.lists(groups(depth - 1, (*above, group_id)), max_size=3))
    name = draw(st.sampled_from(["", "a", "b"]))
    return GroupData(group_id, name, draw(st.integers(0, 2)), tuple(children))


@st.composite
def histories(draw: st.DrawFn) -> list[Reply]:
    """Draw answers from about the same minutes, some of which are equal."""
    history: list[Reply] = []
    for minute in draw(st.lists(st.integers(1, 9), min_size=1, max_size=8)):
        if draw(st.integers(0, 5)) == 0:
            history.append(absence(minute, draw(st.sampled_from(IDS))))
            continue
        if draw(st.integers(0, 3)) == 0:
            listed = draw(st.lists(groups(depth=1), max_size=4))
            history.append(listing(minute, *listed))
            continue
        data = draw(groups(depth=draw(st.sampled_from([1, 3]))))
        asked_for = data.id if draw(st.integers(0, 5)) else draw(st.sampled_from(IDS))
        history.append(answer(minute, data, asked_for=asked_for))
    return history


@st.composite
def batches(draw: st.DrawFn, history: list[Reply]) -> list[list[Reply]]:
    """Shuffle a history and cut it into batches."""
    shuffled = draw(st.permutations(history))
    cuts = sorted(draw(st.sets(st.integers(1, len(history)), max_size=4)) | {len(history)})
    return [list(shuffled[start:end]) for start, end in zip([0, *cuts], cuts, strict=False)]
