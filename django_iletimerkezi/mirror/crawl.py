"""Asks for whole trees: each group once, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Self, TypeVar

from django.utils import translation

from ..api.parsing import Answer, GroupData
from ..exceptions import PATIENCE, IletimerkeziError, ServiceUnavailable
from ..threads import start_thread

T = TypeVar("T")

MAX_WAITING = 10_000
"""Limit of groups in unhandled answers: a few megabytes, and enough to keep all connections busy
while the caller stores a batch."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A group that was asked for, and why there is no answer."""

    asked_for: int
    error: IletimerkeziError


class Crawl:
    """Iterates over the answers below a root, and over failures, in the order of their arrival.

    ``root`` is the root's answer and is not yielded. ``depth`` is how many levels below the root
    to ask for, None for all. ``ask`` is called from ``workers`` threads. ``done`` counts the
    groups asked for, ``known`` those found. An error that would hit every group ends the crawl.
    """

    def __init__(
        self, ask: Callable[[int], Answer], root: Answer, *, depth: int | None, workers: int
    ) -> None:
        self._ask = ask
        self._root_id = root.asked_for
        self._frontier = Frontier(root, depth)
        self._workers = Workers(ask, workers)
        # Fewer failures in a row can be bad luck, and each further one may cost a whole timeout.
        self._breaker = Breaker(3 * workers)
        self._in_flight: set[int] = set()
        self._refused: set[int] = set()
        self._has_answers = False
        self.done = 1

    @property
    def known(self) -> int:
        return self._frontier.known

    def __iter__(self) -> Iterator[Answer | Failure]:
        with self._workers:
            while self._hand_out():
                outcome = self._take_back()
                if outcome:
                    with self._breaker.suspended():
                        yield outcome

    def arrived(self) -> Iterator[Answer]:
        """Yield the answers that arrived before the crawl stopped."""
        for _group_id, outcome in self._workers.arrived():
            if isinstance(outcome, Answer):
                yield outcome

    def _hand_out(self) -> bool:
        """Hand out the ready groups. Is any group in flight now?"""
        if not self._in_flight:
            self._frontier.descend()
            self._breaker.note_answer()  # Each level counts failures and silence anew.
        for group_id in self._frontier.take():
            self._in_flight.add(group_id)
            self._workers.put(group_id)
        return bool(self._in_flight)

    def _take_back(self) -> Answer | Failure | None:
        """Wait for the next outcome. Returns None for a group that will be retried."""
        group_id, outcome = self._workers.get()
        self._in_flight.remove(group_id)
        if isinstance(outcome, Answer):
            self._has_answers = True
            self._breaker.note_answer()
            self._frontier.add(outcome.group)
            self.done += 1
            return outcome
        if not isinstance(outcome, IletimerkeziError) or outcome.is_fatal:
            raise outcome
        if outcome.is_throttled and self._put_back(group_id, outcome):
            return None
        if self._breaker.trips_on(outcome):
            self._probe()
        self.done += 1
        return Failure(group_id, outcome.with_traceback(None))

    def _put_back(self, group_id: int, refusal: IletimerkeziError) -> bool:
        """Put a throttled group back and return True, until the vendor is silent for too long.

        Then raise the refusal, or return False if the vendor answered before and refused all
        groups that are left.
        """
        self._refused.add(group_id)
        if not self._breaker.is_silent():
            self._in_flight.add(group_id)
            self._workers.put(group_id)
            return True
        if not self._has_answers or not self._refused.issuperset(self._in_flight):
            raise refusal
        return False

    def _probe(self) -> None:
        """Ask for the root again. Raise if that fails too, as then all groups would fail."""
        waiting = self._workers.withdraw()  # Otherwise the root queues behind more failures.
        try:
            self._ask(self._root_id)
        except IletimerkeziError as error:
            if isinstance(error, ServiceUnavailable) and not error.is_throttled:
                raise
        for group_id in waiting:
            self._workers.put(group_id)


