"""Public functions that fetch groups into the mirror and manage the records of fetches."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from asgiref.sync import sync_to_async
from django import db
from django.utils import timezone

from .background import (
    cancel_fetch,
    continue_fetch,
    resume_fetches,
    run_fetch,
    start_fetch,
)
from .conf import get_client
from .exceptions import IletimerkeziError
from .mirror.journal import changes_of
from .mirror.prune import Pruned, prune
from .mirror.recorder import Limit, Progress, Recorder
from .mirror.run import (
    group_fetch,
    phone_book_fetch,
    run_group,
    run_phone_book,
)
from .models import ChangeQuerySet, Fetch, Group

if TYPE_CHECKING:
    from .api import IletimerkeziClient
    from .api.parsing import Answer

__all__ = [
    "FetchResult",
    "Fetched",
    "GroupResult",
    "PhoneBookResult",
    "Progress",
    "Pruned",
    "acancel_fetch",
    "acontinue_fetch",
    "afetch_each",
    "afetch_group",
    "afetch_groups",
    "aprune_fetches",
    "aresume_fetches",
    "arun_fetch",
    "astart_fetch",
    "cancel_fetch",
    "continue_fetch",
    "fetch_each",
    "fetch_group",
    "fetch_groups",
    "get_client",
    "prune_fetches",
    "resume_fetches",
    "run_fetch",
    "start_fetch",
]

logger = logging.getLogger("django_iletimerkezi")
logger.addHandler(logging.NullHandler())

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """The counts of groups, the errors and the warnings of a fetch.

    ``fetch`` is the record of the fetch. Each group is counted once. ``missing`` counts the groups
    that this fetch marked as missing. ``failures`` maps the ids of failed groups to their errors.
    The error is a ``django.db.Error`` if the database cannot store the name of the group.
    ``aliases`` maps a requested id to the returned id if the two ids differ, as in the vendor's
    sample for get-group (5 returns 97101). ``clock_ahead`` is how far this machine's clock was
    ahead of the vendor's clock, or None if the vendor did not send a date.
    """

    fetch: Fetch
    created: int
    changed: int
    unchanged: int
    missing: int
    failures: Mapping[int, IletimerkeziError | db.Error] = field(default_factory=dict)
    aliases: Mapping[int, int] = field(default_factory=dict)
    clock_ahead: timedelta | None = None

    @property
    def changes(self) -> ChangeQuerySet:
        """The changes that the fetch recorded, oldest first."""
        return changes_of(self.fetch)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult(FetchResult):
    """Result of fetching a group. ``group`` is the mirrored group from the answer."""

    group: Group


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneBookResult(FetchResult):
    """Result of fetching the phone book. ``main_groups`` is the number of main groups."""

    main_groups: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """One fetch of ``fetch_each``. ``outcome`` is the result, or the error that ended the fetch."""

    group_id: int
    outcome: GroupResult | IletimerkeziError | db.Error
    progress: Progress


def fetch_group(
    group_id: int,
    *,
    recursive: bool = False,
    depth: int | None = None,
    client: IletimerkeziClient | None = None,
    report: Callable[[Progress], object] | None = None,
    seconds: float | None = None,
    source: Fetch.Source = Fetch.Source.PYTHON,
    started_by: str = "",
) -> GroupResult:
    """Fetch a group from the vendor and store the answer in the mirror.

    An answer contains a group and its direct subgroups, but not its parent (source: the vendor's
    page for get-group). ``recursive`` also fetches everything below the group. ``depth`` is the
    number of levels to fetch below the group. Answers are stored in batches, after a few seconds at
    the latest. If an exception or Ctrl-C ends the fetch, the pending answers are stored first. A
    ``client`` that is passed in stays open, so that several fetches can share its connections.
    ``report`` is called after each answer or failure, with the same ``Progress`` object each time.
    After ``seconds``, the fetch stores its answers and pauses. To continue the fetch, pass its
    record to ``continue_fetch``. The record stores ``source`` and the user name ``started_by``.

    Call this function outside a transaction. Inside a transaction, nothing is stored until the
    transaction ends, and other writers of the mirror wait until then.

    Raises ImproperlyConfigured; ValueError for an id outside 1 to 2**63-1, a negative depth, or
    ``recursive`` with depth 0; ``django.db.Error``; FetchPaused after ``seconds``; FetchTakenOver
    if the fetch is cancelled or another process takes it over; and IletimerkeziError if the first
    group fails or if every group would fail, for example because the credentials are wrong. After
    ``GroupNotFound``, a mirrored group with this id is marked as missing.
    """
    fetch = group_fetch(group_id, depth, recursive=recursive, source=source, started_by=started_by)
    with nullcontext(client) if client else get_client() as client:
        return _fetch(fetch, client, Recorder(fetch, report, _limit(seconds)))


def fetch_groups(
    *,
    depth: int | None = None,
    client: IletimerkeziClient | None = None,
    report: Callable[[Progress], object] | None = None,
    seconds: float | None = None,
    source: Fetch.Source = Fetch.Source.PYTHON,
    started_by: str = "",
) -> PhoneBookResult:
    """Fetch the whole phone book and store it in the mirror.

    Requests the main groups with get-groups, then each main group and everything below it with
    get-group. ``depth`` is the number of levels to request with get-group. With 0, only the main
    groups and their direct subgroups are mirrored. Without a depth, the fetch then checks the
    mirrored groups that no answer contained. It requests the groups at the top or below a missing
    group, and marks them as missing if the vendor cannot find them. With a depth, this check is
    skipped, because such a group may be on a level that was not fetched. The other arguments,
    batches and transactions work as in ``fetch_group``.

    Raises ImproperlyConfigured; ValueError for a negative depth; ``django.db.Error``; FetchPaused
    after ``seconds``; FetchTakenOver if the fetch is cancelled or another process takes it over;
    and IletimerkeziError if get-groups fails or if every group would fail.
    """
    fetch = phone_book_fetch(depth, source=source, started_by=started_by)
    with nullcontext(client) if client else get_client() as client:
        recorder = Recorder(fetch, report, _limit(seconds))
        with recorder.running():
            main_groups = run_phone_book(fetch, client, recorder)
            return PhoneBookResult(main_groups=main_groups, **recorder.counts())


def fetch_each(
    group_ids: Iterable[int],
    *,
    recursive: bool = False,
    depth: int | None = None,
    report: Callable[[Progress], object] | None = None,
    seconds: float | None = None,
    source: Fetch.Source = Fetch.Source.PYTHON,
    started_by: str = "",
) -> Iterator[Fetched]:
    """Fetch several groups one after another, and yield the outcome of each fetch.

    A failed fetch stops the later fetches only if they would fail for the same reason. ``seconds``
    limits all fetches together. After this time, the current fetch pauses with the outcome
    FetchPaused, and the remaining groups are not fetched. Raises ImproperlyConfigured and
    ValueError like ``fetch_group``.
    """
    limit = _limit(seconds)
    with get_client() as client:
        for group_id in group_ids:
            fetch = group_fetch(
                group_id, depth, recursive=recursive, source=source, started_by=started_by
            )
            recorder = Recorder(fetch, report, limit)
            outcome: GroupResult | IletimerkeziError | db.Error
            try:
                outcome = _fetch(fetch, client, recorder)
            except (IletimerkeziError, db.Error) as error:
                outcome = error
            yield Fetched(group_id, outcome, recorder.progress)
            if isinstance(outcome, db.Error) or getattr(outcome, "is_fatal", False):
                return
            if limit and limit.is_over:
                return


def prune_fetches(*, older_than: timedelta, keep_last: int = 0) -> Pruned:
    """Delete the fetches that finished more than ``older_than`` ago, with their changes.

    Keeps the newest ``keep_last`` fetches and all unfinished fetches. Deletes in small
    transactions, so that running fetches need not wait. Raises ``django.db.Error``.
    """
    return prune(timezone.now() - older_than, keep_last=keep_last)


def _limit(seconds: float | None) -> Limit | None:
    return None if seconds is None else Limit(seconds)


def _fetch(fetch: Fetch, client: IletimerkeziClient, recorder: Recorder) -> GroupResult:
    with recorder.running():
        root = cast("Answer", run_group(fetch, client, recorder))  # Not None for a new fetch.
        return GroupResult(group=_mirrored(root), **recorder.counts())


def _mirrored(root: Answer) -> Group:
    """Return the mirrored group, or an unsaved group if the mirror has no row for it."""
    group = root.group
    groups = Group.objects.using(db.router.db_for_write(Group))
    return groups.filter(pk=group.id).first() or Group(
        id=group.id, name=group.name, count=group.count, seen_at=root.asked_at
    )


def _asynchronous(service: Callable[_P, _T]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Return an async variant that runs in the same thread as Django's own async queries."""

    @wraps(service)
    async def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await sync_to_async(partial(service, *args, **kwargs))()

    _rename(run, service)
    return run


def _asynchronous_each(service: Callable[_P, Iterator[_T]]) -> Callable[_P, AsyncIterator[_T]]:
    @wraps(service)
    async def run(*args: _P.args, **kwargs: _P.kwargs) -> AsyncIterator[_T]:
        results = service(*args, **kwargs)
        while (result := await sync_to_async(partial(next, results, None))()) is not None:
            yield result

    _rename(run, service)
    return run


def _rename(variant: Callable[..., object], service: Callable[..., object]) -> None:
    variant.__name__ = variant.__qualname__ = f"a{service.__name__}"
    variant.__doc__ = f"Async variant of ``{service.__name__}``."


acancel_fetch = _asynchronous(cancel_fetch)
acontinue_fetch = _asynchronous(continue_fetch)
afetch_each = _asynchronous_each(fetch_each)
afetch_group = _asynchronous(fetch_group)
afetch_groups = _asynchronous(fetch_groups)
aprune_fetches = _asynchronous(prune_fetches)
aresume_fetches = _asynchronous(resume_fetches)
arun_fetch = _asynchronous(run_fetch)
astart_fetch = _asynchronous(start_fetch)
