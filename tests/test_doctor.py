"""The doctor, against everything that can stand between a project and the vendor."""

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

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, router
from django.test import override_settings

from django_iletimerkezi import doctor
from django_iletimerkezi.management.commands.iletimerkezi_doctor import Command
from django_iletimerkezi.models import Group
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .commands import Outcome, run
from .vendor import HASH, KEY, Vendor, envelope, reply, well

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
    """Assert that one step failed for a reason, later ones were not tried, others are ok."""
    steps = [*STEPS[:-1], "answer"] if step == "answer" else STEPS
    expected = dict.fromkeys(["settings", *steps, "tables of the mirror"], "ok")
    untried = steps[steps.index(step) + 1 :]
    expected |= dict.fromkeys([*untried, *skipped], "not tried") | {step: "FAIL"}
    assert verdicts(outcome) == expected
    assert (outcome.status, outcome.err) == (1, "CommandError: 1 check failed.\n")
    (failure,) = failures(outcome)
    assert re.search(text, failure)


def test_every_check_passes(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "5")
    assert outcome.out.splitlines() == [
        "ok         settings",
        "ok         environment: no proxy",
        "ok         host name: 127.0.0.1",
        f"ok         connection: {sandbox.url.split('/')[2]}",
        "not tried  TLS: not used on this machine",
        "ok         key and hash",
        "ok         clock",
        "ok         tables of the mirror",
    ]
    assert (outcome.status, outcome.err, sandbox.asked) == (0, "", [5])
    assert not Group.objects.exists()


def well_with(**headers: str) -> vendor.Script:
    return reply(200, envelope(group=vendor.GROUP), **headers)


def dated(skew: timedelta) -> vendor.Script:
    return well_with(Date=format_datetime(datetime.now(UTC) - skew, usegmt=True))


@pytest.mark.parametrize(
    ("skew", "finding"),
    [
        (timedelta(minutes=4), ""),
        (timedelta(hours=1), "clock: The clock of this machine is 60 minutes ahead of the vendor"),
        (timedelta(hours=-1), "clock: The clock of this machine is 60 minutes behind the vendor"),
    ],
)
def test_the_clock_is_compared_with_the_date_of_the_answer(skew: timedelta, finding: str) -> None:
    with Vendor(dated(skew)) as server:
        outcome = examine(server.url)
    assert "".join(failures(outcome)).startswith(finding)
    assert outcome.status == bool(finding)


