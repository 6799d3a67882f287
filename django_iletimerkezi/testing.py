"""The vendor's API on loopback, for demos and for the tests of host projects.

Standard library only. ``Sandbox`` behaves as the vendor's page for get-group says::

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
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

from .ids import parse_number

GroupDict = Mapping[str, Any]
"""A group in the vendor's format: ``id``, ``name``, ``count`` and maybe ``children``."""

DOCUMENTED_SAMPLE: GroupDict = {
    "id": 97101,
    "name": "Test 1",
    "count": 1,
    "children": [{"id": 97489, "name": "Test 2", "count": 2}],
}
"""The group in the vendor's documentation, which is returned there for group 5."""

MESSAGES = {
    200: "İşlem başarılı",
    400: "İstek çözümlenemedi",
    401: "Üyelik bilgileri hatalı",
    404: "API istek yapılan yönteme sahip değil",
    463: "Böyle bir grup bulunamadı.",
}
"""The vendor's message for each code that its page documents."""


_OUTLINE = """
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
"""


def _read_outline(outline: str) -> GroupDict:
    """Return the tree of an outline whose lines are id, number of contacts and name."""
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


PHONE_BOOK = _read_outline(_OUTLINE)
"""A made-up phone book of thirty-two groups, three levels below its root."""


class Sandbox:
    """Serves the vendor's API on a free port of 127.0.0.1; a context manager.

    It follows the vendor's page for get-group: 404 for any other address, 400 for a request
    that cannot be read, 401 for other credentials, and 463 for a group that it does not have.

    ``tree`` are the groups to serve, each with its subgroups inside it; an answer contains
    one group and its direct subgroups, like the vendor's. ``aliases`` maps a requested id
    to the id of the returned group; ``latency`` is the number of seconds before each answer.
    ``headers`` are added to each answer. Without tree and aliases it serves
    ``DOCUMENTED_SAMPLE``, also when asked for 5, and ``PHONE_BOOK``. ``asked`` lists the ids of
    the requests that were well-formed and had the right credentials, in order. ``asked`` and
    ``serve`` raise RuntimeError in a forked process, because the server runs in its parent.
    """

    def __init__(
        self,
        tree: Iterable[GroupDict] | None = None,
        *,
        aliases: Mapping[int, int] | None = None,
        key: str = "sandbox-key",
        hash: str = "sandbox-hash",  # noqa: A002 - the vendor's word
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
        self._aliases = dict(aliases or {})
        self._groups: dict[int, GroupDict] = {}
        self.serve(tree)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.sandbox = self
        self._thread = threading.Thread(
            # The default interval of half a second would delay each ``stop`` in a test suite.
            target=self._server.serve_forever,
            args=(0.02,),
            daemon=True,
        )

    @property
    def asked(self) -> list[int]:
        self._require_own_process()
        return self._asked

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "This sandbox runs in another process, as with “manage.py test --parallel”. "
                "Start it in setUpClass or in a fixture, not when a module is imported."
            )

    def serve(self, tree: Iterable[GroupDict]) -> None:
        """Serve another tree from now on."""
        self._require_own_process()
        groups: dict[int, GroupDict] = {}
        waiting = list(tree)
        for group in waiting:
            groups[group["id"]] = _without_grandchildren(group)
            waiting += group.get("children") or ()
        self._groups = groups

    @property
    def url(self) -> str:
        """The base URL, for ``ILETIMERKEZI_BASE_URL``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1/"

    @property
    def settings(self) -> dict[str, str]:
        """The settings with which a project reaches this server, for ``override_settings``."""
        return {
            "ILETIMERKEZI_BASE_URL": self.url,
            "ILETIMERKEZI_API_KEY": self.key,
            "ILETIMERKEZI_API_HASH": self.hash,
        }

    def start(self) -> Self:
        """Serve in a daemon thread until ``stop`` or the end of the process."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and all connections."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def answer(self, path: str, body: bytes) -> tuple[int, GroupDict | None]:
        """Return the code for a request and, if that is 200, the group."""
        if path.partition("?")[0].rstrip("/") != "/v1/get-group/json":
            return 404, None
        try:
            request = json.loads(body)["request"]
            given = request["authentication"]
            if (given["key"], given["hash"]) != (self.key, self.hash):
                return 401, None
            given_id = request["group"]["id"]
        except (ValueError, TypeError, LookupError, RecursionError):
            return 400, None
        group_id = parse_number(given_id) if isinstance(given_id, str) else given_id
        if not isinstance(group_id, int) or isinstance(group_id, bool):
            return 400, None
        self._asked.append(group_id)
        group = self.find(group_id)
        return (200, group) if group else (463, None)

    def find(self, group_id: int) -> GroupDict | None:
        """Return the group to serve for an id; None means 463."""
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
        if not isinstance(sys.exc_info()[1], OSError):  # Ignore clients that hang up.
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        body = self._read_body()
        if body is not None:
            sandbox = cast("_Server", self.server).sandbox
            time.sleep(sandbox.latency)
            self._respond(*sandbox.answer(self.path, body))

    def do_GET(self) -> None:
        if self._read_body() is not None:
            self._respond(404, None)

    def _read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0")
        is_chunked = "Transfer-Encoding" in self.headers
        if length.isascii() and length.isdigit() and not is_chunked:
            return self.rfile.read(int(length))
        self.close_connection = True
        self._respond(400, None)
        return None

    def _respond(self, code: int, group: GroupDict | None) -> None:
        status = {"code": code, "message": MESSAGES.get(code, "")}
        response: dict[str, Any] = {"status": status}
        if group:
            response["group"] = group
        content = json.dumps({"response": response}, ensure_ascii=False).encode()
        self.send_response(code, "OK" if code == 200 else "Error")
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in cast("_Server", self.server).sandbox.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def _without_grandchildren(group: GroupDict) -> GroupDict:
    children = [
        {key: value for key, value in child.items() if key != "children"}
        for child in group.get("children") or ()
    ]
    return {**group, "children": children} if children else group
