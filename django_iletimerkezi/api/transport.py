"""A connection to the vendor, with one deadline for a whole exchange.

The requests library limits each connect and each read separately, so a server that sends its answer
byte by byte can block the caller forever. Therefore a watchdog shuts down the socket at the
deadline. The deadline covers the whole exchange, except the DNS lookup of the operating system.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter

from .. import __version__
from ..clock import monotonic
from ..exceptions import Step
from ..threads import start_thread
from .parsing import unexpected

MAX_BODY = 16 * 2**20
"""Most bytes of a decompressed answer. 16 MiB hold 200,000 subgroups, and fit into the memory of a
small server."""


class Line:
    """A persistent connection. Only one thread at a time may use a line.

    ``step`` is the current step of the exchange. ``headers`` are the headers of the answer.
    """

    def __init__(self, watchdog: Watchdog, *, trust_env: bool) -> None:
        self._watchdog = watchdog
        self._connection: Any = None
        # A duplicate of the connection's socket.
        self._socket: socket.socket | None = None
        self._is_cut = False
        self.step: Step = "answer"
        self.headers: Mapping[str, str] = {}
        self.session = _Session(_Adapter(self), trust_env=trust_env)

    def exchange(self, request: requests.PreparedRequest, seconds: float) -> tuple[int, bytes]:
        """Send a request. Returns the HTTP status and the body.

        Raises TimeoutError if the exchange takes longer than ``seconds``, UnexpectedResponse if the
        body is longer than ``MAX_BODY``, and the errors of requests and urllib3.
        """
        self.step, self.headers = "environment", {}
        status, body = 0, b""
        kept = self._socket
        try:
            with self._watchdog.limit(self, seconds):
                try:
                    status, body = self._send(request, seconds)
                except requests.ConnectionError:
                    if self.headers or self._is_cut or not kept or self._socket is not kept:
                        raise
                    # Retry, because the server had already closed the idle connection.
                    status, body = self._send(request, seconds)
        except Exception:
            if not self._is_cut:  # For a cut line, raise TimeoutError below.
                raise
        finally:
            if self._connection and self._connection.sock is None:
                self._drop_duplicate()
            is_cut, self._is_cut = self._is_cut, False
        if is_cut:
            raise TimeoutError
        return status, body

    def cut(self) -> None:
        """Abort the current exchange. All threads may call this method repeatedly."""
        self._is_cut = True
        if opened := self._socket:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. Never call this method while another thread uses the line."""
        self.session.close()
        self.let_go()

    def let_go(self) -> None:
        """Close the sockets of this process. A parent process keeps its own connections."""
        if self._connection:
            self._connection.close()
        self._drop_duplicate()

    def _send(self, request: requests.PreparedRequest, seconds: float) -> tuple[int, bytes]:
        options = self.session.merge_environment_settings(
            request.url or "", {}, stream=True, verify=None, cert=None
        )
        response = self.session.send(request, **options, allow_redirects=False, timeout=seconds)
        with response:
            self.headers = response.headers
            return response.status_code, _read(response)

    def follow(self, connection: Any) -> None:
        """Track the steps of a new connection, and keep a duplicate of its socket."""
        # The public API neither returns the raw socket nor reports that the proxy has answered.
        # The connection's own ``_new_conn`` opens its socket. The pool's method of the same name
        # creates the connection object.
        open_socket, open_tunnel = connection._new_conn, connection._tunnel  # noqa: SLF001 - see above

        def follow_socket() -> Any:
            self.step = "connection"
            timeout = connection.timeout
            connection.timeout = timeout / _count_addresses(connection.host, connection.port)
            try:
                opened = open_socket()
            finally:
                connection.timeout = timeout
            self._drop_duplicate()
            # Keep a duplicate, because TLS takes over the original socket.
            self._socket = opened.dup()
            if self._is_cut:
                self.cut()
            self.step = "connection" if connection.proxy else "tls"
            return opened

        def follow_tunnel() -> None:
            open_tunnel()
            self.step = "tls"

        connection._new_conn, connection._tunnel = follow_socket, follow_tunnel  # noqa: SLF001 - see above
        connection.response_class = _Response
        self._connection = connection

    def _drop_duplicate(self) -> None:
        """Close the duplicate socket, which would keep the connection to the server open."""
        if self._socket:
            self._socket.close()
            self._socket = None


