"""The client's connections over real sockets: deadlines, proxies, TLS and broken answers."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import vcr  # type: ignore[import-untyped]  # has no types
from mocket import Mocket, Mocketizer  # type: ignore[import-untyped]  # has no types
from mocket.mocks.mockhttp import Entry  # type: ignore[import-untyped]  # has no types
from vcr.errors import (  # type: ignore[import-untyped]  # has no types
    CannotOverwriteExistingCassetteException,
)

from django_iletimerkezi.exceptions import (
    IletimerkeziError,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .clients import make_client
from .vendor import HASH, KEY, Vendor, envelope, reply, tunnel, well

LONG = 30
"""Seconds that a test waits for an event that is due at once."""
HOST = "api.example.test"
URL = f"https://{HOST}/v1/"

# Connections


def test_consecutive_requests_share_one_connection() -> None:
    with Vendor(vendor.keep_alive) as server, make_client(server.url) as client:
        for _ in range(3):
            client.get_group(5)
        assert server.accepted == 1


def test_connections_that_the_server_closed_are_opened_again() -> None:
    answer_and_close = reply(200, envelope(group=vendor.GROUP), Connection="keep-alive")
    with Vendor(answer_and_close) as server, make_client(server.url) as client:
        client.get_group(5)
        server.wait_until_closed()
        client.get_group(5)
    assert server.accepted == 2


def test_a_keep_alive_connection_is_replaced_at_once_if_it_breaks_before_the_answer() -> None:
    """The server may close an idle connection while the request is on its way."""

    def answer_and_reset(connection: vendor.Connection) -> None:
        reply(200, envelope(group=vendor.GROUP), Connection="keep-alive")(connection)
        vendor.read_request(connection.sock)
        vendor.reset(connection)

    with Vendor(answer_and_reset) as server, make_client(server.url, retries=0) as client:
        assert [client.get_group(5).id for _ in range(4)] == [5] * 4
    assert server.accepted == 4


def test_a_new_connection_that_breaks_before_the_answer_raises_an_error() -> None:
    with Vendor(vendor.close, well()) as server, make_client(server.url, retries=0) as client:
        with pytest.raises(ServiceUnavailable, match="broke"):
            client.get_group(5)
    assert server.accepted == 1


def test_a_keep_alive_connection_that_breaks_in_the_middle_of_an_answer_raises_an_error() -> None:
    def answer_and_break(connection: vendor.Connection) -> None:
        reply(200, envelope(group=vendor.GROUP), Connection="keep-alive")(connection)
        vendor.read_request(connection.sock)
        vendor.cut_off(connection)

    with Vendor(answer_and_break) as server, make_client(server.url, retries=0) as client:
        client.get_group(5)
        with pytest.raises(ServiceUnavailable, match="broke"):
            client.get_group(5)
    assert server.accepted == 1


def test_informational_1xx_answers_are_skipped() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    more = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"

    def announce(connection: vendor.Connection) -> None:
        for group_id in (5, 6):
            connection.send(early * 3 + more)
            body = envelope(group=vendor.GROUP | {"id": group_id})
            reply(200, body, Connection="keep-alive")(connection)
            vendor.read_request(connection.sock)

    with Vendor(announce) as server, make_client(server.url) as client:
        assert [client.get_group(5).id, client.get_group(5).id] == [5, 6]
    assert server.accepted == 1


def test_threads_share_at_most_max_connections() -> None:
    busy = vendor.Busy()
    with Vendor(busy) as server, make_client(server.url, max_connections=2) as client:
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(client.get_group, [5] * 6))
    assert busy.most == 2


def test_connections_can_be_used_again_after_failures() -> None:
    bad = [
        reply(307, Location="/\xff"),
        vendor.cut_off,
        vendor.reset,
        reply(200, b"x" * 9),
        reply(200, b"no gzip", Content_Encoding="gzip"),
    ]
    with Vendor(*bad, well()) as server, make_client(server.url, max_connections=1) as client:
        for _ in bad:
            with pytest.raises(IletimerkeziError):
                client.get_group(5)
        assert client.get_group(5).id == 5


def test_close_ends_a_request_in_another_thread() -> None:
    is_asked = threading.Event()

    def hang(connection: vendor.Connection) -> None:
        is_asked.set()
        connection.wait()

    with Vendor(hang) as server, ThreadPoolExecutor(1) as threads:
        with make_client(server.url, timeout=LONG) as client:
            call = threads.submit(client.get_group, 5)
            assert is_asked.wait(LONG)
        with pytest.raises(RuntimeError, match="the client is closed"):
            call.result(LONG)
        assert server.finished == []


@pytest.fixture
def is_closed() -> threading.Event:
    """Set when a server sees the end of its connection."""
    return threading.Event()


def test_close_ends_idle_connections(
    is_closed: threading.Event,
) -> None:
    def answer_and_wait(connection: vendor.Connection) -> None:
        reply(200, envelope(group=vendor.GROUP), Connection="keep-alive")(connection)
        if not connection.sock.recv(1):
            is_closed.set()

    with Vendor(answer_and_wait) as server:
        with make_client(server.url) as client:
            client.get_group(5)
            assert not is_closed.is_set()
        assert is_closed.wait(LONG)


@pytest.mark.parametrize("answer", [vendor.hang, well()], ids=["timeout", "Connection: close"])
def test_connections_are_closed_after_a_timeout_or_a_connection_close_header(
    answer: vendor.Script, is_closed: threading.Event
) -> None:
    def answer_and_wait(connection: vendor.Connection) -> None:
        if answer is not vendor.hang:
            answer(connection)
        if not connection.sock.recv(1):
            is_closed.set()

    with Vendor(answer_and_wait) as server, make_client(server.url, timeout=0.3) as client:
        with suppress(ServiceUnavailable):
            client.get_group(5)
        assert is_closed.wait(LONG)


def test_closed_clients_refuse_requests() -> None:
    with Vendor(well()) as server:
        with make_client(server.url) as client:
            client.get_group(5)
        with pytest.raises(RuntimeError, match="the client is closed"):
            client.get_group(5)
    assert server.accepted == 1


def test_unresolvable_host_names_are_reported() -> None:
    with make_client("https://vendor.invalid/v1/") as client:
        with pytest.raises(ServiceUnavailable, match=r"The name vendor\.invalid cannot be res"):
            client.get_group(5)


def test_refused_connections_are_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with make_client(f"http://127.0.0.1:{port}/v1/") as client:
        with pytest.raises(
            ServiceUnavailable, match=rf"No connection to 127\.0\.0\.1:{port} \(Connection refused"
        ):
            client.get_group(5)


def test_servers_that_do_not_speak_http_are_reported_without_a_retry() -> None:
    with Vendor(vendor.speak_nonsense) as server:
        with make_client(server.url, retries=2) as client:
            with pytest.raises(UnexpectedResponse, match=r"127\S+ does not speak HTTP"):
                client.get_group(5)
        assert server.accepted == 1


# Deadlines


@pytest.mark.parametrize(
    "script",
    [
        vendor.hang,
        vendor.drip_headers,
        vendor.drip_body,
        vendor.drip_chunks,
        vendor.continue_for_ever,
    ],
)
def test_the_timeout_covers_the_whole_request(script: vendor.Script) -> None:
    with Vendor(script) as server, make_client(server.url, timeout=0.3) as client:
        start = time.monotonic()
        with pytest.raises(ServiceUnavailable, match=r"did not answer within 0\.3 seconds"):
            client.get_group(5)
        assert server.finished == []
    assert time.monotonic() - start >= 0.3


def test_parallel_requests_keep_their_own_timeouts() -> None:
    is_asked = threading.Event()

    def hang(connection: vendor.Connection) -> None:
        is_asked.set()
        connection.wait()

    with Vendor(hang, vendor.drip_body) as server, ThreadPoolExecutor(1) as threads:
        with make_client(server.url, timeout=3600) as client:
            slow = threads.submit(client.get_group, 5)
            assert is_asked.wait(LONG)
            with pytest.raises(ServiceUnavailable, match=r"did not answer within 0\.\d+ seconds"):
                client.ask_group(5, within=0.3)
            assert not slow.done()
            assert server.finished == []
        assert isinstance(slow.exception(LONG), RuntimeError)


def test_each_request_on_a_keep_alive_connection_has_the_whole_timeout() -> None:
    def answer_slowly(connection: vendor.Connection) -> None:
        for _ in range(2):
            connection.stopping.wait(0.4)
            reply(200, envelope(group=vendor.GROUP), Connection="keep-alive")(connection)
            vendor.read_request(connection.sock)

    with Vendor(answer_slowly) as server, make_client(server.url, timeout=0.75) as client:
        assert client.get_group(5) == client.get_group(5)
        assert server.accepted == 1


@pytest.fixture
def full_listener() -> Iterator[tuple[str, int]]:
    """The address of a server whose queue is full, so that connecting to it hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [listener]
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        waiting.append(sock)
    yield listener.getsockname()
    for sock in waiting:
        sock.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)


