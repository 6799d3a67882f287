"""Requests whole trees. Requests each group once, and several groups at the same time."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, Self, TypeVar

from django.utils import translation

from ..api.parsing import Answer, GroupData
from ..clock import monotonic
from ..exceptions import PATIENCE, IletimerkeziError, ServiceUnavailable
from ..threads import start_thread

T = TypeVar("T")

TICK = 1
"""Seconds between ticks while no answer arrives. The interval is short, because users wait for a
fetch to stop."""

MAX_WAITING = 10_000
"""Workers pause while unhandled answers contain this many groups. 10,000 groups take a few
megabytes, and keep all connections busy while the caller stores a batch. A ``ServiceUnavailable``
counts as this many groups, so that the workers do not run ahead of the breaker."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of a request for the group ``asked_for``."""

    asked_for: int
    error: IletimerkeziError


class Crawl:
    """Requests the groups of a frontier, and yields answers and failures as they arrive.

    Answers add more groups to the ``frontier``. ``workers`` threads call ``ask``. After many
    failures in a row, ``probe`` repeats the request that succeeded before the crawl. An error that
    would affect every group ends the crawl. ``has_answers`` is True if the vendor has just answered
    requests for other groups. The crawl calls ``tick`` every second while no answer arrives.
    """

    def __init__(
        self,
        ask: Callable[[int], Answer],
        frontier: Frontier,
        *,
        probe: Callable[[], object],
        workers: int,
        has_answers: bool = False,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self._frontier = frontier
        self._probe = probe
        self._tick = tick
        self._workers = Workers(ask, workers)
        self._breaker = Breaker(workers)
        self._in_flight: set[int] = set()
        self._throttled: set[int] = set()
        self._has_answers = has_answers

    def __iter__(self) -> Iterator[Answer | Failure]:
        with self._workers:
            while self._hand_out():
                outcome = self._take_back()
                if outcome:
                    with self._breaker.suspended():
                        yield outcome

    def arrived(self) -> Iterator[Answer]:
        """After the crawl has stopped, yield the arrived answers that are still in the queue."""
        for _group_id, outcome in _drain(self._workers.outcomes):
            if isinstance(outcome, Answer):
                yield outcome

    def _hand_out(self) -> bool:
        """Hand out the ready groups. Returns whether groups are in flight."""
        ready = self._frontier.take()
        while not ready and not self._in_flight and self._frontier.descend():
            self._breaker.reset()  # Count failures and silence separately for each level.
            ready = self._frontier.take()
        for group_id in ready:
            self._in_flight.add(group_id)
            self._workers.put(group_id)
        return bool(self._in_flight)

    def _take_back(self) -> Answer | Failure | None:
        """Wait for the next outcome. Returns None for a group that will be retried."""
        group_id, outcome = self._workers.get(self._tick)
        self._in_flight.remove(group_id)
        if isinstance(outcome, Answer):
            self._has_answers = True
            self._breaker.reset()
            self._frontier.add(outcome.group)
            return outcome
        if not isinstance(outcome, IletimerkeziError) or outcome.is_fatal:
            raise outcome
        if outcome.is_throttled and self._put_back(group_id, outcome):
            return None
        if self._breaker.note_failure(outcome):
            self._try_probe()
        return Failure(group_id, outcome.with_traceback(None))

    def _put_back(self, group_id: int, refusal: IletimerkeziError) -> bool:
        """Queue a throttled group again and return True.

        After ``PATIENCE`` seconds without an answer, stop retrying. If the vendor has answered
        other groups but throttles all groups in flight, return False, so that these groups fail
        singly. Otherwise the vendor seems to throttle everything, so raise ``refusal``, which ends
        the crawl. A group counts as throttled from its first refusal on.
        """
        self._throttled.add(group_id)
        if not self._breaker.is_out_of_patience():
            self._in_flight.add(group_id)
            self._workers.put(group_id)
            return True
        if not self._has_answers or not self._throttled.issuperset(self._in_flight):
            raise refusal
        return False

    def _try_probe(self) -> None:
        """Raise if the probe finds the service unavailable, because then all groups would fail."""
        waiting = self._workers.withdraw()  # The probe must not wait behind these groups.
        try:
            ask_once(self._probe, self._tick)
        except IletimerkeziError as error:
            if isinstance(error, ServiceUnavailable) and not error.is_throttled:
                raise
        for group_id in waiting:
            self._workers.put(group_id)


def ask_once(ask: Callable[[], T], tick: Callable[[], object]) -> T:
    """Call ``ask`` in a thread, and return the result. Calls ``tick`` every second until then."""
    with Workers(lambda _number: ask(), 1) as workers:
        workers.put(1)
        _number, outcome = workers.get(tick)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


class Frontier:
    """Known groups, and the groups to request next.

    ``depth`` is the last level to request, or None for all levels. With a depth, each level is
    finished before the next level starts. So a group that is listed on two levels counts on the
    upper level, and its subgroups count one level below. Without a depth, all groups are on level
    0.

    The frontier does not return the groups in ``asked``, because the caller has requested these
    groups. ``answered`` maps each group that an earlier process requested to its subgroups. The
    frontier skips the groups in ``answered``, and counts them in ``skipped``.
    """

    def __init__(
        self,
        depth: int | None,
        asked: Iterable[int] = (),
        answered: Mapping[int, Iterable[int]] = types.MappingProxyType({}),
    ) -> None:
        self.skipped = 0
        self._depth = depth
        self._answered = answered
        self._levels = dict.fromkeys(asked, 0)
        self._ready: list[int] = []
        self._level = 0

    @property
    def known(self) -> int:
        return len(self._levels)

    def add(self, top: GroupData, level: int | None = None) -> None:
        """Add a group and all groups below the group. ``level`` defaults to the current level."""
        waiting = [(top, self._level if level is None else level)]
        while waiting:
            group, level = waiting.pop()
            waiting += [(child, level + 1) for child in reversed(group.children)]
            self.add_id(group.id, level)

    def add_id(self, group_id: int, level: int) -> None:
        if self._depth is None:
            level = 0
        elif level > self._depth:
            return
        if level < self._levels.get(group_id, level + 1):
            self._levels[group_id] = level
            if level == self._level:
                self._ready.append(group_id)

    def take(self) -> list[int]:
        """Return the new groups of the current level. Skips the groups in ``answered``."""
        ready = []
        for group_id in self._ready:  # ``add_id`` may append to this list.
            if group_id in self._answered:
                self.skipped += 1
                for child_id in self._answered[group_id]:
                    self.add_id(child_id, self._level + 1)
            else:
                ready.append(group_id)
        self._ready = []
        return ready

    def descend(self) -> bool:
        """Move to the next level. Returns False if there is no next level."""
        below = [level for level in self._levels.values() if level > self._level]
        if below:
            self._level = min(below)
            self._ready = [pk for pk, level in self._levels.items() if level == self._level]
        return bool(below)


class Workers(Generic[T]):
    """Threads that request groups.

    After the context manager exits, the threads do not request further groups.
    """

    def __init__(self, ask: Callable[[int], T], number: int) -> None:
        self._ask = ask
        self._number = number
        self._language = translation.get_language()
        self._tasks: SimpleQueue[int | None] = SimpleQueue()
        self.outcomes: SimpleQueue[tuple[int, T | BaseException]] = SimpleQueue()
        self._waiting = 0
        self._is_over = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        for started in range(self._number):
            try:
                start_thread(self._work)
            except IletimerkeziError:
                if not started:
                    raise
                break  # Continue with fewer threads.
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.withdraw()
        for _ in range(self._number):
            self._tasks.put(None)
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def put(self, group_id: int) -> None:
        self._tasks.put(group_id)

    def get(self, tick: Callable[[], object]) -> tuple[int, T | BaseException]:
        """Wait for the next outcome. Calls ``tick`` every second while waiting."""
        while True:
            try:
                group_id, outcome = self.outcomes.get(timeout=TICK)
            except Empty:
                tick()
            else:
                self._note_waiting(-_size(outcome))
                return group_id, outcome

    def withdraw(self) -> list[int]:
        """Remove and return the queued groups that no thread has requested yet."""
        return [group_id for group_id in _drain(self._tasks) if group_id]

    def _work(self) -> None:
        """Worker loop: requests groups until the crawl ends or a fatal error occurs."""
        with translation.override(self._language):
            while group_id := self._tasks.get():
                try:
                    outcome: T | BaseException = self._ask(group_id)
                except BaseException as error:  # noqa: BLE001 - the crawl raises the error
                    outcome = error
                self._note_waiting(_size(outcome))
                self.outcomes.put((group_id, outcome))
                if getattr(outcome, "is_fatal", False):
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over or self._waiting < MAX_WAITING)

    def _note_waiting(self, groups: int) -> None:
        with self._changed:
            self._waiting += groups
            self._changed.notify_all()


