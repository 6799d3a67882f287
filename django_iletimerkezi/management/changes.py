"""The changes of a fetch as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from ..messages import describe_change, mentioned_groups
from ..models import CHUNK, Change, ChangeQuerySet, Group

_NUMBERS = {Change.Kind.RECOUNTED, Change.Kind.MOVED}


def change_lines(changes: ChangeQuerySet) -> Iterator[str]:
    """Describe each change in one line."""
    for change, groups in _with_groups(changes):
        yield describe_change(change, groups)


def json_changes(changes: Iterable[ChangeQuerySet]) -> Iterator[str]:
    """Yield a JSON array of changes, one line per change."""
    line = "["
    for change, groups in chain.from_iterable(map(_with_groups, changes)):
        yield line
        line = json.dumps(_fields(change, groups)) + ","
    yield line.removesuffix(",")
    yield "]"


def _with_groups(changes: ChangeQuerySet) -> Iterator[tuple[Change, Mapping[int, Group]]]:
    groups = Group.objects.using(changes.db)
    # Read in chunks, because iterator() loads all rows on MariaDB and MySQL.
    while chunk := list(changes[:CHUNK]):
        mentioned = mentioned_groups(chunk, groups)
        for change in chunk:
            yield change, mentioned
        changes = changes.filter(pk__gt=chunk[-1].pk)


def _fields(change: Change, groups: Mapping[int, Group]) -> dict[str, Any]:
    before, after = (
        int(value) if value and change.kind in _NUMBERS else value
        for value in (change.before, change.after)
    )
    group = groups.get(change.group_id)
    return {
        "id": change.group_id,
        "name": group.name if group else None,
        "change": change.kind,
        "before": before,
        "after": after,
        "at": change.at.isoformat(),
    }
