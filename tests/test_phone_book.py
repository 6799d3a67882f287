"""Fetching the whole phone book, without knowing any id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from django_iletimerkezi import services
from django_iletimerkezi.api import GroupData
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    IletimerkeziError,
    MethodNotFound,
    UnexpectedResponse,
)
from django_iletimerkezi.mirror import run as run_module
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import PhoneBookResult, Progress, fetch_group, fetch_groups
from django_iletimerkezi.testing import PHONE_BOOK, GroupDict, Sandbox

from .clients import make_client
from .commands import Outcome, run
from .forest import Forest, describe, tree_of
from .vendor import Vendor, envelope, reply

pytestmark = pytest.mark.django_db

Tree = Mapping[int, Iterable[int]]


def fetch(server: Sandbox, **options: Any) -> PhoneBookResult:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
        return fetch_groups(**options)


def phone_book(links: Tree, *main_ids: int) -> Forest:
    forest = Forest(links)
    forest.main_ids = list(main_ids)
    return forest


def parents() -> dict[int, int | None]:
    return dict(Group.objects.order_by("pk").values_list("pk", "parent_id"))


def missing() -> set[int]:
    return set(Group.objects.missing().values_list("pk", flat=True))


def counts(result: PhoneBookResult) -> tuple[int, int, int, int]:
    return result.created, result.changed, result.unchanged, result.missing


# The listing


ITEMS = [describe(1) | {"children": [describe(2)]}, describe(3)]
DATA = (GroupData(1, "Grup 1", 1, (GroupData(2, "Grup 2", 2),)), GroupData(3, "Grup 3", 3))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (ITEMS, DATA),
        ({"0": ITEMS[0], "2": ITEMS[1]}, DATA),
        ({"group": ITEMS}, DATA),
        ({"group": {"0": ITEMS[0], "1": ITEMS[1]}}, DATA),
        ([], ()),
        ({}, ()),
        ({"group": []}, ()),
        ([ITEMS[0], describe(2)], DATA[:1]),
        ([describe(2), ITEMS[0]], DATA[:1]),
    ],
)
def test_get_groups_parses_a_listing_in_any_of_its_json_forms(
    groups: object, expected: object
) -> None:
    with Vendor(reply(200, envelope(groups=groups))) as vendor:
        with make_client(vendor.url) as client:
            assert client.get_groups() == expected


def test_the_request_for_the_main_groups_contains_only_the_credentials() -> None:
    with Vendor(reply(200, envelope(groups=[]))) as vendor, make_client(vendor.url) as client:
        client.get_groups()
        (request,) = vendor.received
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/get-groups/json HTTP/1.1\r\n")
    assert json.loads(body).keys() == {"request"}
    assert json.loads(body)["request"].keys() == {"authentication"}


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({}, "response.groups is missing"),
        ({"groups": None}, "response.groups is missing"),
        ({"groups": {"group": None}}, "response.groups.group is missing"),
        ({"groups": "x"}, "response.groups is not a list"),
        ({"groups": {"x": describe(1)}}, "response.groups has a key that is not an index"),
        ({"groups": [describe(1), 5]}, r"response.groups\[1\] is not an object"),
        ({"groups": [describe(0)]}, r"response.groups\[0\].id is 0"),
        ({"groups": {"group": [{"id": 1}]}}, r"response.groups.group\[0\].name is missing"),
    ],
)
def test_the_error_for_an_invalid_listing_names_the_faulty_field(
    fields: dict[str, Any], flaw: str
) -> None:
    with Vendor(reply(200, envelope(**fields))) as vendor, make_client(vendor.url) as client:
        with pytest.raises(UnexpectedResponse, match=flaw):
            client.get_groups()


@pytest.mark.parametrize(("code", "kind"), [(401, AuthenticationFailed), (404, MethodNotFound)])
def test_the_error_for_a_refused_get_groups_request_mentions_the_customer_representative(
    code: int, kind: type[IletimerkeziError]
) -> None:
    with Vendor(reply(code, envelope(code, "Hayır"))) as vendor, make_client(vendor.url) as client:
        with pytest.raises(kind, match="customer representative"):
            client.get_groups()


# Mirroring the listing


def test_the_whole_phone_book_is_fetched_without_an_id() -> None:
    links = {1: [11, 12], 11: [111], 12: [], 111: [], 2: [], 3: [31], 31: []}
    with phone_book(links, 1, 2, 3) as server:
        result = fetch(server)
        assert sorted(server.asked) == sorted(links)
        assert server.listings == 1
        assert (counts(result), result.main_groups) == ((7, 0, 0, 0), 3)
        assert counts(fetch(server)) == (0, 0, 7, 0)
    assert parents() == {1: None, 2: None, 3: None, 11: 1, 12: 1, 31: 3, 111: 11}
    assert not Group.objects.filter(fetched_at=None).exists()


@pytest.mark.parametrize(
    ("depth", "asked", "stored"),
    [(0, [], [1, 2, 11]), (1, [1, 2], [1, 2, 11]), (2, [1, 2, 11], [1, 2, 11, 111])],
)
def test_a_depth_limits_the_requested_levels(
    depth: int, asked: list[int], stored: list[int]
) -> None:
    with phone_book({1: [11], 11: [111], 111: [], 2: []}, 1, 2) as server:
        fetch(server, depth=depth)
        assert sorted(server.asked) == asked
    assert list(parents()) == stored


def test_fetch_groups_rejects_a_negative_depth(settings: Any) -> None:
    with pytest.raises(ValueError, match="depth must be 0 or more"):
        fetch_groups(depth=-1)


def test_an_empty_phone_book_is_not_an_error() -> None:
    with phone_book({}) as server:
        result = fetch(server)
    assert (counts(result), result.main_groups) == ((0, 0, 0, 0), 0)


@pytest.mark.no_cover
def test_a_thousand_main_groups_are_mirrored() -> None:
    links: Tree = {pk: [] for pk in range(1, 1001)}
    with phone_book(links, *links) as server:
        result = fetch(server)
    assert (result.created, result.main_groups, len(server.asked)) == (1000, 1000, 1000)


def test_a_flat_listing_gives_the_same_tree_as_a_nested_listing() -> None:
    links = {1: [11, 12], 11: [111], 12: [], 111: []}
    with phone_book(links, 111, 12, 1, 11) as server:
        result = fetch(server)
        assert sorted(server.asked) == sorted(links)
    assert parents() == {1: None, 11: 1, 12: 1, 111: 11}
    assert result.main_groups == 1


def test_groups_can_move_to_and_from_the_top_level() -> None:
    with phone_book({1: [2], 2: [], 3: []}, 1, 3) as server:
        fetch(server)
        server.list_of = {1: [3], 2: [], 3: []}.get
        server.main_ids = [1, 2]
        result = fetch(server)
    assert counts(result) == (0, 2, 1, 0)
    assert parents() == {1: None, 2: None, 3: 1}
    assert missing() == set()


# Main groups that are no longer listed


@pytest.mark.parametrize("code", [463, 462])
def test_an_unlisted_main_group_that_is_denied_becomes_missing_without_a_failure(code: int) -> None:
    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.main_ids = [1]
        server.failing = {2: code}
        server.asked.clear()
        result = fetch(server)
        assert server.asked == [1, 2]
    assert (counts(result), result.failures) == ((0, 0, 1, 1), {})
    assert missing() == {2}


def test_an_unlisted_main_group_that_still_exists_stays_with_its_subgroups() -> None:
    with phone_book({1: [], 2: [21], 21: []}, 1, 2) as server:
        fetch(server)
        server.main_ids = [1]
        result = fetch(server)
        assert server.asked[-2:] == [2, 21]
    assert counts(result) == (0, 0, 3, 0)
    assert missing() == set()


def test_groups_below_an_unlisted_main_group_are_fetched() -> None:
    with phone_book({1: [], 2: [21], 21: []}, 1, 2) as server:
        fetch(server)
        server.main_ids = [1]
        server.list_of = {1: [], 2: [22], 22: [23], 23: []}.get
        result = fetch(server)
    assert (result.created, result.missing) == (2, 1)
    assert Group.objects.get(pk=2).unexplored == 0


def test_a_throttled_unlisted_main_group_does_not_end_the_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("django_iletimerkezi.mirror.crawl.PATIENCE", 0.1)
    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.main_ids, server.failing = [1], {2: 429}
        result = fetch(server)
    assert list(result.failures) == [2]
    assert missing() == set()


def test_an_unlisted_main_group_whose_check_fails_is_not_marked_missing() -> None:
    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.main_ids = [1]
        server.failing = {2: 500}
        result = fetch(server)
    assert list(result.failures) == [2]
    assert missing() == set()


def test_a_listed_but_denied_main_group_is_reported_as_a_failure_and_marked_missing() -> None:
    with phone_book({1: [], 2: []}, 1, 2) as server:
        server.failing = {2: 463}
        result = fetch(server)
    assert list(result.failures) == [2]
    assert missing() == {2}


def test_a_main_group_that_moved_below_another_main_group_is_requested_once() -> None:
    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.list_of, server.main_ids = {1: [2], 2: []}.get, [1]
        server.asked.clear()
        fetch(server)
        assert sorted(server.asked) == [1, 2]
    assert parents() == {1: None, 2: 1}


def test_groups_below_an_unlisted_subgroup_become_missing_and_leave_the_totals() -> None:
    with phone_book({1: [2], 2: [3], 3: [4], 4: []}, 1) as server:
        fetch(server)
        server.list_of = {1: []}.get
        server.asked.clear()
        result = fetch(server)
        assert server.asked == [1, 3, 4]
        assert (result.missing, result.failures) == (3, {})
        server.asked.clear()
        fetch(server)
        assert server.asked == [1]
    assert missing() == {2, 3, 4}
    assert Group.objects.get(pk=1).total == 1


def test_a_fetch_with_a_depth_does_not_check_unlisted_main_groups() -> None:
    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.main_ids, server.failing = [1], {2: 463}
        server.asked.clear()
        fetch(server, depth=3)
        assert server.asked == [1]
    assert missing() == set()


def test_missing_main_groups_are_not_checked_again() -> None:
    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.main_ids, server.failing = [1], {2: 463}
        fetch(server)
        server.asked.clear()
        fetch(server)
        assert server.asked == [1]


def test_the_number_of_unlisted_main_groups_checked_per_fetch_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "MAX_UNMENTIONED", 2)
    with phone_book({pk: [] for pk in range(1, 7)}, *range(1, 7)) as server:
        fetch(server)
        server.main_ids = [6]
        server.list_of = {6: []}.get
        assert [fetch(server).missing for _ in range(4)] == [2, 2, 1, 0]
    assert missing() == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("main_ids", "is_doubted"), [([3], True), ([], True), ([1, 3], False)])
def test_a_warning_precedes_the_check_of_unlisted_groups_if_no_listed_main_group_is_known(
    main_ids: list[int], is_doubted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    doubts: list[tuple[bool, int]] = []

    def report(progress: Progress) -> None:
        doubts.append((progress.maybe_other_account, len(server.asked)))

    with phone_book({1: [], 2: []}, 1, 2) as server:
        fetch(server)
        server.main_ids = main_ids
        server.list_of = {pk: [] for pk in main_ids}.get
        server.asked.clear()
        with caplog.at_level(logging.WARNING, "django_iletimerkezi"):
            fetch(server, report=report)
    assert ("another account" in caplog.text) == is_doubted
    first_doubt = next((asked for doubt, asked in doubts if doubt), None)
    assert first_doubt == (len(main_ids) if is_doubted else None)


# Errors


@pytest.mark.parametrize("code", [401, 404, 500])
def test_a_refused_listing_ends_the_fetch(code: int) -> None:
    with Vendor(reply(code, envelope(code, "Hayır"))) as vendor:
        with override_settings(**vendor.settings), pytest.raises(IletimerkeziError):
            fetch_groups()
    assert parents() == {}


def test_failures_of_single_groups_do_not_end_the_fetch() -> None:
    with phone_book({1: [11], 11: [], 2: [], 3: []}, 1, 2, 3) as server:
        server.failing = {2: 500, 11: 463}
        result = fetch(server)
    assert sorted(result.failures) == [2, 11]
    assert list(parents()) == [1, 2, 3, 11]


def test_answers_received_before_an_error_are_stored(settings: Any) -> None:
    settings.ILETIMERKEZI_MAX_CONNECTIONS = 1
    with phone_book({pk: [] for pk in range(1, 41)}, *range(1, 41)) as server:
        server.at_answer(20, lambda: setattr(server, "key", "changed"))
        with pytest.raises(AuthenticationFailed):
            fetch(server)
    assert len(parents()) == 40
    assert Group.objects.exclude(fetched_at=None).count() == 19


def test_many_consecutive_failures_end_the_fetch_if_repeating_the_listing_request_fails() -> None:
    class Broken(Forest):
        def find_all(self) -> list[GroupDict]:
            if self.listings > 1:
                raise ConnectionResetError
            return super().find_all()

    links: Tree = {pk: [] for pk in range(1, 101)}
    with Broken(links) as server:
        server.main_ids = list(links)
        server.failing = dict.fromkeys(links, 500)
        with pytest.raises(IletimerkeziError):
            fetch(server)
    # A kept connection that breaks is replaced at once.
    assert server.listings == 3
    assert len(server.asked) < 50


def test_the_progress_ends_with_all_groups_done() -> None:
    seen: list[tuple[int, int]] = []
    links = tree_of(40, 3)
    with phone_book(links, 1) as server:
        fetch(server, report=lambda progress: seen.append((progress.done, progress.known)))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, 4), (40, 40))


# The command


def fetch_by_command(server: Sandbox, *args: str) -> Outcome:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
        return run("fetch_groups", *args)


TREE = {1: [11], 11: [111], 111: [], 2: []}


def test_the_fetch_groups_command_prints_all_main_groups_with_their_totals() -> None:
    with phone_book(TREE, 2, 1) as server:
        outcome = fetch_by_command(server)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "Grup 1 (id 1, 1 contact, 11 including subgroups)",
        "└── Grup 11 (id 11, 4 contacts, 10 including subgroups)",
        "    └── Grup 111 (id 111, 6 contacts)",
        "Grup 2 (id 2, 2 contacts)",
        "Fetched the phone book with 2 main groups: 4 created, 0 changed, 0 unchanged, 0 missing.",
    ]


def test_totals_of_a_partly_fetched_tree_are_printed_as_lower_bounds() -> None:
    with phone_book(TREE, 1) as server:
        outcome = fetch_by_command(server, "--depth", "1")
    assert outcome.out.startswith("Grup 1 (id 1, 1 contact, at least 5 including subgroups)\n")


def test_json_output_is_a_list_of_the_listed_main_groups() -> None:
    with phone_book(TREE, 1, 2) as server:
        fetch(server)
        server.failing = {2: 463}
        server.main_ids = [1]
        trees = json.loads(fetch_by_command(server, "--format", "json").out)
    (tree,) = trees
    assert tree["children"][0]["children"] == [describe(111) | {"children": []}]


def test_csv_output_has_a_line_per_group_with_its_path() -> None:
    with phone_book(TREE, 1, 2) as server:
        outcome = fetch_by_command(server, "--format", "csv", "-v", "0")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("\ufeffid;path;name;")
    assert [line.split(";")[:6] for line in lines[1:]] == [
        ["1", "Grup 1", "Grup 1", "1", "11", "0"],
        ["11", "Grup 1 › Grup 11", "Grup 11", "4", "10", "0"],
        ["111", "Grup 1 › Grup 11 › Grup 111", "Grup 111", "6", "6", "0"],
        ["2", "Grup 2", "Grup 2", "2", "2", "0"],
    ]


def test_csv_output_is_utf_8_for_any_stream_encoding() -> None:
    written = io.BytesIO()
    with Sandbox() as server, override_settings(**server.settings):
        output = io.TextIOWrapper(written, encoding="cp1254")
        call_command("fetch_groups", "--format", "csv", stdout=output)
    output.flush()
    lines = written.getvalue().decode("utf-8-sig").splitlines()
    assert any("Nöbetçiler 📟" in line for line in lines)


@pytest.mark.parametrize("options", [[], ["--full"]])
def test_main_groups_beyond_the_print_limit_are_only_counted_unless_full_is_given(
    options: list[str],
) -> None:
    links: Tree = {pk: [] for pk in range(1, 251)}
    with phone_book(links, *links) as server:
        lines = fetch_by_command(server, *options).out.splitlines()
    if options:
        assert len(lines) == 251
    else:
        assert len(lines) == 202
        assert lines[-2] == "… and 50 more main groups"


@pytest.mark.parametrize("code", [401, 404])
def test_a_refused_listing_is_reported_in_one_line(code: int) -> None:
    with Vendor(reply(code, envelope(code, "Hayır"))) as vendor:
        with override_settings(**vendor.settings):
            outcome = run("fetch_groups")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(f"CommandError: iletimerkezi answered {code} (Hayır). ")
    assert "customer representative" in outcome.err
    assert outcome.err.count("\n") == 1


def test_failed_groups_are_named_and_other_groups_are_printed() -> None:
    with phone_book(TREE, 1, 2) as server:
        server.failing = {2: 500}
        outcome = fetch_by_command(server)
    assert outcome.status == 1
    assert outcome.out.splitlines()[-1].startswith("Fetched the phone book with 2 main groups: 4")
    assert outcome.err.startswith("CommandError: Group 2: iletimerkezi is not available")


def test_ctrl_c_ends_the_command_after_storing_the_received_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        "django_iletimerkezi.management.commands.fetch_groups.Command.report",
        lambda command, progress: interrupt(progress),
    )
    with phone_book(TREE, 1, 2) as server:
        outcome = fetch_by_command(server)
    assert outcome.status == 130
    assert "All answers received so far are stored" in outcome.err
    assert set(parents()) >= {1, 2, 11}


def test_the_fetch_groups_command_warns_if_the_key_seems_to_belong_to_another_account() -> None:
    with phone_book({1: []}, 1) as server:
        fetch(server)
    with phone_book({2: []}, 2) as server:
        outcome = fetch_by_command(server)
        assert outcome.err.startswith("None of the main groups from the vendor was in the")
    with phone_book({3: []}, 3) as server:
        assert "another account" in fetch_by_command(server, "-v", "0").err
    assert "1 created, 0 changed, 0 unchanged, 1 missing.\n" in outcome.out


def test_the_fetch_groups_command_rejects_a_negative_depth_before_any_request() -> None:
    with phone_book({}) as server:
        outcome = fetch_by_command(server, "--depth", "-1")
        assert server.listings == 0
    assert outcome.err == "CommandError: Invalid depth -1: must be 0 or more.\n"


# The sandbox


def test_the_sandbox_lists_its_main_groups_in_the_given_order() -> None:
    with Sandbox([{"id": 2, "name": "b", "count": 1}, PHONE_BOOK]) as sandbox:
        with override_settings(**sandbox.settings), services.get_client() as client:
            groups = client.get_groups()
    assert [group.id for group in groups] == [2, 1000]
    assert [child.id for child in groups[1].children] == [1100, 1200, 1300, 1400, 1500]
    assert all(child.children == () for child in groups[1].children)
    assert (sandbox.listings, sandbox.asked) == (1, [])


def test_fetch_groups_places_an_earlier_fetched_subtree_below_its_main_group() -> None:
    with phone_book({1: [2], 2: [3], 3: []}, 1) as server:
        with override_settings(**server.settings):
            fetch_group(2, recursive=True)
            fetch_groups()
    assert parents() == {1: None, 2: 1, 3: 2}
