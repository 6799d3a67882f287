"""The doctor, with each problem that can prevent a fetch."""

from __future__ import annotations

import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, router
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_iletimerkezi import doctor
from django_iletimerkezi.management.commands.iletimerkezi_doctor import Command
from django_iletimerkezi.mirror import bulk, repair
from django_iletimerkezi.models import Change, Fetch, Group, MirrorLock
from django_iletimerkezi.testing import Sandbox
from django_iletimerkezi.turkish import sort_key

from . import vendor
from .commands import Outcome, run
from .vendor import HASH, KEY, Vendor, envelope, reply

pytestmark = pytest.mark.django_db

SECRET = "sEcReT-4c3b2a"
GOOD = {"ILETIMERKEZI_API_KEY": KEY, "ILETIMERKEZI_API_HASH": HASH, "ILETIMERKEZI_RETRIES": 0}
STEPS = ["environment", "host name", "connection", "TLS", "key and hash"]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def examine(url: str, *args: str, **settings: object) -> Outcome:
    with override_settings(**GOOD | {"ILETIMERKEZI_BASE_URL": url} | settings):
        return run("iletimerkezi_doctor", *args)


def verdicts(outcome: Outcome) -> dict[str, str]:
    """Return the verdict of each check by its name."""
    found = (re.split("  +", line, maxsplit=1) for line in outcome.out.splitlines())
    return {text.partition(":")[0]: verdict for verdict, text in found}


def failures(outcome: Outcome) -> list[str]:
    """Return name and text of each failed check."""
    return re.findall(r"^FAIL +(.*)$", outcome.out, re.MULTILINE)


def assert_fails_at(
    step: str, outcome: Outcome, text: str, *, skipped: tuple[str, ...] = ()
) -> None:
    """Assert that one step failed for a reason, later steps were not tried, others are ok."""
    steps = [*STEPS[:-1], "answer"] if step == "answer" else STEPS
    expected = dict.fromkeys(
        ["settings", *steps, "tables of the mirror", "sort and search keys", "totals"], "ok"
    )
    untried = steps[steps.index(step) + 1 :]
    expected |= dict.fromkeys([*untried, *skipped], "not tried") | {step: "FAIL"}
    assert verdicts(outcome) == expected
    assert (outcome.status, outcome.err) == (1, "CommandError: 1 check failed.\n")
    (failure,) = failures(outcome)
    assert re.search(text, failure)


def test_every_check_passes_with_the_sandbox(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "5")
    assert outcome.out.splitlines() == [
        "ok         settings",
        "ok         environment: no proxy",
        "ok         host name: 127.0.0.1",
        f"ok         connection: {sandbox.url.split('/')[2]}",
        "not tried  TLS: not used for http URLs",
        "ok         key and hash",
        "ok         clock",
        "ok         tables of the mirror",
        "ok         sort and search keys",
        "ok         totals",
    ]
    assert (outcome.status, outcome.err) == (0, "")
    assert (sandbox.asked, sandbox.listings) == ([5], 0)
    assert not Group.objects.exists()


def well(**headers: str) -> vendor.Script:
    """Answer get-group and get-groups successfully."""
    return reply(200, envelope(group=vendor.GROUP, groups=[vendor.GROUP]), **headers)


def dated(skew: timedelta) -> vendor.Script:
    return well(Date=format_datetime(datetime.now(UTC) - skew, usegmt=True))


@pytest.mark.parametrize(
    ("skew", "finding"),
    [
        (timedelta(minutes=4), ""),
        (timedelta(hours=1), "clock: The clock of this machine is 60 minutes ahead of the vendor"),
        (timedelta(hours=-1), "clock: The clock of this machine is 60 minutes behind the vendor"),
    ],
)
def test_the_system_clock_is_compared_with_the_date_header_of_the_answer(
    skew: timedelta, finding: str
) -> None:
    with Vendor(dated(skew)) as server:
        outcome = examine(server.url)
    assert "".join(failures(outcome)).startswith(finding)
    assert outcome.status == bool(finding)


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_the_system_clock_is_not_checked_without_a_valid_date_header(date: str) -> None:
    with Vendor(well(Date=date)) as server:
        outcome = examine(server.url)
    assert "clock" not in outcome.out