class Breaker:
    """Circuit breaker: decides when the vendor has failed for too long."""

    def __init__(self, workers: int) -> None:
        # Fewer failures in a row can be chance, but each further failure may cost a whole timeout.
        self._max_failures = 3 * workers
        self._failures = 0
        self._answered_at = monotonic()

    def reset(self) -> None:
        self._failures = 0
        self._answered_at = monotonic()

    def note_failure(self, error: IletimerkeziError) -> bool:
        """Count a failure. Returns whether there were too many failures in a row."""
        if not isinstance(error, ServiceUnavailable):
            self._failures = 0
        elif not error.is_throttled:
            self._failures += 1
        if self._failures < self._max_failures:
            return False
        self._failures = 0
        return True

    def is_out_of_patience(self) -> bool:
        """Has the vendor been silent for longer than ``PATIENCE``?"""
        return monotonic() - self._answered_at > PATIENCE

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Exclude the time spent in the block from the vendor's silence."""
        start = monotonic()
        yield
        self._answered_at += monotonic() - start


def _size(outcome: object) -> int:
    """Return how much an outcome counts towards ``MAX_WAITING``."""
    if isinstance(outcome, ServiceUnavailable):
        return MAX_WAITING
    if not isinstance(outcome, Answer):
        return 1
    groups = [outcome.group]
    for group in groups:
        groups += group.children
    return len(groups)


def _drain(queue: SimpleQueue[T]) -> Iterator[T]:
    with suppress(Empty):
        while True:
            yield queue.get_nowait()
