"""The client over real sockets: requests, attempts, pauses and throttling."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest

from django_iletimerkezi import __version__
from django_iletimerkezi.api import GroupData
from django_iletimerkezi.api import client as client_module
from django_iletimerkezi.api.methods import Method
from django_iletimerkezi.clock import monotonic
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    IletimerkeziError,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .clients import forest, make_client, set_backoff
from .vendor import HASH, KEY, Vendor, envelope, reply, well

LONG = 30
"""Seconds that a test waits for an event that is due at once."""


@pytest.fixture
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    set_backoff(monkeypatch, 0.02)


# Requests


def test_get_group_returns_the_documented_sample() -> None:
    with Sandbox(key=KEY, hash=HASH) as sandbox, make_client(sandbox.url) as client:
        child = GroupData(97489, "Test 2", 2)
        assert client.get_group(5) == GroupData(97101, "Test 1", 1, (child,))


def test_get_group_sends_the_documented_request() -> None:
    with Vendor(well()) as server, make_client(server.url) as client:
        client.get_group(5)
    head, _, body = server.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/get-group/json HTTP/1.1\r\n")
    assert f"User-Agent: django-iletimerkezi/{__version__}".encode() in head
    assert b"Content-Type: application/json" in head
    assert b"Cache-Control: no-store" in head
    assert json.loads(body) == {
        "request": {"authentication": {"key": KEY, "hash": HASH}, "group": {"id": 5}}
    }


@pytest.mark.parametrize("ending", ["", "/", "//"])
def test_slashes_at_the_end_of_the_base_url_are_ignored(ending: str) -> None:
    with Vendor(well()) as server:
        with make_client(server.url.rstrip("/") + ending) as client:
            client.get_group(5)
    assert server.received[0].startswith(b"POST /v1/get-group/json ")


def test_a_base_url_without_tls_to_another_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url must start with https://"):
        make_client("http://198.51.100.7/v1/")


@pytest.mark.parametrize("group_id", [0, -1, 2**63, True, 5.0, "5"])
def test_invalid_group_ids_are_refused_without_a_request(group_id: Any) -> None:
    with Vendor(well()) as server, make_client(server.url) as client:
        with pytest.raises(ValueError, match="from 1 to 9223372036854775807"):
            client.get_group(group_id)
    assert server.received == []


def test_wrong_credentials_raise_authentication_failed() -> None:
    with Sandbox() as sandbox, make_client(sandbox.url) as client:
        with pytest.raises(AuthenticationFailed):
            client.get_group(5)


def test_answers_with_thousands_of_children_are_parsed() -> None:
    children = [{"id": number, "name": "ç" * 50, "count": 1} for number in range(6, 5_006)]
    with Vendor(well(children=children)) as server, make_client(server.url) as client:
        assert len(client.get_group(5).children) == 5_000


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_an_invalid_date_header_is_ignored(date: str) -> None:
    answer = envelope(group=vendor.GROUP)
    with Vendor(reply(200, answer, Date=date)) as server, make_client(server.url) as client:
        assert client.get_group(5).id == 5
        assert client.clock_ahead is None


def test_each_failed_attempt_is_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "django_iletimerkezi")
    with Vendor(reply(503), well()) as server, make_client(server.url, retries=1) as client:
        client.get_group(5)
    [message] = caplog.messages
    assert message.startswith("get-group 5: attempt 1 failed: iletimerkezi is not available: ")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with Vendor(well()) as elsewhere, Vendor(reply(status, Location=elsewhere.url)) as server:
        with make_client(server.url) as client, pytest.raises(UnexpectedResponse):
            client.get_group(5)
    assert elsewhere.received == []


def test_cookies_are_not_sent_back() -> None:
    answer = envelope(group=vendor.GROUP)
    with Vendor(reply(200, answer, Set_Cookie="a=b; Max-Age=9999")) as server:
        with make_client(server.url) as client:
            client.get_group(5)
            client.get_group(5)
            assert len(client._lines[0].session.cookies) == 0
    assert b"Cookie" not in b"".join(server.received)


SEND = Method(
    "send-sms/json",
    lambda text: {"order": {"message": text}},
    lambda response: int(response["order"]["id"]),
)
"""A method of the vendor that this package does not offer."""


@pytest.mark.usefixtures("short_backoff")
def test_the_client_can_call_any_described_api_method() -> None:
    with Vendor(reply(503), reply(200, envelope(order={"id": "7"}))) as server:
        with make_client(server.url, retries=1) as client:
            _, order = client._call(SEND, "Merhaba", within=math.inf)
    assert order == 7
    head, _, body = server.received[1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/send-sms/json ")
    assert json.loads(body) == {
        "request": {"authentication": {"key": KEY, "hash": HASH}, "order": {"message": "Merhaba"}}
    }


def test_errors_of_any_api_method_show_no_credential() -> None:
    answer = reply(401, envelope(401, f"key {KEY}, hash {HASH}"))
    with Vendor(answer) as server, make_client(server.url) as client:
        with pytest.raises(AuthenticationFailed, match=r"\(key \*\*\*, hash \*\*\*\)"):
            client._call(SEND, "Merhaba", within=math.inf)


# The time of a request


def test_an_answer_has_the_time_at_which_the_last_attempt_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_backoff(monkeypatch, 0.2)
    before = datetime.now(UTC)
    with Vendor(reply(503), well()) as server, make_client(server.url, retries=1) as client:
        answer = client.ask_group(5)
    assert (answer.asked_for, answer.group.id) == (5, 5)
    assert before + timedelta(seconds=0.1) <= answer.asked_at <= datetime.now(UTC)


def test_an_error_has_the_time_at_which_the_last_attempt_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_backoff(monkeypatch, 0.2)
    before = datetime.now(UTC)
    with Vendor(reply(503), reply(463)) as server, make_client(server.url, retries=1) as client:
        with pytest.raises(IletimerkeziError) as caught:
            client.get_group(5)
    asked_at = caught.value.asked_at or before
    assert before + timedelta(seconds=0.1) <= asked_at <= datetime.now(UTC)


def test_the_request_time_excludes_the_wait_for_a_connection() -> None:
    busy = vendor.Busy()
    with Vendor(busy) as server, make_client(server.url, max_connections=1) as client:
        with ThreadPoolExecutor(3) as threads:
            times = sorted(answer.asked_at for answer in threads.map(client.ask_group, [5] * 3))
    assert all(late - early >= timedelta(seconds=0.09) for early, late in pairwise(times))


# Attempts


@pytest.mark.usefixtures("short_backoff")
@pytest.mark.parametrize(
    "script", [reply(429), reply(502), reply(503), reply(504), reply(200, envelope(503))]
)
def test_temporary_errors_are_retried(script: vendor.Script) -> None:
    with Vendor(script, script, well()) as server:
        with make_client(server.url, retries=2) as client:
            assert client.get_group(5).id == 5
    assert len(server.received) == 3


@pytest.mark.usefixtures("short_backoff")
@pytest.mark.parametrize(
    "script", [vendor.reset, vendor.close, vendor.cut_off, vendor.hang, vendor.drip_headers]
)
def test_failed_connections_are_retried(script: vendor.Script) -> None:
    with Vendor(script, well()) as server:
        with make_client(server.url, retries=1, timeout=0.4) as client:
            assert client.get_group(5).id == 5


@pytest.mark.parametrize(
    "script",
    [*[reply(code, envelope(code)) for code in (400, 401, 404, 463, 500, 422)], reply(200, b"{")],
)
def test_permanent_errors_are_not_retried(script: vendor.Script) -> None:
    with Vendor(script) as server, make_client(server.url, retries=2) as client:
        with pytest.raises(IletimerkeziError):
            client.get_group(5)
    assert len(server.received) == 1


@pytest.mark.usefixtures("short_backoff")
def test_the_last_error_is_raised_when_no_retries_are_left() -> None:
    with Vendor(reply(503), reply(503), reply(504)) as server:
        with make_client(server.url, retries=2) as client:
            with pytest.raises(ServiceUnavailable, match="answered 504"):
                client.get_group(5)
    assert len(server.received) == 3


@pytest.mark.parametrize(
    ("script", "most"), [(vendor.hang, 1), (reply(429, Retry_After="3"), 1), (reply(503), 2)]
)
def test_the_within_argument_limits_the_total_time_of_all_attempts(
    script: vendor.Script, most: int
) -> None:
    with Vendor(script) as server, make_client(server.url, timeout=3600, retries=100) as client:
        with pytest.raises(ServiceUnavailable):
            client.ask_group(5, within=0.5)
        assert vendor.hang not in server.finished
        # After the second attempt the shortest pause is half a second.
        assert len(server.received) <= most


# Pauses


@pytest.mark.parametrize(("pick", "pauses"), [(min, [0.025, 0.05, 0.1]), (max, [0.05, 0.1, 0.2])])
def test_the_minimum_pause_doubles_after_each_failed_attempt(
    pick: Callable[[tuple[float, ...]], float],
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda *ends: pick(ends) / 10)
    with Vendor(reply(503)) as server, make_client(server.url, retries=3) as client:
        with pytest.raises(ServiceUnavailable):
            client.get_group(5)
    for pause, (early, late) in zip(pauses, pairwise(server.times), strict=True):
        assert late - early >= pause


def test_the_pauses_between_twenty_retries_are_capped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_backoff(monkeypatch, 0.0001)
    with Vendor(reply(503)) as server, make_client(server.url, retries=20) as client:
        with pytest.raises(ServiceUnavailable):
            client.ask_group(5, within=10)  # The last pause would take 26 seconds.
    assert len(server.received) == 21


@pytest.mark.parametrize(
    ("header", "factor", "pause"), [("1", 0, 1), ("1", 2.4, 1.2), ("0", 0.5, 0.25)]
)
def test_a_pause_is_the_longer_of_backoff_and_retry_after(
    header: str, factor: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_backoff(monkeypatch, factor)
    with Vendor(reply(503, Retry_After=header), well()) as server:
        with make_client(server.url, retries=1) as client:
            client.get_group(5)
    assert server.times[1] - server.times[0] >= pause


def retry_after(value: str) -> float | None:
    """Return what the client reads from a ``Retry-After`` header."""
    header = value.encode().decode("latin-1")
    with Vendor(reply(503, Retry_After=header)) as server, make_client(server.url) as client:
        with pytest.raises(ServiceUnavailable) as caught:
            client.get_group(5)
    return caught.value.retry_after


@pytest.mark.parametrize(
    "write",
    [
        lambda moment: format_datetime(moment, usegmt=True),
        lambda moment: format_datetime(moment.astimezone(timezone(timedelta(hours=3)))),
        lambda moment: moment.strftime("%a %b %d %H:%M:%S %Y"),
    ],
    ids=["GMT", "offset", "asctime"],
)
def test_retry_after_may_be_a_date(write: Callable[[datetime], str]) -> None:
    assert retry_after(write(datetime.now(UTC) + timedelta(seconds=200))) == pytest.approx(
        200, abs=10
    )


def test_a_retry_after_date_in_the_past_counts_as_zero_seconds() -> None:
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0


@pytest.mark.parametrize(
    "value", ["", "soon", "-1", "1.5", "٣", "Fri, 99 Foo 2026 00:00:00 GMT", "2026-01-01"]
)
def test_an_invalid_retry_after_is_ignored(value: str) -> None:
    assert retry_after(value) is None


@pytest.mark.parametrize("value", ["86400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_of_days_is_reported_as_at_least_six_hours(value: str) -> None:
    assert (retry_after(value) or 0) >= 21_600  # urllib3 caps it there.


@pytest.mark.usefixtures("short_backoff")
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_retry_after_of_many_digits_raises_service_unavailable(digits: int) -> None:
    with Vendor(reply(503, Retry_After="9" * digits)) as server:
        with make_client(server.url, retries=1) as client:
            with pytest.raises(ServiceUnavailable, match="answered 503"):
                client.get_group(5)


def test_a_retry_after_is_used_if_the_rest_of_the_answer_is_lost() -> None:
    cut_off = reply(503, b"x", Retry_After="300", Content_Length="5000")
    with Vendor(cut_off) as server, make_client(server.url, retries=2) as client:
        with pytest.raises(ServiceUnavailable) as caught:
            client.get_group(5)
    assert (caught.value.retry_after, len(server.received)) == (300, 1)


# Throttling: pauses of all threads


@pytest.mark.parametrize("script", [reply(429), reply(503, Retry_After="0")])
def test_throttling_delays_all_threads(
    script: vendor.Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_backoff(monkeypatch, 1)
    with Vendor(script, well()) as server, make_client(server.url) as client:
        with pytest.raises(ServiceUnavailable):
            client.get_group(5)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(client.get_group, [5, 5]))
    assert min(server.times[1:]) - server.times[0] >= 0.5


def test_a_503_without_retry_after_does_not_delay_other_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_backoff(monkeypatch, 120)
    with Vendor(reply(503), well()) as server, ThreadPoolExecutor(1) as threads:
        with make_client(server.url) as client:
            with pytest.raises(ServiceUnavailable):
                client.get_group(5)
            assert threads.submit(client.get_group, 5).result(LONG).id == 5


def test_a_retry_after_of_over_two_minutes_raises_an_error_at_once() -> None:
    with Vendor(reply(429, Retry_After="121"), well()) as server, ThreadPoolExecutor(1) as threads:
        with make_client(server.url, retries=2) as client:
            with pytest.raises(ServiceUnavailable, match=r"Try again in 121 seconds\.$") as caught:
                client.get_group(5)
            assert (caught.value.retry_after, caught.value.is_fatal) == (121, True)
            assert threads.submit(client.get_group, 5).result(LONG).id == 5
    assert len(server.received) == 2


@pytest.mark.parametrize("order", [("0", "1"), ("1", "0")])
def test_the_longer_of_two_concurrent_retry_after_headers_is_used(order: tuple[str, str]) -> None:
    both_are_there, is_first_read = threading.Barrier(2, timeout=LONG), threading.Event()

    def first(connection: vendor.Connection) -> None:
        both_are_there.wait()
        reply(429, Retry_After=order[0])(connection)

    def second(connection: vendor.Connection) -> None:
        both_are_there.wait()
        is_first_read.wait(LONG)
        reply(429, Retry_After=order[1])(connection)

    with Vendor(first, second, well()) as server, make_client(server.url) as client:
        with ThreadPoolExecutor(2) as threads:
            failed = [threads.submit(client.get_group, 5) for _ in order]
            for future in failed:
                future.add_done_callback(lambda _: is_first_read.set())
        assert all(isinstance(future.exception(), ServiceUnavailable) for future in failed)
        client.get_group(5)
    assert server.times[2] - server.times[0] >= 1


def test_waiting_does_not_poll_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_backoff(monkeypatch, 1)
    read_clock = Mock(side_effect=monotonic)
    monkeypatch.setattr(client_module, "monotonic", read_clock)
    with Vendor(reply(429), well()) as server, make_client(server.url) as client:
        with pytest.raises(ServiceUnavailable):
            client.get_group(5)
        client.get_group(5)
    # A busy loop would read the clock thousands of times.
    assert read_clock.call_count < 20
    assert server.times[1] - server.times[0] >= 0.5


@pytest.mark.parametrize("retries", [0, 1])
def test_closing_the_client_interrupts_a_pause(
    retries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_backoff(monkeypatch, 120)
    with Vendor(reply(429)) as server, ThreadPoolExecutor(2) as threads:
        with make_client(server.url, retries=retries) as client:
            calls = [threads.submit(client.get_group, 5)]
            if not retries:
                assert calls.pop().exception(LONG)
                calls.append(threads.submit(client.get_group, 5))
        with pytest.raises(RuntimeError, match="the client is closed"):
            calls[0].result(LONG)


def test_pauses_between_attempts_double_up_to_thirty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        factors.append((least, most))
        return 1

    monkeypatch.setattr("random.uniform", draw)
    with make_client("http://127.0.0.1:9/") as client:
        pauses = [client._pause(ServiceUnavailable(""), attempt) for attempt in range(8)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert set(factors) == {(0.5, 1)}


def test_the_largest_valid_id_is_accepted() -> None:
    with forest({2**63 - 1: []}) as server, make_client(server.url) as client:
        assert client.get_group(2**63 - 1).id == 2**63 - 1


# Forks


def test_a_forked_process_opens_its_own_connections() -> None:
    with Vendor(vendor.keep_alive) as server, make_client(server.url) as client:
        client.get_group(5)
        client_module._after_fork()
        client.get_group(5)
        assert server.accepted == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_after_a_fork_both_processes_get_their_own_answers() -> None:
    with forest({pk: [] for pk in range(1, 200)}) as server, make_client(server.url) as client:
        client.get_group(1)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            answers = [client.get_group(pk).id for pk in range(100, 150)]
            os.write(writer, str(answers == list(range(100, 150))).encode())
            os._exit(0)
        assert [client.get_group(pk).id for pk in range(150, 200)] == list(range(150, 200))
        os.waitpid(pid, 0)
        assert os.read(reader, 100) == b"True"
        os.close(reader)
        os.close(writer)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_during_a_request_leaves_the_client_usable() -> None:
    is_asked = threading.Event()

    def answer_late(connection: vendor.Connection) -> None:
        is_asked.set()
        connection.stopping.wait(1)
        well()(connection)

    with Vendor(answer_late, well()) as server, ThreadPoolExecutor(1) as threads:
        with make_client(server.url, max_connections=1) as client:
            call = threads.submit(client.get_group, 5)
            assert is_asked.wait(LONG)
            pid = os.fork()
            if pid == 0:
                os._exit(0 if client.get_group(5).id == 5 else 1)
            assert os.waitpid(pid, 0)[1] == 0
            assert call.result(LONG).id == 5
