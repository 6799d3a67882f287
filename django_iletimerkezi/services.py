"""Where the vendor's API and the mirror meet: what host projects call."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from django.db import Error, router

from .api.parsing import Absence, Answer, count_mentions
from .conf import conf
from .exceptions import GroupNotFound, IletimerkeziError
from .mirror import store
from .mirror.crawl import Failure, Walk
from .models import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .api.client import IletimerkeziClient

__all__ = ["FetchResult", "fetch_group", "get_client"]

logger = logging.getLogger("django_iletimerkezi")
logger.addHandler(logging.NullHandler())

_BATCH_GROUPS = 2500
_BATCH_SECONDS = 5


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What a fetch did: the ``group`` that was answered, and to how many groups it did what.

    Each group in the answers is counted once, as ``created``, ``changed`` or ``unchanged``;
    ``missing`` counts those that turned out to be no longer listed. ``failures`` has, by id, why
    a group below the first one could not be fetched. ``others`` has, by the id that was asked
    for, that of the group that was answered about where it is another, as in the sample on the
    vendor's page for get-group; ``group`` is such a one if the first answer was.
    """

    group: Group
    created: int
    changed: int
    unchanged: int
    missing: int
    failures: Mapping[int, IletimerkeziError] = field(default_factory=dict)
    others: Mapping[int, int] = field(default_factory=dict)


def get_client() -> IletimerkeziClient:
    """Return a client made from the settings as they are now; the caller closes it.

    Raises ImproperlyConfigured if a setting is missing, wrong or contradicts another.
    """
    # Not at the top: requests is slow to import, and admin and commands import this at start-up.
    from .api.client import Credentials, IletimerkeziClient  # noqa: PLC0415 - said above

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
    report: Callable[[int, int], object] | None = None,
) -> FetchResult:
    """Ask the vendor for a group and write its answer into the mirror.

    An answer tells of a group and its direct subgroups (source: the vendor's page for get-group,
    which never says who the parent is). With ``recursive`` each of those is asked
    for too, and so on; ``depth`` is how many levels below the first group to ask for, and implies
    ``recursive``. What is answered is stored as it arrives, in batches of a few seconds at most; an
    exception, Ctrl-C's included, stores what is waiting before it goes on. A ``client`` that is
    passed in stays open, so that several fetches share its connections. ``report`` is called with
    the numbers of groups that were asked for and that are known so far.

    Call it outside of a transaction: inside one nothing is stored for good until its end, and other
    writers of the mirror wait for that.

    Raises ImproperlyConfigured; ValueError for a depth below 0 or an id outside 1 to 2**63-1;
    DatabaseError; and IletimerkeziError if the first group cannot be fetched, or none could, as
    with wrong credentials. ``GroupNotFound`` means that a mirrored group of this id is now marked
    missing.
    """
    if depth is not None and depth < 0:
        raise ValueError("a depth is 0 or more")
    if client is None:
        with get_client() as own:
            return fetch_group(
                group_id, recursive=recursive, depth=depth, client=own, report=report
            )
    try:
        root = client.ask(group_id)
    except GroupNotFound as error:
        store.store([_absence(group_id, error)])
        raise
    ledger = _Ledger()
    ledger.add(root)
    walk = Walk(client, root, depth)
    try:
        if depth != 0 and (recursive or depth):
            _take_in(walk, ledger, report)
        ledger.store()
    except BaseException as error:
        error.failures = ledger.failures  # type: ignore[attr-defined]  # for those who tell of it
        # Interrupted, or further groups would fail as well: keep what has been answered.
        if not isinstance(error, Error):
            for answer in walk.arrived():
                ledger.add(answer)
            ledger.rescue(error)
        raise
    return ledger.result(root)


def _take_in(walk: Walk, ledger: _Ledger, report: Callable[[int, int], object] | None) -> None:
    for outcome in walk:
        ledger.add(outcome)
        if report:
            report(walk.done, walk.known)
        if ledger.is_due:
            ledger.store()


class _Ledger:
    """Takes outcomes, stores them in batches, and keeps count of what happened to each group."""

    def __init__(self) -> None:
        self._waiting: list[Answer | Absence] = []
        self._weight = 0
        self._stored_at = monotonic()
        self._outcomes: dict[int, store.Outcome] = {}
        self._others: dict[int, int] = {}
        self.failures: dict[int, IletimerkeziError] = {}

    def add(self, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Answer):
            if outcome.group.id != outcome.asked_for:
                logger.warning(
                    "Asked for group %s, the vendor answered about group %s.",
                    outcome.asked_for,
                    outcome.group.id,
                )
                self._others[outcome.asked_for] = outcome.group.id
            self._waiting.append(outcome)
            self._weight += count_mentions(outcome.group)
            return
        self.failures[outcome.asked_for] = outcome.error
        if isinstance(outcome.error, GroupNotFound):
            self._waiting.append(_absence(outcome.asked_for, outcome.error))

    @property
    def is_due(self) -> bool:
        return self._weight >= _BATCH_GROUPS or monotonic() - self._stored_at >= _BATCH_SECONDS

    def store(self) -> None:
        """Store what is waiting. It waits on if that is interrupted."""
        for group_id, outcome in store.store(self._waiting).items():
            self._outcomes[group_id] = _sum_up(self._outcomes.get(group_id), outcome)
        self._waiting, self._weight, self._stored_at = [], 0, monotonic()

    def rescue(self, reason: BaseException) -> None:
        """Store what is waiting, if that is possible, before ``reason`` ends the fetch."""
        try:
            self.store()
        except (Error, KeyboardInterrupt) as error:
            logger.exception("%s answers could not be stored.", len(self._waiting))
            reason.add_note(f"{len(self._waiting)} answers could not be stored: {error!r}")

    def result(self, root: Answer) -> FetchResult:
        counts = Counter(self._outcomes.values())
        return FetchResult(
            group=_mirrored(root),
            created=counts["created"],
            changed=counts["changed"],
            unchanged=counts["unchanged"],
            missing=counts["missing"],
            failures=self.failures,
            others=self._others,
        )


def _mirrored(answer: Answer) -> Group:
    """Return the group of an answer as it is mirrored; as answered, if it was deleted meanwhile."""
    told = answer.group
    groups = Group.objects.using(router.db_for_write(Group))
    return groups.filter(pk=told.id).first() or Group(
        id=told.id, name=told.name, count=told.count, seen_at=answer.asked_at
    )


def _absence(group_id: int, error: IletimerkeziError) -> Absence:
    return Absence(group_id, error.asked_at or datetime.now(UTC))


def _sum_up(before: store.Outcome | None, now: store.Outcome) -> store.Outcome:
    """Return what happened to a group over two batches."""
    if before is None or now == "missing" or before == "unchanged":
        return now
    if before == "missing":
        return "changed" if now == "changed" else before
    return before
