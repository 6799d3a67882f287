"""The probe of ``make test-live``, against vendors with known deviations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from django_iletimerkezi.testing import Sandbox

from . import vendor
from .live.__main__ import main
from .live.probe import UNKNOWN_ID, probe
from .vendor import HASH, KEY, Vendor, envelope, reply

ROOT = Path(__file__).parent.parent
TREE = {
    "id": 5,
    "name": "Müşteriler",
    "count": 1,
    "children": [
        {"id": 6, "name": "Ankara", "count": 2, "children": [{"id": 8, "name": "", "count": 0}]},
        {"id": 7, "name": "İzmir", "count": 3},
    ],
}

Body = dict[str, Any]
Deviation = Callable[[Body], Any]


def facts_of(url: str, group_id: int = 5) -> dict[str, bool | None]:
    return dict(probe(url, KEY, HASH, group_id, timeout=5))


def test_every_fact_of_the_probe_holds_for_the_sandbox() -> None:
    with Sandbox([TREE], key=KEY, hash=HASH) as sandbox:
        facts = facts_of(sandbox.url)
    assert list(facts) == [
        "the group is returned with code 200",
        "HTTP status equals status.code, for the group",
        "HTTP status equals status.code, for an unknown id",
        "HTTP status equals status.code, for a wrong hash",
        "content type is application/json",
        "charset is declared, as UTF-8",
        "the body is JSON in UTF-8",
        "status.code is a number",
        "status.message is a string",
        "the returned id is the requested id",
        "id is a number",
        "name is a string",
        "count is a number",
        "subgroups are in children, a list",
        "a group without subgroups has no children",
        "subgroups are listed without their own subgroups",
        "an unknown id is refused with code 463 (HTTP 463)",
        "a wrong hash is refused with code 401 (HTTP 401)",
        "an error has no group",
        "get-groups is answered with code 200",
        "HTTP status equals status.code, for get-groups (HTTP 200)",
        "the main groups are in groups, a list (a list)",
        "id is a number, in get-groups",
        "name is a string, in get-groups",
        "count is a number, in get-groups",
        "subgroups are listed without their own subgroups, in get-groups",
        "no subgroup is among the main groups",
        "the group is among the main groups",
    ]
    assert set(facts.values()) == {True}
    assert (sandbox.asked, sandbox.listings) == ([5, 6, 7, UNKNOWN_ID], 1)


def test_the_probe_reports_only_the_alias_as_a_deviation_of_the_documented_sample() -> None:
    with Sandbox(key=KEY, hash=HASH) as sandbox:
        facts = facts_of(sandbox.url)
    assert deviations(facts) == {"the returned id is the requested id"}


def deviations(facts: dict[str, bool | None]) -> set[str]:
    return {fact for fact, holds in facts.items() if holds is False}


def test_the_probe_requests_at_most_five_subgroups() -> None:
    children = [{"id": number, "name": "", "count": 0} for number in range(10, 30)]
    with Sandbox([TREE | {"children": children}], key=KEY, hash=HASH) as sandbox:
        facts_of(sandbox.url)
    assert len(sandbox.asked) == 7


@pytest.mark.parametrize(
    ("group_id", "unseen"),
    [
        (7, {"subgroups are in children, a list"}),
        (6, set()),
    ],
)
def test_a_fact_without_evidence_is_reported_as_not_seen(group_id: int, unseen: set[str]) -> None:
    with Sandbox([TREE], key=KEY, hash=HASH) as sandbox:
        facts = facts_of(sandbox.url, group_id)
    depth = "subgroups are listed without their own subgroups"
    assert {fact for fact, holds in facts.items() if holds is None} == {depth, *unseen}
    assert not deviations(facts)


def test_an_unknown_group_is_reported_as_a_deviation_and_its_facts_as_not_seen() -> None:
    with Sandbox([TREE], key=KEY, hash=HASH) as sandbox:
        facts = facts_of(sandbox.url, 99)
    assert deviations(facts) == {"the group is returned with code 200"}
    assert facts["an unknown id is refused with code 463 (HTTP 463)"]
    assert facts["id is a number"] is None


# Vendors whose answers deviate from the documentation


def answers(deviation: Deviation, **headers: str) -> list[vendor.Script]:
    """Return the answers to get-groups, for group 5, 6, 7, an unknown id, and a wrong hash."""
    leaf = {"id": 7, "name": "İzmir", "count": 3}
    parent = {"id": 6, "name": "Ankara", "count": 2}
    bodies = [
        (200, envelope(groups=[{**parent, "id": 5, "children": [parent, leaf]}])),
        (200, envelope(group={**parent, "id": 5, "children": [parent, leaf]})),
        (200, envelope(group={**parent, "children": [{**leaf, "id": 8}]})),
        (200, envelope(group=leaf)),
        (463, envelope(463, "Böyle bir grup bulunamadı.")),
        (401, envelope(401, "Üyelik bilgileri hatalı")),
    ]
    scripts = []
    for status, body in bodies:
        document = json.loads(body)
        deviation(document["response"])
        fields = {"Content_Type": "application/json; charset=utf-8", **headers}
        scripts.append(reply(status, json.dumps(document).encode(), **fields))
    return scripts


def none(response: Body) -> None:
    """Leave the answer as documented."""


def in_status(name: str, change: Callable[[Any], Any]) -> Deviation:
    return lambda response: response["status"].update({name: change(response["status"][name])})


def in_group(name: str, change: Callable[[Any], Any]) -> Deviation:
    def deviate(response: Body) -> None:
        group = response.get("group", {})
        for fields in [group, *group.get("children", ())]:
            if name in fields:
                fields[name] = change(fields[name])

    return deviate


def children(value: Any) -> Deviation:
    """Set the children of the group without subgroups."""

    def deviate(response: Body) -> None:
        if response.get("group", {}).get("id") == 7:
            response["group"]["children"] = value

    return deviate


def deeper(response: Body) -> None:
    if response.get("group", {}).get("id") == 5:
        response["group"]["children"][0]["children"] = [{"id": 8, "name": "", "count": 0}]


EMPTY = "a group without subgroups has no children"
LISTED = "subgroups are in children, a list"
FLAT = "no subgroup is among the main groups"
TYPES = ("id is a number", "name is a string", "count is a number")


@pytest.mark.parametrize(
    ("deviation", "headers", "facts"),
    [
        (none, {}, set()),
        (none, {"Content_Type": "application/json"}, {"charset is declared, as UTF-8"}),
        (
            none,
            {"Content_Type": "text/html; charset=iso-8859-9"},
            {"content type is application/json", "charset is declared, as UTF-8"},
        ),
        (none, {"Content_Type": "Application/JSON;charset=UTF-8"}, set()),
        (in_status("code", str), {}, {"status.code is a number"}),
        (in_status("message", lambda text: None), {}, {"status.message is a string"}),
        (
            in_status("code", lambda code: code + 1),
            {},
            {
                "the group is returned with code 200",
                "HTTP status equals status.code, for the group",
                "HTTP status equals status.code, for an unknown id",
                "HTTP status equals status.code, for a wrong hash",
                "an unknown id is refused with code 463 (HTTP 463)",
                "a wrong hash is refused with code 401 (HTTP 401)",
                "get-groups is answered with code 200",
                "HTTP status equals status.code, for get-groups (HTTP 200)",
            },
        ),
        (in_group("id", str), {}, {"id is a number", "the returned id is the requested id"}),
        (in_group("name", lambda name: 7), {}, {"name is a string"}),
        (in_group("count", str), {}, {"count is a number"}),
        (in_group("count", bool), {}, {"count is a number"}),
        (
            in_group("children", lambda found: dict(enumerate(found))),
            {},
            {LISTED},
        ),
        (children([]), {}, {EMPTY}),
        (children({}), {}, {EMPTY}),
        (children(None), {}, {EMPTY}),
        (children(0), {}, {EMPTY}),
        (children(7), {}, {LISTED}),
        (children(True), {}, {LISTED}),
        (children("7"), {}, {LISTED}),
        (deeper, {}, {"subgroups are listed without their own subgroups"}),
        (
            lambda response: response.setdefault("group", {"id": 5, "name": "", "count": 0}),
            {},
            {"an error has no group"},
        ),
    ],
)
def test_a_deviation_of_the_vendor_fails_only_the_facts_that_it_contradicts(
    deviation: Deviation, headers: dict[str, str], facts: set[str]
) -> None:
    with Vendor(*answers(deviation, **headers)) as server:
        assert deviations(facts_of(server.url)) == facts
    assert len(server.received) == 6


MAIN = {"id": 5, "name": "", "count": 0, "children": [{"id": 6, "name": "", "count": 0}]}


@pytest.mark.parametrize(
    ("groups", "form", "facts"),
    [
        ({"group": [MAIN]}, 'an object with "group"', set()),
        ({"group": {"1": MAIN}}, 'an object with "group"', set()),
        ({"0": MAIN, "2": MAIN}, "an object with indexes", set()),
        (None, "neither list nor object", set()),
        ([MAIN | {"id": "5"}], "a list", {"id is a number, in get-groups"}),
        ([MAIN | {"name": 7}], "a list", {"name is a string, in get-groups"}),
        ([MAIN | {"count": "7"}], "a list", {"count is a number, in get-groups"}),
        (
            [MAIN | {"children": [MAIN | {"id": 6}]}],
            "a list",
            {"subgroups are listed without their own subgroups, in get-groups"},
        ),
        ([MAIN, {"id": 8, "name": "", "count": 0}], "a list", {FLAT}),
        (
            [MAIN, {"id": "6", "name": "", "count": 0}],
            "a list",
            {FLAT, "id is a number, in get-groups"},
        ),
        ([7, None, []], "a list", {f"{name}, in get-groups" for name in TYPES}),
    ],
)
def test_the_probe_reports_the_form_and_the_deviations_of_the_main_group_listing(
    groups: object, form: str, facts: set[str]
) -> None:
    with Vendor(reply(200, envelope(groups=groups)), *answers(none)[1:]) as server:
        found = facts_of(server.url)
    form = f"the main groups are in groups, a list ({form})"
    listing = set(list(found)[-9:])
    assert deviations(found) & listing == facts | ({form} if "(a list)" not in form else set())


@pytest.mark.parametrize(
    ("listed", "fact", "holds"),
    [
        ([5], "the group is among the main groups", True),
        ([9], "the group is not among the main groups", True),
        ([], "the group is not among the main groups", None),
    ],
)
def test_the_report_says_whether_the_group_is_a_main_group(
    listed: list[int], fact: str, holds: bool | None
) -> None:
    groups = [{"id": group_id, "name": "", "count": 0} for group_id in listed]
    with Vendor(reply(200, envelope(groups=groups)), *answers(none)[1:]) as server:
        facts = facts_of(server.url)
    assert facts[fact] is holds


def test_the_probe_reports_a_deviation_if_get_groups_answers_404() -> None:
    with Vendor(reply(404, envelope(404, "Yok.")), *answers(none)[1:]) as server:
        facts = facts_of(server.url)
    types = "content type is application/json", "charset is declared, as UTF-8"
    assert deviations(facts) - {*types} == {"get-groups is answered with code 200"}
    assert facts["HTTP status equals status.code, for get-groups (HTTP 404)"]


@pytest.mark.parametrize("listed", [[], [6], {}, {"id": 6}, None])
def test_the_probe_does_not_request_a_subgroup_with_an_invalid_id(listed: object) -> None:
    child = {"id": listed, "name": "", "count": 0}
    group = {"id": 5, "name": "", "count": 0, "children": [child]}
    with Vendor(reply(200, envelope(group=group))) as server:
        assert "id is a number" in deviations(facts_of(server.url))
    assert len(server.received) == 4


@pytest.mark.parametrize("value", [7, True, 1.5, "text", [7], [[]], {"a": 7}])
@pytest.mark.parametrize("name", ["id", "name", "count", "children"])
def test_the_probe_handles_values_of_any_type(name: str, value: object) -> None:
    group = {"id": 5, "name": "", "count": 0, "children": [{"id": 6, "name": "", "count": 0}]}
    with Vendor(reply(200, envelope(group=group | {name: value}))) as server:
        assert "an error has no group" in deviations(facts_of(server.url))


def test_the_probe_reports_the_http_status_of_an_error() -> None:
    with Vendor(reply(200, envelope(463, "Yok."))) as server:
        facts = facts_of(server.url)
    assert facts["an unknown id is refused with code 463 (HTTP 200)"]
    assert facts["HTTP status equals status.code, for an unknown id"] is False


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"[]", b'{"response": 7}', b"null"]
)
def test_an_invalid_answer_is_reported_as_a_deviation(body: bytes) -> None:
    with Vendor(reply(200, body)) as server:
        assert "status.code is a number" in deviations(facts_of(server.url))


@pytest.mark.parametrize(
    "script", [vendor.flood, reply(200, b"{}", Content_Encoding="gzip")], ids=["long", "not gzip"]
)
def test_an_unreadable_answer_is_reported_as_a_deviation_with_its_http_status(
    script: vendor.Script,
) -> None:
    with Vendor(script) as server:
        facts = facts_of(server.url)
    assert "the body is JSON in UTF-8" in deviations(facts)
    assert facts["an unknown id is refused with code 463 (HTTP 200)"] is False


def test_the_probe_does_not_follow_redirects() -> None:
    with Vendor(reply(307, b"", Location="/elsewhere")) as server:
        facts_of(server.url)
    assert all(request.startswith(b"POST /v1/get-group") for request in server.received)


def test_the_probe_sends_a_wrong_hash_only_in_the_last_request() -> None:
    with Vendor(*answers(none)) as server:
        facts_of(server.url)
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.received]
    hashes = [body["request"]["authentication"]["hash"] for body in bodies]
    assert hashes[:-1] == [HASH] * 5
    assert hashes[-1] != HASH


def test_the_probe_uses_neither_proxy_nor_netrc_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password sEcReT")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Vendor(vendor.close) as proxy, Vendor(*answers(none)) as server:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        facts_of(server.url)
    assert proxy.accepted == 0
    assert len(server.received) == 6
    assert not any(b"authorization" in request.lower() for request in server.received)


def test_the_probe_uses_the_proxy_from_the_environment_over_https(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Vendor(reply(407)) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        with pytest.raises(requests.ConnectionError):
            facts_of("https://api.example.test/v1/")
    (request,) = proxy.received
    assert request.startswith(b"CONNECT api.example.test:443")
    assert KEY.encode() not in request


@pytest.mark.parametrize("script", [vendor.hang, vendor.drip_headers, vendor.drip_chunks])
def test_the_probe_times_out_before_a_slow_answer_ends(script: vendor.Script) -> None:
    has_answered = threading.Event()

    def watched(connection: vendor.Connection) -> None:
        script(connection)
        has_answered.set()

    with Vendor(watched) as server:
        with pytest.raises((TimeoutError, requests.Timeout)):
            probe(server.url, KEY, HASH, 5, timeout=0.3)
        assert not has_answered.is_set()


# The command


def environment(url: str) -> dict[str, str]:
    return {
        "ILETIMERKEZI_API_KEY": KEY,
        "ILETIMERKEZI_API_HASH": HASH,
        "ILETIMERKEZI_BASE_URL": url,
    }


def test_the_probe_prints_a_line_for_each_fact(capsys: pytest.CaptureFixture[str]) -> None:
    with Sandbox([TREE], key=KEY, hash=HASH) as sandbox:
        assert main(["7"], environment(sandbox.url)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 28
    assert lines[0] == "holds          the group is returned with code 200"
    assert "not seen       subgroups are in children, a list" in lines


def test_the_probe_exits_with_1_after_a_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    with Vendor(*answers(in_group("count", str))) as server:
        assert main(["5"], environment(server.url)) == 1
    assert "does not hold  count is a number\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "scripts", [answers(none), answers(none)[:2], [reply(401, envelope(401, f"{KEY} {HASH}"))]]
)
def test_the_probe_prints_neither_names_nor_credentials(
    scripts: list[vendor.Script], capsys: pytest.CaptureFixture[str]
) -> None:
    with Vendor(*scripts) as server:
        status = main(["5"], environment(server.url))
    out, err = capsys.readouterr()
    assert (status, err) == (int(len(scripts) < 6), "")
    assert out.count("\n") == 28
    assert "holds          the body is JSON in UTF-8\n" in out
    assert not any(word in out for word in (KEY, HASH, "Ankara", "İzmir"))


@pytest.mark.parametrize("script", [vendor.close, vendor.reset])
def test_the_probe_reports_an_unreachable_vendor_in_one_line(
    script: vendor.Script, capsys: pytest.CaptureFixture[str]
) -> None:
    with Vendor(script) as server:
        assert main(["5"], environment(server.url)) == 2
        with pytest.raises(requests.ConnectionError):
            facts_of(server.url)
    assert capsys.readouterr() == ("", "Could not reach the vendor: ConnectionError.\n")


@pytest.mark.parametrize(
    ("arguments", "change", "line"),
    [
        ([], {}, "Give the id"),
        ([""], {}, "Give the id"),
        (["five"], {}, "Give the id"),
        (["5"], {"ILETIMERKEZI_BASE_URL": "http://api.example.test"}, "ILETIMERKEZI_BASE_URL must"),
    ],
)
def test_the_probe_reports_an_invalid_argument_or_setting_in_one_line(
    arguments: list[str], change: dict[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, environment("http://127.0.0.1:9/") | change) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(line)


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (
            ["ILETIMERKEZI_API_KEY", "ILETIMERKEZI_API_HASH"],
            "ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH",
        ),
        (["ILETIMERKEZI_API_HASH"], "ILETIMERKEZI_API_HASH"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["5"]])
def test_the_probe_is_skipped_without_credentials(
    missing: list[str], text: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    environ = environment("http://127.0.0.1:9/") | dict.fromkeys(missing, "")
    assert main(arguments, environ) == 0
    assert capsys.readouterr() == (f"Skipped: set {text} in the environment.\n", "")


def test_the_probe_runs_from_the_command_line() -> None:
    with Sandbox([TREE], key=KEY, hash=HASH) as sandbox:
        process = subprocess.run(
            [sys.executable, "-m", "tests.live", "5"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environment(sandbox.url)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert process.stdout.count("holds  ") == 28