def test_the_doctor_requests_get_groups_if_no_id_is_given(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor")
    assert re.search("^ok +key and hash$", outcome.out, re.MULTILINE)
    assert (outcome.status, sandbox.asked, sandbox.listings) == (0, [], 1)


def test_the_doctor_accepts_the_id_of_an_unknown_group(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "1")
    assert "key and hash: accepted (this group does not exist" in outcome.out
    assert (outcome.status, sandbox.asked) == (0, [1])


ABSENT = reply(404, envelope(404, "API istek yapılan yönteme sahip değil"))
UNKNOWN = reply(463, envelope(463, "Böyle bir grup bulunamadı."))


@pytest.mark.parametrize("answer", [well(), UNKNOWN])
def test_the_doctor_requests_get_group_if_get_groups_answers_404(answer: vendor.Script) -> None:
    with Vendor(ABSENT, answer) as server:
        outcome = examine(server.url)
    assert [request.split()[1] for request in server.received] == [
        b"/v1/get-groups/json",
        b"/v1/get-group/json",
    ]
    assert outcome.err == "CommandError: 1 check failed.\n"
    assert failures(outcome) == [
        "get-groups: The vendor has not enabled get-groups for this account. "
        "ILETIMERKEZI_BASE_URL is right, because get-group works. Ask your customer "
        "representative to enable get-groups."
    ]
    assert re.search("^ok +key and hash$", outcome.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("answer", "step", "text"),
    [
        (ABSENT, "answer", r"404 \(API .*: check ILETIMERKEZI_BASE_URL\."),
        (reply(401, envelope(401, "Hatalı")), "key and hash", r"401 \(Hatalı\)\."),
        (reply(503), "answer", r"answered 503"),
    ],
)
def test_a_failing_get_group_is_reported_if_get_groups_answered_404(
    answer: vendor.Script, step: str, text: str
) -> None:
    with Vendor(ABSENT, answer) as server:
        outcome = examine(server.url)
    assert_fails_at(step, outcome, text, skipped=("TLS",))


def test_the_doctor_does_not_try_get_groups_if_get_group_answers_404_for_the_given_id() -> None:
    with Vendor(ABSENT) as server:
        outcome = examine(server.url, "5")
    assert_fails_at("answer", outcome, "404", skipped=("TLS",))
    assert len(server.received) == 1


def test_both_requests_of_the_doctor_share_the_timeout() -> None:
    def answer_late(connection: vendor.Connection) -> None:
        connection.stopping.wait(0.5)
        ABSENT(connection)

    later = reply(429, Retry_After="20")
    with Vendor(answer_late, later) as server:
        # A new attempt after 20 seconds would end in time if get-group had a timeout of its own.
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=1, ILETIMERKEZI_TIMEOUT=20.4)
    assert_fails_at("answer", outcome, r"Try again in 20 seconds\.", skipped=("TLS",))
    assert len(server.received) == 2


def test_462_for_an_unknown_group_confirms_key_and_hash() -> None:
    with Vendor(reply(200, envelope(462, "Grup id alanını boş bırakamazsınız."))) as server:
        outcome = examine(server.url, "5")
    assert "key and hash: accepted (this group does not exist" in outcome.out
    assert outcome.status == 0


@pytest.mark.parametrize("text", ["0", "five", "\x1b[31m"])
def test_an_invalid_id_is_refused_before_any_check(text: str) -> None:
    outcome = run("iletimerkezi_doctor", text)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("CommandError: Invalid group id ")
    assert "\x1b" not in outcome.err


# Settings


def test_missing_credentials_are_named_and_no_request_is_sent() -> None:
    with Vendor(well()) as server:
        outcome = examine(server.url, ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH=None)
        assert server.accepted == 0
    assert verdicts(outcome) == {
        "settings": "FAIL",
        **dict.fromkeys(STEPS, "not tried"),
        "tables of the mirror": "ok",
        "sort and search keys": "ok",
        "totals": "ok",
    }
    (failure,) = failures(outcome)
    assert "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH. Create the key" in failure


def test_the_doctor_reports_each_wrong_setting_on_its_own_line() -> None:
    outcome = examine("ftp://x", ILETIMERKEZI_TIMEOUT="30", ILETIMERKEZI_API_HASH=f" {HASH}")
    assert outcome.err == "CommandError: 3 checks failed.\n"
    assert [failure.split()[1] for failure in failures(outcome)] == [
        "ILETIMERKEZI_API_HASH",
        "ILETIMERKEZI_BASE_URL",
        "ILETIMERKEZI_TIMEOUT",
    ]


