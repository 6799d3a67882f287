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
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

GroupDict = Mapping[str, Any]
"""A group as the vendor writes one: with ``id``, ``name``, ``count`` and maybe ``children``."""

DOCUMENTED_SAMPLE: GroupDict = {
    "id": 97101,
    "name": "Test 1",
    "count": 1,
    "children": [{"id": 97489, "name": "Test 2", "count": 2}],
}
"""The group in the vendor's documentation, which there is the answer to a request for group 5."""

MESSAGES = {
    200: "İşlem başarılı",
    400: "İstek çözümlenemedi",
    401: "Üyelik bilgileri hatalı",
    404: "API istek yapılan yönteme sahip değil",
    463: "Böyle bir grup bulunamadı.",
}
"""The vendor's message for each code that its page documents."""


_POLL_INTERVAL = 0.02
"""Seconds that ``stop`` may take; the standard library's half a second is felt in a suite."""


def _group(group_id: int, name: str, count: int, *children: GroupDict) -> GroupDict:
    group = {"id": group_id, "name": name, "count": count}
    return group | {"children": list(children)} if children else group


PHONE_BOOK: GroupDict = _group(
    1000,
    "Rehber",
    0,
    _group(
        1100,
        "Müşteriler",
        12,
        _group(
            1110,
            "İstanbul",
            480,
            _group(1111, "Kadıköy", 95),
            _group(1112, "Üsküdar", 61),
            _group(1113, "Beşiktaş", 74),
            _group(1114, "Şişli", 88),
        ),
        _group(1120, "Ankara", 210, _group(1121, "Çankaya", 57), _group(1122, "Keçiören", 33)),
        _group(1130, "İzmir", 164, _group(1131, "Karşıyaka", 40), _group(1132, "Çeşme", 18)),
        _group(1140, "Iğdır", 9),
        _group(1150, "Şanlıurfa", 27),
    ),
    _group(
        1200,
        "Çalışanlar",
        3,
        _group(1210, "Satış", 14, _group(1211, "Saha ekibi", 8), _group(1212, "Çağrı merkezi", 6)),
        _group(1220, "Muhasebe", 5),
        _group(1230, "İnsan Kaynakları", 4),
        _group(1240, "Bilgi İşlem", 7, _group(1241, "Nöbetçiler 📟", 2)),
    ),
    _group(
        1300,
        "Bayiler",
        0,
        _group(1310, "Ege Bölgesi", 22),
        _group(1320, "Güneydoğu", 16),
        _group(1330, "Yurt dışı", 11, _group(1331, "Köln", 3), _group(1332, "Gence", 2)),
    ),
    _group(1400, "Öğrenciler", 320, _group(1410, "Mezunlar", 1250)),
    _group(1500, "Kara liste", 6),
)
"""A phone book of thirty-two groups, made up, three levels below its top."""


class Sandbox:
    """A server of the vendor's API on a free port of 127.0.0.1; a context manager.

    It does as the vendor's page for get-group says: 404 for any other address, 400 for a request
    that cannot be read, 401 for other credentials, and 463 for a group that it does not have.

    ``tree`` are the groups to serve, each with its subgroups inside it; an answer tells of one
    group and its direct subgroups, as the vendor's does. ``aliases`` maps an id that is asked
    for to the one that is answered; ``latency`` is how many seconds each answer takes.
    ``headers`` are added to each answer. Without tree and aliases it serves
    ``DOCUMENTED_SAMPLE``, also when asked for 5, and ``PHONE_BOOK``. ``asked`` lists the ids of
    the requests that were well-formed and had the right credentials, in order.
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
        self.asked: list[int] = []
        self._aliases = dict(aliases or {})
        self._groups: dict[int, GroupDict] = {}
        self.serve(tree)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.sandbox = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_INTERVAL,), daemon=True
        )

    def serve(self, tree: Iterable[GroupDict]) -> None:
        """Serve another tree from now on."""
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
        if path.rstrip("/") != "/v1/get-group/json":
            return 404, None
        try:
            request = json.loads(body)["request"]
            given = request["authentication"]
            credentials = given["key"], given["hash"]
            group_id = request["group"]["id"]
        except (ValueError, TypeError, LookupError, RecursionError):
            return 400, None
        if credentials != (self.key, self.hash):
            return 401, None
        if not isinstance(group_id, int) or isinstance(group_id, bool):
            return 400, None
        self.asked.append(group_id)
        group = self.find(group_id)
        return (200, group) if group else (463, None)

    def find(self, group_id: int) -> GroupDict | None:
        """Return the group to answer for an id, None for the vendor's 463."""
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
        if not isinstance(sys.exc_info()[1], OSError):  # A client that hangs up is no news.
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
        if length.isascii() and length.isdigit():
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
