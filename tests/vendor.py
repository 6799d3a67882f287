"""A vendor that misbehaves: raw sockets on loopback, one script per connection."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Self

KEY = "kEy-6f1d2c"
HASH = "hAsH-9b8e7a"

Script = Callable[["Connection"], None]


class Connection:
    """A connection to the vendor. Its request has been read."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.stopping = stopping

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_slowly(self, data: bytes, pause: float) -> None:
        for byte in data:
            if self.stopping.wait(pause):
                return
            self.send(bytes([byte]))

    def wait(self) -> None:
        self.stopping.wait(30)


class Vendor:
    """Runs the next script for each connection, and the last script for all later connections.

    ``finished`` has the scripts that ran to their end, unlike those that a client left early.
    Without ``reads`` a script starts before the client has sent anything.
    """

    def __init__(
        self, *scripts: Script, tls: ssl.SSLContext | None = None, reads: bool = True
    ) -> None:
        self.tls = tls
        self.reads = reads
        self.scripts = list(scripts)
        self.finished: list[Script] = []
        self.received: list[bytes] = []
        self.times: list[float] = []
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        # The first thread accepts connections, each other thread serves one.
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._listener.getsockname()[1]

    @property
    def accepted(self) -> int:
        """The number of connections accepted so far."""
        return len(self._threads) - 1

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1/"

    @property
    def settings(self) -> dict[str, object]:
        return {
            "ILETIMERKEZI_BASE_URL": self.url,
            "ILETIMERKEZI_API_KEY": KEY,
            "ILETIMERKEZI_API_HASH": HASH,
        }

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def wait_until_closed(self) -> None:
        """Wait until all connections accepted so far are closed."""
        for thread in self._threads[1:]:
            thread.join(30)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(len(self._threads), len(self.scripts)) - 1]
            thread = threading.Thread(target=self._serve, args=(sock, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, script: Script) -> None:
        with sock:
            sock.settimeout(30)
            try:
                with self.tls.wrap_socket(sock, server_side=True) if self.tls else sock as ready:
                    self.times.append(time.monotonic())
                    if self.reads:
                        self.received.append(read_request(ready))
                    script(Connection(ready, self._stopping))
                    self.finished.append(script)
            except OSError:
                return  # The client hung up, as it does in many tests.


def read_request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionResetError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def envelope(code: Any = 200, message: str = "İşlem başarılı", **fields: Any) -> bytes:
    status = {"code": code, "message": message}
    return json.dumps({"response": {"status": status, **fields}}).encode()


GROUP = {"id": 5, "name": "Müşteriler", "count": 1}


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Script:
    return lambda connection: connection.send(_message(status, body, headers))


def _message(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    fields = {"Content_Length": str(len(body)), "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} Whatever", *lines])
    return head.encode() + b"\r\n\r\n" + body


def well(**fields: Any) -> Script:
    return reply(200, envelope(group=GROUP | fields))


def keep_alive(connection: Connection) -> None:
    """Answer all requests on the connection, until the client closes it."""
    while True:
        reply(200, envelope(group=GROUP), Connection="keep-alive")(connection)
        read_request(connection.sock)


def hang(connection: Connection) -> None:
    connection.wait()


def reset(connection: Connection) -> None:
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(connection: Connection) -> None:
    """Close the connection without sending a byte."""


def cut_off(connection: Connection) -> None:
    connection.send(_message(200, envelope(group=GROUP), {"Content_Length": "5000"}))


def drip_headers(connection: Connection) -> None:
    connection.send_slowly(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 1000, 0.05)


def drip_body(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    connection.send_slowly(b" " * 1000, 0.05)


def drip_chunks(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.send_slowly(b"1\r\n \r\n" * 500, 0.02)


def drip_handshake(connection: Connection) -> None:
    connection.send(b"\x16\x03\x03\x40\x00")
    connection.send_slowly(b"\x00" * 1000, 0.05)


def continue_for_ever(connection: Connection) -> None:
    while not connection.stopping.wait(0.05):
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def flood_redirect(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 307 Go\r\nLocation: /x\r\nContent-Length: 209715200\r\n\r\n")
    for _ in range(200):
        connection.send(b" " * 2**20)


def flood_chunk(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
    for _ in range(200):
        connection.send(b" " * 2**20)


def flood(connection: Connection) -> None:
    megabyte = b" " * 2**20
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 * 2**20))
    for _ in range(200):
        connection.send(megabyte)


def speak_nonsense(connection: Connection) -> None:
    connection.send(b"220 mail.example ESMTP\r\n")


def tunnel(to: Vendor, *, delay: float = 0) -> Script:
    """Return the script of a proxy, which connects each CONNECT to one server after a delay."""

    def script(connection: Connection) -> None:
        connection.stopping.wait(delay)
        with socket.create_connection(to.address) as upstream:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(upstream, connection.sock))
            back.start()
            _copy(connection.sock, upstream)
            with contextlib.suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join()

    return script


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Busy:
    """Answers after a while, and counts how many connections wait at the same time."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        connection.stopping.wait(0.1)
        with self._lock:
            self._now -= 1
        well()(connection)
