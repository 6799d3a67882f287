"""Rules for updating the mirror from answers. The rules do not use queries, the clock or settings.

The row of a group holds facts. Each fact has the time of the newest answer that stated the fact.
An older answer never replaces a newer fact. The facts are:

- ``name`` and ``count``, as of ``seen_at``;
- ``named_parent_id``, as of ``placed_at``: the group that listed this group as a subgroup. None for
  a main group, and for a group that was never placed;
- ``fetched_at``, when this group was last requested;
- ``listed_at``, when the subgroups of this group were last listed;
- ``denied_at``, when the vendor last answered that this group does not exist (463 or 462).

All other columns are computed from the facts, so answers may arrive in any order:

- ``parent`` is the named parent. If named parents form a loop, the oldest link is cut.
- A group is missing if, after the group was last seen, the vendor denied the group or returned the
  named parent without this group. The first known time stays in ``missing_since``.
- ``total`` and ``unexplored`` are sums over a group and all listed groups below the group.
"""

from __future__ import annotations

from array import array
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableSequence,
    Sequence,
)
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import BigIntegerField

from ..api.parsing import Absence, Answer, GroupData, Listing, Reply
from ..models import Change, Group

Sums = tuple[int, int]
"""``total`` and ``unexplored``."""

_DEFAULTS = {field.attname: field.get_default() for field in Group._meta.concrete_fields}
"""The column values of a new row, in the order that ``from_db`` expects."""
_compared_values = attrgetter("name", "count", "parent_id", "missing_since")
_NEVER = datetime.min.replace(tzinfo=UTC)


class Difference(NamedTuple):
    """One change to one group.

    ``before`` and ``after`` are names, counts or parent ids. For a new group, ``after`` is its
    name. Both values are None for a group that went missing or returned.
    """

    group_id: int
    kind: Change.Kind
    before: Any = None
    after: Any = None


def apply(
    rows: dict[int, Group], answers: Iterable[Reply], unstorable: Collection[int] = ()
) -> list[Difference]:
    """Update rows from some answers, add new rows, and return the differences.

    ``unstorable`` has the ids of groups whose new names the database cannot store. If such a group
    has a row, the row keeps the old name. Otherwise the group does not get a row.

    ``rows`` maps ids to rows, and must contain:

    - the stored groups that the answers mention or deny;
    - the stored children of the requested groups;
    - the stored groups without a parent whose named parent was requested or mentioned;
    - all ancestors of these groups by named parent.

    The sums of requested groups are recomputed from these rows, and the sums of the ancestors are
    adjusted. All times must be aware.
    """
    before = {pk: _compared_values(row) for pk, row in rows.items()}
    unloaded = _sums_of_unloaded(rows)
    asked = set()
    for answer in answers:
        if isinstance(answer, Absence):
            _deny(rows, answer)
        else:
            _merge(rows, answer, unstorable)
        if not isinstance(answer, Listing):
            asked.add(answer.asked_for)
    _set_parents(rows)
    _mark_missing(rows)
    # All children of requested groups are loaded, so ignore unloaded sums of requested groups.
    _sum_up(rows, {pk: sums for pk, sums in unloaded.items() if pk not in asked})
    return [change for pk, row in rows.items() for change in _differences(before.get(pk), row)]


def remove(rows: dict[int, Group], removed: Collection[int]) -> None:
    """Drop the removed rows, and update the sums of the remaining rows.

    ``rows`` maps ids to rows, and must contain the removed rows and all their ancestors.
    """
    unloaded = _sums_of_unloaded(rows)
    for pk in removed:
        del rows[pk]
    _sum_up(rows, unloaded)


def mentions(answer: Answer | Listing) -> dict[int, tuple[GroupData, int | None]]:
    """Return the groups in an answer by id, each with its parent's id.

    The parent's id is 0 for a main group, and None if the answer does not name the parent. If an
    answer lists a group several times, the last position with a parent counts.
    """
    found: dict[int, tuple[GroupData, int | None]] = {}
    waiting: list[tuple[GroupData, int | None]]
    if isinstance(answer, Listing):
        waiting = [(group, 0) for group in reversed(answer.groups)]
    else:
        waiting = [(answer.group, None)]
    while waiting:
        group, parent_id = waiting.pop()
        if parent_id or group.id not in found:
            found[group.id] = group, parent_id
        if group.children:
            waiting += [(child, group.id) for child in reversed(group.children)]
    return found


def _deny(rows: dict[int, Group], absence: Absence) -> None:
    if row := rows.get(absence.asked_for):
        row.fetched_at = _newest(row.fetched_at, absence.asked_at)
        row.denied_at = _newest(row.denied_at, absence.asked_at)


def _merge(rows: dict[int, Group], answer: Answer | Listing, unstorable: Collection[int]) -> None:
    at = answer.asked_at
    for group, parent_id in mentions(answer).values():
        row, name = rows.get(group.id), group.name
        if group.id in unstorable:
            if row is None:
                continue
            name = row.name
        # At equal times, larger values win, so that the order of answers does not matter.
        facts = at, group.count, name
        if row is None:
            rows[group.id] = row = _new_row(group, at)
        elif facts > (row.seen_at, row.count, row.name):
            row.seen_at, row.count, row.name = facts
        # The answer has 0 for a main group, and None for an unknown parent. The row has None for a
        # main group, and for a group that was never placed.
        placed = row.placed_at or _NEVER, row.named_parent_id or 0
        if parent_id is not None and (at, parent_id) > placed:
            row.placed_at, row.named_parent_id = at, parent_id or None
    top = rows.get(answer.asked_for) if isinstance(answer, Answer) and not answer.is_alias else None
    if top:
        top.fetched_at = _newest(top.fetched_at, at)
        top.listed_at = _newest(top.listed_at, at)


