"""Deletes old records of fetches."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import router, transaction
from django.db.models import QuerySet

from ..models import Change, Fetch, FetchQuerySet, Group, chunked
from .retry import persistently

MAX_DELETED = 5_000
"""Most changes deleted per transaction. Smaller chunks take longer in total, and larger chunks make
a running fetch wait noticeably."""


class Pruned(NamedTuple):
    """The numbers of deleted fetches and deleted changes. ``fetches`` does not count parts."""

    fetches: int
    changes: int


def prune(before: datetime, *, keep_last: int = 0) -> Pruned:
    """Delete the fetches that finished before a time, but keep the newest ``keep_last`` fetches."""
    fetches = Fetch.objects.using(router.db_for_write(Group)).filter(parent=None)
    if keep_last >= fetches.count():
        return Pruned(0, 0)
    newest = fetches.order_by("-pk")[keep_last].pk
    return delete(fetches.filter(finished_at__lt=before, pk__lte=newest))


def delete(fetches: FetchQuerySet) -> Pruned:
    """Delete fetches, their parts and their changes, in small transactions.

    Skips unfinished fetches.
    """
    fetches = fetches.using(router.db_for_write(Group)).finished()
    changes = Change.objects.using(fetches.db)
    chosen = list(fetches.values_list("pk", flat=True))
    ids = _with_parts(fetches.db, chosen)
    deleted = 0
    for pk in ids:
        rows = changes.filter(fetch=pk).order_by("kind", "pk").values_list("pk", flat=True)
        while chunk := list(rows[:MAX_DELETED]):
            deleted += persistently(partial(_delete, rows=changes, ids=chunk))
            if len(chunk) == MAX_DELETED:
                # Let other writers in. A writer that waits for SQLite's lock retries every 0.1
                # seconds.
                time.sleep(0.1)
    for few in chunked(ids):
        persistently(partial(_delete, rows=Fetch.objects.all(), ids=few))
    return Pruned(len(chosen), deleted)


def _with_parts(using: str, fetch_ids: Iterable[int]) -> list[int]:
    """Return the ids of fetches and their parts. Parts come before their parent."""
    ids: list[int] = []
    for few in chunked(sorted(fetch_ids)):
        parts = Fetch.objects.using(using).filter(parent__in=few).order_by("pk")
        ids += [*parts.values_list("pk", flat=True), *few]
    return ids


def _delete(using: str, rows: QuerySet[Any], ids: Iterable[int]) -> int:
    with transaction.atomic(using):
        return sum(rows.using(using).filter(pk__in=part).delete()[0] for part in chunked(ids))
