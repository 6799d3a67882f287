"""How answers change the mirror. Pure: no query, no clock, no setting.

The row of a group holds facts. Each fact has the time of the newest answer that stated it, and an
older answer never replaces it:

- ``name`` and ``count``, as of ``seen_at``;
- ``named_parent``, the group that listed it last, as of ``placed_at``;
- ``fetched_at``, when the vendor was last asked for it;
- ``listed_at``, when its subgroups were last listed;
- ``denied_at``, when the vendor last said that it does not exist (463).

Everything else follows from the facts, so answers may arrive in any order:

- ``parent`` is the named parent. Where named parents form a loop, the oldest link is cut.
- A group is missing if, since it was last seen, the vendor denied it or its named parent was
  fetched without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from ..api.parsing import Absence, Answer, GroupData
from ..models import Group

Kind = Literal["created", "renamed", "recounted", "moved", "missing", "returned"]

_compared = attrgetter("name", "count", "parent_id", "missing_since")
_NEVER = datetime.min.replace(tzinfo=UTC)


class Difference(NamedTuple):
    """One change of one group.

    ``before`` and ``after`` are names, counts or parent ids. A new group has its name in
    ``after``; both are None for a group that went missing or returned.
    """

    group_id: int
    kind: Kind
    before: Any = None
    after: Any = None


def apply(rows: dict[int, Group], answers: Iterable[Answer | Absence]) -> list[Difference]:
    """Bring rows up to date with some answers, add new rows, and return what changed.

    ``rows`` must contain, by id, every stored group that the answers mention or deny, every group
    whose parent or named parent was asked for, and all ancestors of these by named parent. Times
    are aware.
    """
    before = {pk: _compared(row) for pk, row in rows.items()}
    for answer in answers:
        if isinstance(answer, Absence):
            _deny(rows, answer)
        else:
            _merge(rows, answer)
    _adopt(rows)
    _place(rows)
    _judge(rows)
    return [change for pk, row in rows.items() for change in _compare(before.get(pk), row)]


def mentions(top: GroupData) -> dict[int, tuple[GroupData, int | None]]:
    """Return each group of an answer, by id, with the id of the group that lists it.

    If an answer lists a group twice, the later place in reading order counts.
    """
    found: dict[int, tuple[GroupData, int | None]] = {}
    waiting: list[tuple[GroupData, int | None]] = [(top, None)]
    while waiting:
        group, parent_id = waiting.pop()
        found[group.id] = group, parent_id
        if group.children:
            waiting += [(child, group.id) for child in reversed(group.children)]
    return found


def _deny(rows: dict[int, Group], absence: Absence) -> None:
    if row := rows.get(absence.asked_for):
        row.fetched_at = _newest(row.fetched_at, absence.asked_at)
        row.denied_at = _newest(row.denied_at, absence.asked_at)


def _merge(rows: dict[int, Group], answer: Answer) -> None:
    at = answer.asked_at
    for group, parent_id in mentions(answer.group).values():
        row = rows.get(group.id)
        # At equal times the larger values win, so that the order of answers does not matter.
        facts = at, group.count, group.name
        if row is None:
            row = Group(id=group.id, name=group.name, count=group.count, seen_at=at)
            rows[group.id] = row
        elif facts > (row.seen_at, row.count, row.name):
            row.seen_at, row.count, row.name = facts
        if parent_id and (at, parent_id) > (row.placed_at or _NEVER, row.named_parent_id or 0):
            row.placed_at, row.named_parent_id = at, parent_id
    if answer.asked_for == answer.group.id:
        top = rows[answer.asked_for]
        top.fetched_at = _newest(top.fetched_at, at)
        top.listed_at = _newest(top.listed_at, at)


def _newest(known: datetime | None, at: datetime) -> datetime:
    return max(known or at, at)


def _adopt(rows: dict[int, Group]) -> None:
    """Keep parents that somebody stored by hand, until the vendor names a parent."""
    for row in rows.values():
        if row.named_parent_id is None:
            row.named_parent_id = row.parent_id


def _place(rows: dict[int, Group]) -> None:
    for row in rows.values():
        row.parent_id = row.named_parent_id if row.named_parent_id in rows else None
    for loop in _loops(rows):
        min(loop, key=lambda row: (row.placed_at or _NEVER, row.id)).parent_id = None


def _loops(rows: dict[int, Group]) -> Iterator[list[Group]]:
    """Yield the rows of each loop that parents form."""
    done: set[int] = set()
    for start in rows.values():
        path: dict[int, Group] = {}
        row: Group | None = start
        while row and row.id not in done:
            done.add(row.id)
            path[row.id] = row
            row = rows.get(row.parent_id or 0)
        if row and row.id in path:
            members = list(path.values())
            yield members[members.index(row) :]


def _judge(rows: dict[int, Group]) -> None:
    for row in rows.values():
        parent = rows.get(row.named_parent_id or 0)
        times = row.denied_at, parent.listed_at if parent else None
        denials = [at for at in times if at and at > row.seen_at]
        if not denials:
            row.missing_since = None
        elif row.missing_since is None or row.missing_since <= row.seen_at:
            row.missing_since = min(denials)


def _compare(before: tuple[Any, ...] | None, row: Group) -> Iterator[Difference]:
    was_missing = False
    if before is None:
        yield Difference(row.id, "created", after=row.name)
    else:
        name, count, parent_id, missing_since = before
        was_missing = missing_since is not None
        if row.name != name:
            yield Difference(row.id, "renamed", name, row.name)
        if row.count != count:
            yield Difference(row.id, "recounted", count, row.count)
        if row.parent_id != parent_id:
            yield Difference(row.id, "moved", parent_id, row.parent_id)
    if (row.missing_since is not None) != was_missing:
        yield Difference(row.id, "returned" if was_missing else "missing")
