"""The doctor, against all that can stand between a project and the vendor."""

from __future__ import annotations

import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
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
FIREWALL = (
    "Check host and port in ILETIMERKEZI_BASE_URL, and whether a firewall lets this machine out "
    "to them."
)
INTERCEPTED = "If something in between opens secure connections"
NO_TLS = "Check host and port in ILETIMERKEZI_BASE_URL: what listens there may speak no TLS."
LATER = "Try again later, or with a longer ILETIMERKEZI_TIMEOUT."
OTHERS = "Check ILETIMERKEZI_BASE_URL, and whether another answers in the vendor's place."
LOOK_UP = (
    "Look this code up in the vendor's documentation, or ask its support. If neither knows it, "
    "another may answer in the vendor's place: check ILETIMERKEZI_BASE_URL."
)
SUPPORT = "If it is so again later, ask the vendor's support."

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
    return {said.partition(":")[0]: verdict for verdict, said in found}


def reason(outcome: Outcome) -> str:
    """Return what the one line with a no says."""
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("no ")]
    return line[2:].strip()


def assert_fails_at(step: str, outcome: Outcome, *, skipped: tuple[str, ...] = ()) -> None:
    """Assert that a step has a no, those after it were not tried, and all others went well."""
    steps = [*STEPS[:-1], "answer"] if step == "answer" else STEPS
    expected = dict.fromkeys(["settings", *steps, "tables of the mirror"], "ok")
    untried = steps[steps.index(step) + 1 :]
    expected |= dict.fromkeys([*untried, *skipped], "not tried") | {step: "no"}
    assert verdicts(outcome) == expected
    assert (outcome.status, outcome.err) == (1, "CommandError: 1 check failed.\n")


def test_all_is_well(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "5")
    assert outcome.out.splitlines() == [
        "ok         settings",
        "ok         environment: no proxy",
        "ok         host name: 127.0.0.1",
        f"ok         connection: {sandbox.url.split('/')[2]}",
        "not tried  TLS: http to this machine has none",
        "ok         key and hash",
        "ok         tables of the mirror",
    ]
    assert (outcome.status, outcome.err, sandbox.asked) == (0, "", [5])
    assert Group.objects.count() == 0


