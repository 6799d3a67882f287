"""A connection to the vendor, with one deadline for a whole exchange.

requests limits each connect and each read on its own, so a server that sends a byte now and then
holds the caller forever. Here a watchdog shuts the socket down when the time is up, whether it was
spent on connecting, a proxy, TLS, headers or the body. Only the system's resolver is not limited.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any

import requests
from django.utils.translation import gettext as _
from requests.adapters import HTTPAdapter

from .. import __version__
from ..exceptions import Step
from ..threads import start_thread
from .parsing import unexpected

MAX_BODY = 16 * 2**20
"""Most bytes of an unpacked answer: enough for 200,000 subgroups, safe for a small server."""


class Line:
    """One connection, kept open between exchanges. Serves one thread at a time.

    ``step`` is the current step of the exchange, ``headers`` are the headers of its answer.
    """

    def __init__(self, watchdog: Watchdog, *, trust_env: bool) -> None:
        self._watchdog = watchdog
        self._connection: Any = None
        self._socket: socket.socket | None = None
        self._is_cut = False
        self.step: Step = "answer"
        self.headers: Mapping[str, str] = {}
        self.session = _session(_Adapter(self._follow), trust_env=trust_env)

    def exchange(self, request: requests.PreparedRequest, seconds: float) -> tuple[int, bytes]:
        """Send a request; return the HTTP status and the body within ``seconds`` in total.

        Raises TimeoutError, UnexpectedResponse if the body is longer than ``MAX_BODY``, and what
        requests and urllib3 raise.
        """
        self.step, self.headers = "answer", {}
        status, body = 0, b""
        kept = self._socket
        try:
            with self._watchdog.limit(self, seconds):
                try:
                    status, body = self._exchange(request, seconds)
                except requests.ConnectionError:
                    if self.headers or self._is_cut or not kept or self._socket is not kept:
                        raise
                    # The server closed the idle connection, and has not read the request.
                    status, body = self._exchange(request, seconds)
        except Exception:
            if not self._is_cut:
                raise
        finally:
            if self._connection and self._connection.sock is None:
                self._drop_duplicate()
            is_cut, self._is_cut = self._is_cut, False
        if is_cut:
            raise TimeoutError
        return status, body

    def cut(self) -> None:
        """End the current exchange. Any thread may call this, repeatedly."""
        self._is_cut = True
        if opened := self._socket:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. Never call this while another thread uses the line."""
        self.session.close()
        self.let_go()

    def let_go(self) -> None:
        """Close the sockets of this process."""
        if self._connection:
            self._connection.close()
        self._drop_duplicate()

    def _exchange(self, request: requests.PreparedRequest, seconds: float) -> tuple[int, bytes]:
        options = self.session.merge_environment_settings(
            request.url or "", {}, stream=True, verify=None, cert=None
        )
        with self.session.send(
            request, **options, allow_redirects=False, timeout=seconds
        ) as response:
            self.headers = response.headers
            return response.status_code, _read(response)

    def _follow(self, connection: Any) -> None:
        """Track the steps of a new connection and keep a handle on its socket."""
        # There is no public API for the raw socket, or for the end of a proxy's answer.
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
            # A duplicate, because TLS takes over the original.
            self._socket = opened.dup()
            if self._is_cut:
                self.cut()
            self.step = "connection" if connection.proxy else "tls"
            return opened

        def follow_tunnel() -> None:
            connection.response_class = _Response  # The proxy's answer is not the vendor's.
            open_tunnel()
            connection.response_class = follow_response
            self.step = "tls"

        def follow_response(*args: Any, **kwargs: Any) -> _Response:
            self.step = "answer"
            return _Response(*args, **kwargs)

        connection._new_conn, connection._tunnel = follow_socket, follow_tunnel  # noqa: SLF001 - see above
        connection.response_class = follow_response
        self._connection = connection

    def _drop_duplicate(self) -> None:
        """Close our duplicate too, or the server would not see the connection close."""
        if self._socket:
            self._socket.close()
            self._socket = None


class Watchdog:
    """Cuts lines whose time is up, from one thread for all lines of a client."""

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
                # A cut line may still open a socket, for example after a slow DNS lookup.
                self._wakes_at = min(
                    (end for end in self._ends.values() if end > now), default=now + 1
                )
                self._changed.wait(self._wakes_at - now)
            self._thread = None


class _Adapter(HTTPAdapter):
    """Keeps one connection, and passes each new one to a function."""

    def __init__(self, follow: Callable[[Any], None]) -> None:
        self._follow = follow
        super().__init__(pool_connections=1, pool_maxsize=1)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool._new_conn = partial(self._open, pool)  # noqa: SLF001 - tools such as vcrpy replace the public class
        return pool

    def _open(self, pool: Any) -> Any:
        connection = type(pool)._new_conn(pool)  # noqa: SLF001 - as above
        self._follow(connection)
        return connection


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
        # http.client skips 100 only, and would take 103 for the answer.
        is_interim = 100 <= status < 200 and status != http.client.SWITCHING_PROTOCOLS
        return version, http.client.CONTINUE if is_interim else status, reason

    def _safe_read(self, amt: int) -> bytes:
        # urllib3 accepts a negative chunk size, which means everything up to the end.
        if amt < 0:
            raise http.client.IncompleteRead(b"")
        data: bytes = super()._safe_read(amt)  # type: ignore[misc]  # not in the stubs
        return data


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would read the redirect's whole body."""


def _session(adapter: HTTPAdapter, *, trust_env: bool) -> requests.Session:
    session = _Session()
    # Otherwise requests sends the credentials of a netrc file.
    session.auth = _no_auth
    session.headers["User-Agent"] = f"django-iletimerkezi/{__version__}"
    session.headers["Accept"] = "application/json"
    # Caches such as requests-cache would store the credentials, and repeat old answers.
    session.headers["Cache-Control"] = "no-store"
    # Cookies are never sent, and would pile up.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = trust_env
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


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
        return b""  # The HTTP status says enough.
    return bytes(body)


def _count_addresses(host: str, port: int) -> int:
    """Count the addresses of a host: they are tried one by one, each with its share of the time."""
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except socket.gaierror:
        return 1