def test_failing_system_checks_do_not_stop_the_doctor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with override_settings(ILETIMERKEZI_TIMEOUT="30"), pytest.raises(SystemExit, match="1"):
        Command().run_from_argv(["manage.py", "iletimerkezi_doctor"])
    printed = capsys.readouterr()
    assert "settings: ILETIMERKEZI_TIMEOUT must be a number of seconds" in printed.out
    assert printed.err == "CommandError: 2 checks failed.\n"


# From the name of the host to a secure connection


def test_an_unknown_host_fails_the_host_name_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # No real resolver, because some take long without a network.
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    outcome = examine("https://api.iletimerkezi.invalid/v1/")
    assert_fails_at("host name", outcome, r"api\.iletimerkezi\.invalid cannot be resolved: check")


def test_a_refused_connection_fails_the_connection_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    outcome = examine(f"https://{host}/v1/")
    assert_fails_at("connection", outcome, rf"{host} \(Connection refused\)\. Check .*firewall\.$")


def test_a_port_that_does_not_answer_fails_the_connection_check() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        # The system completes only as many connections as its queue holds.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1/"
        outcome = examine(url, ILETIMERKEZI_TIMEOUT=0.3)
        for sock in waiting:
            sock.close()
    assert_fails_at("connection", outcome, r"did not answer within 0\.\d+ seconds\. .*firewall\.$")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A trusted authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def serve(certificate: trustme.LeafCert, *scripts: vendor.Script) -> Vendor:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return Vendor(*scripts, tls=context)


def test_every_check_passes_with_a_valid_certificate(authority: trustme.CA) -> None:
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert outcome.status == 0
    assert set(verdicts(outcome).values()) == {"ok"}


NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (
            lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
            "certificate has expired",
        ),
        (
            lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW + DAY, not_after=NOW + 9 * DAY),
            "certificate is not yet valid",
        ),
        (lambda ca: ca.issue_cert("api.example.test"), "certificate is not valid for '127.0.0.1'"),
        (lambda ca: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer certificate"),
    ],
)
def test_an_invalid_certificate_fails_the_tls_check_with_the_openssl_message(
    certificate: Callable[[trustme.CA], trustme.LeafCert], reason: str, authority: trustme.CA
) -> None:
    with serve(certificate(authority), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert server.received == []
    assert_fails_at("TLS", outcome, rf"No secure connection to 127\S+ \(.*{reason}.*\)\. Check")


def test_a_server_without_tls_fails_the_tls_check(sandbox: Sandbox) -> None:
    outcome = examine(sandbox.url.replace("http:", "https:"))
    assert_fails_at("TLS", outcome, r"\(WRONG_VERSION_NUMBER\)\. Check ILETIMERKEZI_BASE_URL")


def test_a_server_without_a_common_cipher_fails_the_tls_check(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    with Vendor(well(), tls=context) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("TLS", outcome, r"No secure connection to 127\S+ \([A-Z0-9_/]+\)\. Check")


@pytest.fixture
def before_tls() -> Iterator[tuple[str, socket.socket]]:
    """A host whose raw connections the test serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def test_an_unanswered_handshake_fails_the_tls_check(before_tls: tuple[str, socket.socket]) -> None:
    host, _listener = before_tls
    outcome = examine(f"https://{host}/v1/", ILETIMERKEZI_TIMEOUT=0.3)
    assert_fails_at("TLS", outcome, r"not answer within 0\.3 seconds\. .* may not support TLS\.$")


def test_a_handshake_aborted_by_the_server_fails_the_tls_check(
    before_tls: tuple[str, socket.socket],
) -> None:
    host, listener = before_tls

    def hang_up() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    outcome = examine(f"https://{host}/v1/")
    thread.join()
    assert_fails_at("TLS", outcome, rf"{host} broke \(.+\)\. .* may not support TLS\.$")


@pytest.mark.parametrize("length", [0, 300])
def test_an_empty_or_truncated_certificate_bundle_fails_the_tls_check(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    bundle.write_bytes(authority.cert_pem.bytes()[:length])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("TLS", outcome, r"No secure connection to .*REQUESTS_CA_BUNDLE")


def test_a_missing_certificate_bundle_fails_the_environment_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    outcome = examine("https://127.0.0.1:9/v1/")
    assert_fails_at("environment", outcome, r"Cannot send requests to .* certificate variables")


def test_an_unwritable_key_log_fails_the_environment_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    # With a bundle, every version of requests creates its TLS context now, not at import.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys.log"))
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("environment", outcome, r"Cannot open .*keys\.log: check .* SSLKEYLOGFILE")


def test_an_unusable_host_name_fails_the_environment_check() -> None:
    outcome = examine("https://٣.example/")
    assert_fails_at("environment", outcome, "Cannot send requests to .* ILETIMERKEZI_BASE_URL")


# Proxies


def test_an_invalid_proxy_address_fails_the_environment_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pw@")
    outcome = examine("https://vendor.example/v1/")
    assert_fails_at("environment", outcome, "Cannot send requests to .* proxy")
    assert "pw" not in outcome.out + outcome.err


def tunnel_to_nowhere(connection: vendor.Connection) -> None:
    connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    connection.wait()


@pytest.mark.parametrize(
    ("script", "step", "text"),
    [
        (reply(407), "connection", r"proxy did not connect to .* \(407\): check HTTPS_PROXY"),
        (vendor.close, "connection", r"broke \(.+\)\. Check .*proxy"),
        (vendor.speak_nonsense, "connection", r"api\.example\.test .*proxy"),
        (vendor.hang, "connection", r"did not answer within 0\.\d+ seconds\. Check .*proxy"),
        (tunnel_to_nowhere, "TLS", r"did not answer within 0\.\d+ seconds\. Check .*TLS"),
    ],
)
def test_a_proxy_failure_is_reported_at_its_step_and_the_host_name_check_is_skipped(
    script: vendor.Script, step: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@{proxy.host}")
        timeout = 0.3 if script in (vendor.hang, tunnel_to_nowhere) else 10
        outcome = examine("https://api.example.test/v1/", ILETIMERKEZI_TIMEOUT=timeout)
    assert_fails_at(step, outcome, text, skipped=("host name",))
    assert "environment: with a proxy\n" in outcome.out
    assert "host name: resolved by the proxy\n" in outcome.out
    assert SECRET not in outcome.out


def test_an_unreachable_proxy_fails_the_connection_check(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    outcome = examine("https://api.example.test/v1/")
    text = r"The proxy did not connect to api\.example\.test: check HTTPS_PROXY"
    assert_fails_at("connection", outcome, text, skipped=("host name",))


def test_a_bypassed_proxy_is_not_mentioned(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert outcome.status == 0
    assert "environment: no proxy\n" in outcome.out


# Answers


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (reply(401, envelope(401, "Hatalı")), r"401 \(Hatalı\)\. .*“Allow API access”.*fixed IP"),
        (reply(400, envelope(400, "?")), r"newer release of django-iletimerkezi\.$"),
        (reply(200, envelope(422, "?")), r"422 \(\?\)\."),
        (reply(403, b"<h1>nginx"), r"403 \(Forbidden\)\."),
    ],
)
def test_a_refused_request_fails_the_key_and_hash_check(script: vendor.Script, text: str) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url)
    assert_fails_at("key and hash", outcome, text, skipped=("TLS",))


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (reply(404, b"<h1>nginx"), r"404 \(Not Found\)\. .*: check ILETIMERKEZI_BASE_URL\."),
        (reply(500, b"oops"), r"answered 500 \(.*\)\."),
        (reply(429, Retry_After="300"), r"Try again in 300 seconds\."),
        (reply(200, b"<html>"), r"it is not JSON in UTF-8\. Check ILETIMERKEZI_BASE_URL"),
        (vendor.speak_nonsense, r"does not speak HTTP: check ILETIMERKEZI_BASE_URL\.$"),
        (reply(302, Location="/"), r"a redirect \(302\).*: check ILETIMERKEZI_BASE_URL\.$"),
        (vendor.close, r"broke \(.+\)\. Try again later"),
        (vendor.hang, r"did not answer within 0\.\d+ seconds\. Try again later"),
        (vendor.drip_body, r"did not answer within 0\.\d+ seconds\. Try again later"),
    ],
)
def test_an_unusable_answer_fails_the_answer_check(script: vendor.Script, text: str) -> None:
    with Vendor(script) as server:
        timeout = 0.3 if script in (vendor.hang, vendor.drip_body) else 10
        outcome = examine(server.url, ILETIMERKEZI_TIMEOUT=timeout)
    assert_fails_at("answer", outcome, text, skipped=("TLS",))


def test_a_bug_fails_the_answer_check_without_advice_to_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("django_iletimerkezi.api.transport.MAX_BODY")
    with Vendor(well()) as server:
        outcome = examine(server.url, "5")
    line = r"This is a bug: NameError in transport\.py, line \d+, .* requests and urllib3\.$"
    assert_fails_at("answer", outcome, line, skipped=("TLS",))


def test_the_doctor_retries_as_often_as_the_settings_say() -> None:
    with Vendor(reply(503), well()) as server:
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=2, ILETIMERKEZI_TIMEOUT=10)
    assert (outcome.status, len(server.received)) == (0, 2)


@pytest.mark.parametrize("script", [vendor.hang, reply(429, Retry_After="1")])
def test_the_doctor_does_not_start_another_attempt_after_the_timeout(script: vendor.Script) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=3, ILETIMERKEZI_TIMEOUT=0.3)
    assert_fails_at("answer", outcome, "", skipped=("TLS",))
    assert len(server.received) <= 1  # None if the machine is busy.


# Stored keys


@pytest.fixture
def wrong_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store five groups, three of which have keys that do not match their names."""
    monkeypatch.setattr(repair, "CHUNK", 2)
    for pk in (1, 3, 4, 7, 2**63 - 1):
        Group.objects.create(pk=pk, name=f"Şube {pk}", count=0)
    Group.objects.filter(pk__in=[1, 7]).update(sort_key="", search_key="")
    Group.objects.filter(pk=2**63 - 1).update(search_key="old")


@pytest.mark.usefixtures("wrong_keys")
def test_wrong_sort_and_search_keys_are_counted_and_repaired(sandbox: Sandbox) -> None:
    assert failures(run("iletimerkezi_doctor")) == [
        "sort and search keys: 3 groups have keys that do not match their names. "
        "Run “manage.py iletimerkezi_doctor --repair”."
    ]
    outcome = run("iletimerkezi_doctor", "--repair")
    assert outcome.out.splitlines() == [
        "ok         tables of the mirror",
        "ok         sort and search keys: 3 groups repaired",
        "ok         totals: 0 groups repaired",
    ]
    assert (outcome.status, sandbox.listings) == (0, 1)
    for group in Group.objects.all():
        assert (group.sort_key, group.search_key) == (sort_key(group.name), f"sube {group.pk}")
    assert run("iletimerkezi_doctor").status == 0


@pytest.mark.usefixtures("wrong_keys")
@pytest.mark.parametrize("repairs", [False, True])
def test_sort_and_search_keys_are_compared_in_chunks(repairs: bool) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert repair.count_wrong_keys(repair=repairs) == 3
    # Three chunks and an empty one. Each chunk has wrong keys: savepoint, lock, the rows, the
    # repair and release.
    assert len(queries) == 4 + repairs * 3 * 5


def test_the_doctor_does_not_try_a_repair_if_a_table_is_missing() -> None:
    with mock.patch.object(
        MirrorLock.objects, "using", side_effect=OperationalError("no such table")
    ):
        outcome = run("iletimerkezi_doctor", "--repair")
    assert verdicts(outcome) == {
        "tables of the mirror": "FAIL",
        "sort and search keys": "not tried",
        "totals": "not tried",
    }


@pytest.mark.usefixtures("wrong_keys")
def test_a_repair_refused_by_the_database_is_reported_as_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(bulk, "upsert", refuse)
    [failure] = failures(run("iletimerkezi_doctor", "--repair"))
    assert failure == "sort and search keys: Database error: database is locked."


# Stored totals


@pytest.fixture
def wrong_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store a chain of four groups, three of which have sums that differ from a recount."""
    monkeypatch.setattr(repair, "CHUNK", 2)
    for pk, parent, count in [(4, None, 1), (3, 4, 2), (2**63 - 1, 3, 4), (1, 2**63 - 1, 8)]:
        Group.objects.create(pk=pk, parent_id=parent, count=count)


def sums() -> dict[int, tuple[int, int]]:
    return {group.pk: (group.total, group.unexplored) for group in Group.objects.all()}


@pytest.mark.usefixtures("wrong_sums")
def test_wrong_totals_are_counted_and_repaired(sandbox: Sandbox) -> None:
    before = sums()
    assert failures(run("iletimerkezi_doctor")) == [
        "totals: 3 groups have wrong totals. Run “manage.py iletimerkezi_doctor --repair”."
    ]
    assert sums() == before
    outcome = run("iletimerkezi_doctor", "--repair")
    assert outcome.out.endswith("ok         totals: 3 groups repaired\n")
    assert sums() == {4: (15, 4), 3: (14, 3), 2**63 - 1: (12, 2), 1: (8, 1)}
    assert run("iletimerkezi_doctor").status == 0


@pytest.mark.parametrize(
    "change", [{"total": 9}, {"unexplored": 0}, {"missing_since": NOW}, {"listed_at": NOW}]
)
def test_a_single_group_with_wrong_totals_is_reported(
    change: dict[str, Any], sandbox: Sandbox
) -> None:
    Group.objects.create(pk=1, count=1)
    Group.objects.update(**change)
    [failure] = failures(run("iletimerkezi_doctor"))
    assert failure.startswith("totals: 1 group has wrong totals. ")


@pytest.mark.parametrize("loop", [{1: 1}, {1: 2, 2: 1}, {1: 3, 2: 1, 3: 2}])
def test_a_repair_skips_totals_in_a_loop_and_corrects_totals_below_the_loop(
    loop: dict[int, int], sandbox: Sandbox
) -> None:
    for pk in [*loop, 7, 8]:
        Group.objects.create(pk=pk, count=pk)
    for pk, parent in (loop | {7: 1, 8: 7}).items():
        Group.objects.filter(pk=pk).update(parent=parent)
    outcome = run("iletimerkezi_doctor", "--repair")
    assert outcome.out.endswith("ok         totals: 1 group repaired\n")
    assert sums() == {pk: (pk, 1) for pk in loop} | {7: (15, 2), 8: (8, 1)}
    assert run("iletimerkezi_doctor").status == 0


def test_totals_are_capped_at_the_largest_database_integer(sandbox: Sandbox) -> None:
    for pk in (1, 2, 3):
        Group.objects.create(pk=pk, parent_id=pk - 1 or None, count=2**63 - 1)
    run("iletimerkezi_doctor", "--repair")
    assert sums() == {1: (2**63 - 1, 3), 2: (2**63 - 1, 2), 3: (2**63 - 1, 1)}
    assert run("iletimerkezi_doctor").status == 0


@pytest.mark.usefixtures("wrong_sums")
@pytest.mark.parametrize("repairs", [False, True])
def test_totals_are_recounted_in_one_transaction(repairs: bool) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert repair.count_wrong_sums(repair=repairs) == 3
    # Two chunks and an empty one, between savepoint, lock and release. Two chunks of wrong groups.
    assert len(queries) == 3 + 3 + repairs * 2 * 2
    statements = [query["sql"] for query in queries]
    assert sum(text.startswith(("INSERT", "UPDATE")) for text in statements) == repairs * (1 + 2)
    assert MirrorLock._meta.db_table in statements[1]
    if connection.features.has_select_for_update and not repairs:
        assert statements[1].endswith("FOR UPDATE")


def test_the_doctor_rejects_an_id_together_with_the_repair_option() -> None:
    with pytest.raises(CommandError, match="not allowed with argument"):
        call_command("iletimerkezi_doctor", "5", "--repair")


# Tables


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "table", [model._meta.db_table for model in (Group, MirrorLock, Fetch, Change)]
)
def test_a_missing_table_is_reported_even_if_settings_are_wrong(table: str) -> None:
    rename_table(table, "elsewhere")
    outcome = examine("", ILETIMERKEZI_BASE_URL="ftp://")
    rename_table("elsewhere", table)
    assert outcome.err == "CommandError: 2 checks failed.\n"
    last = failures(outcome)[-1]
    assert last.startswith("tables of the mirror: Database error: ")
    assert last.endswith("Has “manage.py migrate” been run?")


def rename_table(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_a_project_without_a_database_is_reported(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_database(model: object) -> str:
        raise ImproperlyConfigured("settings.DATABASES is improperly configured.")

    monkeypatch.setattr(router, "db_for_write", no_database)
    (failure,) = failures(run("iletimerkezi_doctor"))
    assert failure == "tables of the mirror: No database is configured: check DATABASES."


# Output


def test_the_doctor_prints_only_failures_with_verbosity_0(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("iletimerkezi_doctor", "-v", "0")
    (line,) = outcome.out.splitlines()
    assert line.startswith("FAIL       key and hash: iletimerkezi answered 401")
    assert (outcome.status, outcome.err) == (1, "CommandError: 1 check failed.\n")


def test_the_help_of_the_doctor_mentions_verbosity_0() -> None:
    printed = Command().create_parser("manage.py", "iletimerkezi_doctor").format_help()
    assert "With -v 0, print only failures." in " ".join(printed.split())


@pytest.mark.parametrize(
    "script",
    [
        reply(401, envelope("401", f"{KEY} {HASH}" * 9)),
        reply(503, envelope(503, f"{KEY} {HASH}")),
        reply(200, f"<html>{KEY} {HASH}".encode()),
        reply(200, envelope(463, f"{KEY}\x1b[31m\r\n{HASH}")),
        reply(307, Location=f"https://{KEY}:{HASH}@127.0.0.1/"),
        vendor.reset,
    ],
)
def test_doctor_lines_are_short_and_contain_no_credential(script: vendor.Script) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url)
    printed = outcome.out + outcome.err
    assert not any(word in printed for word in (KEY, HASH, "\x1b", "Traceback"))
    assert len(outcome.out.splitlines()) in (9, 10)
    assert max(map(len, printed.splitlines())) < 800


@pytest.mark.parametrize(
    "settings",
    [
        {"ILETIMERKEZI_API_KEY": f" {SECRET}"},
        {"ILETIMERKEZI_API_KEY": [SECRET]},
        {"ILETIMERKEZI_API_HASH": SECRET, "ILETIMERKEZI_API_SECRET": SECRET},
        {"ILETIMERKEZI_API_HASH": "", "ILETIMERKEZI_API_SECRET": f"{SECRET}\n"},
        {"ILETIMERKEZI_BASE_URL": f"https://user:{SECRET}@api.example.test/"},
        {"ILETIMERKEZI_BASE_URL": SECRET},
        {"ILETIMERKEZI_TIMEOUT": SECRET, "ILETIMERKEZI_RETRIES": SECRET},
    ],
)
def test_the_value_of_a_wrong_setting_is_not_printed(settings: dict[str, object]) -> None:
    outcome = examine("https://127.0.0.1:9/v1/", **settings)
    assert outcome.status == 1
    assert SECRET not in outcome.out + outcome.err


def test_verdicts_are_coloured_on_a_terminal(sandbox: Sandbox) -> None:
    out = io.StringIO()
    call_command("iletimerkezi_doctor", stdout=out, force_color=True)
    assert out.getvalue().startswith("\x1b[32;1mok       \x1b[0m  settings\n")
    assert "\x1b[33;1mnot tried\x1b[0m  TLS" in out.getvalue()


def test_failures_are_shown_in_the_error_colour() -> None:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("iletimerkezi_doctor", stdout=out, force_color=True)
    assert out.getvalue().startswith("\x1b[31;1mFAIL     \x1b[0m  settings: The credentials")


def test_the_doctor_prints_turkish_in_a_turkish_project(sandbox: Sandbox) -> None:
    with override_settings(LANGUAGE_CODE="tr", ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("iletimerkezi_doctor")
    assert outcome.out.startswith("tamam      ayarlar\n")
    assert "anahtar ve hash: iletimerkezi 401 yanıtını verdi" in outcome.out
    assert outcome.err == "CommandError: 1 kontrol başarısız.\n"


def test_a_terminal_without_unicode_gets_ascii(sandbox: Sandbox) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", write_through=True) as stdout:
        with override_settings(LANGUAGE_CODE="tr"):
            call_command("iletimerkezi_doctor", stdout=stdout)
        assert rb"ba\u011flant\u0131" in raw.getvalue()


def test_ctrl_c_ends_the_doctor_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "check_settings", interrupt)
    outcome = run("iletimerkezi_doctor")
    assert (outcome.status, outcome.err) == (130, "CommandError: Stopped.\n")