def test_without_an_id_group_1_is_asked_for_and_need_not_exist(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor")
    assert "key and hash: there is no such group, which proves them just as well" in outcome.out
    assert (outcome.status, sandbox.asked) == (0, [1])


def test_another_code_for_an_unknown_group_proves_key_and_hash_too() -> None:
    with Vendor(reply(200, envelope(462, "Grup id alanını boş bırakamazsınız."))) as server:
        outcome = examine(server.url)
    assert "key and hash: there is no such group, which proves them just as well" in outcome.out
    assert outcome.status == 0


@pytest.mark.parametrize("text", ["0", "five", "\x1b[31m", "9" * 5000])
def test_an_id_that_cannot_be_one_is_refused_before_anything_is_tried(text: str) -> None:
    outcome = run("iletimerkezi_doctor", text)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("CommandError: Not a group id: ")
    assert "\x1b" not in outcome.err


# Settings


def test_missing_credentials_are_named_and_nothing_is_asked() -> None:
    with Vendor(well()) as server:
        outcome = examine(server.url, ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH=None)
        assert server.accepted == 0
    assert verdicts(outcome) == {
        "settings": "no",
        **dict.fromkeys(STEPS, "not tried"),
        "tables of the mirror": "ok",
    }
    assert reason(outcome) == (
        "settings: The credentials of iletimerkezi are missing: set ILETIMERKEZI_API_KEY and "
        "ILETIMERKEZI_API_HASH. Create both in the vendor's panel. Until then no group can be "
        "fetched."
    )


def test_each_setting_that_is_wrong_has_a_line_of_its_own() -> None:
    outcome = examine("ftp://x", ILETIMERKEZI_TIMEOUT="30", ILETIMERKEZI_API_HASH=f" {HASH}")
    assert outcome.err == "CommandError: 3 checks failed.\n"
    wrong = [line for line in outcome.out.splitlines() if line.startswith("no ")]
    assert [line.split()[2] for line in wrong] == [
        "ILETIMERKEZI_API_HASH",
        "ILETIMERKEZI_BASE_URL",
        "ILETIMERKEZI_TIMEOUT",
    ]


def test_wrong_settings_do_not_end_the_command_before_its_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with override_settings(ILETIMERKEZI_TIMEOUT="30"), pytest.raises(SystemExit, match="1"):
        Command().run_from_argv(["manage.py", "iletimerkezi_doctor"])
    said = capsys.readouterr()
    assert "settings: ILETIMERKEZI_TIMEOUT must be a number of seconds" in said.out
    assert said.err == "CommandError: 2 checks failed.\n"


# From the host's name to a secure connection


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # No resolver is asked: some take long where there is no network.
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    outcome = examine("https://api.iletimerkezi.invalid/v1/")
    assert_fails_at("host name", outcome)
    assert reason(outcome) == (
        "host name: The name api.iletimerkezi.invalid cannot be resolved: "
        "check ILETIMERKEZI_BASE_URL and DNS."
    )


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    outcome = examine(f"https://{host}/v1/")
    assert_fails_at("connection", outcome)
    assert reason(outcome) == f"connection: {host} refused the connection. {FIREWALL}"


def test_a_port_that_swallows_connections() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        # The system completes no more of them than it queues.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1/"
        outcome = examine(url, ILETIMERKEZI_TIMEOUT=0.5)
        for sock in waiting:
            sock.close()
    assert_fails_at("connection", outcome)
    assert reason(outcome).endswith(f" did not answer within 0.5 seconds. {FIREWALL}")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def serve(certificate: trustme.LeafCert, *scripts: vendor.Script) -> Vendor:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return Vendor(*scripts, tls=context)


def test_a_good_certificate(authority: trustme.CA) -> None:
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert outcome.status == 0
    assert set(verdicts(outcome).values()) == {"ok"}


NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        (
            lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
            "the certificate has expired: check this machine's clock",
        ),
        (
            lambda ca: ca.issue_cert("127.0.0.1", not_before=NOW + DAY, not_after=NOW + 9 * DAY),
            "the certificate is not valid yet: check this machine's clock",
        ),
        (
            lambda ca: ca.issue_cert("api.example.test"),
            "the certificate is for another host: check ILETIMERKEZI_BASE_URL",
        ),
        (
            lambda ca: trustme.CA().issue_cert("127.0.0.1"),
            "the certificate is not from an authority that is trusted here: "
            "check REQUESTS_CA_BUNDLE",
        ),
    ],
)
def test_a_bad_certificate_is_named_plainly(
    certificate: Callable[[trustme.CA], trustme.LeafCert], said: str, authority: trustme.CA
) -> None:
    with serve(certificate(authority), well()) as server:
        host = server.host
        outcome = examine(f"https://{host}/v1/")
    assert server.received == []
    assert_fails_at("TLS", outcome)
    assert reason(outcome).startswith(f"TLS: No secure connection to {host}: {said}. {INTERCEPTED}")


def test_a_certificate_for_another_name(authority: trustme.CA) -> None:
    with serve(authority.issue_cert("api.example.test"), well()) as server:
        outcome = examine(f"https://localhost:{server.address[1]}/v1/")
    assert "the certificate is for another host" in reason(outcome)


def test_a_server_that_speaks_no_tls(sandbox: Sandbox) -> None:
    outcome = examine(sandbox.url.replace("http:", "https:"))
    assert_fails_at("TLS", outcome)
    assert "what answers there speaks no TLS: check ILETIMERKEZI_BASE_URL" in reason(outcome)


