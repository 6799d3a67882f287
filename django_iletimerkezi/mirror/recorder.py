"""Collects the outcomes of a fetch, stores them in batches, and reports the progress.

The journal writes the row of the fetch. The recorder decides when to write, and provides the
values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django import db
from django.utils.translation import gettext as _

from ..api.parsing import Absence, Answer, Listing, Reply
from ..clock import monotonic
from ..exceptions import (
    FetchPaused,
    FetchTakenOver,
    GroupNotFound,
    IletimerkeziError,
    ServiceUnavailable,
)
from ..models import Fetch
from . import rules
from .crawl import Failure
from .journal import Journal
from .retry import drop_dead_connections, interrupts_deferred
from .store import store

logger = logging.getLogger("django_iletimerkezi")

BATCH_GROUPS = 1_500
"""Groups per transaction. Larger batches are hardly faster, but need more memory and block other
writers for longer."""

BATCH_SECONDS = 5
"""Seconds until a smaller batch is stored. A killed process loses at most the pending batch."""


@dataclass(slots=True)
class Progress:
    """Progress of a fetch: of ``known`` groups, ``done`` groups have been answered or have failed.

    ``fetch`` is the record of the fetch, or None before the fetch starts. ``unstored`` counts the
    answers that are not stored yet. ``failures`` maps the ids of failed groups to their errors.
    ``maybe_other_account`` is True if the mirror contained listed groups, but all main groups from
    get-groups were new. In this case, the key may belong to another account.
    """

    fetch: Fetch | None = None
    done: int = 0
    known: int = 0
    unstored: int = 0
    maybe_other_account: bool = False
    failures: dict[int, IletimerkeziError | db.Error] = field(default_factory=dict)


class Limit:
    """Pauses a fetch after some seconds, or when ``is_stopped`` returns True.

    Several fetches in a row can share a limit. ``has_advanced`` is True as soon as one of these
    fetches has ended, or has an outcome that a later process can skip.
    """

    def __init__(
        self, seconds: float | None = None, is_stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.has_advanced = False
        self._seconds = seconds
        self._started_at = monotonic()
        self._is_stopped = is_stopped

    @property
    def is_over(self) -> bool:
        return self._seconds is not None and monotonic() - self._started_at >= self._seconds

    def check(self) -> None:
        """Raise FetchPaused if the time is over, or if the process is stopped.

        If the time is over but no fetch has advanced, raises ServiceUnavailable instead. Without
        this error, a fetch could pause and continue forever.
        """
        if self.is_over and not self.has_advanced:
            text = _("iletimerkezi did not answer for any group within %s seconds.") % self._seconds
            raise ServiceUnavailable(text)
        if self.is_over or self._is_stopped():
            raise FetchPaused


class Recorder:
    """Stores the outcomes of a fetch in batches. ``mentioned`` has all ids in the answers.

    A fetch with a ``limit`` can pause and continue later. If the process must exit, a fetch with a
    limit returns to the queue, but a fetch without a limit ends as cancelled.
    """

    def __init__(
        self,
        fetch: Fetch,
        report: Callable[[Progress], object] | None = None,
        limit: Limit | None = None,
    ) -> None:
        self.journal = Journal(fetch)
        self._report = report
        self._limit = limit or Limit()
        # A limit without seconds is enough: a fetch that was continued once may continue again.
        self._can_pause = limit is not None
        self.progress = Progress()
        self._pending: list[Reply] = []
        self._pending_groups = 0
        self._stored_at = monotonic()
        self._aliases: dict[int, int] = {}
        self.mentioned: set[int] = set()
        self._unrecorded = 0
        """Number of failures that parts have counted but not recorded."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record the start and the end of the fetch, even if the block raises an error."""
        try:
            with interrupts_deferred():
                self.journal.start()
                self.progress.fetch = fetch = self.journal.fetch
                self.progress.failures |= _recorded_failures(fetch)
                self.progress.maybe_other_account |= fetch.maybe_other_account
            yield
        except FetchTakenOver:
            raise  # The row belongs to another process.
        except FetchPaused as pause:
            self._release(pause.state)
            pause.fetch = self.journal.fetch
            raise
        except BaseException as error:
            is_exit = not isinstance(error, Exception)  # SystemExit or Ctrl-C.
            if is_exit and self._can_pause:
                self._release(Fetch.State.QUEUED)
                raise
            state = Fetch.State.CANCELLED if is_exit else Fetch.State.FAILED
            if isinstance(error, IletimerkeziError):
                error.fetch = self.journal.fetch
            try:
                self._finish(state, error)
            except (db.Error, FetchTakenOver):
                logger.exception("The end of the fetch could not be recorded.")
            raise
        has_failures = bool(self.progress.failures)
        self._finish(Fetch.State.PARTIAL if has_failures else Fetch.State.SUCCEEDED)

    def _finish(self, state: str, error: BaseException | None = None) -> None:
        self._limit.has_advanced = True
        self._note_progress()
        with interrupts_deferred():
            if self.progress.fetch:
                self.journal.finish(state, error, self.progress.failures)
        drop_dead_connections()

    def _release(self, state: str) -> None:
        self._note_progress()
        with interrupts_deferred():
            if self.progress.fetch:
                self.journal.release(state, self.progress.failures)

    def _note_progress(self) -> None:
        fetch, progress = self.journal.fetch, self.progress
        # After a pause, ``done`` is too low until the groups of earlier processes are counted.
        fetch.asked = max(fetch.asked, progress.done)
        fetch.known = max(progress.known, fetch.asked)
        fetch.failed = len(progress.failures) + self._unrecorded
        fetch.maybe_other_account = progress.maybe_other_account
        aliases = fetch.aliases_by_id | self._aliases
        fetch.aliases = dict(islice(aliases.items(), Fetch.MAX_FAILURES))

    def add(self, outcome: Answer | Listing | Failure) -> None:
        if isinstance(outcome, Failure):
            self._note_failure(outcome)
        else:
            mentioned = rules.mentions(outcome)
            self.mentioned.update(mentioned)
            self._pending.append(outcome)
            self._pending_groups += len(mentioned)
        if isinstance(outcome, Answer):
            self._note_answer(outcome)
        self.progress.done += not isinstance(outcome, Listing)
        self.progress.unstored = len(self._pending)

    def _note_failure(self, failure: Failure) -> None:
        is_absent = isinstance(failure.error, GroupNotFound)
        if is_absent:
            asked_at = failure.error.asked_at or datetime.now(UTC)
            self._pending.append(Absence(failure.asked_for, asked_at))
        # If no answer mentioned a denied group, the denial is expected and does not count as a
        # failure.
        failures = self.progress.failures
        if not is_absent or failure.asked_for in self.mentioned:
            failures[failure.asked_for] = failure.error
        # The mirror keeps absences, and the row keeps the first failures. A later process requests
        # all other failed groups again, so their failures do not count as an advance.
        if is_absent or len(failures) <= Fetch.MAX_FAILURES:
            self._limit.has_advanced = True

    def _note_answer(self, answer: Answer) -> None:
        if answer.is_alias:
            asked_for, returned = answer.asked_for, answer.group.id
            logger.warning("Asked for group %s, but the vendor returned %s.", asked_for, returned)
            self._aliases[asked_for] = returned
        else:  # A later process requests listings and aliases again.
            self._limit.has_advanced = True

    def note_clock(self, ahead: timedelta | None) -> None:
        """Note how far a machine's clock is ahead of the vendor's clock, or None if unknown.

        The record keeps the largest difference.
        """
        fetch = self.journal.fetch
        known = [each for each in (fetch.clock_ahead, ahead) if each is not None]
        fetch.clock_ahead = max(known, key=abs, default=None)

    def count_part(self, part: Fetch) -> None:
        """Add a part's counters, failures and warnings to this fetch, which is the parent."""
        self._aliases |= part.aliases_by_id
        self.note_clock(part.clock_ahead)
        self.progress.done += part.asked
        self.progress.known += part.known
        if part.state in {Fetch.State.FAILED, Fetch.State.CANCELLED} and part.group_id:
            reason = part.error or str(part.get_state_display())
            self.progress.failures[part.group_id] = IletimerkeziError(reason)
        else:
            failures = _recorded_failures(part)
            self.progress.failures |= failures
            self._unrecorded += part.failed - len(failures)

    def count_earlier(self) -> None:
        """Count the unmentioned groups that an earlier process requested.

        Call this method only when ``progress.done`` already counts all mentioned groups. Then
        ``fetch.asked`` exceeds ``progress.done`` by the number of unmentioned groups.
        """
        earlier = max(self.journal.fetch.asked - self.progress.done, 0)
        self.progress.done += earlier
        self.progress.known += earlier

    def unmentioned(self, group_ids: Iterable[int], excluded: Container[int]) -> Iterator[int]:
        """Yield the ids that are neither excluded nor mentioned in an answer of this fetch."""
        return (pk for pk in group_ids if pk not in self.mentioned and pk not in excluded)

    def report(self, known: int, newly_skipped: int) -> None:
        """Report the progress. An earlier process fetched ``newly_skipped`` groups."""
        self.progress.known = known
        self.progress.done += newly_skipped
        if self._report:
            self._report(self.progress)

    def tick(self) -> None:
        """Store the pending batch when the batch is due.

        If the batch is empty, only writes the row of the fetch. Raises the same errors as
        ``Limit.check``.
        """
        self._limit.check()
        age = monotonic() - self._stored_at
        if self._pending_groups >= BATCH_GROUPS or age >= BATCH_SECONDS:
            if self._pending:
                self.flush()
            else:  # No answer has arrived since the last batch.
                self._note_progress()
                self.journal.show_life()
                self._stored_at = monotonic()

    def flush(self) -> None:
        """Store the pending answers. After an error, the answers stay pending."""
        if not self._pending:
            return
        self._note_progress()
        unstorable: dict[int, db.Error] = {}
        with interrupts_deferred():
            store(self._pending, unstorable, self.journal)
            self.journal.confirm()
            self.progress.failures |= unstorable
            self.mentioned.difference_update(unstorable)
            self._pending, self._pending_groups = [], 0
            self._stored_at = monotonic()
            self.progress.unstored = 0

    def rescue(self) -> None:
        """Try to store the pending answers before an error ends the fetch."""
        try:
            self.flush()
        except (db.Error, FetchTakenOver, KeyboardInterrupt):
            logger.exception("%s answers could not be stored.", len(self._pending))

    def counts(self) -> dict[str, Any]:
        """Return the field values of a ``FetchResult``."""
        tally = self.journal.tally
        unchanged = self.mentioned - tally.created - tally.changed - tally.missing
        return {
            "fetch": self.journal.fetch,
            **tally.counts(),
            "unchanged": len(unchanged),
            "failures": self.progress.failures,
            "aliases": self._aliases,
            "clock_ahead": self.journal.fetch.clock_ahead,
        }


def _recorded_failures(fetch: Fetch) -> dict[int, IletimerkeziError | db.Error]:
    return {pk: IletimerkeziError(reason) for pk, reason in fetch.reasons.items()}