class Frontier:
    """The groups that are known, and which to ask for next.

    With a depth, one level is finished before the next starts: a group that is listed on two
    levels belongs to the upper one, and so do its subgroups. Without a depth, all groups are on
    level 0.
    """

    def __init__(self, root: Answer, depth: int | None) -> None:
        self._depth = depth
        self._levels = {root.asked_for: 0}
        self._ready: list[int] = []
        self._level = 0
        self.add(root.group)

    @property
    def known(self) -> int:
        return len(self._levels)

    def add(self, top: GroupData) -> None:
        """Add a group of the current level, and everything below it."""
        waiting = [(top, self._level)]
        while waiting:
            group, level = waiting.pop()
            waiting += [(child, level + 1) for child in reversed(group.children)]
            if self._depth is None:
                self._add_id(group.id, 0)
            elif level <= self._depth:
                self._add_id(group.id, level)

    def _add_id(self, group_id: int, level: int) -> None:
        if level < self._levels.get(group_id, level + 1):
            self._levels[group_id] = level
            if level == self._level:
                self._ready.append(group_id)

    def take(self) -> list[int]:
        """Return the groups of this level that were not returned before."""
        ready, self._ready = self._ready, []
        return ready

    def descend(self) -> None:
        """Go on to the next level if all groups of this level are taken."""
        below = [level for level in self._levels.values() if level > self._level]
        if below and not self._ready:
            self._level = min(below)
            self._ready = [pk for pk, level in self._levels.items() if level == self._level]


class Workers:
    """Threads that ask for groups. A context manager: no request starts after its end."""

    def __init__(self, ask: Callable[[int], Answer], number: int) -> None:
        self._ask = ask
        self._number = number
        self._language = translation.get_language()
        self._tasks: SimpleQueue[int | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[int, Answer | BaseException]] = SimpleQueue()
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
                break  # Fewer threads do the same work.
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

    def get(self) -> tuple[int, Answer | BaseException]:
        group_id, outcome = self._outcomes.get()
        self._note_waiting(-_size(outcome))
        return group_id, outcome

    def arrived(self) -> Iterator[tuple[int, Answer | BaseException]]:
        """Yield the outcomes that have arrived."""
        return _drain(self._outcomes)

    def withdraw(self) -> list[int]:
        """Take back the groups that no thread has asked for yet."""
        return [group_id for group_id in _drain(self._tasks) if group_id]

    def _work(self) -> None:
        """Ask for groups until there are no more, or an error shows that all would fail."""
        with translation.override(self._language):
            while group_id := self._tasks.get():
                try:
                    outcome: Answer | BaseException = self._ask(group_id)
                except BaseException as error:  # noqa: BLE001 - the crawl raises it
                    outcome = error
                self._note_waiting(_size(outcome))
                self._outcomes.put((group_id, outcome))
                if getattr(outcome, "is_fatal", False):
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over or self._waiting < MAX_WAITING)

    def _note_waiting(self, groups: int) -> None:
        with self._changed:
            self._waiting += groups
            self._changed.notify_all()


class Breaker:
    """Knows when the vendor has failed for too long."""

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._failures = 0
        self._answered_at = monotonic()

    def note_answer(self) -> None:
        self._failures = 0
        self._answered_at = monotonic()

    def trips_on(self, error: IletimerkeziError) -> bool:
        """Note a failure. Are there too many in a row to blame single groups?"""
        if not isinstance(error, ServiceUnavailable):
            self._failures = 0
        elif not error.is_throttled:
            self._failures += 1
        if self._failures < self._max_failures:
            return False
        self._failures = 0
        return True

    def is_silent(self) -> bool:
        """Has the vendor answered nothing for longer than ``PATIENCE``?"""
        return monotonic() - self._answered_at > PATIENCE

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Do not count the time of a block as silence."""
        start = monotonic()
        yield
        self._answered_at += monotonic() - start


def _size(outcome: Answer | BaseException) -> int:
    """Count the groups in an outcome."""
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
