"""A vendor whose groups are given by links, which may contradict each other and change."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django_iletimerkezi.testing import GroupDict, Sandbox

Links = Mapping[int, Iterable[int]] | Callable[[int], Iterable[int] | None]


class Forest(Sandbox):
    """Serves the groups in ``links``: by id the ids of the subgroups, or a function that does so.

    ``main_ids`` are the groups that get-groups lists. ``failing`` has error codes by id.
    ``throttle`` returns the seconds of a 429 for the next request, 0 for none. ``before_sending``
    is called with the number of each answer, from 1 on, before that answer is sent. ``times`` has
    the times of the requests that were answered, ``throttled`` those of the requests that got a
    429.
    """

    def __init__(self, links: Links, **options: Any) -> None:
        self._latency = options.pop("latency", 0)
        super().__init__([], **options)
        self.list_of: Callable[[int], Iterable[int] | None] = (
            links if callable(links) else links.get
        )
        self.main_ids: list[int] = []
        self.failing: dict[int, int] = {}
        self.throttle: Callable[[], float] = lambda: 0
        self.headers_of: Callable[[int], dict[str, str]] = lambda code: {}
        self.before_sending: Callable[[int], object] = lambda number: None
        self.times: list[float] = []
        self.throttled: list[float] = []
        self.connections = 0
        self.most_at_once = 0
        self._now = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        accept = self._server.get_request

        def count() -> tuple[socket.socket, Any]:
            self.connections += 1
            return accept()

        self._server.get_request = count  # type: ignore[method-assign]  # to watch it

    def at_answer(self, number: int, act: Callable[[], object]) -> None:
        """Call ``act`` before one answer is sent, given by its number."""
        self.before_sending = lambda answer: act() if answer == number else None

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            time.sleep(self._latency)
            answer = self._answer(path, body)
            self.before_sending(next(self._numbers))
            return answer
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if seconds := self.throttle():
                self.throttled.append(time.monotonic())
                self.headers = {"Retry-After": f"{seconds:.0f}"} if seconds >= 1 else {}
                return 429, {}
            code, fields = super().answer(path, body)
            self.times.append(time.monotonic())
            if "group" in fields and self.asked[-1] in self.failing:
                code, fields = self.failing[self.asked[-1]], {}
            self.headers = self.headers_of(code)
            return code, fields

    def find(self, group_id: int) -> GroupDict | None:
        group_id = self._aliases.get(group_id, group_id)
        children = self.list_of(group_id)
        if children is None:
            return None
        return describe(group_id) | {"children": [describe(child) for child in children]}

    def find_all(self) -> list[GroupDict]:
        return [group for group_id in self.main_ids if (group := self.find(group_id))]


def describe(group_id: int) -> dict[str, Any]:
    return {"id": group_id, "name": f"Grup {group_id}", "count": group_id % 7}


def tree_of(size: int, fanout: int) -> dict[int, list[int]]:
    """Return the links of a tree with the ids 1 to ``size`` and ``fanout`` subgroups per group."""
    links: dict[int, list[int]] = {group_id: [] for group_id in range(1, size + 1)}
    for group_id in range(2, size + 1):
        links[(group_id - 2) // fanout + 1].append(group_id)
    return links
