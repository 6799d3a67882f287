"""Fetches groups of the vendor into the mirror: what host projects call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from django import db

from .api.parsing import Absence, Answer
from .conf import conf
from .exceptions import GroupNotFound, IletimerkeziError
from .mirror import rules
from .mirror.crawl import Crawl, Failure
from .mirror.store import store
from .models import Group

if TYPE_CHECKING:
    from .api import IletimerkeziClient

__all__ = ["FetchResult", "Fetched", "Progress", "fetch_each", "fetch_group", "get_client"]

logger = logging.getLogger("django_iletimerkezi")
logger.addHandler(logging.NullHandler())

BATCH_GROUPS = 2_500
"""Groups per transaction: larger batches are hardly faster, and hold other writers up longer."""

BATCH_SECONDS = 5
"""Seconds until a smaller batch is stored: the most that a killed process loses."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The outcome of a fetch: the mirrored ``group`` of the answer, and counts of groups.

    Each group in the answers is counted once, as ``created``, ``changed`` or ``unchanged``.
    ``missing`` counts the groups that this fetch found to be no longer listed. ``failures`` has
    the errors of groups below the first one, by id. ``aliases`` maps the ids that were asked for to
    the ids that the vendor returned, where they differ: the sample on its page for get-group asks
    for 5 and returns 97101. ``clock_ahead`` is how far this machine's clock was ahead of the
    vendor's, None if the vendor sent no date.
    """

    group: Group
    created: int
    changed: int
    unchanged: int
    missing: int
    failures: Mapping[int, IletimerkeziError] = field(default_factory=dict)
    aliases: Mapping[int, int] = field(default_factory=dict)
    clock_ahead: timedelta | None = None


@dataclass(slots=True)
class Progress:
    """How many groups a fetch has asked for (``done``) and found (``known``).

    ``unstored`` counts the answers that are not stored yet, ``failures`` has the errors of single
    groups, by id.
    """

    done: int = 0
    known: int = 0
    unstored: int = 0
    failures: dict[int, IletimerkeziError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One of several fetches, and its result or the error that ended it."""

    group_id: int
    outcome: FetchResult | IletimerkeziError | db.Error
    progress: Progress


def get_client() -> IletimerkeziClient:
    """Return a client made from the current settings; the caller closes it.

    Raises ImproperlyConfigured if settings are missing, invalid or contradictory.
    """
    # Not at the top: requests is slow to import, and admin and commands import this at start-up.
    from .api import Credentials, IletimerkeziClient  # noqa: PLC0415 - see above

    return IletimerkeziClient(
        Credentials(conf.api_key, conf.effective_hash),
        base_url=conf.base_url,
        timeout=conf.timeout,
        retries=conf.retries,
        max_connections=conf.max_connections,
    )


def fetch_group(
    group_id: int,
    *,
    recursive: bool = False,
    depth: int | None = None,
    client: IletimerkeziClient | None = None,
    report: Callable[[Progress], object] | None = None,
) -> FetchResult:
    """Fetch a group from the vendor and store the answer in the mirror.

    An answer lists a group and its direct subgroups, and does not name its parent (source: the
    vendor's page for get-group). ``recursive`` also fetches everything below the group, ``depth``
    that many levels. Answers are stored in batches, at the latest after a few seconds. If an
    exception or Ctrl-C ends the fetch, the pending answers are stored first. A ``client`` that is
    passed in stays open, so that several fetches share its connections. ``report`` is called after
    each answer, with the same ``Progress`` each time.

    Call it outside of a transaction: inside one, nothing is stored until the transaction ends, and
    other writers of the mirror wait for it.

    Raises ImproperlyConfigured; ValueError for an id outside 1 to 2**63-1, a negative depth, or
    ``recursive`` with depth 0;
    ``django.db.Error``; and IletimerkeziError if the first group fails, or if every group would,
    for example because the credentials are wrong. After ``GroupNotFound``, a mirrored group with
    this id is marked missing.
    """
    levels = _depth(depth, recursive=recursive)
    with nullcontext(client) if client else get_client() as client:
        return _fetch(group_id, levels, client, _Recorder(report))


def fetch_each(
    group_ids: Iterable[int],
    *,
    recursive: bool = False,
    depth: int | None = None,
    report: Callable[[Progress], object] | None = None,
) -> Iterator[Fetched]:
    """Fetch one group after the other, and yield the outcome of each.

    A group that fails does not stop the others, unless they would fail in the same way. Raises
    ImproperlyConfigured and ValueError as ``fetch_group`` does.
    """
    levels = _depth(depth, recursive=recursive)
    with get_client() as client:
        for group_id in group_ids:
            recorder = _Recorder(report)
            outcome: FetchResult | IletimerkeziError | db.Error
            try:
                outcome = _fetch(group_id, levels, client, recorder)
            except (IletimerkeziError, db.Error) as error:
                outcome = error
            yield Fetched(group_id, outcome, recorder.progress)
            if isinstance(outcome, db.Error) or getattr(outcome, "is_fatal", False):
                return


