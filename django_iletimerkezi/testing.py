"""A simulation of the vendor's API on loopback, for demos and for tests of host projects.

The module needs only the standard library. ``Sandbox`` behaves as documented on the vendor's
pages for get-group and get-groups::

    with Sandbox(tree=[{"id": 7, "name": "Müşteriler", "count": 3}]) as sandbox:
        with override_settings(**sandbox.settings):
            fetch_group(7)
    assert sandbox.asked == [7]
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

from .ids import parse_number

GroupDict = Mapping[str, Any]
"""A group in the vendor's format: ``id``, ``name``, ``count`` and optionally ``children``."""

DOCUMENTED_SAMPLE: GroupDict = {
    "id": 97101,
    "name": "Test 1",
    "count": 1,
    "children": [{"id": 97489, "name": "Test 2", "count": 2}],
}
"""The sample group on the vendor's page for get-group. A request for group 5 returns this group."""

MESSAGES = {
    200: "İşlem başarılı",
    400: "İstek çözümlenemedi",
    401: "Üyelik bilgileri hatalı",
    404: "API istek yapılan yönteme sahip değil",
    463: "Böyle bir grup bulunamadı.",
}
"""The message for each code on the vendor's pages for get-group and get-groups."""


def _read_outline(outline: str) -> GroupDict:
    """Parse an outline into a tree. Each line contains an id, a number of contacts and a name."""
    path: list[dict[str, Any]] = []
    for line in outline.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        group_id, count, name = line.split(maxsplit=2)
        group = {"id": int(group_id), "name": name, "count": int(count)}
        del path[depth:]
        if path:
            path[-1].setdefault("children", []).append(group)
        path.append(group)
    return path[0]


PHONE_BOOK = _read_outline("""
1000 0 Rehber
  1100 12 Müşteriler
    1110 480 İstanbul
      1111 95 Kadıköy
      1112 61 Üsküdar
      1113 74 Beşiktaş
      1114 88 Şişli
    1120 210 Ankara
      1121 57 Çankaya
      1122 33 Keçiören
    1130 164 İzmir
      1131 40 Karşıyaka
      1132 18 Çeşme
    1140 9 Iğdır
    1150 27 Şanlıurfa
  1200 3 Çalışanlar
    1210 14 Satış
      1211 8 Saha ekibi
      1212 6 Çağrı merkezi
    1220 5 Muhasebe
    1230 4 İnsan Kaynakları
    1240 7 Bilgi İşlem
      1241 2 Nöbetçiler 📟
  1300 0 Bayiler
    1310 22 Ege Bölgesi
    1320 16 Güneydoğu
    1330 11 Yurt dışı
      1331 3 Köln
      1332 2 Gence
  1400 320 Öğrenciler
    1410 1250 Mezunlar
  1500 6 Kara liste
""")
"""A fictional phone book with 32 groups. The tree has three levels below its root."""


