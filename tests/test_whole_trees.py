"""Whole trees, from the vendor into the table: services.fetch_group and the command."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_iletimerkezi import services
from django_iletimerkezi.api.client import IletimerkeziClient
from django_iletimerkezi.api.parsing import Absence, Answer, GroupData
from django_iletimerkezi.exceptions import AuthenticationFailed, GroupNotFound
from django_iletimerkezi.management.commands import fetch_group as command
from django_iletimerkezi.mirror import rules as batch
from django_iletimerkezi.mirror import store as mirror
from django_iletimerkezi.mirror.crawl import Failure, Walk
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import FetchResult, fetch_group

from .commands import run
from .forest import Forest, tree_of

pytestmark = pytest.mark.django_db


def fetch(server: Forest, group_id: int = 1, **options: object) -> FetchResult:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
        return fetch_group(group_id, recursive=True, **options)  # type: ignore[arg-type]  # passed on


def fetch_by_command(server: Forest, *args: str) -> tuple[int, str, str]:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
        outcome = run("fetch_group", "1", *args)
    return outcome.status, outcome.out, outcome.err


def counts(result: FetchResult) -> tuple[int, int, int, int]:
    return result.created, result.changed, result.unchanged, result.missing


def links() -> dict[int, int | None]:
    return dict(Group.objects.values_list("pk", "parent_id"))


def parents(tree: dict[int, list[int]]) -> dict[int, int | None]:
    above = {child: parent for parent, children in tree.items() for child in children}
    return {group_id: above.get(group_id) for group_id in tree}


def missing() -> set[int]:
    return set(Group.objects.missing().values_list("pk", flat=True))


def test_a_whole_tree_is_mirrored() -> None:
    tree = tree_of(150, 4)
    with Forest(tree) as server:
        result = fetch(server)
    assert counts(result) == (150, 0, 0, 0)
    assert result.group.pk == 1
    assert links() == parents(tree)
    assert not Group.objects.filter(fetched_at=None).exists()


def test_a_second_run_finds_nothing_new() -> None:
    with Forest(tree_of(150, 4)) as server:
        fetch(server)
        assert counts(fetch(server)) == (0, 0, 150, 0)


@pytest.mark.parametrize(("depth", "asked", "stored"), [(0, 1, 3), (1, 3, 7), (2, 7, 15)])
def test_a_depth_is_the_number_of_levels_below_to_ask_for(
    depth: int, asked: int, stored: int
) -> None:
    with Forest(tree_of(63, 2)) as server:
        fetch(server, depth=depth)
    assert sorted(server.asked) == list(range(1, asked + 1))
    assert Group.objects.count() == stored


def test_a_depth_implies_recursive() -> None:
    with Forest(tree_of(7, 2)) as server, override_settings(**server.settings):
        fetch_group(1, depth=1)
    assert sorted(server.asked) == [1, 2, 3]


def test_a_negative_depth_is_refused_before_anything_is_asked() -> None:
    with Forest({1: []}) as server, pytest.raises(ValueError, match="0 or more"):
        fetch(server, depth=-1)
    assert server.asked == []


def test_a_first_group_that_fails_is_raised_as_ever() -> None:
    with Forest({1: []}) as server:
        fetch(server)
        server.failing = {1: 463}
        with pytest.raises(GroupNotFound):
            fetch(server)
    assert missing() == {1}


def test_groups_that_fail_are_told_and_the_rest_is_stored() -> None:
    tree = tree_of(200, 10)
    with Forest(tree) as server:
        server.failing = {3: 500, 150: 463}
        result = fetch(server)
    assert {pk: type(error).__name__ for pk, error in result.failures.items()} == {
        3: "ServiceUnavailable",
        150: "GroupNotFound",
    }
    below_3 = set(tree[3]) | {pk for child in tree[3] for pk in tree[child]}
    assert set(links()) == set(tree) - below_3
    assert missing() == {150}


def test_groups_below_one_that_fails_are_left_as_they_were() -> None:
    tree = tree_of(40, 3)
    with Forest(tree) as server:
        fetch(server)
        before = list(Group.objects.filter(parent=3).order_by("pk").values())
        server.failing = {3: 500}
        result = fetch(server)
    assert list(Group.objects.filter(parent=3).order_by("pk").values()) == before
    assert result.missing == 0


def test_a_group_that_is_listed_nowhere_any_more_is_missing() -> None:
    with Forest({1: [2, 3], 2: [4], 3: [], 4: []}) as server:
        fetch(server)
        server.list_of = {1: [2, 3], 2: [], 3: []}.get
        assert counts(fetch(server)) == (0, 0, 3, 1)
    assert missing() == {4}


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_group_that_is_listed_elsewhere_has_moved(
    connections: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_BATCH_GROUPS", size)
    before = {1: [2, 3, 5], 2: [4], 3: [], 4: [], 5: [6], 6: []}
    after = {1: [2, 3, 5], 2: [], 3: [4], 4: [6], 5: [], 6: []}
    with Forest(before) as server, override_settings(ILETIMERKEZI_MAX_CONNECTIONS=connections):
        fetch(server)
        server.list_of = after.get
        assert counts(fetch(server)) == (0, 2, 4, 0)
    assert (links(), missing()) == (parents(after), set())


def test_a_group_that_two_list_is_where_the_newer_answer_says() -> None:
    with Forest({1: [2, 3], 2: [4], 3: [4], 4: []}) as server:
        result = fetch(server)
    assert counts(result) == (4, 0, 0, 0)
    assert links()[4] in (2, 3)
    assert missing() == set()


def test_loops_leave_no_loop_in_the_table() -> None:
    with Forest({1: [2], 2: [3], 3: [1, 4], 4: [2]}) as server:
        fetch(server)
    for pk in links():
        assert None in Group.objects.path(pk).values_list("parent_id", flat=True)


def test_wrong_credentials_in_the_middle_keep_what_was_answered() -> None:
    with Forest(tree_of(400, 20)) as server:
        requests = iter(range(10**6))
        original = server.list_of

        def list_of(group_id: int) -> object:
            if next(requests) == 100:
                server.hash = "changed"
            return original(group_id)

        server.list_of = list_of  # type: ignore[assignment]  # a double of the method
        with pytest.raises(AuthenticationFailed):
            fetch(server)
    assert Group.objects.exclude(fetched_at=None).count() >= 90


def test_a_database_that_refuses_ends_the_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_BATCH_GROUPS", 10)
    with Forest(tree_of(400, 20)) as server:
        original = server.list_of

        def list_of(group_id: int) -> object:
            if group_id == 30:
                monkeypatch.setattr(batch, "_TIMES", ("no_such_column",))
            return original(group_id)

        server.list_of = list_of  # type: ignore[assignment]  # a double of the method
        with pytest.raises(DatabaseError):
            fetch(server)
        assert len(server.asked) < 400


def test_few_statements_store_three_thousand_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, asked = tree_of(3000, 20), []

    def ask(client: IletimerkeziClient, group_id: int) -> Answer:
        asked.append(group_id)
        children = tuple(GroupData(child, f"Grup {child}", 1) for child in tree[group_id])
        return Answer(
            group_id, datetime.now(UTC), GroupData(group_id, f"Grup {group_id}", 1, children)
        )

    # Six thousand requests would take long, and say nothing about statements.
    monkeypatch.setattr(IletimerkeziClient, "ask", ask)
    with Forest({}) as server, override_settings(ILETIMERKEZI_MAX_CONNECTIONS=8):
        with CaptureQueriesContext(connection) as first:
            assert fetch(server).created == 3000
        with CaptureQueriesContext(connection) as second:
            assert fetch(server).unchanged == 3000
    assert len(asked) == 6000
    assert len(first) <= 60
    assert len(second) <= 40


# The command


def test_the_command_mirrors_a_whole_tree() -> None:
    tree = tree_of(40, 3)
    with Forest(tree) as server:
        status, out, err = fetch_by_command(server, "-r")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 41
    assert out.splitlines()[-1] == "Group 1: 40 created, 0 changed, 0 unchanged, 0 missing."
    assert links() == parents(tree)


@pytest.mark.parametrize("options", [("--depth", "1"), ("-r", "--depth", "1")])
def test_the_command_takes_a_depth(options: tuple[str, ...]) -> None:
    with Forest(tree_of(63, 2)) as server:
        fetch_by_command(server, *options)
    assert sorted(server.asked) == [1, 2, 3]


def test_the_command_refuses_a_negative_depth() -> None:
    with Forest({1: []}) as server:
        status, out, err = fetch_by_command(server, "--depth", "-1")
    assert (status, out, server.asked) == (1, "", [])
    assert err == "CommandError: Not a depth: -1. It is 0 or more.\n"


def test_the_command_names_each_group_that_failed() -> None:
    with Forest(tree_of(1000, 40)) as server:
        server.failing = {30: 463, 31: 500}
        status, out, err = fetch_by_command(server, "-r")
    assert status == 1
    assert sorted(re.findall(r"Group (\d+): iletimerkezi", err)) == ["30", "31"]
    assert "Group 1: " in out


def test_the_command_says_once_that_the_credentials_are_wrong() -> None:
    with Forest(tree_of(100, 40)) as server:
        list_of = server.list_of

        def lock_out(group_id: int) -> object:
            server.key = "changed"
            return list_of(group_id)

        server.list_of = lock_out  # type: ignore[assignment]  # a double of the method
        status, out, err = fetch_by_command(server, "-r")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "401" in err


def test_a_large_tree_is_printed_as_far_as_whole_levels_fit_and_then_in_numbers() -> None:
    with Forest(tree_of(400, 7)) as server:
        lines = fetch_by_command(server, "-r")[1].splitlines()
    assert len(lines) == 1 + 7 + 49 + 1
    assert lines[2] == "│   ├── Grup 9 (id 9, 2 contacts) … 7 groups below"
    below = sum(int(number) for number in re.findall(r"… (\d+) groups? below", "\n".join(lines)))
    assert below == 400 - 57


def test_every_group_of_a_large_tree_is_printed_if_that_is_asked_for() -> None:
    with Forest(tree_of(400, 7)) as server:
        lines = fetch_by_command(server, "-r", "--full")[1].splitlines()
    assert len(lines) == 401


def test_a_first_level_that_is_too_large_is_a_number() -> None:
    with Forest(tree_of(300, 299)) as server:
        lines = fetch_by_command(server, "--depth", "0")[1].splitlines()
    assert lines[0] == "Grup 1 (id 1, 1 contact) … 299 groups below"


def test_json_has_every_group_and_stays_clean() -> None:
    with Forest(tree_of(400, 7)) as server:
        status, out, err = fetch_by_command(server, "-r", "--format", "json")
    (tree,) = json.loads(out)
    assert (status, err, out.count('"id"')) == (0, "", 400)
    assert [child["id"] for child in tree["children"]] == list(range(2, 9))


def test_an_interrupt_ends_with_130_and_says_how_to_go_on() -> None:
    with Forest(tree_of(400, 20)) as server:
        with override_settings(**server.settings):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(services, "Walk", InterruptedWalk)
                outcome = run("fetch_group", "1", "-r")
    assert outcome.status == 130
    assert outcome.err == (
        "CommandError: Stopped. What was answered is stored: run the same command again to go on.\n"
    )
    assert Group.objects.exclude(fetched_at=None).count() >= 51


class InterruptedWalk(Walk):
    def _take_back(self) -> Answer | Failure | None:
        if self.done == 51:
            raise KeyboardInterrupt
        return super()._take_back()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_progress_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_PROGRESS_DELAY", 0)
    with Forest(tree_of(40, 20), latency=0.02) as server, override_settings(**server.settings):
        call_command("fetch_group", "1", "-r", stdout=io.StringIO(), stderr=Terminal())
    assert re.search(r"\d+/40 .*groups/s", capsys.readouterr().err)


@pytest.mark.parametrize(("stderr", "verbosity"), [(Terminal(), 0), (io.StringIO(), 1)])
def test_there_is_no_bar_without_a_terminal_or_when_all_is_to_be_quiet(
    stderr: io.StringIO,
    verbosity: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "_PROGRESS_DELAY", 0)
    with Forest(tree_of(40, 20), latency=0.02) as server, override_settings(**server.settings):
        call_command(
            "fetch_group", "1", "-r", stdout=io.StringIO(), stderr=stderr, verbosity=verbosity
        )
    assert capsys.readouterr().err == ""


# Interrupts


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["set_autocommit", "commit"])
@pytest.mark.parametrize("is_late", [False, True])
def test_ctrl_c_on_the_edge_of_a_transaction_waits_for_its_end(
    step: str, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = connections["default"]
    usual = getattr(wrapper, step)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*args: object, **options: object) -> None:
        delattr(wrapper, step)
        if not is_late:
            signal.raise_signal(signal.SIGINT)
        usual(*args, **options)
        if is_late:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(services, "_BATCH_GROUPS", 5)
    with Forest(tree_of(30, 5)) as server, override_settings(**server.settings):
        setattr(wrapper, step, interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                fetch_group(1, recursive=True)
        finally:
            signal.signal(signal.SIGINT, handler)
    assert not wrapper.in_atomic_block
    assert wrapper.get_autocommit()
    assert Group.objects.exclude(fetched_at=None).count() >= 2


@pytest.mark.django_db(transaction=True)
def test_a_handler_of_the_projects_own_is_left_in_place() -> None:
    calls: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with Forest(tree_of(30, 5)) as server:
            list_of = server.list_of

            def interrupt(group_id: int) -> object:
                if group_id == 20:
                    signal.raise_signal(signal.SIGINT)
                return list_of(group_id)

            server.list_of = interrupt  # type: ignore[assignment]  # a double of the method
            assert fetch(server).created == 30
    finally:
        signal.signal(signal.SIGINT, usual)
    assert calls == [signal.SIGINT]


@pytest.mark.parametrize("size", [1, 1000])
def test_a_child_that_is_listed_and_answers_463_counts_as_missing(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_BATCH_GROUPS", size)
    with Forest({1: [2, 3], 2: []}) as server:
        result = fetch(server)
    assert counts(result) == (2, 0, 0, 1)
    assert (set(result.failures), missing()) == ({3}, {3})


def test_absence_is_learned_though_another_group_answers_in_place_of_the_first() -> None:
    with Forest({1: [2, 3], 2: [], 3: []}, aliases={99: 1}) as server:
        fetch(server, 99)
        server.list_of = {1: [2], 2: []}.get
        assert fetch(server, 99).missing == 1
    assert missing() == {3}


def test_what_failed_before_the_credentials_did_is_named_too() -> None:
    with Forest(tree_of(100, 99)) as server, override_settings(ILETIMERKEZI_MAX_CONNECTIONS=1):
        list_of = server.list_of

        def lock_out(group_id: int) -> object:
            if group_id == 50:
                server.key = "changed"
            return list_of(group_id)

        server.list_of = lock_out  # type: ignore[assignment]  # a double of the method
        server.failing = {3: 500}
        status, out, err = fetch_by_command(server, "-r")
    assert (status, out) == (1, "")
    assert re.findall(r"Group (\d+): iletimerkezi [a-z ]+:? ?[a-z ]*(\d+)", err) == [
        ("3", "500"),
        ("1", "401"),
    ]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OperationalError])
def test_an_interrupt_after_which_nothing_can_be_stored_says_so(
    problem: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(answers: object) -> None:
        monkeypatch.setattr(mirror, "store", again)
        raise KeyboardInterrupt

    def again(answers: object) -> None:
        raise problem

    monkeypatch.setattr(mirror, "store", refuse)
    with Forest(tree_of(30, 5)) as server:
        status, _out, err = fetch_by_command(server, "-r")
    assert status == 130
    assert err == (
        "CommandError: Stopped. The last answers are not stored: run the same command again.\n"
    )


def test_an_interrupt_in_the_last_store_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = mirror.store

    def interrupted(answers: Iterable[Answer | Absence]) -> object:
        monkeypatch.setattr(mirror, "store", store)
        raise KeyboardInterrupt

    monkeypatch.setattr(mirror, "store", interrupted)
    with Forest(tree_of(30, 5)) as server:
        status, _out, err = fetch_by_command(server, "-r")
    assert (status, Group.objects.exclude(fetched_at=None).count()) == (130, 30)
    assert "What was answered is stored" in err


def test_what_failed_before_ctrl_c_is_named() -> None:
    with Forest(tree_of(400, 20)) as server, override_settings(**server.settings):
        server.failing = {3: 500, 999: 463}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(services, "Walk", InterruptedWalk)
            outcome = run("fetch_group", "999", "1", "-r")
    assert outcome.status == 130
    assert re.findall(r"Group (\d+):|(Stopped)", outcome.err) == [
        ("999", ""),
        ("3", ""),
        ("", "Stopped"),
    ]


def test_what_failed_before_the_database_did_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(answers: object) -> None:
        raise OperationalError("no")

    monkeypatch.setattr(mirror, "store", refuse)
    with Forest(tree_of(20, 19)) as server:
        server.failing = {3: 500}
        status, _out, err = fetch_by_command(server, "-r")
    assert status == 1
    assert re.findall(r"Group (\d+): (\w+)", err) == [("3", "iletimerkezi"), ("1", "The")]


def test_an_interrupt_while_the_database_refuses_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Refusing(batch.Batch):
        def save(self) -> dict[int, mirror.Outcome]:
            signal.raise_signal(signal.SIGINT)
            raise OperationalError

    monkeypatch.setattr(mirror, "Batch", Refusing)
    try:
        with Forest({1: []}) as server, pytest.raises(KeyboardInterrupt):
            fetch(server)
    finally:
        signal.signal(signal.SIGINT, handler)


def test_answers_are_stored_every_few_seconds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_BATCH_SECONDS", 0)
    with Forest(tree_of(30, 5)) as server:
        with CaptureQueriesContext(connection) as statements:
            fetch(server)
    written = [query for query in statements if "mirrorlock" in query["sql"]]
    assert len(written) >= 29


def test_a_group_that_is_deleted_while_it_is_fetched_is_told_as_it_was_answered() -> None:
    with Forest(tree_of(30, 5)) as server, override_settings(**server.settings):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(services, "_BATCH_SECONDS", 0)
            patch.setattr(services, "store", Tidied)
            outcome = run("fetch_group", "1", "-r")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("Grup 1 (id 1, 1 contact)\nGroup 1: 30 created")
    assert not Group.objects.filter(pk=1).exists()


class Tidied:
    """The mirror while somebody removes the first group from it."""

    @staticmethod
    def store(answers: Iterable[Answer | Absence]) -> dict[int, mirror.Outcome]:
        outcomes = mirror.store(answers)
        mirror.remove(Group.objects.filter(pk=1))
        return outcomes


def test_answers_about_other_groups_are_told_of() -> None:
    with Forest({1: [6], 60: [61], 61: []}, aliases={6: 60}) as server:
        assert fetch(server).others == {6: 60}
        status, _out, err = fetch_by_command(server, "-r")
    assert (status, err) == (0, "Asked for group 6, the vendor answered about group 60.\n")
