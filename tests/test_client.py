"""The client over real sockets: retries, deadlines, proxies, TLS, and where credentials go."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.views.debug import ExceptionReporter

from django_iletimerkezi import __version__
from django_iletimerkezi.api.client import Credentials, IletimerkeziClient
from django_iletimerkezi.api.parsing import GroupData
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    IletimerkeziError,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .vendor import HASH, KEY, Vendor, envelope, reply, well


def make_client(
    url: str, *, timeout: float = 5, retries: int = 0, max_connections: int = 2
) -> IletimerkeziClient:
    return IletimerkeziClient(
        Credentials(KEY, HASH),
        base_url=url,
        timeout=timeout,
        retries=retries,
        max_connections=max_connections,
    )


def test_get_group_returns_the_documented_sample() -> None:
    with Sandbox(key=KEY, hash=HASH) as sandbox, make_client(sandbox.url) as client:
        child = GroupData(97489, "Test 2", 2)
        assert client.get_group(5) == GroupData(97101, "Test 1", 1, (child,))


def test_the_request_is_the_documented_one_and_says_who_asks() -> None:
    with Vendor(well()) as server, make_client(server.url) as client:
        client.get_group(5)
    head, _, body = server.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/get-group/json HTTP/1.1\r\n")
    assert f"User-Agent: django-iletimerkezi/{__version__}".encode() in head
    assert b"Content-Type: application/json" in head
    assert json.loads(body) == {
        "request": {"authentication": {"key": KEY, "hash": HASH}, "group": {"id": 5}}
    }


@pytest.mark.parametrize("ending", ["", "/", "//"])
def test_the_base_url_may_end_with_or_without_a_slash(ending: str) -> None:
    with Vendor(well()) as server:
        with make_client(server.url.rstrip("/") + ending) as client:
            client.get_group(5)
    assert server.received[0].startswith(b"POST /v1/get-group/json ")


def test_several_requests_share_one_connection() -> None:
    opened = []

    def keep_alive(connection: vendor.Connection) -> None:
        opened.append(connection)
        body = envelope(group=vendor.GROUP)
        message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        connection.send(message)
        while vendor.read_request(connection.sock):
            connection.send(message)

    with Vendor(keep_alive) as server, make_client(server.url) as client:
        for _ in range(3):
            client.get_group(5)
    assert len(opened) == 1


def test_a_connection_that_was_kept_has_the_whole_timeout_again() -> None:
    def slow_twice(connection: vendor.Connection) -> None:
        body = envelope(group=vendor.GROUP)
        message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for _ in range(2):
            connection.stopping.wait(0.6)
            connection.send(message)
            vendor.read_request(connection.sock)

    with Vendor(slow_twice) as server, make_client(server.url, timeout=1) as client:
        assert client.get_group(5) == client.get_group(5)
    assert len(server.received) == 1


def test_threads_share_no_more_connections_than_allowed() -> None:
    busy = vendor.Busy()
    with Vendor(busy) as server, make_client(server.url, max_connections=2) as client:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(client.get_group, [5] * 8))
    assert busy.most == 2


@pytest.mark.parametrize("group_id", [0, -1, 2**63, True, 5.0, "5"])
def test_an_id_that_cannot_be_one_is_not_asked_for(group_id: Any) -> None:
    with Vendor(well()) as server, make_client(server.url) as client:
        with pytest.raises(ValueError, match="between 1 and 9223372036854775807"):
            client.get_group(group_id)
    assert server.received == []


@pytest.mark.parametrize(
    "script", [reply(429), reply(502), reply(503), reply(504), reply(200, envelope(503))]
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_may_be_over_soon_is_tried_again(script: vendor.Script, times: int) -> None:
    with Vendor(*[script] * times, well()) as server:
        with make_client(server.url, retries=2) as client:
            assert client.get_group(5).id == 5
    assert len(server.received) == times + 1


@pytest.mark.parametrize(
    "script", [vendor.reset, vendor.close, vendor.cut_off, vendor.hang, vendor.drip_headers]
)
def test_a_line_that_fails_once_is_tried_again(script: vendor.Script) -> None:
    with Vendor(script, well()) as server:
        with make_client(server.url, retries=1, timeout=0.5) as client:
            assert client.get_group(5).id == 5


@pytest.mark.parametrize(
    "script",
    [*[reply(code, envelope(code)) for code in (400, 401, 404, 463, 500, 422)], reply(200, b"{")],
)
def test_what_will_not_pass_is_not_tried_again(script: vendor.Script) -> None:
    with Vendor(script) as server, make_client(server.url, retries=2) as client:
        with pytest.raises(IletimerkeziError):
            client.get_group(5)
    assert len(server.received) == 1


@pytest.mark.parametrize(("share", "pauses"), [(0.5, [0.25, 0.5, 1]), (1, [0.5, 1, 2])])
def test_the_pauses_between_attempts_grow(
    share: float, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "random.uniform", lambda least, most: least + (most - least) * (2 * share - 1)
    )
    with Vendor(reply(503)) as server, make_client(server.url, retries=3) as client:
        with pytest.raises(ServiceUnavailable):
            client.get_group(5)
    for wanted, (early, late) in zip(pauses, pairwise(server.times), strict=True):
        assert wanted <= late - early < wanted + 5


def test_a_shorter_retry_after_does_not_cut_a_longer_one_short() -> None:
    both_are_there = threading.Barrier(2, timeout=30)

    def first(connection: vendor.Connection) -> None:
        both_are_there.wait()
        reply(503, Retry_After="3")(connection)

    def second(connection: vendor.Connection) -> None:
        both_are_there.wait()
        time.sleep(0.5)
        reply(503, Retry_After="1")(connection)

    with Vendor(first, second, well()) as server, make_client(server.url, retries=1) as client:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(client.ask, [5, 5]))
        assert server.times[2] - server.times[0] >= 2.9


def test_cookies_are_not_kept() -> None:
    answer = envelope(group=vendor.GROUP)
    with (
        Vendor(reply(200, answer, Set_Cookie="a=b; Max-Age=9999")) as server,
        make_client(server.url) as client,
    ):
        client.get_group(5)
        client.get_group(5)
        assert len(client._session.cookies) == 0
    assert b"Cookie" not in b"".join(server.received)


def test_a_credential_that_is_a_part_of_the_other_gives_none_of_it_away() -> None:
    said = "hash abcdefgh, key cdef"
    assert Credentials("cdef", "abcdefgh").redact(said) == "hash ***, key ***"
    assert Credentials("abcdefgh", "cdef").redact(said) == "hash ***, key ***"


def test_a_retry_after_in_two_minutes_is_the_last_that_is_waited_for() -> None:
    with Vendor(reply(503, Retry_After="121")) as server:
        with make_client(server.url, retries=2) as client:
            with pytest.raises(ServiceUnavailable, match=r"Try again in 121 seconds\.$") as caught:
                client.get_group(5)
    assert (caught.value.retry_after, len(server.received)) == (121, 1)


def test_a_retry_after_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    with Vendor(reply(503, Retry_After=format_datetime(soon, usegmt=True)), well()) as server:
        with make_client(server.url, retries=1) as client:
            client.get_group(5)
    assert datetime.now(UTC) >= soon - timedelta(seconds=1)


def test_a_retry_after_in_the_past_is_no_reason_to_wait() -> None:
    with Vendor(reply(503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT")) as server:
        with make_client(server.url) as client, pytest.raises(ServiceUnavailable) as caught:
            client.get_group(5)
    assert caught.value.retry_after == 0


def test_failures_do_not_use_up_the_connections() -> None:
    bad = [reply(307, Location="/\xff"), vendor.cut_off, vendor.reset, reply(200, b"x" * 9)]
    bad += [
        reply(200, b"no gzip", Content_Encoding="gzip"),
        vendor.flood_chunk,
        vendor.flood_redirect,
    ]
    with Vendor(*bad, well()) as server, make_client(server.url, max_connections=1) as client:
        for _ in bad:
            with pytest.raises(IletimerkeziError):
                client.get_group(5)
        assert client.get_group(5).id == 5


def test_the_time_of_a_request_is_not_that_at_which_it_began_to_wait_for_a_connection() -> None:
    busy = vendor.Busy()
    with Vendor(busy) as server, make_client(server.url, max_connections=1) as client:
        with ThreadPoolExecutor(3) as threads:
            times = sorted(answer.asked_at for answer in threads.map(client.ask, [5] * 3))
    assert times[1] - times[0] >= timedelta(seconds=0.09)
    assert times[2] - times[1] >= timedelta(seconds=0.09)


def test_a_retry_after_counts_even_if_the_rest_of_the_answer_is_lost() -> None:
    cut_off = reply(503, b"x", Retry_After="300", Content_Length="5000")
    with Vendor(cut_off) as server, make_client(server.url, retries=2) as client:
        with pytest.raises(ServiceUnavailable) as caught:
            client.get_group(5)
    assert (caught.value.retry_after, len(server.received)) == (300, 1)


def test_a_retry_after_of_nothing_does_not_do_away_with_the_pause() -> None:
    with Vendor(reply(503, Retry_After="0"), well()) as server:
        with make_client(server.url, retries=1) as client:
            client.get_group(5)
    assert server.times[1] - server.times[0] >= 0.25


def test_a_retry_after_may_be_a_date_in_the_oldest_form() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=200)
    with Vendor(reply(503, Retry_After=soon.strftime("%a %b %d %H:%M:%S %Y"))) as server:
        with make_client(server.url) as client, pytest.raises(ServiceUnavailable) as caught:
            client.get_group(5)
    assert caught.value.retry_after == pytest.approx(200, abs=2)


@pytest.mark.parametrize(
    "value", ["", "soon", "-1", "1.5", "٣", "Fri, 99 Foo 2026 00:00:00 GMT", "2026-01-01"]
)
def test_a_retry_after_that_makes_no_sense_is_ignored(value: str) -> None:
    header = value.encode().decode("latin-1")
    with Vendor(reply(503, Retry_After=header)) as server:
        with make_client(server.url) as client, pytest.raises(ServiceUnavailable) as caught:
            client.get_group(5)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("value", ["9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_in_ages_is_said_to_be_a_year(value: str) -> None:
    with Vendor(reply(503, Retry_After=value)) as server:
        with make_client(server.url, retries=2) as client:
            with pytest.raises(ServiceUnavailable, match="Try again in 31536000 seconds"):
                client.get_group(5)


def test_an_error_tells_when_the_failed_request_was_sent() -> None:
    before = datetime.now(UTC)
    with Vendor(reply(503), reply(463)) as server, make_client(server.url, retries=1) as client:
        with pytest.raises(IletimerkeziError) as caught:
            client.get_group(5)
    sent = caught.value.asked_at or before
    assert before + timedelta(seconds=0.25) <= sent <= datetime.now(UTC)


def test_the_time_of_an_answer_is_when_its_own_request_was_sent() -> None:
    before = datetime.now(UTC)
    with Vendor(reply(503), well()) as server, make_client(server.url, retries=1) as client:
        answer = client.ask(5)
    assert (answer.asked_for, answer.group.id) == (5, 5)
    assert before + timedelta(seconds=0.25) <= answer.asked_at <= datetime.now(UTC)


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
def test_the_timeout_is_for_the_whole_request(script: vendor.Script) -> None:
    with Vendor(script) as server, make_client(server.url, timeout=0.4) as client:
        start = time.monotonic()
        with pytest.raises(ServiceUnavailable, match=r"did not answer within 0\.4 seconds"):
            client.get_group(5)
        assert 0.4 <= time.monotonic() - start < 5


def full_listener(address: tuple[str, int], family: socket.AddressFamily) -> list[socket.socket]:
    """Listen with a queue that is full, so that the next to connect hangs."""
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(0)
    waiting = [listener]
    for _ in range(4):
        sock = socket.socket(family)
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname()[:2])
        waiting.append(sock)
    return waiting


def test_the_timeout_is_shared_by_all_addresses_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sockets = full_listener(("127.0.0.1", 0), socket.AF_INET)
    port = sockets[0].getsockname()[1]
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [address] * 3)
    with make_client(f"http://localhost:{port}/v1/", timeout=1) as client:
        start = time.monotonic()
        with pytest.raises(ServiceUnavailable, match="did not answer within"):
            client.get_group(5)
    assert 0.9 <= time.monotonic() - start < 2.5
    for sock in sockets:
        sock.close()


def test_an_unknown_name_is_named() -> None:
    with make_client("https://vendor.invalid/v1/") as client:
        with pytest.raises(ServiceUnavailable, match=r"The name vendor\.invalid cannot be res"):
            client.get_group(5)


def test_a_refused_connection_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with make_client(f"http://127.0.0.1:{port}/v1/") as client:
        with pytest.raises(ServiceUnavailable, match=rf"^127\.0\.0\.1:{port} refused the conn"):
            client.get_group(5)


def test_a_compressed_answer_is_read_and_a_broken_one_refused() -> None:
    packed = gzip.compress(envelope(group=vendor.GROUP))
    with Vendor(reply(200, packed, Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            assert client.get_group(5).id == 5
    with Vendor(reply(200, b"no gzip", Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            with pytest.raises(
                UnexpectedResponse, match=r"^The answer from .* cannot be decompressed"
            ):
                client.get_group(5)


def test_a_small_answer_that_unpacks_to_a_large_one_is_refused() -> None:
    bomb = gzip.compress(b" " * (64 * 2**20))
    with Vendor(reply(200, bomb, Content_Encoding="gzip")) as server:
        with make_client(server.url) as client:
            with pytest.raises(UnexpectedResponse, match="longer than 16777216 bytes"):
                client.get_group(5)


def test_an_answer_with_thousands_of_children_is_fine() -> None:
    children = [{"id": number, "name": "ç" * 50, "count": 1} for number in range(6, 20_006)]
    with Vendor(well(children=children)) as server, make_client(server.url) as client:
        assert len(client.get_group(5).children) == 20_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Vendor(well()) as elsewhere:
        with Vendor(reply(status, Location=elsewhere.url)) as server:
            with make_client(server.url) as client, pytest.raises(UnexpectedResponse):
                client.get_group(5)
    assert elsewhere.received == []


def test_plain_http_to_another_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url must start with https://"):
        make_client("http://198.51.100.7/v1/")


@pytest.mark.parametrize("script", [vendor.hang, reply(503), reply(429, Retry_After="3")])
def test_within_is_a_limit_for_all_attempts_together(script: vendor.Script) -> None:
    with Vendor(script) as server, make_client(server.url, retries=100) as client:
        start = time.monotonic()
        with pytest.raises(ServiceUnavailable):
            client.ask(5, within=0.5)
        assert time.monotonic() - start < 2


# TLS and proxies


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_vendor(authority: trustme.CA) -> Iterator[Vendor]:
    """A well-behaved vendor with a certificate for api.example.test of a private authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example.test").configure_cert(context)
    with Vendor(well(), tls=context) as server:
        yield server