class Sandbox:
    """Simulates the vendor's API on a free port of 127.0.0.1. Use the class as a context manager.

    It follows the vendor's pages for get-group and get-groups. It answers 404 for an unknown path,
    400 for an unreadable request, 401 for wrong credentials, and 463 for an unknown group.

    ``tree`` contains the main groups with their nested subgroups. Like the vendor, the
    sandbox returns one group or all main groups, each with its direct subgroups. ``aliases`` maps a
    requested id to the id of the returned group. ``latency`` is the delay before each answer, in
    seconds. ``headers`` are added to each answer, and replace headers of the same name. Without
    ``tree``, the sandbox serves ``PHONE_BOOK`` and ``DOCUMENTED_SAMPLE``. If ``aliases`` is also
    None, a request for id 5 returns the sample.

    ``asked`` lists the ids of valid get-group requests, in order. ``listings`` counts valid
    get-groups requests. ``asked``, ``listings`` and ``serve`` raise RuntimeError in a forked
    process, because the server runs in the parent process.
    """

    def __init__(
        self,
        tree: Iterable[GroupDict] | None = None,
        *,
        aliases: Mapping[int, int] | None = None,
        key: str = "sandbox-key",
        hash: str = "sandbox-hash",  # noqa: A002 - the vendor's term
        latency: float = 0,
    ) -> None:
        if tree is None:
            tree = (DOCUMENTED_SAMPLE, PHONE_BOOK)
            aliases = {5: 97101} if aliases is None else aliases
        self.key = key
        self.hash = hash
        self.latency = latency
        self.headers: dict[str, str] = {}
        self._pid = os.getpid()
        self._asked: list[int] = []
        self._listings = 0
        self._aliases = dict(aliases or {})
        self.serve(tree)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.sandbox = self
        # Poll often, because the default interval of half a second would delay each ``stop``.
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def asked(self) -> list[int]:
        self._require_own_process()
        return self._asked

    @property
    def listings(self) -> int:
        self._require_own_process()
        return self._listings

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "This sandbox runs in another process, as with “manage.py test --parallel”. "
                "Start it in setUpClass or in a fixture, not when a module is imported."
            )

    def serve(self, tree: Iterable[GroupDict]) -> None:
        """Replace the served tree."""
        self._require_own_process()
        groups = list(tree)
        main_ids = [group["id"] for group in groups]
        for group in groups:
            groups += group.get("children") or ()
        self._groups = {group["id"]: _without_grandchildren(group) for group in groups}
        self._main_ids = main_ids

    @property
    def url(self) -> str:
        """The base URL for the setting ``ILETIMERKEZI_BASE_URL``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1/"

    @property
    def settings(self) -> dict[str, str]:
        """Settings for ``override_settings`` that make a project use this server."""
        return {
            "ILETIMERKEZI_BASE_URL": self.url,
            "ILETIMERKEZI_API_KEY": self.key,
            "ILETIMERKEZI_API_HASH": self.hash,
        }

    def start(self) -> Self:
        """Start a daemon thread that serves until ``stop`` or the end of the process."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the server, and close its port and all connections."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer a request. Returns the status code and the other fields of the answer."""
        method = path.partition("?")[0].rstrip("/")
        if method not in {"/v1/get-group/json", "/v1/get-groups/json"}:
            return 404, {}
        try:
            request = json.loads(body)["request"]
            given = request["authentication"]
            if (given["key"], given["hash"]) != (self.key, self.hash):
                return 401, {}
            if method == "/v1/get-groups/json":
                self._listings += 1
                return 200, {"groups": self.find_all()}
            given_id = request["group"]["id"]
        except (ValueError, TypeError, LookupError, RecursionError):
            return 400, {}
        group_id = parse_number(given_id) if isinstance(given_id, str) else given_id
        if not isinstance(group_id, int) or isinstance(group_id, bool):
            return 400, {}
        self._asked.append(group_id)
        group = self.find(group_id)
        return (200, {"group": group}) if group else (463, {})

    def find_all(self) -> list[GroupDict]:
        """Return the main groups in the order of the tree."""
        return [self._groups[group_id] for group_id in self._main_ids]

    def find(self, group_id: int) -> GroupDict | None:
        """Return the group for a requested id, or None if the answer must be 463."""
        return self._groups.get(self._aliases.get(group_id, group_id))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    sandbox: Sandbox

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # Ignore closed connections.
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        body = self._read_body()
        if body is not None:
            time.sleep(self.server.sandbox.latency)
            self._respond(*self.server.sandbox.answer(self.path, body))

    def do_GET(self) -> None:
        if self._read_body() is not None:
            self._respond(404, {})

    def _read_body(self) -> bytes | None:
        length = parse_number(self.headers.get("Content-Length", "0"))
        if length is not None and "Transfer-Encoding" not in self.headers:
            return self.rfile.read(length)
        self.close_connection = True
        self._respond(400, {})
        return None

    def _respond(self, code: int, fields: Mapping[str, Any]) -> None:
        response = {"status": {"code": code, "message": MESSAGES.get(code, "")}, **fields}
        content = json.dumps({"response": response}, ensure_ascii=False).encode()
        self.send_response_only(code, "OK" if code == 200 else "Error")
        headers = {
            "Date": self.date_time_string(),
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(content)),
        }
        # Use title case, so that a header of the sandbox replaces a default header.
        headers |= {name.title(): value for name, value in self.server.sandbox.headers.items()}
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Suppress the log of requests."""


def _without_grandchildren(group: GroupDict) -> GroupDict:
    children = [
        {key: value for key, value in child.items() if key != "children"}
        for child in group.get("children") or ()
    ]
    return {**group, "children": children} if children else group