def test_the_next_ip_address_is_tried_if_connecting_hangs(
    full_listener: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(well()) as server:
        resolve_to(monkeypatch, full_listener, full_listener, server.address)
        with make_client("http://localhost/v1/", timeout=1) as client:
            assert client.get_group(5).id == 5


def test_the_timeout_covers_connecting_to_ip_addresses_that_hang(
    full_listener: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, full_listener, full_listener)
    start = time.monotonic()
    with make_client("http://localhost/v1/", timeout=0.3) as client:
        with pytest.raises(ServiceUnavailable, match="did not answer within"):
            client.get_group(5)
    assert time.monotonic() - start >= 0.25


# Compressed and large answers


def test_compressed_answers_are_read() -> None:
    packed = gzip.compress(envelope(group=vendor.GROUP))
    with Vendor(reply(200, packed, Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            assert client.get_group(5).id == 5


def test_badly_compressed_answers_are_refused() -> None:
    with Vendor(reply(200, b"no gzip", Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            with pytest.raises(UnexpectedResponse, match="cannot be decompressed"):
                client.get_group(5)


def test_badly_compressed_error_answers_are_reported_by_their_http_status() -> None:
    with Vendor(reply(503, b"no gzip", Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            with pytest.raises(ServiceUnavailable, match="answered 503"):
                client.get_group(5)


@pytest.mark.parametrize("flood", [vendor.flood, vendor.flood_chunk, vendor.flood_redirect])
def test_endless_answers_are_not_read_to_their_end(flood: vendor.Script) -> None:
    with Vendor(flood, well()) as server, make_client(server.url) as client:
        with pytest.raises(IletimerkeziError):
            client.get_group(5)
        assert server.finished == []
        assert client.get_group(5).id == 5


def test_small_answers_that_decompress_to_large_answers_are_refused() -> None:
    bomb = gzip.compress(b" " * (17 * 2**20))
    with Vendor(reply(200, bomb, Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            with pytest.raises(UnexpectedResponse, match="longer than 16777216 bytes"):
                client.get_group(5)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A certificate of the authority for the host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


@pytest.fixture
def trust(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the authority."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))


def test_untrusted_certificates_are_refused_without_a_retry(tls: ssl.SSLContext) -> None:
    with Vendor(well(), tls=tls) as server:
        with make_client(f"https://{server.host}/v1/", retries=2) as client:
            with pytest.raises(ServiceUnavailable, match=r"^No secure connection to 127\.0\.0\.1"):
                client.get_group(5)
    assert (server.accepted, server.received) == (1, [])


def test_servers_without_tls_are_reported() -> None:
    def answer_in_plain_text(connection: vendor.Connection) -> None:
        reply(400)(connection)
        connection.wait()

    with Vendor(answer_in_plain_text, reads=False) as server:
        with make_client(f"https://{server.host}/v1/") as client:
            with pytest.raises(ServiceUnavailable, match=r"^No secure connection to 127\.0\.0\.1"):
                client.get_group(5)


def test_the_timeout_covers_a_slow_tls_handshake() -> None:
    with Vendor(vendor.drip_handshake, reads=False) as server:
        with make_client(f"https://{server.host}/v1/", timeout=0.3) as client:
            with pytest.raises(ServiceUnavailable, match="did not answer within"):
                client.get_group(5)
            assert server.finished == []


# The environment: proxies, certificate bundles, netrc


@pytest.mark.usefixtures("trust")
def test_proxies_from_the_environment_are_used(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(well(), tls=tls) as server, Vendor(tunnel(server)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(URL) as client:
            assert client.get_group(5) == client.get_group(5)
    assert len(proxy.received) == 2
    for request in proxy.received:
        assert request.startswith(b"CONNECT api.example.test:443 HTTP/1.")
        assert KEY.encode() not in request


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (reply(407), r"The proxy did not connect to api\.example\.test \(407\)"),
        (vendor.close, r"The connection to api\.example\.test broke"),
        (vendor.reset, r"The connection to api\.example\.test broke"),
        (vendor.speak_nonsense, r"The connection to api\.example\.test broke"),
    ],
)
def test_failing_proxies_are_reported_without_their_password(
    script: vendor.Script, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pa55word@{proxy.host}")
        with make_client(URL) as client:
            with pytest.raises(ServiceUnavailable, match=message) as caught:
                client.get_group(5)
    assert caught.value.step == "connection"
    assert "pa55word" not in str(caught.value)


def test_connections_that_break_behind_a_proxy_are_reported_as_a_failed_tls_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Vendor(reply(200)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(URL) as client:
            with pytest.raises(
                ServiceUnavailable, match="the server at this address may not"
            ) as caught:
                client.get_group(5)
    assert caught.value.step == "tls"


@pytest.mark.parametrize(
    "proxy",
    ["http://kullanıcı:şifre@127.0.0.1:9", "http://a..b:3128", f"http://{'x' * 64}.example:3128"],
)
def test_invalid_proxies_are_reported_without_their_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with make_client(URL) as client:
        with pytest.raises(ServiceUnavailable, match=r"api\.example\.test") as caught:
            client.get_group(5)
    assert "şifre" not in str(caught.value)


def test_the_timeout_covers_a_slow_answer_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Vendor(vendor.drip_headers) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(URL, timeout=0.3) as client:
            with pytest.raises(ServiceUnavailable, match="did not answer within"):
                client.get_group(5)
        assert proxy.finished == []


@pytest.mark.usefixtures("trust")
def test_the_timeout_covers_proxy_and_server_together(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_late(connection: vendor.Connection) -> None:
        connection.stopping.wait(0.4)
        well()(connection)

    with Vendor(answer_late, tls=tls) as server, Vendor(tunnel(server, delay=0.4)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(URL, timeout=0.7) as client:
            with pytest.raises(ServiceUnavailable, match="did not answer within"):
                client.get_group(5)


def test_a_client_reports_whether_requests_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "direct.example.test")
    with make_client(URL) as client:
        assert client.uses_proxy
    with make_client("https://direct.example.test/v1/") as client:
        assert not client.uses_proxy


def test_requests_without_tls_bypass_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    with Vendor(well()) as proxy, Vendor(well()) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy.host}")
        with make_client(server.url) as client:
            client.get_group(5)
    assert (len(proxy.received), len(server.received)) == (0, 1)


@pytest.mark.usefixtures("trust")
@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_netrc_files_are_ignored(
    scheme: str, tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login anna password pa55word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Vendor(well(), tls=tls) as server, Vendor(tunnel(server)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(f"{scheme}://{HOST}/v1/") as client:
            client.get_group(5)
    assert b"Authorization" not in server.received[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("REQUESTS_CA_BUNDLE", "/does/not/exist.pem"), ("HTTPS_PROXY", "http://:bad:proxy:")],
)
def test_an_environment_variable_that_prevents_requests_is_reported(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with make_client("https://127.0.0.1:9/v1/", retries=2) as client:
        with pytest.raises(ServiceUnavailable, match=r"Cannot send requests to 127\.0\.0\.1:9 \("):
            client.get_group(5)


# Bugs


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, UnboundLocalError])
@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("django_iletimerkezi.api.transport._count_addresses", "connection"),
        ("urllib3.connection.HTTPConnection.request", "answer"),
        ("django_iletimerkezi.api.transport._read", "answer"),
        ("django_iletimerkezi.api.client.read_answer", "answer"),
    ],
)
def test_a_bug_during_a_request_is_reported_without_a_retry_and_without_credentials(
    place: str, step: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error(f"no {KEY} with {HASH}")

    line = (
        rf"^This is a bug: {error.__name__} in test_transport\.py, line \d+, during a request to "
    )
    advice = r"\. Report it with the versions of \S+, requests and urllib3\.$"
    with Vendor(well()) as server, make_client(server.url, retries=2) as client:
        with monkeypatch.context() as broken:
            broken.setattr(place, fail)
            with pytest.raises(IletimerkeziError, match=line + server.host + advice) as caught:
                client.get_group(5)
        assert client.get_group(5).id == 5
        assert server.accepted <= 2
    assert type(caught.value) is IletimerkeziError
    assert (caught.value.is_fatal, caught.value.step) == (True, step)


# Tools that replace connections


def test_vcrpy_records_and_replays_answers(tmp_path: Path) -> None:
    cassette = str(tmp_path / "group.yaml")
    with Sandbox(key=KEY, hash=HASH) as sandbox, make_client(sandbox.url) as client:
        with vcr.use_cassette(cassette):
            recorded = client.get_group(5)
    with make_client(sandbox.url) as client:
        with vcr.use_cassette(cassette, record_mode="none"):
            assert client.get_group(5) == recorded


def test_an_open_connection_does_not_bypass_vcrpy(tmp_path: Path) -> None:
    with Sandbox(key=KEY, hash=HASH) as sandbox, make_client(sandbox.url) as client:
        client.get_group(5)
        with vcr.use_cassette(str(tmp_path / "empty.yaml"), record_mode="none"):
            with pytest.raises(CannotOverwriteExistingCassetteException):
                client.get_group(5)
        assert sandbox.asked == [5]
        client.get_group(5)
        assert sandbox.asked == [5, 5]


@pytest.fixture
def pyopenssl() -> Iterator[Any]:
    from urllib3.contrib import pyopenssl  # noqa: PLC0415 - urllib3-future lacks it

    yield pyopenssl
    pyopenssl.extract_from_urllib3()


# pyOpenSSL must be imported before mocket replaces the sockets. At its end, mocket injects
# pyOpenSSL into urllib3.
@pytest.mark.usefixtures("pyopenssl")
def test_mocket_can_answer_requests_of_the_client() -> None:
    url = "http://127.0.0.1:8000/v1/"
    body = envelope(group=vendor.GROUP)
    Entry.single_register(Entry.POST, f"{url}get-group/json", body=body)
    with Mocketizer(strict_mode=True), make_client(url) as client:
        assert [client.get_group(5).id for _ in range(2)] == [5, 5]
        assert len(Mocket.request_list()) == 2


@pytest.fixture
def pyopenssl_in_urllib3(pyopenssl: Any) -> None:
    """Some releases of google-auth inject pyOpenSSL when they are imported."""
    pyopenssl.inject_into_urllib3()


@pytest.mark.usefixtures("trust", "pyopenssl_in_urllib3")
def test_pyopenssl_encrypts_requests(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vendor(vendor.keep_alive, tls=tls) as server, Vendor(tunnel(server)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(URL) as client:
            assert [client.get_group(5).id for _ in range(2)] == [5, 5]
    assert server.accepted == 1


@pytest.mark.usefixtures("pyopenssl_in_urllib3")
def test_pyopenssl_rejects_untrusted_certificates(tls: ssl.SSLContext) -> None:
    with Vendor(well(), tls=tls) as server:
        with make_client(f"https://{server.host}/v1/", retries=2) as client:
            with pytest.raises(ServiceUnavailable, match=r"^No secure connection to 127\.0\.0\.1"):
                client.get_group(5)
    assert (server.accepted, server.received) == (1, [])


@pytest.mark.usefixtures("trust", "pyopenssl_in_urllib3")
def test_the_timeout_covers_requests_that_pyopenssl_encrypts(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(vendor.drip_body, tls=tls) as server, Vendor(tunnel(server)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(URL, timeout=0.5) as client:
            with pytest.raises(ServiceUnavailable, match="did not answer within"):
                client.get_group(5)
        assert server.finished == []
