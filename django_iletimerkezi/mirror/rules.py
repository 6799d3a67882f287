"""What answers change, worked out in memory: the rules of the mirror.

Each thing that is known of a group carries the time of the newest answer that said it, and an
older answer, whenever it arrives, does not change it: name and count go with ``seen_at``, the
parent with ``placed_at``. Whether a group is missing follows from these times: it is when its
parent's list of subgroups (``listed_at``), or the vendor's 463 for the group itself, is newer than
the last mention of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from django.conf import settings
from django.utils import timezone

from ..api.parsing import Absence, Answer
from .bulk import COLUMNS, ancestors, select, upsert

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from datetime import datetime

    from ..api.parsing import GroupData

Outcome = Literal["created", "changed", "unchanged", "missing"]

_TOLD = ("parent_id", "name", "count", "missing_since")
_TIMES = ("seen_at", "placed_at", "fetched_at", "listed_at")


@dataclass(slots=True)
class _Row:
    """A row of ``Group`` in memory; the fields are ``sql.COLUMNS``, in that order."""

    id: int
    parent_id: int | None
    name: str
    count: int
    seen_at: datetime
    placed_at: datetime | None = None
    fetched_at: datetime | None = None
    listed_at: datetime | None = None
    missing_since: datetime | None = None


_values = attrgetter(*COLUMNS)
_told = attrgetter(*_TOLD)
_times = attrgetter(*_TIMES)


def _mentions(top: GroupData) -> dict[int, tuple[GroupData, int | None]]:
    """Return each group of an answer with its parent's id, parents before their children.

    Where a group is mentioned twice, the later mention in reading order counts.
    """
    last: dict[int, tuple[GroupData, int | None]] = {}
    waiting: list[tuple[GroupData, int | None]] = [(top, None)]
    while waiting:
        group, parent_id = waiting.pop()
        last[group.id] = group, parent_id
        waiting += [(child, group.id) for child in reversed(group.children)]
    children: defaultdict[int | None, list[int]] = defaultdict(list)
    for group, parent_id in last.values():
        children[parent_id].append(group.id)
    order = [top.id]
    for group_id in order:
        order += children[group_id]
    return {group_id: last[group_id] for group_id in order}


class Batch:
    """The rows that answers may touch, changed in memory and written back together."""

    def __init__(self, using: str, answers: Iterable[Answer | Absence]) -> None:
        self._using = using
        self._answers = [
            (answer, _mentions(answer.group) if isinstance(answer, Answer) else {})
            for answer in sorted(answers, key=attrgetter("asked_at"))
        ]
        self._mentioned = {group_id for _, mentions in self._answers for group_id in mentions}
        gone = {answer.asked_for for answer, _ in self._answers if isinstance(answer, Absence)}
        tops = {answer.group.id for answer, _ in self._answers if isinstance(answer, Answer)}
        self._rows: dict[int, _Row] = {}
        self._before: dict[int, tuple[tuple[object, ...], tuple[object, ...]]] = {}
        for values in (
            *select(using, "id", self._mentioned | gone),
            *select(using, "parent_id", tops),
        ):
            row = _Row(*values)
            self._rows[row.id] = row
            self._before[row.id] = _told(row), _times(row)
        self._children: defaultdict[int | None, set[int]] = defaultdict(set)
        for row in self._rows.values():
            self._children[row.parent_id].add(row.id)
        self._parent_of: dict[int, int | None] = {}

    def apply(self) -> None:
        for answer, mentions in self._answers:
            at = _as_stored(answer.asked_at)
            if isinstance(answer, Absence):
                self._deny(answer.asked_for, at)
            else:
                self._tell(mentions, at)
                if answer.asked_for == answer.group.id:
                    self._list(answer.asked_for, mentions, at)
        self._judge_presence()

    def _deny(self, group_id: int, at: datetime) -> None:
        row = self._rows.get(group_id)
        if row:
            row.fetched_at = max(row.fetched_at or at, at)
            _omit(row, at)

    def _list(self, group_id: int, listed: Container[int], at: datetime) -> None:
        """Take an answer for the whole list of the subgroups of the group that was asked for."""
        top = self._rows[group_id]
        top.fetched_at = max(top.fetched_at or at, at)
        top.listed_at = max(top.listed_at or at, at)
        for child in self._children[group_id]:
            if child not in listed:
                _omit(self._rows[child], at)

    def _tell(self, mentions: dict[int, tuple[GroupData, int | None]], at: datetime) -> None:
        self._linked: set[int] = set()
        for group, parent_id in mentions.values():
            row = self._rows.get(group.id)
            is_new = row is None
            if row is None:
                row = self._rows[group.id] = _Row(group.id, None, group.name, group.count, at)
            elif at >= row.seen_at:
                row.name, row.count, row.seen_at = group.name, group.count, at
            if parent_id is None or (row.placed_at and at < row.placed_at):
                continue
            if row.parent_id == parent_id or is_new or self._make_room(row, parent_id, at):
                self._link(row, parent_id)
                row.placed_at = at
                self._linked.add(row.id)

    def _link(self, row: _Row, parent_id: int | None) -> None:
        self._children[row.parent_id].discard(row.id)
        self._children[parent_id].add(row.id)
        row.parent_id = parent_id

    def _make_room(self, row: _Row, parent_id: int, at: datetime) -> bool:
        """Tell whether a row may be put below another. Of a loop the older link gives way."""
        chain = list(self._chain(parent_id))
        if row.id not in chain:
            return True
        # The first from the parent up whose own link is not of this answer.
        holder = next(self._rows[pk] for pk in chain if pk not in self._linked)
        if holder.placed_at and holder.placed_at > at:
            return False
        self._link(holder, None)
        return True

    def _chain(self, group_id: int | None) -> Iterator[int]:
        """Yield a group and all above it as they stand now, each once, whatever is stored."""
        seen: set[int] = set()
        while group_id is not None and group_id not in seen:
            seen.add(group_id)
            yield group_id
            group_id = self._find_parent(group_id)

    def _find_parent(self, group_id: int) -> int | None:
        if group_id in self._rows:
            return self._rows[group_id].parent_id
        if group_id not in self._parent_of:
            self._parent_of |= ancestors(self._using, {group_id, *self._parents_elsewhere()})
        return self._parent_of[group_id]

    def _parents_elsewhere(self) -> set[int]:
        linked = {row.parent_id for row in self._rows.values() if row.parent_id is not None}
        return linked - self._rows.keys()

    def _judge_presence(self) -> None:
        elsewhere = select(self._using, "id", self._parents_elsewhere())
        loaded = (_Row(*values) for values in elsewhere)
        parents = self._rows | {row.id: row for row in loaded}
        for row in self._rows.values():
            denied_at = _denied_at(row, parents.get(row.parent_id or 0))
            if denied_at is None:
                row.missing_since = None
            elif row.missing_since is None or row.missing_since <= row.seen_at:
                row.missing_since = denied_at

    def save(self) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        retold, touched = [], []
        for pk, row in self._rows.items():
            told, times = self._before.get(pk, ((), ()))
            if _told(row) != told:
                retold.append(row)
            elif _times(row) != times:
                touched.append(row)
            outcome = self._outcome(row)
            if outcome != "unchanged" or pk in self._mentioned:
                outcomes[pk] = outcome
        self._write(_parents_first(retold), (*_TOLD, *_TIMES))
        self._write(touched, _TIMES)
        return outcomes

    def _outcome(self, row: _Row) -> Outcome:
        if row.id not in self._before:
            return "missing" if row.missing_since else "created"
        *before, missing_before = self._before[row.id][0]
        *now, missing_now = _told(row)
        if missing_now and not missing_before:
            return "missing"
        return (
            "unchanged"
            if now == before and bool(missing_now) == bool(missing_before)
            else "changed"
        )

    def _write(self, rows: list[_Row], fields: tuple[str, ...]) -> None:
        if rows:
            upsert(self._using, [_values(row) for row in rows], fields)


def _parents_first(rows: Iterable[_Row]) -> list[_Row]:
    waiting = {row.id: row for row in rows}
    ordered: list[_Row] = []
    while waiting:
        _, row = waiting.popitem()
        above = [row]
        while parent := waiting.pop(above[-1].parent_id or 0, None):
            above.append(parent)
        ordered += reversed(above)
    return ordered


def _denied_at(row: _Row, parent: _Row | None) -> datetime | None:
    """Return when the vendor last said that a group is not there; None if it was seen since."""
    if row.fetched_at and row.fetched_at > row.seen_at:
        return row.fetched_at
    if parent and parent.listed_at and parent.listed_at > row.seen_at:
        return parent.listed_at
    return None


def _omit(row: _Row, at: datetime) -> None:
    """Note since when a group is not there, unless it was seen since."""
    if at > row.seen_at and (row.missing_since is None or at < row.missing_since):
        row.missing_since = at


def _as_stored(moment: datetime) -> datetime:
    if settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