def tunnel(to: Vendor) -> vendor.Script:
    """Be a proxy that connects every CONNECT to one server."""

    def pipe(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def script(connection: vendor.Connection) -> None:
        with socket.create_connection(to.address) as upstream:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pipe, args=(upstream, connection.sock))
            back.start()
            pipe(connection.sock, upstream)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join()

    return script


def test_a_proxy_from_the_environment_is_used(
    authority: trustme.CA, tls_vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with Vendor(tunnel(tls_vendor)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        with make_client("https://api.example.test/v1/") as client:
            assert client.get_group(5) == client.get_group(5)
    assert len(proxy.received) == 2
    for request in proxy.received:
        assert request.startswith(b"CONNECT api.example.test:443 HTTP/1.")
        assert KEY.encode() not in request


@pytest.mark.parametrize("script", [reply(407), vendor.close, vendor.reset])
def test_a_proxy_that_refuses_is_named_as_the_cause(
    script: vendor.Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pa55word@{proxy.host}")
        with make_client("https://api.example.test/v1/") as client:
            with pytest.raises(ServiceUnavailable, match=r"to api\.example\.test") as caught:
                client.get_group(5)
    assert "pa55word" not in str(caught.value)


def test_a_proxy_that_drips_its_answer_does_not_hold_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Vendor(vendor.drip_headers) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        start = time.monotonic()
        with make_client("https://api.example.test/v1/", timeout=0.5) as client:
            with pytest.raises(ServiceUnavailable):
                client.get_group(5)
    assert time.monotonic() - start < 5


def slow_tunnel(to: Vendor, seconds: float) -> vendor.Script:
    def script(connection: vendor.Connection) -> None:
        connection.stopping.wait(seconds)
        tunnel(to)(connection)

    return script


def test_the_time_that_a_proxy_takes_is_not_given_back(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example.test").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Vendor(vendor.hang, tls=context) as server:
        with Vendor(slow_tunnel(server, 1.2)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
            with make_client("https://api.example.test/v1/", timeout=1.5) as client:
                start = time.monotonic()
                with pytest.raises(ServiceUnavailable, match="did not answer within"):
                    client.get_group(5)
                assert 1.4 <= time.monotonic() - start < 2.5


@pytest.mark.parametrize(
    "proxy",
    ["http://kullanıcı:şifre@127.0.0.1:9", "http://a..b:3128", f"http://{'x' * 64}.example:3128"],
)
def test_a_proxy_that_cannot_be_one_is_an_error_like_others(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with make_client("https://api.example.test/v1/") as client:
        with pytest.raises(ServiceUnavailable, match=r"api\.example\.test") as caught:
            client.get_group(5)
    assert "şifre" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["https://{}/v1/", "HTTPS://{}/v1/"])
def test_a_netrc_file_adds_nothing_to_a_request(
    base_url: str,
    authority: trustme.CA,
    tls_vendor: Vendor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "netrc").write_text("default login anna password pa55word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with Vendor(tunnel(tls_vendor)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        with make_client(base_url.format("api.example.test")) as client:
            client.get_group(5)
    assert b"Authorization" not in tls_vendor.received[0]


def test_a_client_knows_whether_it_uses_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "direct.example.test")
    with make_client("https://api.example.test/v1/") as client:
        assert client.uses_proxy
    with make_client("https://direct.example.test/v1/") as client:
        assert not client.uses_proxy


def test_plain_http_to_loopback_goes_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Vendor(well()) as proxy, Vendor(well()) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy.host}")
        with make_client(server.url) as client:
            client.get_group(5)
    assert (len(proxy.received), len(server.received)) == (0, 1)


def test_an_unknown_certificate_is_refused_and_not_tried_again(tls_vendor: Vendor) -> None:
    with make_client(f"https://{tls_vendor.host}/v1/", retries=2) as client:
        with pytest.raises(ServiceUnavailable, match=r"^No secure connection to 127\.0\.0\.1"):
            client.get_group(5)
    assert (tls_vendor.accepted, tls_vendor.received) == (1, [])


def test_a_server_without_tls_is_refused() -> None:
    with Vendor(vendor.speak_nonsense) as server:
        with make_client(f"https://{server.host}/v1/", timeout=0.5) as client:
            with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1"):
                client.get_group(5)


def test_what_speaks_no_http_is_not_asked_again() -> None:
    with Vendor(vendor.speak_nonsense) as server:
        with make_client(server.url, retries=2) as client:
            with pytest.raises(UnexpectedResponse, match=r"127\S+ speaks no HTTP"):
                client.get_group(5)
        assert server.accepted == 1


def test_a_handshake_that_drips_does_not_hold_the_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            sock, _ = listener.accept()
            with sock:
                try:
                    sock.sendall(b"\x16\x03\x03\x40\x00")
                    for _ in range(400):
                        sock.sendall(b"\x00")
                        time.sleep(0.05)
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        start = time.monotonic()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1/"
        with make_client(url, timeout=0.5) as client, pytest.raises(ServiceUnavailable):
            client.get_group(5)
        assert time.monotonic() - start < 5
        dripping.join()


@pytest.mark.parametrize(
    ("name", "value"),
    [("REQUESTS_CA_BUNDLE", "/does/not/exist.pem"), ("HTTPS_PROXY", "http://:bad:proxy:")],
)
def test_an_environment_that_makes_requests_impossible_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with make_client("https://127.0.0.1:9/v1/", retries=2) as client:
        with pytest.raises(ServiceUnavailable, match=r"No request to 127\.0\.0\.1:9 is possible"):
            client.get_group(5)


# Credentials


def everything_said_by(error: BaseException) -> str:
    """All that an error may show: texts, attributes, and Django's error page with its variables."""
    said = ""
    inner: BaseException | None = error
    while inner is not None:
        said += f"{inner} {inner!r} {inner.args} {vars(inner)}"
        inner = inner.__cause__ or inner.__context__
    return said


@pytest.mark.parametrize(
    "script",
    [
        reply(401, envelope(401, f"key {KEY}, hash {HASH}")),
        reply(503, envelope(503, f"key {KEY}, hash {HASH}")),
        reply(200, f"<html>{KEY} {HASH}".encode()),
        reply(200, b"no gzip", Content_Encoding="gzip"),
        well(count="x"),
        vendor.reset,
        vendor.hang,
        vendor.cut_off,
        vendor.flood,
        reply(307, Location="/"),
    ],
)
def test_no_error_shows_a_credential(
    script: vendor.Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Vendor(script) as server, make_client(server.url, timeout=0.5, retries=1) as client:
        with pytest.raises(IletimerkeziError) as caught:
            client.get_group(5)
    said = everything_said_by(caught.value) + caplog.text + repr(client)
    page = ExceptionReporter(None, *caught._excinfo).get_traceback_html()  # type: ignore[misc]  # three values, as it wants
    assert "get_group" in page
    assert KEY not in said + page
    assert HASH not in said + page
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class OutOfTimeError(Exception):
    """Raised by a signal in the middle of a request, as Celery's time limits are."""


def test_an_error_from_elsewhere_in_the_middle_of_a_request_shows_no_credential() -> None:
    def interrupt(*args: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with Vendor(vendor.hang) as server, make_client(server.url) as client:
            with pytest.raises(OutOfTimeError) as caught:
                client.get_group(5)
    finally:
        signal.signal(signal.SIGALRM, before)
    page = ExceptionReporter(None, *caught._excinfo).get_traceback_html()  # type: ignore[misc]  # three values, as it wants
    assert "urlopen" in page
    assert KEY not in page
    assert HASH not in page


def test_credentials_show_nothing_of_themselves() -> None:
    assert repr(Credentials(KEY, HASH)) == "Credentials()"


def test_authentication_failed_tells_where_to_look() -> None:
    with Sandbox() as sandbox, make_client(sandbox.url) as client:
        with pytest.raises(AuthenticationFailed) as caught:
            client.get_group(5)
    for place in ("key", "hash", "fixed IP", "Allow API access"):
        assert place in str(caught.value)
