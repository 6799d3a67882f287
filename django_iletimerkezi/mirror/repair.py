"""Finds and repairs computed columns that do not match their source columns.

Raw SQL, rows created by hand and other releases of this app can leave wrong values in these
columns.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from django.db import router, transaction

from .. import turkish
from ..models import CHUNK, Group, MirrorLock, own_sums
from . import bulk
from .rules import Sums, add_up
from .store import for_update, locked


def count_wrong_keys(*, repair: bool = False) -> int:
    """Count the groups whose keys do not match their names. ``repair`` also corrects the keys."""
    using = router.db_for_write(Group)
    count = 0
    for rows in _chunks(using, "name", "sort_key", "search_key"):
        wrong = [
            pk
            for pk, name, sort_key, search_key in rows
            if (sort_key, search_key) != turkish.keys(name)
        ]
        count += len(wrong)
        if repair and wrong:
            with locked(using):
                groups = for_update(using, wrong)
                for group in groups:
                    group.fill_keys()
                bulk.upsert(using, Group, groups, ("sort_key", "search_key"))
    return count


def count_wrong_sums(*, repair: bool = False) -> int:
    """Count the groups whose sums differ from a recount. ``repair`` also corrects the sums.

    Skips groups in a loop, because such groups do not have correct sums.
    """
    using = router.db_for_write(Group)
    count = 0
    with locked(using) if repair else _writers_kept_out(using):
        wrong = _wrong_sums(using)
        while right := dict(islice(wrong, CHUNK)):
            count += len(right)
            if repair:
                groups = for_update(using, right)
                for group in groups:
                    group.total, group.unexplored = right[group.pk]
                bulk.upsert(using, Group, groups, ("total", "unexplored"))
    return count


def _chunks(using: str, *columns: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the ids and some columns of all groups, in chunks and ordered by id."""
    groups = Group.objects.using(using).order_by("pk").values_list("pk", *columns)
    rows = list(groups[:CHUNK])
    while rows:
        yield rows
        rows = list(groups.filter(pk__gt=rows[-1][0])[:CHUNK])


@contextmanager
def _writers_kept_out(using: str) -> Iterator[None]:
    """Open a transaction that locks out other writers of the mirror. Does not write.

    Without the lock, a fetch could store a batch while only some rows have been read. On SQLite,
    the transaction is enough.
    """
    with transaction.atomic(using):
        MirrorLock.objects.using(using).select_for_update().first()
        yield


def _wrong_sums(using: str) -> Iterator[tuple[int, Sums]]:
    """Yield the id and the correct sums of each group whose stored sums are wrong."""
    # Use arrays, because an array needs eight bytes per number, but a list needs up to forty bytes.
    ids, parent_ids, totals, unexplored, stored_totals, stored_unexplored = (
        array("Q") for _column in range(6)
    )
    columns = ("parent_id", "total", "unexplored", "count", "missing_since", "listed_at")
    for rows in _chunks(using, *columns):
        for pk, parent_id, stored_total, stored_number, *facts in rows:
            own_total, own_number = own_sums(*facts)
            ids.append(pk)
            parent_ids.append(parent_id or 0)
            stored_totals.append(stored_total)
            stored_unexplored.append(stored_number)
            totals.append(own_total)
            unexplored.append(own_number)
    parents = array("q", (_position(ids, parent_id) for parent_id in parent_ids))
    loops = add_up(parents, totals, unexplored)
    for position, pk in enumerate(ids):
        right = totals[position], unexplored[position]
        stored = stored_totals[position], stored_unexplored[position]
        if right != stored and position not in loops:
            yield pk, right


def _position(ids: Sequence[int], group_id: int) -> int:
    position = bisect_left(ids, group_id)
    return position if position < len(ids) and ids[position] == group_id else -1
