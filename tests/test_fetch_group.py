"""The command for single groups, against a vendor that behaves and one that misbehaves."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from django.core.management import BaseCommand, call_command
from django.db import OperationalError, connection
from django.test.utils import override_settings

from django_iletimerkezi.api.client import IletimerkeziClient
from django_iletimerkezi.management.commands.fetch_group import Command
from django_iletimerkezi.mirror import recorder
from django_iletimerkezi.models import Group
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .commands import run
from .forest import Forest
from .vendor import GROUP, HASH, KEY, Vendor, envelope, reply, well

pytestmark = pytest.mark.django_db

SLOW = [vendor.hang, vendor.drip_headers, vendor.drip_body, vendor.continue_for_ever]

FAILURES = [
    (reply(200, envelope(400, "İstek çözümlenemedi")), r"400 \(İstek çözümlenemedi\)\. The vendor"),
    (
        reply(401, envelope(401, "Üyelik bilgileri hatalı")),
        r"401 \(Üyelik .*Allow API access.*fixed IP",
    ),
    (reply(401), r"401 \(Unauthorized\)\. Check the API key"),
    (reply(404, b"<h1>nginx"), r"404 \(Not Found\)\. .*: check ILETIMERKEZI_BASE_URL\."),
    (reply(404, envelope(463, "Yok.")), r"463 \(Yok\.\)\. The account has no group with this id"),
    (reply(463), r"463 \(no message\)\. The account has no group with this id"),
    (reply(200, envelope(422, "Doğrulanamadı")), r"answered 422 \(Doğrulanamadı\)\. Look"),
    (
        reply(500, b"oops"),
        r"not available: it answered 500 \(Internal Server Error\)\. If this persists",
    ),
    (reply(200, envelope(503, "Bakım")), r"it answered 503 \(Bakım\)\. If this persists"),
    (reply(429, Retry_After="300"), r"429 \(Too Many Requests\)\. .* Try again in 300 seconds\.$"),
    (reply(502, b"no gzip", Content_Encoding="gzip"), r"it answered 502 \(Bad Gateway\)\. If this"),
    (reply(200, b"no gzip", Content_Encoding="gzip"), r"cannot be decompressed\.$"),
    (reply(200, Content_Length="5, 7"), r"from 127\.0\.0\.1:\d+ has invalid headers\.$"),
    (reply(200, b"<html>"), r"Invalid answer from iletimerkezi: it is not JSON in UTF-8\. Check"),
    (reply(200, b"[" * 100_000), r"it is nested too deeply\. Check"),
    (reply(200, envelope()), r"response\.group is missing\. Check"),
    (well(name="a\0b"), r"response\.group\.name contains characters that no database can store\."),
    (well(children=[{"id": 6}]), r"response\.group\.children\[0\]\.name is missing\."),
    (well(children=[vendor.GROUP]), r"response\.group\.children\[0\] is listed inside itself\."),
    (vendor.flood, r"it is longer than 16777216 bytes\."),
    (vendor.flood_redirect, r"it is longer than 16777216 bytes\."),
    (reply(302, Location="http://203.0.113.1/"), r"a redirect \(302\)"),
    (reply(307, Location="/\xff"), r"a redirect \(307\)"),
    (vendor.flood_chunk, r"The connection to 127\.0\.0\.1:\d+ broke \(.+\)\."),
    (vendor.cut_off, r"The connection to 127\.0\.0\.1:\d+ broke \(.+\)\."),
    (vendor.close, r"The connection to 127\.0\.0\.1:\d+ broke \(.+\)\."),
    (vendor.reset, r"The connection to 127\.0\.0\.1:\d+ broke \(.+\)\."),
    (vendor.speak_nonsense, r"127\.0\.0\.1:\d+ does not speak HTTP: check ILETIMERKEZI_BASE_URL"),
    *[(script, r"127\.0\.0\.1:\d+ did not answer within 0\.3 seconds\.") for script in SLOW],
]


@pytest.mark.parametrize(("script", "line"), FAILURES)
def test_a_failed_fetch_prints_one_line_and_stores_nothing(
    script: vendor.Script, line: str
) -> None:
    fast = {
        "ILETIMERKEZI_RETRIES": 0,
        "ILETIMERKEZI_TIMEOUT": 0.3 if script in SLOW else 10,
    }
    with Vendor(script) as server, override_settings(**server.settings, **fast):
        outcome = run("fetch_group", "5")
    assert (outcome.status, outcome.out) == (1, "")
    # None if the machine is so busy that the short timeout ends first.
    assert len(server.received) in ({0, 1} if script in SLOW else {1})
    assert outcome.err.count("\n") == 1
    assert re.search(line, outcome.err.strip())
    assert not Group.objects.exists()


def test_a_bug_is_reported_in_one_line_and_ends_the_fetch(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("django_iletimerkezi.api.transport.MAX_BODY")
    outcome = run("fetch_group", "5", "6")
    assert (outcome.status, sandbox.asked) == (1, [5])
    line = r"CommandError: Group 5: This is a bug: NameError .+ urllib3\.\nNot fetched: 6\.\n"
    assert re.fullmatch(line, outcome.err)


@pytest.mark.parametrize(
    "script",
    [
        reply(401, envelope("401", f"no account {KEY} {HASH}")),
        reply(503, envelope(503, f"{KEY} {HASH}")),
        reply(200, f"<html>{KEY} {HASH}".encode()),
        reply(307, Location=f"https://{KEY}:{HASH}@127.0.0.1/"),
        reply(200, X_Echo=f"{KEY} {HASH}", Content_Length="5, 7"),
        vendor.reset,
        well(),
    ],
)
@pytest.mark.parametrize("options", [[], ["-r", "-v", "3", "--format", "json"]])
def test_output_and_logs_contain_neither_key_nor_hash(
    script: vendor.Script, options: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Vendor(script) as server:
        with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
            outcome = run("fetch_group", "5", *options)
    assert KEY.encode() in server.received[0]
    output = outcome.out + outcome.err
    assert output
    assert not any(secret in output + caplog.text for secret in (KEY, HASH))


@pytest.mark.parametrize(
    "script",
    [
        reply(500, envelope(200, group=vendor.GROUP)),
        reply(200, json.dumps({"response": {"group": vendor.GROUP}}).encode()),
        reply(200, b"\xef\xbb\xbf" + envelope(group=vendor.GROUP)),
        reply(200, envelope(group=vendor.GROUP), Content_Type="text/html; charset=iso-8859-9"),
        well(id="5", count="1", children={"0": {"id": "6", "name": "", "count": "0"}}, extra=[1]),
    ],
)
def test_every_valid_form_of_an_answer_is_stored(script: vendor.Script) -> None:
    with Vendor(script) as server, override_settings(**server.settings):
        outcome = run("fetch_group", "5")
    assert (outcome.status, outcome.err) == (0, "")
    assert Group.objects.get(pk=5).name == "Müşteriler"


def test_a_slow_answer_within_the_timeout_is_stored() -> None:
    def slow(connection: vendor.Connection) -> None:
        body = envelope(group=vendor.GROUP)
        connection.send_slowly(b"HTTP/1.1 200 OK\r\n", 0.01)
        connection.send(b"Content-Length: %d\r\n\r\n" % len(body))
        connection.send_slowly(body, 0.001)

    with Vendor(slow) as server, override_settings(**server.settings):
        assert run("fetch_group", "5").status == 0


def test_a_fetch_succeeds_after_two_503_answers() -> None:
    with Vendor(reply(503), reply(200, envelope(503)), well()) as server:
        with override_settings(**server.settings):
            outcome = run("fetch_group", "5")
    assert (outcome.status, outcome.err, len(server.received)) == (0, "", 3)


def test_the_fetch_group_command_waits_as_long_as_the_retry_after_header_says() -> None:
    with Vendor(reply(429, Retry_After="1"), well()) as server:
        with override_settings(**server.settings, ILETIMERKEZI_TIMEOUT=0.9):
            assert run("fetch_group", "5").status == 0
    assert server.times[1] - server.times[0] >= 1


# Output


def test_the_documented_sample_is_printed_as_a_tree_with_a_warning(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "5")
    assert outcome.out.splitlines() == [
        "Test 1 (id 97101, 1 contact, at least 3 including subgroups)",
        "└── Test 2 (id 97489, 2 contacts)",
        "Fetched “Test 1” (id 97101): 2 created, 0 changed, 0 unchanged, 0 missing.",
    ]
    assert outcome.err == "Asked for group 5, but the vendor returned group 97101.\n"


def test_the_printed_tree_includes_earlier_fetches_and_is_sorted_by_name(
    sandbox: Sandbox,
) -> None:
    assert run("fetch_group", "1240", "1200").out.splitlines()[:10] == [
        "Bilgi İşlem (id 1240, 7 contacts, at least 9 including subgroups)",
        "└── Nöbetçiler 📟 (id 1241, 2 contacts)",
        "Fetched “Bilgi İşlem” (id 1240): 2 created, 0 changed, 0 unchanged, 0 missing.",
        "Çalışanlar (id 1200, 3 contacts, at least 35 including subgroups)",
        "├── Bilgi İşlem (id 1240, 7 contacts, at least 9 including subgroups)",
        "│   └── Nöbetçiler 📟 (id 1241, 2 contacts)",
        "├── İnsan Kaynakları (id 1230, 4 contacts)",
        "├── Muhasebe (id 1220, 5 contacts)",
        "└── Satış (id 1210, 14 contacts)",
        "Fetched “Çalışanlar” (id 1200): 4 created, 1 changed, 0 unchanged, 0 missing.",
    ]


def test_siblings_are_printed_in_turkish_alphabetical_order(sandbox: Sandbox) -> None:
    names = ["Can", "çam", "ıtır", "İpek", "şal", "Sema"]
    children = [{"id": 9 - n, "name": name, "count": 0} for n, name in enumerate(names)]
    sandbox.serve([{"id": 10, "name": "", "count": 0, "children": children}])
    printed = [line[4:].split()[0] for line in run("fetch_group", "10").out.splitlines()[1:-1]]
    assert printed == ["Can", "çam", "ıtır", "İpek", "Sema", "şal"]
    (tree,) = json.loads(run("fetch_group", "10", "--format", "json").out)
    assert [child["name"] for child in tree["children"]] == printed


def test_json_output_is_a_list_of_trees(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "97101", "1410", "--format", "json")
    assert json.loads(outcome.out) == [
        {
            "id": 97101,
            "name": "Test 1",
            "count": 1,
            "children": [{"id": 97489, "name": "Test 2", "count": 2, "children": []}],
        },
        {"id": 1410, "name": "Mezunlar", "count": 1250, "children": []},
    ]
    assert outcome.err == ""


def test_json_output_is_an_empty_list_if_every_group_fails(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "99", "--format", "json")
    assert (outcome.status, json.loads(outcome.out)) == (1, [])


def test_control_characters_in_names_are_escaped(sandbox: Sandbox) -> None:
    sandbox.serve([{"id": 7, "name": "\x1b[31mred\r\n\u202e", "count": 0}])
    assert run("fetch_group", "7").out.startswith(r"\x1b[31mred\r\n\u202e (id 7, 0 contacts)")


def test_a_terminal_without_unicode_gets_ascii(sandbox: Sandbox) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", write_through=True) as stdout:
        call_command("fetch_group", "1240", stdout=stdout)
        assert raw.getvalue().splitlines()[:2] == [
            rb"Bilgi \u0130\u015flem (id 1240, 7 contacts, at least 9 including subgroups)",
            rb"`-- N\xf6bet\xe7iler \U0001f4df (id 1241, 2 contacts)",
        ]


def test_all_groups_are_fetched_after_the_output_pipe_closes(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        call_command("fetch_group", "1110", "1120", stdout=pipe)
    assert sandbox.asked == [1110, 1120]
    assert set(Group.objects.exclude(fetched_at=None).values_list("pk", flat=True)) == {1110, 1120}


def test_verbosity_0_prints_nothing_for_a_successful_fetch(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "5", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert Group.objects.count() == 2


def test_verbosity_0_still_prints_json_and_errors(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "1410", "99", "-v", "0", "--format", "json")
    assert json.loads(outcome.out)[0]["id"] == 1410
    assert outcome.err.startswith("CommandError: Group 99: ")


def test_output_is_turkish_in_a_turkish_project(sandbox: Sandbox) -> None:
    with override_settings(LANGUAGE_CODE="tr"):
        outcome = run("fetch_group", "1410", "99")
    assert "(id 1410, 1250 kişi)" in outcome.out
    assert "Grup 99:" in outcome.err


# Several ids


def test_a_failed_group_is_named_and_the_next_ids_are_fetched(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "98", "1410", "99", "97489")
    assert (outcome.status, sandbox.asked) == (1, [98, 1410, 99, 97489])
    assert re.findall(r"^Fetched “(.*)”", outcome.out, re.MULTILINE) == ["Mezunlar", "Test 2"]
    lines = outcome.err.removeprefix("CommandError: ").splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "Group 98: iletimerkezi answered 463",
        "Group 99: iletimerkezi answered 463",
    ]


def test_an_id_given_twice_is_requested_once(sandbox: Sandbox) -> None:
    run("fetch_group", "1410", "1410", "01410")
    assert sandbox.asked == [1410]


def test_ids_skipped_after_a_fatal_error_are_named_in_one_line(sandbox: Sandbox) -> None:
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("fetch_group", "5", "6", "7")
    first, last = outcome.err.splitlines()
    assert (outcome.status, outcome.out) == (1, "")
    assert first.startswith("CommandError: Group 5: iletimerkezi answered 401")
    assert last == "Not fetched: 6, 7."


def test_json_output_includes_groups_fetched_before_a_fatal_error() -> None:
    with Forest({1: [], 2: [], 3: []}) as server, override_settings(**server.settings):
        server.at_answer(1, lambda: setattr(server, "key", "changed"))
        outcome = run("fetch_group", "1", "2", "3", "--format", "json")
    assert outcome.status == 1
    assert [tree["id"] for tree in json.loads(outcome.out)] == [1]
    assert outcome.err.endswith("\nNot fetched: 3.\n")


@pytest.mark.django_db(transaction=True)
def test_ids_that_follow_a_database_error_are_not_requested(sandbox: Sandbox) -> None:
    rename_table("django_iletimerkezi_group", "elsewhere")
    outcome = run("fetch_group", "98", "5", "6")
    rename_table("elsewhere", "django_iletimerkezi_group")
    lost, error, last = outcome.err.splitlines()
    assert (outcome.status, sandbox.asked) == (1, [98])
    assert lost == "CommandError: 1 answer could not be stored: fetch again."
    assert error.startswith("Group 98: Database error: ")
    assert error.endswith("Has “manage.py migrate” been run?")
    assert last == "Not fetched: 5, 6."


def rename_table(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


@pytest.mark.parametrize("text", ["0", "-5", "5.0", "five", "", "٥", str(2**63), "9" * 5000])
def test_an_invalid_id_is_refused_before_any_request(sandbox: Sandbox, text: str) -> None:
    outcome = run("fetch_group", "1410", text)
    assert (outcome.status, sandbox.asked) == (1, [])
    assert outcome.err.startswith(f"CommandError: Invalid group id {text}: must be a whole number")
    assert outcome.err.count("\n") == 1


def test_all_invalid_ids_are_named_together(sandbox: Sandbox) -> None:
    assert "Invalid group id 0, five, \\x1b: must" in run("fetch_group", "0", "five", "\x1b").err


def test_the_largest_valid_id_is_requested(sandbox: Sandbox) -> None:
    run("fetch_group", str(2**63 - 1))
    assert sandbox.asked == [2**63 - 1]


def test_missing_credentials_are_reported_in_one_line() -> None:
    outcome = run("fetch_group", "5")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH" in outcome.err


# Ctrl-C


def interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_failures_are_named_once_if_ctrl_c_ends_a_later_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Forest({1: [3], 2: []}) as server, override_settings(**server.settings):
        server.at_answer(2, lambda: monkeypatch.setattr(IletimerkeziClient, "ask_group", interrupt))
        outcome = run("fetch_group", "1", "2", "-r")
    assert outcome.status == 130
    assert re.findall(r"Group (\d+):|(Stopped)", outcome.err) == [("3", ""), ("", "Stopped")]


@pytest.mark.parametrize("command", [("fetch_group", "5"), ("fetch_groups",)])
def test_ctrl_c_during_the_system_checks_raises_keyboard_interrupt(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(BaseCommand, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        call_command(*command, skip_checks=False)


def test_a_database_error_after_ctrl_c_is_reported(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("no such table")

    monkeypatch.setattr(Command, "fetch", interrupt)
    monkeypatch.setattr(Command, "note_changes", fail)
    outcome = run("fetch_group", "5", "--changes")
    assert outcome.status == 130
    assert outcome.err.startswith("CommandError: Database error: no such table.")


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OperationalError])
def test_an_answer_lost_after_ctrl_c_is_counted(
    sandbox: Sandbox, problem: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: Iterator[type[BaseException]] = iter([KeyboardInterrupt, problem])

    def refuse(*args: object) -> None:
        raise next(problems)

    monkeypatch.setattr(recorder, "store", refuse)
    outcome = run("fetch_group", "1410")
    assert outcome.status == 130
    assert outcome.err == "CommandError: 1 answer could not be stored: fetch again.\nStopped.\n"


def test_a_wrong_system_clock_is_reported_as_a_warning() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    with Vendor(reply(200, envelope(group=GROUP), Date=date)) as server:
        with override_settings(**server.settings):
            outcome = run("fetch_group", "5")
    warning = "The clock of this machine is 120 minutes behind the vendor's: correct it."
    assert (outcome.status, outcome.err.strip()) == (0, warning)