def _depth(depth: int | None, *, recursive: bool) -> int | None:
    """Return how many levels below a group to fetch, None for all."""
    if depth is not None and depth < 0:
        raise ValueError("depth must be 0 or more")
    if recursive and depth == 0:
        raise ValueError("depth 0 fetches the group only, recursive everything below it")
    return 0 if depth is None and not recursive else depth


def _fetch(
    group_id: int, depth: int | None, client: IletimerkeziClient, recorder: _Recorder
) -> FetchResult:
    try:
        root = client.ask(group_id)
    except GroupNotFound as error:
        store([_absence(group_id, error)])
        raise
    recorder.add(root)
    crawl = Crawl(client.ask, root, depth=depth, workers=client.max_connections)
    try:
        recorder.report(done=crawl.done, known=crawl.known)
        # Even at depth 0, a crawl would ask for the returned group if its id is not group_id.
        for outcome in crawl if depth != 0 else ():
            recorder.add(outcome)
            recorder.report(done=crawl.done, known=crawl.known)
            recorder.flush_if_due()
        recorder.flush()
    except db.Error:
        raise  # Storing the rest would fail as well.
    except BaseException as error:
        for answer in crawl.arrived():
            recorder.add(answer)
        recorder.rescue()
        if isinstance(error, IletimerkeziError):
            error.failures = recorder.progress.failures
        raise
    return recorder.result(root, client.clock_ahead)


class _Recorder:
    """Stores the outcomes of a fetch in batches, and counts what they change."""

    def __init__(self, report: Callable[[Progress], object] | None) -> None:
        self._report = report
        self.progress = Progress()
        self._pending: list[Answer | Absence] = []
        self._pending_groups = 0
        self._stored_at = monotonic()
        self._aliases: dict[int, int] = {}
        self._mentioned: set[int] = set()
        self._created: set[int] = set()
        self._changed: set[int] = set()
        self._missing: set[int] = set()

    def add(self, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Answer):
            self._note_alias(outcome.asked_for, outcome.group.id)
            mentioned = rules.mentions(outcome.group)
            self._mentioned.update(mentioned)
            self._pending.append(outcome)
            self._pending_groups += len(mentioned)
        else:
            self.progress.failures[outcome.asked_for] = outcome.error
            if isinstance(outcome.error, GroupNotFound):
                self._pending.append(_absence(outcome.asked_for, outcome.error))
        self.progress.unstored = len(self._pending)

    def _note_alias(self, asked_for: int, returned: int) -> None:
        if returned != asked_for:
            logger.warning("Asked for group %s, but the vendor returned %s.", asked_for, returned)
            self._aliases[asked_for] = returned

    def report(self, *, done: int, known: int) -> None:
        self.progress.done, self.progress.known = done, known
        if self._report:
            self._report(self.progress)

    def flush_if_due(self) -> None:
        age = monotonic() - self._stored_at
        if self._pending_groups >= BATCH_GROUPS or age >= BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Store the pending answers. They stay pending if that fails."""
        for change in store(self._pending):
            if change.kind == "created":
                self._created.add(change.group_id)
            elif change.kind == "missing":
                self._missing.add(change.group_id)
            else:
                self._changed.add(change.group_id)
            if change.kind == "returned":
                self._missing.discard(change.group_id)
        self._pending, self._pending_groups = [], 0
        self._stored_at = monotonic()
        self.progress.unstored = 0

    def rescue(self) -> None:
        """Store the pending answers, if possible, before an error ends the fetch."""
        try:
            self.flush()
        except (db.Error, KeyboardInterrupt):
            logger.exception("%s answers could not be stored.", len(self._pending))

    def result(self, root: Answer, clock_ahead: timedelta | None) -> FetchResult:
        created = self._created - self._missing
        changed = self._changed - self._missing - created
        return FetchResult(
            group=_mirrored(root),
            created=len(created),
            changed=len(changed),
            unchanged=len(self._mentioned - created - changed - self._missing),
            missing=len(self._missing),
            failures=self.progress.failures,
            aliases=self._aliases,
            clock_ahead=clock_ahead,
        )


def _mirrored(root: Answer) -> Group:
    """Return the mirrored group, or the answer's data if the row was deleted meanwhile."""
    group = root.group
    groups = Group.objects.using(db.router.db_for_write(Group))
    return groups.filter(pk=group.id).first() or Group(
        id=group.id, name=group.name, count=group.count, seen_at=root.asked_at
    )


def _absence(group_id: int, error: IletimerkeziError) -> Absence:
    return Absence(group_id, error.asked_at or datetime.now(UTC))
