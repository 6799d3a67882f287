"""What requests lacks: one deadline over a whole HTTP exchange.

The timeouts of requests and urllib3 are for each connect and each read, so a server that sends
a byte now and then holds the caller for ever. Here the time that is left shrinks from the first
connect to the last byte of the body; headers, a proxy's answer and TLS included. Two things keep
limits of their own: the system's resolver, and TLS to the vendor within TLS to an https:// proxy.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.poolmanager import PoolManager, ProxyManager

CONNECTION_NOTE = "Before there was a connection."
TLS_NOTE = "Before the connection was secure."

_SHORTEST = 0.001


class Secret(bytes):
    """Bytes that no error page shows, whatever is raised in the middle of a request."""

    def __repr__(self) -> str:
        return "***"


class Deadline(Timeout):
    """A timeout that runs from when it is made; urllib3's own starts after a proxy's answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(total=seconds)
        self._start = monotonic()
        self._end = self._start + seconds

    def clone(self) -> Deadline:
        return self

    def start_connect(self) -> float:
        self._start_connect = self._start
        return self._start

    @property
    def connect_timeout(self) -> float:
        return max(self._end - monotonic(), _SHORTEST)


class DeadlineAdapter(HTTPAdapter):
    """An adapter for whose requests a ``Deadline`` covers the whole exchange."""

    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _keep_deadlines(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        is_new = proxy not in self.proxy_manager
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        if is_new:
            _keep_deadlines(manager)
        return manager


def _keep_deadlines(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {
        scheme: _with_deadline(pool_class)
        for scheme, pool_class in manager.pool_classes_by_scheme.items()
    }


@functools.cache
def _with_deadline(pool_class: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection_class = pool_class.ConnectionCls
    return type(
        f"Deadline{pool_class.__name__}",
        (pool_class,),
        {"ConnectionCls": type(connection_class.__name__, (_Deadline, connection_class), {})},
    )


class _Response(http.client.HTTPResponse):
    """A response that is read in what is left of the socket's timeout at its start."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock, sock.gettimeout() or 0))

    def _safe_read(self, amt: int) -> bytes:
        # urllib3 takes a negative size of a chunk, which means all there is.
        if amt < 0:
            raise http.client.IncompleteRead(b"")
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]  # super(), as said above
        return data


class _Deadline:
    """Mixed into a urllib3 connection, whose ``timeout`` is what is left of the total.

    mypy cannot know the class that comes next; hence each ``type: ignore`` on ``super()``.
    """

    response_class = _Response
    host: str
    port: int
    timeout: float
    sock: Any
    _unsent: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        self._end = monotonic() + self.timeout
        whole, self.timeout = self.timeout, self.timeout / _count_addresses(self.host, self.port)
        try:
            with _noting(CONNECTION_NOTE):
                sock: socket.socket = super()._new_conn()  # type: ignore[misc]  # super(), as said above
        finally:
            self.timeout = whole
        sock.settimeout(max(self._end - monotonic(), _SHORTEST))
        return sock

    def connect(self) -> None:
        with _noting(TLS_NOTE):
            super().connect()  # type: ignore[misc]  # super(), as said above

    def _tunnel(self) -> None:
        with _noting(CONNECTION_NOTE):
            super()._tunnel()  # type: ignore[misc]  # super(), as said above
        self.sock.settimeout(max(self._end - monotonic(), _SHORTEST))

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
        unsent: list[bytes] = []
        self._unsent = unsent
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]  # super(), as said above
        finally:
            self._unsent = None
        self.send(Secret(b"".join(unsent)))

    def send(self, data: Any) -> None:
        """Send what belongs to one request together, headers and body: in one system call."""
        if self._unsent is None:
            super().send(data)  # type: ignore[misc]  # super(), as said above
        else:
            self._unsent.append(data)


@contextmanager
def _noting(note: str) -> Iterator[None]:
    """Add a note to an error on when it came up: its type does not tell. The first counts."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _count_addresses(host: str, port: int) -> int:
    """Count the addresses that will be tried in turn, each with its share of the time."""
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except socket.gaierror:
        return 1