@pytest.mark.parametrize("date", ["", "soon", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_the_clock_is_not_judged_without_a_valid_date(date: str) -> None:
    with Vendor(well_with(Date=date)) as server:
        outcome = examine(server.url)
    assert "clock" not in outcome.out


def test_group_1_is_asked_for_by_default_and_need_not_exist(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor")
    assert "key and hash: accepted (this group does not exist" in outcome.out
    assert (outcome.status, sandbox.asked) == (0, [1])


def test_462_for_an_unknown_group_proves_key_and_hash() -> None:
    with Vendor(reply(200, envelope(462, "Grup id alanını boş bırakamazsınız."))) as server:
        outcome = examine(server.url)
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
    }
    (failure,) = failures(outcome)
    assert "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH. Create both in" in failure


def test_each_wrong_setting_has_its_own_line() -> None:
    outcome = examine("ftp://x", ILETIMERKEZI_TIMEOUT="30", ILETIMERKEZI_API_HASH=f" {HASH}")
    assert outcome.err == "CommandError: 3 checks failed.\n"
    assert [failure.split()[1] for failure in failures(outcome)] == [
        "ILETIMERKEZI_API_HASH",
        "ILETIMERKEZI_BASE_URL",
        "ILETIMERKEZI_TIMEOUT",
    ]


def test_system_checks_do_not_stop_the_command_before_its_own_checks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with override_settings(ILETIMERKEZI_TIMEOUT="30"), pytest.raises(SystemExit, match="1"):
        Command().run_from_argv(["manage.py", "iletimerkezi_doctor"])
    said = capsys.readouterr()
    assert "settings: ILETIMERKEZI_TIMEOUT must be a number of seconds" in said.out
    assert said.err == "CommandError: 2 checks failed.\n"


# From the name of the host to a secure connection


def test_an_unknown_host_name_fails_at_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # No resolver is asked: some take long where there is no network.
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    outcome = examine("https://api.iletimerkezi.invalid/v1/")
    assert_fails_at("host name", outcome, r"api\.iletimerkezi\.invalid cannot be resolved: check")


def test_a_refused_connection_fails_at_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    outcome = examine(f"https://{host}/v1/")
    assert_fails_at("connection", outcome, rf"{host} \(Connection refused\)\. Check .*firewall\.$")


def test_a_port_that_does_not_answer_fails_at_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        # The system completes no more of them than it queues.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1/"
        outcome = examine(url, ILETIMERKEZI_TIMEOUT=0.3)
        for sock in waiting:
            sock.close()
    assert_fails_at("connection", outcome, r"did not answer within 0\.3 seconds\. .*firewall\.$")


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


def test_every_check_passes_with_a_good_certificate(authority: trustme.CA) -> None:
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
def test_a_bad_certificate_fails_at_tls_with_the_message_of_openssl(
    certificate: Callable[[trustme.CA], trustme.LeafCert], reason: str, authority: trustme.CA
) -> None:
    with serve(certificate(authority), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert server.received == []
    assert_fails_at("TLS", outcome, rf"No secure connection to 127\S+ \(.*{reason}.*\)\. Check")


def test_a_server_without_tls_fails_at_tls(sandbox: Sandbox) -> None:
    outcome = examine(sandbox.url.replace("http:", "https:"))
    assert_fails_at("TLS", outcome, r"\(WRONG_VERSION_NUMBER\)\. Check ILETIMERKEZI_BASE_URL")


def test_a_server_that_shares_no_cipher_fails_at_tls(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    with Vendor(well(), tls=context) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("TLS", outcome, r"No secure connection to 127\S+ \([A-Z0-9_/]+\)\. Check")


@pytest.fixture
def before_tls() -> Iterator[tuple[str, socket.socket]]:
    """A host whose connections the test serves from their first byte on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def test_a_handshake_without_an_answer_fails_at_tls(before_tls: tuple[str, socket.socket]) -> None:
    host, _listener = before_tls
    outcome = examine(f"https://{host}/v1/", ILETIMERKEZI_TIMEOUT=0.3)
    assert_fails_at("TLS", outcome, r"not answer within 0\.3 seconds\. .* may not speak TLS\.$")


def test_a_handshake_that_the_server_breaks_off_fails_at_tls(
    before_tls: tuple[str, socket.socket],
) -> None:
    host, listener = before_tls

    def hang_up() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    outcome = examine(f"https://{host}/v1/")
    thread.join()
    assert_fails_at("TLS", outcome, rf"{host} broke \(.+\)\. .* may not speak TLS\.$")


@pytest.mark.parametrize("length", [0, 300])
def test_an_empty_or_truncated_bundle_fails_at_tls(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    bundle.write_bytes(authority.cert_pem.bytes()[:length])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("TLS", outcome, r"No secure connection to .*REQUESTS_CA_BUNDLE")


def test_a_missing_bundle_fails_at_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    outcome = examine("https://127.0.0.1:9/v1/")
    assert_fails_at("environment", outcome, r"Cannot send requests to .* certificate bundle in the")


def test_a_key_log_that_cannot_be_written_fails_at_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    # With a bundle, each version of requests makes its TLS context now and not when imported.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys.log"))
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("environment", outcome, r"Cannot open .*keys\.log: check .* SSLKEYLOGFILE")


def test_an_unusable_host_name_fails_at_the_environment() -> None:
    outcome = examine("https://٣.example/")
    assert_fails_at("environment", outcome, "Cannot send requests to .* ILETIMERKEZI_BASE_URL")


# Proxies


def test_a_proxy_address_that_requests_cannot_read_fails_at_the_environment(
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
        (vendor.hang, "connection", r"did not answer within 0\.3 seconds\. Check .*proxy"),
        (tunnel_to_nowhere, "TLS", r"did not answer within 0\.3 seconds\. Check .*TLS"),
    ],
)
def test_a_failing_proxy_is_blamed_and_the_host_name_is_not_tried(
    script: vendor.Script, step: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@{proxy.host}")
        timeout = 0.3 if script in (vendor.hang, tunnel_to_nowhere) else 10
        outcome = examine("https://api.example.test/v1/", ILETIMERKEZI_TIMEOUT=timeout)
    assert_fails_at(step, outcome, text, skipped=("host name",))
    assert "environment: with a proxy\n" in outcome.out
    assert "host name: the proxy resolves it\n" in outcome.out
    assert SECRET not in outcome.out


def test_an_unreachable_proxy_fails_at_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    outcome = examine("https://api.example.test/v1/")
    text = r"The proxy did not connect to api\.example\.test: check HTTPS_PROXY"
    assert_fails_at("connection", outcome, text, skipped=("host name",))


def test_a_proxy_that_the_host_bypasses_is_not_mentioned(
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
        (reply(401, envelope(401, "Hatalı")), r"401 \(Hatalı\)\. .*fixed IP.*“Allow API access”"),
        (reply(400, envelope(400, "?")), r"newer release of django-iletimerkezi\.$"),
        (reply(200, envelope(422, "?")), r"422 \(\?\)\."),
        (reply(403, b"<h1>nginx"), r"403 \(Forbidden\)\."),
    ],
)
def test_an_answer_about_the_request_fails_at_key_and_hash(
    script: vendor.Script, text: str
) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url)
    assert_fails_at("key and hash", outcome, text, skipped=("TLS",))


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (reply(404, b"<h1>nginx"), r"404 \(Not Found\)\. .*: check ILETIMERKEZI_BASE_URL\.$"),
        (reply(500, b"oops"), r"answered 500 \(.*\)\."),
        (reply(429, Retry_After="300"), r"Try again in 300 seconds\."),
        (reply(200, b"<html>"), r"it is not JSON in UTF-8\. Check ILETIMERKEZI_BASE_URL"),
        (vendor.speak_nonsense, r"does not speak HTTP: check ILETIMERKEZI_BASE_URL\.$"),
        (reply(302, Location="/"), r"a redirect \(302\).*: check ILETIMERKEZI_BASE_URL\.$"),
        (vendor.close, r"broke \(.+\)\. Try again later"),
        (vendor.hang, r"did not answer within 0\.3 seconds\. Try again later"),
        (vendor.drip_body, r"did not answer within 0\.3 seconds\. Try again later"),
    ],
)
def test_an_answer_that_says_nothing_about_the_request_fails_at_the_answer(
    script: vendor.Script, text: str
) -> None:
    with Vendor(script) as server:
        timeout = 0.3 if script in (vendor.hang, vendor.drip_body) else 10
        outcome = examine(server.url, ILETIMERKEZI_TIMEOUT=timeout)
    assert_fails_at("answer", outcome, text, skipped=("TLS",))


def test_the_request_is_retried_as_often_as_the_settings_say() -> None:
    with Vendor(reply(503), well()) as server:
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=2, ILETIMERKEZI_TIMEOUT=10)
    assert (outcome.status, len(server.received)) == (0, 2)


@pytest.mark.parametrize("script", [vendor.hang, reply(429, Retry_After="1")])
def test_no_attempt_starts_after_the_timeout(script: vendor.Script) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=3, ILETIMERKEZI_TIMEOUT=0.3)
    assert_fails_at("answer", outcome, "", skipped=("TLS",))
    assert len(server.received) == 1


# Tables


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["django_iletimerkezi_group", "django_iletimerkezi_mirrorlock"])
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
    assert failure == "tables of the mirror: No database: check DATABASES in the settings."


# Output


def test_verbosity_0_prints_only_failures(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("iletimerkezi_doctor", "-v", "0")
    (line,) = outcome.out.splitlines()
    assert line.startswith("FAIL       key and hash: iletimerkezi answered 401")
    assert (outcome.status, outcome.err) == (1, "CommandError: 1 check failed.\n")


def test_the_help_mentions_verbosity_0() -> None:
    said = Command().create_parser("manage.py", "iletimerkezi_doctor").format_help()
    assert "With -v 0, print only failures." in " ".join(said.split())


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
def test_no_line_holds_a_credential_or_is_long(script: vendor.Script) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url)
    said = outcome.out + outcome.err
    assert not any(word in said for word in (KEY, HASH, "\x1b", "Traceback"))
    assert len(outcome.out.splitlines()) == 7
    assert max(map(len, said.splitlines())) < 800


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


def test_a_failure_has_the_colour_of_errors() -> None:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("iletimerkezi_doctor", stdout=out, force_color=True)
    assert out.getvalue().startswith("\x1b[31;1mFAIL     \x1b[0m  settings: The credentials")


def test_the_doctor_speaks_turkish(sandbox: Sandbox) -> None:
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
