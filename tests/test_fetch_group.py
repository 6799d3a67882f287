"""The command, against a vendor that behaves and against one that does not."""

from __future__ import annotations

import io
import json
import logging
import os
import re

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import override_settings

from django_iletimerkezi.models import Group
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .commands import run
from .vendor import HASH, KEY, Vendor, envelope, reply, well

pytestmark = pytest.mark.django_db

DEEP = '{"id": 5, "name": "", "count": 0, "children": [' * 101 + "]}" * 101

REFUSED = [
    # What the vendor does, and what the user reads.
    (reply(200, envelope(400, "İstek çözümlenemedi")), r"400 \(İstek çözümlenemedi\)\. The vendor"),
    (reply(400, envelope(400, "İstek çözümlenemedi")), r"400 \(İstek çözümlenemedi\)\. The vendor"),
    (reply(400, b"<html>"), r"400 \(Bad Request\)\. The vendor could not read"),
    (reply(200, envelope(401, "Üyelik bilgileri hatalı")), r"401 \(Üyelik .*Allow API access"),
    (reply(401, envelope(401, "Üyelik bilgileri hatalı")), r"401 \(Üyelik .*fixed IP"),
    (reply(401), r"401 \(Unauthorized\)\. Check the API key, the hash"),
    (reply(401, envelope("401", f"{KEY} {HASH}")), r"401 \(\*\*\* \*\*\*\)"),
    (reply(200, envelope(404, "API istek")), r"404 \(API istek\)\. .*ILETIMERKEZI_BASE_URL"),
    (reply(404, envelope(404, "API istek")), r"404 \(API istek\)\. .*ILETIMERKEZI_BASE_URL"),
    (reply(404, b"<h1>nginx"), r"404 \(Not Found\)\. There is no such API method"),
    (reply(200, envelope(463, "Yok.")), r"463 \(Yok\.\)\. The account has no group with this id"),
    (reply(463, envelope(463, "Yok.")), r"463 \(Yok\.\)\. The account has no group with this id"),
    (reply(463), r"463 \(no message\)\. The account has no group with this id"),
    (reply(404, envelope(463, "Yok.")), r"463 \(Yok\.\)"),
    (reply(200, envelope(422, "Doğrulanamadı")), r"iletimerkezi answered 422 \(Doğrulanamadı\)\.$"),
    (reply(403, b"<html>"), r"iletimerkezi answered 403 \(Forbidden\)\.$"),
    (reply(500, b"oops"), r"not available: it answered 500 \(Internal Server Error\)\.$"),
    (reply(502, b"<html><h1>Bad Gateway"), r"not available: it answered 502 \(Bad Gateway\)\.$"),
    (reply(200, envelope(503, "Bakım")), r"not available: it answered 503 \(Bakım\)\.$"),
    (reply(429, Retry_After="300"), r"429 \(Too Many Requests\)\. Try again in 300 seconds\.$"),
    (reply(200, b""), r"makes no sense: it is empty\.$"),
    (reply(200, b"<html>"), r"makes no sense: it is not JSON in UTF-8\.$"),
    (reply(200, "{}".encode("utf-16")), r"makes no sense: it is not JSON in UTF-8\.$"),
    (reply(200, b"[" * 100_000), r"makes no sense: it is "),
    (reply(200, b"[]"), r"the answer is not an object\.$"),
    (reply(200, b"{}"), r"makes no sense: response is missing\.$"),
    (reply(200, envelope()), r"makes no sense: response\.group is missing\.$"),
    (reply(200, envelope(group=[])), r"response\.group is not an object\.$"),
    (reply(200, envelope(True, group=vendor.GROUP)), r"response\.status\.code is not a whole"),
    (well(id=True), r"response\.group\.id is not a whole number\.$"),
    (well(id=0), r"response\.group\.id is 0\.$"),
    (well(id=2**63), r"response\.group\.id is out of range\.$"),
    (well(name=None), r"response\.group\.name is not a string\.$"),
    (well(name="a\0b"), r"response\.group\.name has characters that no database can hold\.$"),
    (well(name="\ud800"), r"response\.group\.name has characters that no database can hold\.$"),
    (well(count=-1), r"response\.group\.count is out of range\.$"),
    (well(count=1.5), r"response\.group\.count is not a whole number\.$"),
    (well(children=7), r"response\.group\.children is not a list\.$"),
    (well(children={"a": {}}), r"response\.group\.children has a key that is not an index\.$"),
    (well(children=[{"id": 6}]), r"response\.group\.children\[0\]\.name is missing\.$"),
    (well(children=[vendor.GROUP]), r"response\.group\.children\[0\] is listed inside itself\.$"),
    (
        reply(200, b'{"response": {"group": %s}}' % DEEP.encode()),
        r"children\[0\] is listed inside itself\.$",
    ),
    (vendor.flood, r"makes no sense: it is longer than 16777216 bytes\.$"),
    (reply(302, Location="http://203.0.113.1/"), r"a redirect \(302\), which is not followed"),
    (reply(307, Location="/\xff"), r"a redirect \(307\), which is not followed"),
    (reply(307, Location="http://[::1"), r"a redirect \(307\), which is not followed"),
    (vendor.flood_redirect, r"makes no sense: it is longer than 16777216 bytes\.$"),
    (vendor.flood_chunk, r"The connection to 127\.0\.0\.1:\d+ broke \(IncompleteRead\)\.$"),
    (reply(200, Content_Length="5, 7"), r"from 127\.0\.0\.1:\d+ has headers that make no sense\.$"),
    (reply(502, b"no gzip", Content_Encoding="gzip"), r"it answered 502 \(Bad Gateway\)\.$"),
    (reply(401, b"no gzip", Content_Encoding="gzip"), r"401 \(Unauthorized\)\. Check the API key"),
    (vendor.cut_off, r"The connection to 127\.0\.0\.1:\d+ broke \(IncompleteRead\)\.$"),
    (vendor.close, r"The connection to 127\.0\.0\.1:\d+ broke \(RemoteDisconnected\)\.$"),
    (vendor.reset, r"The connection to 127\.0\.0\.1:\d+ broke \(ConnectionResetError\)\.$"),
    (
        vendor.speak_nonsense,
        r"What answers at 127\.0\.0\.1:\d+ speaks no HTTP: check ILETIMERKEZI_BASE_URL\.$",
    ),
    (vendor.hang, r"127\.0\.0\.1:\d+ did not answer within 0\.5 seconds\.$"),
    (vendor.drip_headers, r"127\.0\.0\.1:\d+ did not answer within 0\.5 seconds\.$"),
    (vendor.drip_body, r"127\.0\.0\.1:\d+ did not answer within 0\.5 seconds\.$"),
    (vendor.drip_chunks, r"127\.0\.0\.1:\d+ did not answer within 0\.5 seconds\.$"),
    (vendor.continue_for_ever, r"127\.0\.0\.1:\d+ did not answer within 0\.5 seconds\.$"),
]


