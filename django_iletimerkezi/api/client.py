"""The HTTP client for the vendor's API. Retries requests, and pauses while the vendor throttles.

The client does not read settings. ``conf.get_client`` passes their values.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, LifoQueue
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from requests.utils import select_proxy
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from ..clock import monotonic
from ..exceptions import IletimerkeziError, ServiceUnavailable
from ..ids import check_id
from .base_url import base_url_flaw
from .errors import BUGS, causes_of, explain
from .methods import GET_GROUP, GET_GROUPS, Method
from .parsing import Answer, GroupData, Listing, read_answer
from .transport import Line, Watchdog

logger = logging.getLogger("django_iletimerkezi")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The account's API key and hash, wrapped so that reprs and error pages do not show them.

    The client sends both values unchanged. Source: the vendor's authentication page.
    """

    key: str = field(repr=False)
    hash: str = field(repr=False)

    def redact(self, text: str) -> str:
        """Replace the key and the hash in a text with ``***``."""
        # Replace the longer value first, because the longer value may contain the shorter value.
        for value in sorted(filter(None, (self.key, self.hash)), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


class IletimerkeziClient:
    """A client for the vendor's JSON API. Its context manager closes all connections at the end.

    ``timeout`` is the longest time for a request in seconds, from connecting to the last byte of
    the answer. ``retries`` is the maximum number of retries after a status of 429, 502, 503 or 504,
    after a timeout, or after a failed connection. Several threads may share a client. The client
    sends at most ``max_connections`` requests at the same time.

    Raises ValueError unless ``base_url`` uses https, or http to a loopback host.
    """

    clock_ahead: timedelta | None = None
    """This machine's time minus the vendor's time, according to the last ``Date`` header."""

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
        """Close all connections and abort their requests. The client cannot be used afterwards.

        A request that is still connecting may run until its timeout.
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
                line.cut()  # The thread that uses the line closes it.

    def _make_lines(self) -> None:
        # Requests without TLS must stay on loopback, so they ignore proxies from the environment.
        trust_env = urlsplit(self._base_url).scheme == "https"
        watchdog = Watchdog()
        self._lines = [Line(watchdog, trust_env=trust_env) for _ in range(self.max_connections)]
        self._idle: LifoQueue[Line] = LifoQueue()
        for line in self._lines:
            self._idle.put(line)

    def _leave_parent(self) -> None:
        """Replace all connections after a fork.

        The parent process still uses the old connections.
        """
        for line in self._lines:
            line.let_go()
        self._make_lines()

    def get_group(self, group_id: int) -> GroupData:
        """Fetch a group and its direct subgroups from the vendor.

        Raises ValueError for an id outside 1 to 2**63-1, RuntimeError if the client is closed, and
        ``IletimerkeziError`` if the request fails. Subclasses of ``IletimerkeziError`` name the
        cause. Source: the vendor's page for get-group.
        """
        return self.ask_group(group_id).group

    def get_groups(self) -> tuple[GroupData, ...]:
        """Fetch the main groups of the account, each with its direct subgroups.

        Raises RuntimeError if the client is closed, and ``IletimerkeziError`` if the request
        fails. Source: the vendor's page for get-groups.
        """
        return self.ask_groups().main_groups

    def ask_groups(self, *, within: float = math.inf) -> Listing:
        """Send a get-groups request. Returns the answer and the time of the request.

        Raises the same errors as ``get_groups``. ``within`` means the same as in ``ask_group``.
        """
        return Listing(*self._call(GET_GROUPS, within=within))

    def ask_group(self, group_id: int, *, within: float = math.inf) -> Answer:
        """Send a get-group request. Returns the answer and the time of the request.

        Raises the same errors as ``get_group``. ``within`` limits the seconds that all attempts and
        the pauses between them take together. ``within`` does not limit how long a request waits
        for an idle connection, or for the end of throttling that other requests caused.
        """
        check_id(group_id)
        asked_at, group = self._call(GET_GROUP, group_id, within=within)
        return Answer(group_id, asked_at, group)

    @property
    def uses_proxy(self) -> bool:
        """Do requests go through a proxy from the environment?"""
        session = self._lines[0].session
        options = session.merge_environment_settings(self._base_url, {}, None, None, None)
        return select_proxy(self._base_url, options["proxies"]) is not None

    def _call(self, method: Method[T], *args: Any, within: float) -> tuple[datetime, T]:
        """Call an API method, with retries.

        Returns the send time of the last request, and the answer.
        """
        attempt, end = 0, monotonic() + within
        while True:
            with self._line() as line:
                # Queueing must not count against the timeout. urllib3 rejects a timeout of 0.
                seconds = min(self._timeout, max(end - monotonic(), 0.1))
                asked_at = datetime.now(UTC)
                outcome = self._attempt(line, method, args, seconds)
            if not isinstance(outcome, BaseException):
                return asked_at, outcome
            self._check_open()  # Closing the client may have caused the error.
            if isinstance(outcome, IletimerkeziError):
                outcome.asked_at = asked_at
            if not isinstance(outcome, ServiceUnavailable):
                raise outcome
            pause = self._pause(outcome, attempt)
            is_over = attempt >= self._retries or monotonic() + pause >= end
            if is_over or not outcome.temporary:
                raise outcome
            attempt += 1
            logger.info("%s: attempt %s failed: %s", method.describe(*args), attempt, outcome)
            self._wait(pause)

    @contextmanager
    def _line(self) -> Iterator[Line]:
        """Reserve an idle line, and wait while the vendor throttles."""
        line = self._idle.get()
        try:
            self._check_open()
            while (pause := self._resume_at - monotonic()) > 0:
                self._wait(pause)
            yield line
        finally:
            if self._closed.is_set():
                line.close()
            self._idle.put(line)

    def _pause(self, error: ServiceUnavailable, attempt: int) -> float:
        """Return the pause before the next attempt, in seconds.

        The pause is random. Its maximum doubles with each attempt, up to 30 seconds. A longer
        ``retry_after`` replaces the random pause. If the vendor throttles, this method also makes
        all threads pause.
        """
        backoff = min(2.0**attempt / 2, 30) * random.uniform(0.5, 1)  # noqa: S311 - not a secret
        pause = max(backoff, error.retry_after or 0)
        if error.is_throttled:
            self._resume_at = max(self._resume_at, monotonic() + pause)
        return pause

    def _check_open(self) -> None:
        self._wait(0)

    def _wait(self, seconds: float) -> None:
        """Wait for ``seconds``. Raises RuntimeError as soon as the client is closed."""
        if self._closed.wait(seconds):
            raise RuntimeError("the client is closed")

    def _attempt(
        self, line: Line, method: Method[T], args: tuple[Any, ...], seconds: float
    ) -> T | BaseException:
        """Send a request once. Returns the parsed answer, or the error that the caller must raise.

        Raising the error here would reveal the request, because error pages and error reporters
        show the local variables of every frame that an error passes through.
        """
        try:
            status, body = line.exchange(self._request(line, method, args), seconds)
            logger.debug("%s: HTTP %s", method.describe(*args), status)
            self._compare_clocks(line.headers.get("Date", ""))
            return read_answer(status, body, method.read, self._credentials.redact)
        # requests raises ValueError for some values of environment variables.
        except (OSError, HTTPError, ValueError, *BUGS) as caught:
            error: BaseException = explain(caught, self._host, seconds, line.step)
        except BaseException as caught:  # noqa: BLE001 - the caller raises it
            error = caught
        if isinstance(error, ServiceUnavailable):
            error.retry_after = _retry_after(line.headers.get("Retry-After", ""))
        for cause in causes_of(error):
            cause.__traceback__ = None
        return error

    def _compare_clocks(self, date: str) -> None:
        with suppress(ValueError, OverflowError):
            self.clock_ahead = datetime.now(UTC) - parsedate_to_datetime(date).astimezone(UTC)

    def _request(
        self, line: Line, method: Method[T], args: tuple[Any, ...]
    ) -> requests.PreparedRequest:
        document = {"authentication": asdict(self._credentials), **method.body(*args)}
        url = f"{self._base_url}/{method.path}"
        request = requests.Request("POST", url, json={"request": document})
        return line.session.prepare_request(request)


_clients: WeakSet[IletimerkeziClient] = WeakSet()


def _after_fork() -> None:
    for client in _clients:
        client._leave_parent()  # noqa: SLF001 - defined in this module


with suppress(AttributeError):  # Windows cannot fork.
    os.register_at_fork(after_in_child=_after_fork)


def _retry_after(value: str) -> float | None:
    """Parse a ``Retry-After`` header into seconds. Returns None for an invalid header."""
    try:
        return float(Retry().parse_retry_after(value))
    except (HTTPError, ValueError, OverflowError):
        return None