def _new_row(group: GroupData, at: datetime) -> Group:
    """Return a row without a parent. ``from_db`` is twice as fast as keyword arguments."""
    values = _DEFAULTS.copy()
    values["id"], values["name"] = group.id, group.name
    values["count"], values["seen_at"] = group.count, at
    return Group.from_db(None, _DEFAULTS, values.values())


def _newest(known: datetime | None, at: datetime) -> datetime:
    return max(known or at, at)


def _set_parents(rows: dict[int, Group]) -> None:
    for row in rows.values():
        # A parent that was set by hand stays until an answer places the group.
        if row.placed_at is None and row.named_parent_id is None:
            row.named_parent_id = row.parent_id
        row.parent_id = row.named_parent_id if row.named_parent_id in rows else None
    for loop in _loops(rows):
        min(loop, key=lambda row: (row.placed_at or _NEVER, row.id)).parent_id = None


def _loops(rows: dict[int, Group]) -> Iterator[list[Group]]:
    """Yield each loop of parents, as a list of rows."""
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


def _mark_missing(rows: dict[int, Group]) -> None:
    for row in rows.values():
        parent = rows.get(row.named_parent_id or 0)
        times = row.denied_at, parent.listed_at if parent else None
        # Only a list that is newer than ``seen_at``: the group is not in this list, because a list
        # that contains the group also sets ``seen_at``.
        evidence = [at for at in times if at and at > row.seen_at]
        known = row.missing_since
        if not evidence:
            row.missing_since = None
        # Keep the first known time, unless the group was seen after that time or the clock was
        # wrong.
        elif not (known and row.seen_at < known <= max(evidence)):
            row.missing_since = min(evidence)


def _sums_of_unloaded(rows: dict[int, Group]) -> dict[int, Sums]:
    """Map each row's id to what unloaded groups contribute to the row's sums."""
    left = {pk: (row.total, row.unexplored) for pk, row in rows.items()}
    for row in rows.values():
        _subtract(left, row.id, row.own_sums)
        # After a move by hand, the sums of the named parent still include this row. A group without
        # a parent (such as a main group, or the group where a loop was cut) does not count in other
        # groups.
        counted_in = row.parent_id and (row.named_parent_id or row.parent_id)
        _subtract(left, counted_in, (row.total, row.unexplored))
    # Clamp to 0, because rows created by hand may have wrong sums.
    return {pk: (max(total, 0), max(unexplored, 0)) for pk, (total, unexplored) in left.items()}


def _subtract(sums: dict[int, Sums], group_id: int | None, part: Sums) -> None:
    if group_id in sums:
        total, unexplored = sums[group_id]
        sums[group_id] = total - part[0], unexplored - part[1]


def _sum_up(rows: dict[int, Group], unloaded: Mapping[int, Sums]) -> None:
    positions = {pk: position for position, pk in enumerate(rows)}
    parents = [positions.get(row.parent_id or 0, -1) for row in rows.values()]
    totals, unexplored = [], []
    for row in rows.values():
        below_total, below_unexplored = unloaded.get(row.id, (0, 0))
        own_total, own_unexplored = row.own_sums
        totals.append(own_total + below_total)
        unexplored.append(own_unexplored + below_unexplored)
    add_up(parents, totals, unexplored)
    for row, *sums in zip(rows.values(), totals, unexplored, strict=True):
        row.total, row.unexplored = sums


def add_up(
    parents: Sequence[int], totals: MutableSequence[int], unexplored: MutableSequence[int]
) -> set[int]:
    """Add each group's sums to the sums of all its ancestors, in place.

    ``parents`` has the position of each group's parent, or -1 for no parent. Returns the positions
    of the groups in loops, because these groups have invalid sums.
    """
    # Start with the subgroups, so that a group's sums are complete before the parent gets them.
    waiting = array("q", bytes(8 * len(parents)))
    for parent in parents:
        if parent >= 0:
            waiting[parent] += 1
    for start in range(len(parents)):
        position = start
        while position >= 0 and not waiting[position]:
            waiting[position] = -1
            parent = parents[position]
            if parent >= 0:
                # Cap the total, because counts set by hand could add up to more than the column can
                # store.
                totals[parent] = min(totals[parent] + totals[position], BigIntegerField.MAX_BIGINT)
                unexplored[parent] += unexplored[position]
                waiting[parent] -= 1
            position = parent
    return {position for position, number in enumerate(waiting) if number > 0}


def _differences(before: tuple[Any, ...] | None, row: Group) -> Iterator[Difference]:
    was_missing = False
    if before is None:
        yield Difference(row.id, Change.Kind.CREATED, after=row.name)
    else:
        name, count, parent_id, missing_since = before
        was_missing = missing_since is not None
        if row.name != name:
            yield Difference(row.id, Change.Kind.RENAMED, name, row.name)
        if row.count != count:
            yield Difference(row.id, Change.Kind.RECOUNTED, count, row.count)
        if row.parent_id != parent_id:
            yield Difference(row.id, Change.Kind.MOVED, parent_id, row.parent_id)
    if (row.missing_since is not None) != was_missing:
        yield Difference(row.id, Change.Kind.RETURNED if was_missing else Change.Kind.MISSING)