@pytest.mark.parametrize(("script", "line"), REFUSED)
def test_a_refused_fetch_ends_with_one_clear_line_and_stores_nothing(
    script: vendor.Script,
    line: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    slow = {vendor.hang, vendor.drip_headers, vendor.drip_body, vendor.drip_chunks}
    timeout = 0.5 if script in {*slow, vendor.continue_for_ever} else 10
    with Vendor(script) as server:
        fast = {"ILETIMERKEZI_RETRIES": 0, "ILETIMERKEZI_TIMEOUT": timeout}
        with override_settings(**server.settings, **fast):
            outcome = run("fetch_group", "5")
    assert outcome.status == 1
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert re.search(line, outcome.err.strip())
    assert Group.objects.count() == 0
    assert len(server.received) == 1
    assert not any(word in outcome.err + caplog.text for word in (KEY, HASH))


@pytest.mark.parametrize(
    "script",
    [
        reply(200, envelope(group=vendor.GROUP)),
        reply(500, envelope(200, group=vendor.GROUP)),
        reply(401, envelope("200", group=vendor.GROUP)),
        reply(200, json.dumps({"response": {"group": vendor.GROUP}}).encode()),
        reply(200, b"\xef\xbb\xbf" + envelope(group=vendor.GROUP)),
        reply(200, envelope(group=vendor.GROUP), Content_Type="text/html; charset=iso-8859-9"),
        well(id="5", count="1", children={"0": {"id": "6", "name": "", "count": "0"}}, extra=[1]),
    ],
)
def test_an_answer_that_means_something_is_stored(script: vendor.Script) -> None:
    with Vendor(script) as server, override_settings(**server.settings):
        outcome = run("fetch_group", "5")
    assert (outcome.status, outcome.err) == (0, "")
    assert Group.objects.get(pk=5).name == "Müşteriler"


def test_a_slow_but_steady_answer_in_time_is_stored() -> None:
    def slow(connection: vendor.Connection) -> None:
        connection.send_slowly(b"HTTP/1.1 200 OK\r\n", 0.01)
        body = envelope(group=vendor.GROUP)
        connection.send(b"Content-Length: %d\r\n\r\n" % len(body))
        connection.send_slowly(body, 0.001)

    with Vendor(slow) as server, override_settings(**server.settings):
        assert run("fetch_group", "5").status == 0


def test_twice_503_and_then_well_is_well() -> None:
    with Vendor(reply(503), reply(200, envelope(503)), well()) as server:
        with override_settings(**server.settings):
            outcome = run("fetch_group", "5")
    assert (outcome.status, outcome.err, len(server.received)) == (0, "", 3)


def test_after_429_the_command_waits_as_long_as_it_was_told() -> None:
    with Vendor(reply(429, Retry_After="1"), well()) as server:
        with override_settings(**server.settings, ILETIMERKEZI_TIMEOUT=0.9):
            assert run("fetch_group", "5").status == 0
    assert server.times[1] - server.times[0] >= 1


def test_the_documented_sample_prints_as_a_tree(sandbox: Sandbox) -> None:
    assert run("fetch_group", "5").out.splitlines() == [
        "Test 1 (id 97101, 1 contact)",
        "└── Test 2 (id 97489, 2 contacts)",
        "Group 97101: 2 created, 0 changed, 0 unchanged, 0 missing.",
    ]


def test_an_answer_about_another_group_is_warned_of_on_stderr(sandbox: Sandbox) -> None:
    assert run("fetch_group", "5").err == (
        "Asked for group 5, the vendor answered about group 97101.\n"
    )


def test_the_tree_is_the_mirrored_one_with_what_earlier_fetches_found(sandbox: Sandbox) -> None:
    assert run("fetch_group", "1240", "1200").out.splitlines() == [
        "Bilgi İşlem (id 1240, 7 contacts)",
        "└── Nöbetçiler 📟 (id 1241, 2 contacts)",
        "Group 1240: 2 created, 0 changed, 0 unchanged, 0 missing.",
        "Çalışanlar (id 1200, 3 contacts)",
        "├── Satış (id 1210, 14 contacts)",
        "├── Muhasebe (id 1220, 5 contacts)",
        "├── İnsan Kaynakları (id 1230, 4 contacts)",
        "└── Bilgi İşlem (id 1240, 7 contacts)",
        "    └── Nöbetçiler 📟 (id 1241, 2 contacts)",
        "Group 1200: 4 created, 1 changed, 0 unchanged, 0 missing.",
    ]


def test_json_is_a_list_of_trees_and_nothing_else(sandbox: Sandbox) -> None:
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


def test_json_without_a_group_is_an_empty_list(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "99", "--format", "json")
    assert (outcome.status, json.loads(outcome.out)) == (1, [])


def test_a_group_that_fails_is_named_and_does_not_stop_the_others(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "98", "1410", "99")
    assert outcome.status == 1
    assert outcome.out.startswith("Mezunlar (id 1410, 1250 contacts)\n")
    assert outcome.err == (
        "CommandError: "
        "Group 98: iletimerkezi answered 463 (Böyle bir grup bulunamadı.). "
        "The account has no group with this id: look the id up in the panel.\n"
        "Group 99: iletimerkezi answered 463 (Böyle bir grup bulunamadı.). "
        "The account has no group with this id: look the id up in the panel.\n"
    )


def test_an_id_that_is_given_twice_is_asked_for_once(sandbox: Sandbox) -> None:
    run("fetch_group", "1410", "1410", "01410")
    assert sandbox.asked == [1410]


@pytest.mark.parametrize(
    "text", ["0", "-5", "5.0", "+5", "five", "", "٥", "5_0", " 5", str(2**63), "9" * 5000]
)
def test_ids_are_checked_before_anything_is_asked(sandbox: Sandbox, text: str) -> None:
    outcome = run("fetch_group", "1410", text)
    assert (outcome.status, sandbox.asked) == (1, [])
    assert outcome.err == (
        f"CommandError: Not a group id: {text}. "
        "An id is a whole number from 1 to 9223372036854775807.\n"
    )


def test_the_largest_id_is_asked_for(sandbox: Sandbox) -> None:
    run("fetch_group", str(2**63 - 1))
    assert sandbox.asked == [2**63 - 1]


def test_at_verbosity_0_a_good_fetch_says_nothing(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "5", "-v", "0")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert Group.objects.count() == 2


def test_at_verbosity_0_json_and_errors_are_still_printed(sandbox: Sandbox) -> None:
    outcome = run("fetch_group", "1410", "99", "-v", "0", "--format", "json")
    assert json.loads(outcome.out)[0]["id"] == 1410
    assert outcome.err.startswith("CommandError: Group 99: ")


def test_missing_settings_end_in_one_line() -> None:
    assert run("fetch_group", "5").err == (
        "CommandError: The credentials of iletimerkezi are missing: "
        "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH.\n"
    )


@pytest.mark.django_db(transaction=True)
def test_a_missing_table_ends_in_a_line_a_group_with_the_next_step(sandbox: Sandbox) -> None:
    rename("django_iletimerkezi_group", "elsewhere")
    outcome = run("fetch_group", "98", "5")
    rename("elsewhere", "django_iletimerkezi_group")
    assert outcome.status == 1
    lines = outcome.err.removeprefix("CommandError: ").splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "Group 98: The database refused",
        "Group 5: The database refused",
    ]
    assert all(line.endswith("). Has “manage.py migrate” been run?") for line in lines)


