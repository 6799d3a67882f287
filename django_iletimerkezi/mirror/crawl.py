"""Ask for a group and for all below it: each group once, several at a time."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from django.utils import translation
from django.utils.translation import get_language

from ..api.parsing import Answer
from ..exceptions import IletimerkeziError, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..api.client import IletimerkeziClient
    from ..api.parsing import GroupData

_AHEAD = 256
"""How many groups may be handed out and not yet taken back: it gives the threads something to do
while answers are stored."""

_MENTIONS_AHEAD = 10_000
"""How many groups the answers to these may mention together, judged by those so far. With the
former it bounds what is held in memory."""

_ROUNDS_IN_VAIN = 3
"""How often in a row all connections may come back in vain before the first group is asked for
again, to know whether that is for all groups or only for these."""

_PATIENCE = 120
"""Seconds without any answer after which a vendor that asks to come back later is given up. Those
in which answers are stored do not count."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A group that was asked for, and why there is no answer about it."""

    asked_for: int
    error: IletimerkeziError


class Walk:
    """Iterates over the answers about a tree, and over failures, in the order of their arrival.

    ``root`` is the answer about its top, which is not given again; ``depth`` is how many levels
    below that to ask for, None for all. ``done`` counts the groups that were asked for, ``known``
    those that were found. An error that would hit every group is raised and ends the walk.
    An answer about another group than the one asked for does not spare asking for it.
    """

    def __init__(self, client: IletimerkeziClient, root: Answer, depth: int | None) -> None:
        self._client = client
        self._root_id = root.asked_for
        self._depth = depth
        self._levels = {root.asked_for: 0}
        self._waiting: defaultdict[int, deque[int]] = defaultdict(deque)
        self._handed_out: set[int] = set()
        self._tasks: SimpleQueue[int | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[int, Answer | BaseException]] = SimpleQueue()
        self._level = 0
        self._answered = self._mentioned = self._in_vain = 0
        self._refused: set[int] = set()
        self._heard_at = monotonic()
        self._language = get_language()
        self.done = self.known = 1
        self._note(root.group, 0)

    def __iter__(self) -> Iterator[Answer | Failure]:
        threads: list[threading.Thread] = []
        try:
            for _number in range(self._client.max_connections):
                thread = threading.Thread(target=self._work, daemon=True)
                thread.start()
                threads.append(thread)
            self._hand_out()
            while self._handed_out:
                outcome = self._take_back()
                self._hand_out()
                if outcome:
                    left_at = monotonic()
                    yield outcome
                    self._heard_at += monotonic() - left_at
        finally:
            self._withdraw()
            for _thread in threads:
                self._tasks.put(None)

    def arrived(self) -> Iterator[Answer]:
        """Take the answers that are there, after the walk was left."""
        with suppress(Empty):
            while True:
                _group_id, outcome = self._outcomes.get_nowait()
                if isinstance(outcome, Answer):
                    yield outcome

    def _work(self) -> None:
        """Ask for one group after the other, until there are no more or none would be answered."""
        with translation.override(self._language):
            while (group_id := self._tasks.get()) is not None:
                try:
                    outcome: Answer | BaseException = self._client.ask(group_id)
                except BaseException as error:  # noqa: BLE001 - it is raised where it is taken back
                    outcome = error
                self._outcomes.put((group_id, outcome))
                if getattr(outcome, "hits_every_request", False):
                    return

    def _hand_out(self) -> None:
        """Hand out waiting groups. With a depth, a level starts when those above are answered:
        a group that is found on two levels belongs to the upper one, and its subgroups with it.
        """
        mentions_each = 1 + self._mentioned // max(self._answered, 1)
        ahead = min(_AHEAD, _MENTIONS_AHEAD // mentions_each)
        while self._waiting and len(self._handed_out) < max(
            ahead, 2 * self._client.max_connections
        ):
            level = min(self._waiting)
            if self._handed_out and level != self._level:
                return
            if level != self._level:
                self._level, self._heard_at = level, monotonic()
            group_id = self._waiting[level].popleft()
            if not self._waiting[level]:
                del self._waiting[level]
            if self._levels[group_id] == level:
                self._handed_out.add(group_id)
                self._tasks.put(group_id)

    def _take_back(self) -> Answer | Failure | None:
        """Wait for the next outcome; None for a group that will be asked for again later."""
        group_id, outcome = self._outcomes.get()
        self._handed_out.remove(group_id)
        if isinstance(outcome, Answer):
            self.done += 1
            self._answered += 1
            self._in_vain = 0
            self._heard_at = monotonic()
            self._note(outcome.group, self._levels[group_id])
            return outcome
        if not isinstance(outcome, IletimerkeziError) or outcome.hits_every_request:
            raise outcome
        if outcome.is_throttled:
            if self._may_be_let_in(group_id, outcome):
                return None
        elif isinstance(outcome, ServiceUnavailable):
            self._look_whether_all_is_in_vain()
        else:
            self._in_vain = 0
        self.done += 1
        return Failure(group_id, outcome.with_traceback(None))

    def _may_be_let_in(self, group_id: int, refusal: IletimerkeziError) -> bool:
        """Put a group that was refused in the queue again, unless nothing was answered for long.

        Raise the refusal if others, too, would not be let in.
        """
        level = self._levels[group_id]
        self._refused.add(group_id)
        if monotonic() - self._heard_at <= _PATIENCE:
            self._waiting[level].append(group_id)
            return True
        if not self._answered or not self._refused.issuperset(self._waiting.get(level, ())):
            raise refusal
        return False

    def _look_whether_all_is_in_vain(self) -> None:
        """After many failures in a row ask for the first group again; raise if that fails too."""
        self._in_vain += 1
        if self._in_vain < _ROUNDS_IN_VAIN * self._client.max_connections:
            return
        self._in_vain = 0
        withdrawn = self._withdraw()  # So that it does not wait for more of the same.
        try:
            self._client.ask(self._root_id)
        except IletimerkeziError as error:
            if isinstance(error, ServiceUnavailable) and not error.is_throttled:
                raise
        for group_id in withdrawn:
            self._tasks.put(group_id)

    def _withdraw(self) -> list[int | None]:
        """Take from the threads what none has begun."""
        tasks = []
        with suppress(Empty):
            while True:
                tasks.append(self._tasks.get_nowait())
        return tasks

    def _note(self, group: GroupData, level: int) -> None:
        """Put a group and what is below it in the queue, unless it is there already or too deep."""
        self._enqueue(group.id, 0 if self._depth is None else level)
        below = [(child, level + 1) for child in group.children]
        for child, child_level in below:
            self._mentioned += 1
            below += [(grandchild, child_level + 1) for grandchild in child.children]
            if self._depth is not None and child_level > self._depth:
                continue
            self._enqueue(child.id, 0 if self._depth is None else child_level)

    def _enqueue(self, group_id: int, level: int) -> None:
        known_level = self._levels.get(group_id)
        if known_level is None:
            self.known += 1
        elif known_level <= level:
            return
        self._levels[group_id] = level
        self._waiting[level].append(group_id)