class Watchdog:
    """Cuts lines at their deadline. One thread watches all lines of a client."""

    def __init__(self) -> None:
        self._ends: dict[Line, float] = {}
        self._wakes_at = 0.0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, line: Line, seconds: float) -> Iterator[None]:
        """Cut the line if the block takes longer than ``seconds``."""
        end = monotonic() + seconds
        with self._changed:
            if not (self._thread and self._thread.is_alive()):
                self._thread = start_thread(self._watch)
            elif end < self._wakes_at:
                self._changed.notify()
            self._ends[line] = end
        try:
            yield
        finally:
            with self._changed:
                del self._ends[line]

    def _watch(self) -> None:
        with self._changed:
            while self._ends:
                now = monotonic()
                for line, end in self._ends.items():
                    if end <= now:
                        line.cut()
                # Keep watching cut lines, because a line may open its socket after a slow DNS
                # lookup.
                self._wakes_at = min(
                    (end for end in self._ends.values() if end > now), default=now + 1
                )
                self._changed.wait(self._wakes_at - now)
            self._thread = None


class _Adapter(HTTPAdapter):
    """Keeps one connection open, and passes each new connection to its line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        self._line.step = "connection"
        # Patch private methods, because tools such as vcrpy replace the public connection class.
        pool._new_conn = partial(self._open, pool)  # noqa: SLF001 - see above
        pool._validate_conn = partial(self._connect, pool)  # noqa: SLF001 - see above
        return pool

    def _open(self, pool: Any) -> Any:
        connection = type(pool)._new_conn(pool)  # noqa: SLF001 - as above
        self._line.follow(connection)
        return connection

    def _connect(self, pool: Any, connection: Any) -> None:
        type(pool)._validate_conn(pool, connection)  # noqa: SLF001 - as above
        if connection.is_closed:  # Without TLS, urllib3 would connect later.
            connection.connect()
        self._line.step = "answer"


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
        # http.client skips only status 100, and would return status 103 as the final answer.
        is_interim = 100 <= status < 200 and status != http.client.SWITCHING_PROTOCOLS
        return version, http.client.CONTINUE if is_interim else status, reason

    def _safe_read(self, amt: int) -> bytes:
        # urllib3 accepts a negative chunk size, and would then read to the end of the stream.
        if amt < 0:
            raise http.client.IncompleteRead(b"")
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]  # not in the stubs
        return data


class _Session(requests.Session):
    def __init__(self, adapter: HTTPAdapter, *, trust_env: bool) -> None:
        super().__init__()
        # Without this function, requests would send the credentials from a netrc file.
        self.auth = lambda request: request
        self.headers["User-Agent"] = f"django-iletimerkezi/{__version__}"
        self.headers["Accept"] = "application/json"
        # Without this header, requests-cache would store the credentials and return old answers.
        self.headers["Cache-Control"] = "no-store"
        # Reject cookies, because they would accumulate.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.trust_env = trust_env
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None. Otherwise requests would read the whole body of a redirect."""


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    try:
        for chunk in response.iter_content(2**16):
            body += chunk
            if len(body) > MAX_BODY:
                raise unexpected(_("it is longer than %s bytes") % MAX_BODY)
    except requests.exceptions.ContentDecodingError:
        if response.ok:
            raise
        return b""  # The HTTP status is enough to report the error.
    return bytes(body)


def _count_addresses(host: str, port: int) -> int:
    """Count a host's addresses, because each address gets an equal share of the timeout."""
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except socket.gaierror:
        return 1