def test_another_fault_of_tls_has_openssls_word(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    with Vendor(well(), tls=context) as server:
        outcome = examine(f"https://{server.host}/v1/")
    assert_fails_at("TLS", outcome)
    assert re.match(
        rf"TLS: No secure connection to 127\S+: [A-Z0-9_/]+\. {INTERCEPTED}", reason(outcome)
    )


@pytest.fixture
def before_tls() -> Iterator[tuple[str, socket.socket]]:
    """A host whose connections are up to the test from their first byte on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def test_a_handshake_that_nobody_answers(before_tls: tuple[str, socket.socket]) -> None:
    host, _listener = before_tls
    outcome = examine(f"https://{host}/v1/", ILETIMERKEZI_TIMEOUT=0.5)
    assert_fails_at("TLS", outcome)
    assert reason(outcome) == f"TLS: {host} did not answer within 0.5 seconds. {NO_TLS}"


def test_a_handshake_that_is_hung_up(before_tls: tuple[str, socket.socket]) -> None:
    host, listener = before_tls

    def hang_up() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    outcome = examine(f"https://{host}/v1/")
    thread.join()
    assert_fails_at("TLS", outcome)
    assert re.fullmatch(
        rf"TLS: The connection to {host} broke \(\w+\)\. {re.escape(NO_TLS)}", reason(outcome)
    )


@pytest.mark.parametrize("length", [0, 300])
def test_a_bundle_without_a_whole_certificate(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    bundle.write_bytes(authority.cert_pem.bytes()[:length])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with serve(authority.issue_cert("127.0.0.1"), well()) as server:
        host = server.host
        outcome = examine(f"https://{host}/v1/")
    assert_fails_at("TLS", outcome)
    assert reason(outcome).startswith(
        f"TLS: No secure connection to {host}: "
        f"the file that REQUESTS_CA_BUNDLE names has no certificate that can be read. {INTERCEPTED}"
    )


def test_a_bundle_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    outcome = examine("https://127.0.0.1:9/v1/")
    assert_fails_at("environment", outcome)
    assert reason(outcome) == (
        "environment: No request to 127.0.0.1:9 is possible (OSError): "
        "check ILETIMERKEZI_BASE_URL, and in the environment the proxy and the certificate bundle."
    )


def test_an_address_that_no_request_can_have() -> None:
    outcome = examine("https://٣.example/")
    assert_fails_at("environment", outcome)
    assert "(InvalidURL): check ILETIMERKEZI_BASE_URL, and in the environment" in reason(outcome)


# Proxies


def connected(connection: vendor.Connection) -> None:
    connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    connection.wait()


HOST = r"api\.example\.test"
NO_TUNNEL = rf"The proxy did not connect to {HOST}: check HTTPS_PROXY in the environment\."


@pytest.mark.parametrize(
    ("script", "step", "said"),
    [
        (reply(407), "connection", NO_TUNNEL.replace(":", ", it answered 407:")),
        (reply(403), "connection", NO_TUNNEL.replace(":", ", it answered 403:")),
        (
            vendor.close,
            "connection",
            rf"The connection to {HOST} broke \(\w+\)\. Check HTTPS_PROXY in the environment\.",
        ),
        (
            vendor.hang,
            "connection",
            rf"{HOST} did not answer within 0\.5 seconds\. Check HTTPS_PROXY in the environment\.",
        ),
        (
            vendor.speak_nonsense,
            "connection",
            rf"The connection to {HOST} broke \(\w+\)\. Check HTTPS_PROXY in the environment\.",
        ),
        (connected, "TLS", rf"{HOST} did not answer within 0\.5 seconds\. {re.escape(NO_TLS)}"),
    ],
)
def test_with_a_proxy_the_name_is_left_to_it(
    script: vendor.Script, step: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@{proxy.host}")
        timeout = 0.5 if script in (vendor.hang, connected) else 10
        outcome = examine("https://api.example.test/v1/", ILETIMERKEZI_TIMEOUT=timeout)
    assert_fails_at(step, outcome, skipped=("host name",))
    assert re.fullmatch(f"{step}: {said}", reason(outcome))
    assert "environment: with a proxy\n" in outcome.out
    assert "host name: the proxy looks it up\n" in outcome.out
    assert SECRET not in outcome.out


def test_a_proxy_that_is_not_there_is_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    outcome = examine("https://api.example.test/v1/")
    assert_fails_at("connection", outcome, skipped=("host name",))
    assert re.fullmatch(f"connection: {NO_TUNNEL}", reason(outcome))


def test_a_proxy_that_does_not_go_for_the_host_is_none(
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
    ("script", "said"),
    [
        (reply(401, envelope(401, "Hatalı")), r"401 \(Hatalı\)\. .*fixed IP.*“Allow API access”"),
        (reply(400, envelope(400, "?")), r"newer release of django-iletimerkezi\.$"),
        (reply(200, envelope(422, "?")), rf"422 \(\?\)\. {LOOK_UP}$"),
        (reply(403, b"<h1>nginx"), rf"403 \(Forbidden\)\. {LOOK_UP}$"),
    ],
)
def test_an_answer_about_the_request_is_one_about_key_and_hash(
    script: vendor.Script, said: str
) -> None:
    with Vendor(script) as server:
        outcome = examine(server.url)
    assert_fails_at("key and hash", outcome, skipped=("TLS",))
    assert re.search(said, reason(outcome))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (reply(404, b"<h1>nginx"), r"404 \(Not Found\)\. .*: check ILETIMERKEZI_BASE_URL\.$"),
        (reply(500, b"oops"), rf"answered 500 \(.*\)\. {SUPPORT}$"),
        (reply(429, Retry_After="300"), rf"Try again in 300 seconds\. {SUPPORT}$"),
        (reply(200, b"<html>"), rf"it is not JSON in UTF-8\. {OTHERS}$"),
        (
            vendor.speak_nonsense,
            r"What answers at 127\S+ speaks no HTTP: check ILETIM\w+_BASE_URL\.$",
        ),
        (reply(302, Location="/"), r"a redirect \(302\)[^.]*: check ILETIMERKEZI_BASE_URL\.$"),
        (vendor.close, rf"broke \(RemoteDisconnected\)\. {LATER}$"),
        (vendor.hang, rf"did not answer within 0\.5 seconds\. {LATER}$"),
        (vendor.drip_body, rf"did not answer within 0\.5 seconds\. {LATER}$"),
    ],
)
def test_an_answer_that_proves_nothing(script: vendor.Script, said: str) -> None:
    with Vendor(script) as server:
        timeout = 0.5 if script in (vendor.hang, vendor.drip_body) else 10
        outcome = examine(server.url, ILETIMERKEZI_TIMEOUT=timeout)
    assert_fails_at("answer", outcome, skipped=("TLS",))
    assert re.search(said, reason(outcome))


def test_the_request_is_repeated_as_the_settings_say() -> None:
    with Vendor(reply(503), well()) as server:
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=2, ILETIMERKEZI_TIMEOUT=10)
    assert (outcome.status, len(server.received)) == (0, 2)


@pytest.mark.parametrize("script", [vendor.hang, reply(503), reply(429, Retry_After="1")])
def test_all_attempts_together_end_within_the_timeout(script: vendor.Script) -> None:
    start = time.monotonic()
    with Vendor(script) as server:
        outcome = examine(server.url, ILETIMERKEZI_RETRIES=100, ILETIMERKEZI_TIMEOUT=0.9)
        assert time.monotonic() - start < 2
    assert_fails_at("answer", outcome, skipped=("TLS",))


# Tables


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["django_iletimerkezi_group", "django_iletimerkezi_mirrorlock"])
def test_a_missing_table_is_told_whatever_else_is_wrong(table: str) -> None:
    rename(table, "elsewhere")
    outcome = examine("", ILETIMERKEZI_BASE_URL="ftp://")
    rename("elsewhere", table)
    assert verdicts(outcome)["tables of the mirror"] == "no"
    assert outcome.err == "CommandError: 2 checks failed.\n"
    last = outcome.out.splitlines()[-1]
    assert last.startswith("no         tables of the mirror: The database refused (")
    assert last.endswith("). Has “manage.py migrate” been run?")


def rename(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_a_project_without_a_database(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(model: object) -> str:
        raise ImproperlyConfigured("settings.DATABASES is improperly configured.")

    monkeypatch.setattr("django_iletimerkezi.doctor.router.db_for_write", none)
    outcome = run("iletimerkezi_doctor")
    assert reason(outcome) == (
        "tables of the mirror: There is no database: check DATABASES in the settings."
    )


# What is printed


def test_at_verbosity_0_only_what_is_not_well_is_printed(sandbox: Sandbox) -> None:
    outcome = run("iletimerkezi_doctor", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("iletimerkezi_doctor", "-v", "0")
    assert outcome.out == f"no         {reason(outcome)}\n"
    assert reason(outcome).startswith("key and hash: iletimerkezi answered 401")
    assert (outcome.status, outcome.err) == (1, "CommandError: 1 check failed.\n")


def test_the_help_tells_of_verbosity_0() -> None:
    said = Command().create_parser("manage.py", "iletimerkezi_doctor").format_help()
    assert "With -v 0 only those are printed." in " ".join(said.split())


@pytest.mark.parametrize(
    "script",
    [
        reply(401, envelope("401", f"{KEY} {HASH}" * 9)),
        reply(503, envelope(503, f"{KEY} {HASH}")),
        reply(200, f"<html>{KEY} {HASH}".encode()),
        reply(200, envelope(463, f"{KEY}\x1b[31m\r\n{HASH}")),
        reply(307, Location=f"https://{KEY}:{HASH}@127.0.0.1/"),
        vendor.reset,
        vendor.flood,
    ],
)
def test_no_credential_is_printed_and_no_line_is_long(script: vendor.Script) -> None:
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
        {"ILETIMERKEZI_BASE_URL": f"https://api.example.test/?key={SECRET}"},
        {"ILETIMERKEZI_BASE_URL": SECRET},
        {"ILETIMERKEZI_TIMEOUT": SECRET, "ILETIMERKEZI_RETRIES": SECRET},
    ],
)
def test_no_setting_is_quoted(settings: dict[str, object]) -> None:
    outcome = examine("https://127.0.0.1:9/v1/", **settings)
    assert outcome.status == 1
    assert SECRET not in outcome.out + outcome.err


def test_on_a_terminal_with_colours_the_verdicts_have_them(sandbox: Sandbox) -> None:
    out = io.StringIO()
    call_command("iletimerkezi_doctor", stdout=out, force_color=True)
    assert out.getvalue().startswith("\x1b[32;1mok       \x1b[0m  settings\n")
    assert "\x1b[33;1mnot tried\x1b[0m  TLS" in out.getvalue()


def test_a_no_is_in_the_colour_of_errors() -> None:
    out = io.StringIO()
    with pytest.raises(Exception, match="1 check failed"):
        call_command("iletimerkezi_doctor", stdout=out, force_color=True)
    assert out.getvalue().startswith("\x1b[31;1mno       \x1b[0m  settings: The credentials")


def test_the_doctor_speaks_turkish(sandbox: Sandbox) -> None:
    with override_settings(LANGUAGE_CODE="tr", ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("iletimerkezi_doctor")
    lines = outcome.out.splitlines()
    assert lines[0] == "tamam      ayarlar"
    assert lines[4] == "denenmedi  TLS: bu makineye http ile gidilirken kullanılmaz"
    assert lines[5].startswith("hata       anahtar ve hash: iletimerkezi 401 yanıtını verdi")
    assert outcome.err == "CommandError: 1 kontrol başarısız.\n"


def test_a_terminal_without_unicode_gets_ascii(sandbox: Sandbox) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", write_through=True) as stdout:
        with override_settings(LANGUAGE_CODE="tr", ILETIMERKEZI_API_HASH="wrong"):
            with pytest.raises(Exception, match="1 kontrol"):
                call_command("iletimerkezi_doctor", stdout=stdout)
        assert rb"ba\u011flant\u0131" in raw.getvalue()


def test_after_ctrl_c_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "check_settings", interrupt)
    outcome = run("iletimerkezi_doctor")
    assert (outcome.status, outcome.err) == (130, "CommandError: Stopped.\n")
