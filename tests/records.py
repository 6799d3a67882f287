"""Recorded fetches and changes, as fetches would leave them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone

from django_iletimerkezi.api.parsing import Answer, Listing
from django_iletimerkezi.mirror import recorder
from django_iletimerkezi.mirror.crawl import Failure
from django_iletimerkezi.models import Change, Fetch

State, Kind = Fetch.State, Change.Kind


def record(*changes: tuple[Any, ...], age: timedelta = timedelta(), **fields: Any) -> Fetch:
    """Store a fetch that ended so long ago. A change is a group id, a kind, and the values."""
    end = timezone.now() - age
    times = {"requested_at": end - timedelta(seconds=5), "started_at": end - timedelta(seconds=4)}
    usual = {
        "kind": Fetch.Kind.PHONE_BOOK,
        "source": Fetch.Source.COMMAND,
        "state": State.SUCCEEDED,
        "alive_at": end,
        "finished_at": end,
    }
    fetch = Fetch.objects.create(**(usual | times | fields))
    record_changes(fetch, changes, end)
    return fetch


def record_changes(fetch: Fetch, changes: Iterable[tuple[Any, ...]], at: datetime) -> None:
    Change.objects.bulk_create(
        [_change(fetch, at, *change) for change in changes], batch_size=10_000
    )


def _change(
    fetch: Fetch,
    at: datetime,
    group_id: int,
    kind: str,
    before: str | None = None,
    after: str | None = None,
) -> Change:
    return Change(fetch=fetch, group_id=group_id, at=at, kind=kind, before=before, after=after)


def failures(*ids: int) -> dict[str, Any]:
    """Return the fields of a fetch in which some groups failed."""
    return {
        "state": State.PARTIAL,
        "failed": len(ids),
        "failures": [{"id": pk, "reason": f"no answer about {pk}"} for pk in ids[:100]],
    }


def record_sample() -> dict[str, Fetch]:
    """Store fetches in each state, with changes of the groups of ``visitors.NAMES``."""
    hour, day = timedelta(hours=1), timedelta(days=1)
    names = {1: "Rehber", 2: "Müşteriler", 3: "İstanbul", 4: "Kadıköy", 5: "Isparta", 6: "Şişli"}
    counts = ["1100", "1180", "1150", "1310", "1290"]
    first = record(
        *((pk, Kind.CREATED, None, name) for pk, name in names.items()), age=30 * day, created=6
    )
    for number, (before, after) in enumerate(pairwise(counts)):
        recount = (3, Kind.RECOUNTED, before, after)
        record(recount, age=(25 - 6 * number) * day, changed=1, source=Fetch.Source.SCHEDULE)
    interrupted = record(
        state=State.RUNNING, age=3 * hour, finished_at=None, asked=70, known=120, started_by="ali"
    )
    failed = record(
        kind=Fetch.Kind.GROUP,
        group_id=3,
        depth=0,
        age=2 * hour,
        state=State.FAILED,
        source=Fetch.Source.ADMIN,
        started_by="ayşe",
        error="iletimerkezi is not available: it answered 500 (no message). If this persists, "
        "contact the vendor's support.",
    )
    partial = record(
        (3, Kind.RENAMED, "Istanbul", "İstanbul"),
        (4, Kind.MOVED, "2", "3"),
        (6, Kind.MOVED, None, "3"),
        (3, Kind.RECOUNTED, "1290", "1440"),
        (5, Kind.MISSING),
        (2, Kind.RETURNED),
        (7, Kind.CREATED, None, "Beşiktaş"),
        started_by="ayşe",
        source=Fetch.Source.ADMIN,
        created=1,
        changed=4,
        missing=1,
        asked=7,
        known=7,
        age=hour,
        **failures(3, 5, 77),
    )
    running = record(state=State.RUNNING, finished_at=None, asked=12, known=1234, depth=2)
    return {
        "first": first,
        "interrupted": interrupted,
        "failed": failed,
        "partial": partial,
        "running": running,
    }


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Stop the clock that limits fetches.

    Returns a function that lets an hour pass after so many more groups were answered or failed.
    """
    now, left = 0, 0
    add = recorder.Recorder.add

    def add_and_count(self: recorder.Recorder, outcome: Answer | Listing | Failure) -> None:
        nonlocal now, left
        add(self, outcome)
        if not isinstance(outcome, Listing):
            left -= 1
            now += 0 if left else 3600

    def pass_after(number: int) -> None:
        nonlocal left
        left = number

    monkeypatch.setattr(recorder.Recorder, "add", add_and_count)
    monkeypatch.setattr(recorder, "monotonic", lambda: now)
    return pass_after