def rename(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_a_terminal_without_unicode_gets_ascii(sandbox: Sandbox) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", write_through=True) as stdout:
        call_command("fetch_group", "1240", stdout=stdout)
        assert raw.getvalue().splitlines()[:2] == [
            rb"Bilgi \u0130\u015flem (id 1240, 7 contacts)",
            rb"`-- N\xf6bet\xe7iler \U0001f4df (id 1241, 2 contacts)",
        ]


def test_what_nobody_reads_on_is_fetched_all_the_same(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        call_command("fetch_group", "1110", "1120", stdout=pipe)
    assert sandbox.asked == [1110, 1120]
    assert set(Group.objects.exclude(fetched_at=None).values_list("pk", flat=True)) == {1110, 1120}


def test_control_characters_in_names_are_made_visible(sandbox: Sandbox) -> None:
    sandbox.serve([{"id": 7, "name": "\x1b[31mred\r\n\u202e", "count": 0}])
    assert run("fetch_group", "7").out.startswith(r"\x1b[31mred\r\n\u202e (id 7, 0 contacts)")


def test_the_command_speaks_turkish(sandbox: Sandbox) -> None:
    with override_settings(LANGUAGE_CODE="tr"):
        outcome = run("fetch_group", "1410", "99")
    assert "(id 1410, 1250 kişi)" in outcome.out
    assert "Grup 99:" in outcome.err
