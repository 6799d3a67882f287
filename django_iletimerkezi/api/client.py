"""The vendor's API over HTTP: attempts, pauses and throttling, for any method.

Reads no settings: ``services.get_client`` passes them in.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, LifoQueue
from time import monotonic
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from requests.utils import select_proxy
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from ..exceptions import IletimerkeziError, ServiceUnavailable
from ..ids import MAX_ID
from .base_url import base_url_flaw
from .errors import explain, iterate_causes
from .methods import GET_GROUP, Method
from .parsing import Answer, GroupData, read_answer
from .transport import Line, Watchdog

logger = logging.getLogger("django_iletimerkezi")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The account's API key and hash, in an object so that no repr and no error page shows them.

    Both are sent unchanged. Source: the vendor's authentication page, which says that the panel
    makes the hash.
    """

    key: str = field(repr=False)
    hash: str = field(repr=False)

    def redact(self, text: str) -> str:
        """Replace key and hash in a text with three asterisks."""
        # The longer one first: it may contain the other.
        for value in sorted(filter(None, (self.key, self.hash)), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


class IletimerkeziClient:
    """A client of the JSON API; a context manager that closes its connections at the end.

    ``timeout`` is in seconds, for one whole request from connect to the last byte of the answer.
    ``retries`` is how often a request is repeated after 429, 502, 503 and 504, a timeout or a
    failed connection. Several threads may share a client; it sends ``max_connections`` requests
    at a time.

    Raises ValueError for a ``base_url`` that is neither https nor http to loopback.
    """

    clock_ahead: timedelta | None = None
    """How far this machine's clock was ahead of the vendor's at the last answer with a date."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str,
        timeout: float,
        retries: int,
        max_connections: int,
    ) -> None:
        if flaw := base_url_flaw(base_url):
            raise ValueError(f"base_url {flaw}")
        self._credentials = credentials
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).netloc
        self._timeout = timeout
        self._retries = retries
        self.max_connections = max_connections
        self._resume_at = 0.0
        self._closed = threading.Event()
        self._make_lines()
        _clients.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end their requests. The client cannot be used afterwards.

        A request that is still connecting ends when its time is up.
        """
        self._closed.set()
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for line in self._lines:
            if line in idle:
                line.close()
                self._idle.put(line)
            else:
                line.cut()  # The thread using the line closes it.

    def _make_lines(self) -> None:
        # Without TLS only loopback is allowed, and a proxy from the environment is not loopback.
        trust_env = urlsplit(self._base_url).scheme == "https"
        watchdog = Watchdog()
        self._lines = [Line(watchdog, trust_env=trust_env) for _ in range(self.max_connections)]
        self._idle: LifoQueue[Line] = LifoQueue()
        for line in self._lines:
            self._idle.put(line)

    def _leave_parent(self) -> None:
        """Use connections of our own after a fork: the parent goes on using its connections."""
        for line in self._lines:
            line.let_go()
        self._make_lines()

    def get_group(self, group_id: int) -> GroupData:
        """Return what the vendor says about one group and its direct subgroups.

        Raises ValueError for an id outside 1 to 2**63-1, RuntimeError on a closed client, and
        ``IletimerkeziError``: its subclasses say what happened. Source: the vendor's page for
        get-group.
        """
        return self.ask(group_id).group

    def ask(self, group_id: int, *, within: float = math.inf) -> Answer:
        """Return what ``get_group`` returns, with the time of the request. Raises the same errors.

        All attempts together take at most ``within`` seconds, not counting waits for a free line.
        """
        is_number = isinstance(group_id, int) and not isinstance(group_id, bool)
        if not is_number or not 1 <= group_id <= MAX_ID:
            raise ValueError(f"a group id is a whole number from 1 to {MAX_ID}")
        asked_at, group = self._call(GET_GROUP, group_id, within=within)
        return Answer(group_id, asked_at, group)

    @property
    def uses_proxy(self) -> bool:
        """Whether requests go through a proxy from the environment."""
        session = self._lines[0].session
        options = session.merge_environment_settings(self._base_url, {}, None, None, None)
        return select_proxy(self._base_url, options["proxies"]) is not None

    def _call(self, method: Method[T], *args: Any, within: float) -> tuple[datetime, T]:
        """Return the time of the request that was answered, and the answer."""
        attempt, end = 0, monotonic() + within
        while True:
            try:
                with self._line() as line:
                    # Queueing for the line must not count against the timeout.
                    seconds = min(self._timeout, max(end - monotonic(), 0.1))
                    return self._attempt(line, method, args, seconds)
            except ServiceUnavailable as error:
                pause = self._pause(error, attempt)
                is_over = attempt >= self._retries or monotonic() + pause >= end
                if is_over or not error.temporary:
                    raise
                logger.info("%s: attempt %s failed: %s", method.describe(*args), attempt + 1, error)
            self._wait(pause)
            attempt += 1

    @contextmanager
    def _line(self) -> Iterator[Line]:
        """Wait for an idle line, and for the end of a pause that the vendor asked for."""
        line = self._idle.get()
        try:
            self._require_open()
            waited_until = monotonic()
            # Not until the clock says so: tests may have stopped the clock.
            while (resume_at := self._resume_at) > waited_until:
                self._wait(resume_at - monotonic())
                waited_until = resume_at
            yield line
        finally:
            if self._closed.is_set():
                line.close()
            self._idle.put(line)

    def _pause(self, error: ServiceUnavailable, attempt: int) -> float:
        """Return the seconds to wait before the next attempt.

        They double with each attempt, and are at least as many as the vendor asked for. If the
        vendor throttles, all threads wait.
        """
        backoff = min(2.0**attempt / 2, 30) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        pause = max(backoff, error.retry_after or 0)
        if error.is_throttled:
            self._resume_at = max(self._resume_at, monotonic() + pause)
        return pause

    def _wait(self, seconds: float) -> None:
        self._closed.wait(seconds)
        self._require_open()

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise RuntimeError("the client is closed")

    def _attempt(
        self, line: Line, method: Method[T], args: tuple[Any, ...], seconds: float
    ) -> tuple[datetime, T]:
        asked_at = datetime.now(UTC)
        outcome = self._exchange(line, method, args, seconds)
        if not isinstance(outcome, BaseException):
            return asked_at, outcome
        self._require_open()
        if isinstance(outcome, IletimerkeziError):
            outcome.asked_at = asked_at
        raise outcome

    def _exchange(
        self, line: Line, method: Method[T], args: tuple[Any, ...], seconds: float
    ) -> T | BaseException:
        """Return what the answer says, or the error to raise.

        Nothing is raised from here, because the frames below hold the request: error pages and
        error reporters show the local variables of each frame that an error passed through.
        """
        try:
            status, body = line.exchange(self._request(line, method, args), seconds)
            logger.debug("%s: HTTP %s", method.describe(*args), status)
            self._compare_clocks(line.headers.get("Date", ""))
            return read_answer(status, body, method.read, self._credentials.redact)
        # requests raises the last two for some values in the environment.
        except (OSError, HTTPError, ValueError, TypeError) as caught:
            error: BaseException = explain(caught, self._host, seconds, line.step)
        except BaseException as caught:  # noqa: BLE001 - the caller raises it
            error = caught
        if isinstance(error, ServiceUnavailable):
            error.retry_after = _retry_after(line.headers.get("Retry-After", ""))
        for cause in iterate_causes(error):
            cause.__traceback__ = None
        return error

    def _compare_clocks(self, date: str) -> None:
        with suppress(ValueError, TypeError, OverflowError):
            self.clock_ahead = datetime.now(UTC) - parsedate_to_datetime(date).astimezone(UTC)

    def _request(
        self, line: Line, method: Method[T], args: tuple[Any, ...]
    ) -> requests.PreparedRequest:
        text = json.dumps(
            {
                "request": {
                    "authentication": {
                        "key": self._credentials.key,
                        "hash": self._credentials.hash,
                    },
                    **method.body(*args),
                }
            }
        )
        request = requests.Request(
            "POST",
            f"{self._base_url}/{method.path}",
            {"Content-Type": "application/json"},
            data=text.encode(),
        )
        return line.session.prepare_request(request)


_clients: WeakSet[IletimerkeziClient] = WeakSet()


def _leave_parent() -> None:
    for client in _clients:
        client._leave_parent()  # noqa: SLF001 - of this module


with suppress(AttributeError):  # Windows cannot fork.
    os.register_at_fork(after_in_child=_leave_parent)


def _retry_after(value: str) -> float | None:
    """Parse a ``Retry-After`` header into seconds; None if it is invalid."""
    try:
        return float(Retry().parse_retry_after(value))
    except (HTTPError, ValueError, OverflowError):
        return None
