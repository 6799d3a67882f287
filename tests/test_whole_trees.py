"""Whole trees, from the vendor into the table: services.fetch_group and the command."""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import tqdm
from django.db import DatabaseError, OperationalError, connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_iletimerkezi.api.client import IletimerkeziClient
from django_iletimerkezi.api.parsing import Absence, Answer, GroupData
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    GroupNotFound,
    IletimerkeziError,
    ServiceUnavailable,
)
from django_iletimerkezi.mirror import recorder, rules
from django_iletimerkezi.mirror import run as run_module
from django_iletimerkezi.mirror.crawl import Crawl, Failure
from django_iletimerkezi.mirror.store import remove, store
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import FetchResult, GroupResult, Progress, fetch_group

from .commands import Outcome, run
from .forest import Forest, tree_of

pytestmark = pytest.mark.django_db

Tree = Mapping[int, Iterable[int]]


def fetch(server: Forest, group_id: int = 1, **options: Any) -> GroupResult:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
        return fetch_group(group_id, **({"recursive": "depth" not in options} | options))


def fetch_by_command(
    server: Forest, *args: str, ids: Iterable[int] = (1,), stderr: io.StringIO | None = None
) -> Outcome:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
        return run("fetch_group", *map(str, ids), *args, stderr=stderr)


def counts(result: FetchResult) -> tuple[int, int, int, int]:
    return result.created, result.changed, result.unchanged, result.missing


def links() -> dict[int, int | None]:
    return dict(Group.objects.values_list("pk", "parent_id"))


def parents(tree: Tree) -> dict[int, int | None]:
    above = {child: parent for parent, children in tree.items() for child in children}
    return {group_id: above.get(group_id) for group_id in tree}


def missing() -> set[int]:
    return set(Group.objects.missing().values_list("pk", flat=True))


def fetched() -> int:
    return Group.objects.exclude(fetched_at=None).count()


def failed_ids(outcome: Outcome) -> list[str]:
    return re.findall(r"Group (\d+):", outcome.err)


def change_key(server: Forest, *, at: int) -> None:
    """Refuse all requests after the answer with a number."""
    server.at_answer(at, lambda: setattr(server, "key", "changed"))


@pytest.fixture
def in_order(settings: Any) -> None:
    """Answers arrive in the order of the ids."""
    settings.ILETIMERKEZI_MAX_CONNECTIONS = 1


@pytest.fixture
def one_by_one(in_order: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer is a batch."""
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 1)


def test_a_whole_tree_is_mirrored() -> None:
    tree = tree_of(60, 4)
    with Forest(tree) as server:
        result = fetch(server)
        assert counts(result) == (60, 0, 0, 0)
        assert counts(fetch(server)) == (0, 0, 60, 0)
    assert result.group.pk == 1
    assert links() == parents(tree)
    assert fetched() == 60


@pytest.mark.parametrize(("depth", "asked", "stored"), [(0, 1, 3), (1, 3, 7), (2, 7, 15)])
def test_depth_is_the_number_of_levels_fetched_below_the_first_group(
    depth: int, asked: int, stored: int
) -> None:
    with Forest(tree_of(63, 2)) as server:
        fetch(server, depth=depth)
    assert sorted(server.asked) == list(range(1, asked + 1))
    assert Group.objects.count() == stored


def test_a_depth_implies_a_recursive_fetch() -> None:
    with Forest(tree_of(7, 2)) as server, override_settings(**server.settings):
        fetch_group(1, depth=1)
    assert sorted(server.asked) == [1, 2, 3]


def test_recursive_with_depth_0_is_refused() -> None:
    with pytest.raises(ValueError, match="depth 0 fetches the group only"):
        fetch_group(1, recursive=True, depth=0)
    outcome = run("fetch_group", "1", "--recursive", "--depth", "0")
    assert outcome.err == "CommandError: Use --recursive or --depth 0, but not both.\n"


def test_a_negative_depth_is_refused_before_any_request() -> None:
    with Forest({1: []}) as server, pytest.raises(ValueError, match="0 or more"):
        fetch(server, depth=-1)
    assert server.asked == []


def test_a_denied_first_group_raises_group_not_found_and_is_marked_missing() -> None:
    with Forest({1: []}) as server:
        fetch(server)
        server.failing = {1: 463}
        with pytest.raises(GroupNotFound):
            fetch(server)
    assert missing() == {1}


def test_failed_groups_are_in_the_result_and_other_groups_are_stored() -> None:
    tree = tree_of(60, 5)
    with Forest(tree) as server:
        server.failing = {3: 500, 50: 463}
        result = fetch(server)
    assert {pk: type(error) for pk, error in result.failures.items()} == {
        3: ServiceUnavailable,
        50: GroupNotFound,
    }
    below_3 = set(tree[3]) | {pk for child in tree[3] for pk in tree[child]}
    assert set(links()) == set(tree) - below_3
    assert missing() == {50}


def test_groups_below_a_failed_group_do_not_change() -> None:
    with Forest(tree_of(40, 3)) as server:
        fetch(server)
        before = list(Group.objects.filter(parent=3).order_by("pk").values())
        server.failing = {3: 500}
        assert fetch(server).missing == 0
    assert list(Group.objects.filter(parent=3).order_by("pk").values()) == before


def test_loops_in_answers_are_cut_before_being_stored() -> None:
    with Forest({1: [2], 2: [3], 3: [1, 4], 4: [2]}) as server:
        fetch(server)
    assert all(Group.objects.path(pk)[0].parent_id is None for pk in links())


def test_a_denied_subgroup_of_an_alias_is_marked_missing() -> None:
    with Forest({1: [2, 3], 2: [], 3: []}, aliases={99: 1}) as server:
        fetch(server, 99)
        server.list_of = {1: [2], 2: []}.get
        assert fetch(server, 99).missing == 1
    assert missing() == {3}


def test_aliases_below_the_first_group_are_in_the_result_and_printed() -> None:
    with Forest({1: [6], 60: [61], 61: []}, aliases={6: 60}) as server:
        assert fetch(server).aliases == {6: 60}
        outcome = fetch_by_command(server, "-r")
    assert outcome.status == 0
    assert outcome.err == "Asked for group 6, but the vendor returned group 60.\n"


def test_a_tree_that_changes_during_a_fetch_is_correct_after_the_next_fetch() -> None:
    before = tree_of(60, 5)
    after = with_moves(before, random.Random(5))
    with Forest(before) as server:
        fetch(server)
        server.at_answer(90, lambda: setattr(server, "list_of", after.get))
        fetch(server)
        assert Group.objects.count() == 60
        assert all(Group.objects.path(pk)[0].parent_id is None for pk in links())
        fetch(server)
    assert (links(), missing()) == (parents(after), set())


def with_moves(tree: Tree, chance: random.Random) -> Tree:
    """Return a tree in which every third group has moved, with everything below it."""
    above = {child: parent for parent, children in tree.items() for child in children}
    for group_id in chance.sample(sorted(above), len(above) // 3):
        places = [pk for pk in tree if group_id not in climb(pk, above)]
        above[group_id] = chance.choice(places)
    return {pk: [child for child, parent in above.items() if parent == pk] for pk in tree}


def climb(group_id: int | None, above: Mapping[int, int]) -> Iterator[int]:
    while group_id is not None:
        yield group_id
        group_id = above.get(group_id)


# Counts over several batches


def test_a_group_that_is_no_longer_listed_counts_as_missing(one_by_one: None) -> None:
    with Forest({1: [2, 3], 2: [4], 3: [], 4: []}) as server:
        fetch(server)
        server.list_of = {1: [2, 3], 2: [], 3: []}.get
        assert counts(fetch(server)) == (0, 0, 3, 1)
    assert missing() == {4}


MOVE_BEFORE = {1: [2, 3, 5], 2: [4], 3: [], 4: [], 5: [6], 6: []}
MOVE_AFTER = {1: [2, 3, 5], 2: [], 3: [4], 4: [6], 5: [], 6: []}


def assert_moves_count_as_changes() -> None:
    with Forest(MOVE_BEFORE) as server:
        fetch(server)
        server.list_of = MOVE_AFTER.get
        assert counts(fetch(server)) == (0, 2, 4, 0)
    assert (links(), missing()) == (parents(MOVE_AFTER), set())


def test_a_group_that_is_missing_in_one_batch_and_moved_in_a_later_batch_counts_as_changed(
    one_by_one: None,
) -> None:
    assert_moves_count_as_changes()


def test_a_group_that_moved_within_a_batch_counts_as_changed() -> None:
    assert_moves_count_as_changes()


def test_a_group_that_changes_in_two_batches_is_counted_once(one_by_one: None) -> None:
    with Forest({1: [2, 3, 4], 2: [], 3: [], 4: []}) as server:
        fetch(server)
        server.list_of = {1: [2, 3], 2: [4], 3: [4], 4: []}.get
        assert counts(fetch(server)) == (0, 1, 3, 0)
    assert links()[4] == 3


def test_a_group_that_is_created_in_one_batch_and_moved_in_a_later_batch_counts_as_created(
    one_by_one: None,
) -> None:
    with Forest({1: [2, 3], 2: [4], 3: [4], 4: []}) as server:
        assert counts(fetch(server)) == (4, 0, 0, 0)
    assert (links()[4], missing()) == (3, set())


def test_a_group_that_is_created_in_one_batch_and_denied_in_a_later_batch_counts_as_missing(
    one_by_one: None,
) -> None:
    with Forest({1: [2, 3], 2: []}) as server:
        result = fetch(server)
    assert counts(result) == (2, 0, 0, 1)
    assert (set(result.failures), missing()) == ({3}, {3})


def test_a_group_that_is_moved_in_one_batch_and_denied_in_a_later_batch_counts_as_missing(
    one_by_one: None,
) -> None:
    with Forest({1: [2, 3], 2: [4], 3: [], 4: []}) as server:
        fetch(server)
        server.list_of = {1: [2, 3], 2: [], 3: [4]}.get
        assert counts(fetch(server)) == (0, 0, 3, 1)
    assert (links()[4], missing()) == (3, {4})


def test_a_group_created_and_denied_within_a_batch_counts_as_missing() -> None:
    with Forest({1: [2, 3], 2: []}) as server:
        assert counts(fetch(server)) == (2, 0, 0, 1)


def test_a_batch_is_stored_a_few_seconds_after_the_previous_batch(
    in_order: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock is read once per batch and once per answer below the first.
    monkeypatch.setattr(recorder, "monotonic", itertools.count().__next__)
    monkeypatch.setattr(recorder, "BATCH_SECONDS", 3)
    batches = record_batches(monkeypatch)
    with Forest(tree_of(11, 10)) as server:
        fetch(server)
    assert [len(batch) for batch in batches] == [4, 3, 3, 1]


def test_a_batch_is_stored_when_enough_groups_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 10)
    batches = record_batches(monkeypatch)
    with Forest(tree_of(30, 29)) as server:
        fetch(server)
    assert [len(batch) for batch in batches] == [2, 10, 10, 8]


def record_batches(monkeypatch: pytest.MonkeyPatch) -> list[list[Answer | Absence]]:
    batches: list[list[Answer | Absence]] = []
    usual = store

    def record(answers: list[Answer | Absence], *args: Any) -> list[rules.Difference]:
        batches.append(answers)
        return usual(answers, *args)

    monkeypatch.setattr(recorder, "store", record)
    return batches


@pytest.mark.no_cover
def test_three_thousand_groups_are_stored_with_few_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = tree_of(3000, 20)

    def ask(client: IletimerkeziClient, group_id: int) -> Answer:
        children = tuple(GroupData(child, f"Grup {child}", 1) for child in tree[group_id])
        group = GroupData(group_id, f"Grup {group_id}", 1, children)
        return Answer(group_id, datetime.now(UTC), group)

    # Six thousand requests would take long, and say nothing about statements.
    monkeypatch.setattr(IletimerkeziClient, "ask_group", ask)
    with Forest({}) as server, CaptureQueriesContext(connection) as statements:
        assert fetch(server).created == 3000
        assert fetch(server).unchanged == 3000
    assert len(statements) <= 100


# The command


def test_the_fetch_group_command_stores_a_whole_tree_and_prints_a_line_per_group() -> None:
    tree = tree_of(40, 3)
    with Forest(tree) as server:
        outcome = fetch_by_command(server, "-r")
    assert (outcome.status, outcome.err) == (0, "")
    *lines, last = outcome.out.splitlines()
    assert len(lines) == 40
    assert last == "Fetched “Grup 1” (id 1): 40 created, 0 changed, 0 unchanged, 0 missing."
    assert links() == parents(tree)


@pytest.mark.parametrize("options", [["--depth", "1"], ["-r", "--depth", "1"]])
def test_the_fetch_group_command_accepts_a_depth(options: list[str]) -> None:
    with Forest(tree_of(15, 2)) as server:
        fetch_by_command(server, *options)
    assert sorted(server.asked) == [1, 2, 3]


def test_the_fetch_group_command_refuses_a_negative_depth_before_any_request() -> None:
    with Forest({1: []}) as server:
        outcome = fetch_by_command(server, "--depth", "-1")
    assert (outcome.status, outcome.out, server.asked) == (1, "", [])
    assert outcome.err.startswith("CommandError: Invalid depth -1: must be 0 or more.")


def test_the_fetch_group_command_names_each_group_that_failed() -> None:
    with Forest(tree_of(40, 39)) as server:
        server.failing = {30: 463, 31: 500}
        outcome = fetch_by_command(server, "-r")
    assert outcome.status == 1
    assert sorted(failed_ids(outcome)) == ["30", "31"]
    assert "(id 1): 39 created, 0 changed, 0 unchanged, 1 missing." in outcome.out


def test_a_large_tree_is_printed_down_to_the_last_level_within_the_print_limit() -> None:
    with Forest(tree_of(400, 7)) as server:
        lines = fetch_by_command(server, "--depth", "2").out.splitlines()
    assert len(lines) == 1 + 7 + 49 + 1
    assert lines[0] == "Grup 1 (id 1, 1 contact, at least 1198 including subgroups)"
    numbers = [int(number) for line in lines for number in re.findall(r"… (\d+) groups? bel", line)]
    assert numbers == [7] * 49


def test_the_full_option_prints_every_group_of_a_large_tree() -> None:
    with Forest(tree_of(300, 299)) as server:
        lines = fetch_by_command(server, "--full").out.splitlines()
    assert len(lines) == 301


def test_a_first_level_that_exceeds_the_print_limit_is_counted_but_not_printed() -> None:
    with Forest(tree_of(300, 299)) as server:
        lines = fetch_by_command(server).out.splitlines()
    assert (
        lines[0] == "Grup 1 (id 1, 1 contact, at least 903 including subgroups) … 299 groups below"
    )
    assert len(lines) == 2


def test_json_output_has_every_group_of_a_large_tree() -> None:
    with Forest(tree_of(300, 299)) as server:
        outcome = fetch_by_command(server, "--format", "json")
    (tree,) = json.loads(outcome.out)
    assert (outcome.status, outcome.err, len(tree["children"])) == (0, "", 299)


def test_a_group_deleted_during_the_fetch_is_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "BATCH_SECONDS", 0)
    usual = store

    def store_and_remove(*args: Any) -> list[rules.Difference]:
        changes = usual(*args)
        remove(Group.objects.filter(pk=1))
        return changes

    monkeypatch.setattr(recorder, "store", store_and_remove)
    with Forest(tree_of(10, 5)) as server:
        outcome = fetch_by_command(server, "-r")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("Fetched “Grup 1” (id 1): 10 created")
    assert not Group.objects.filter(pk=1).exists()


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The progress bars that were made; they are shown without delay."""
    made: list[object] = []
    usual: Any = tqdm.tqdm

    def make(**options: object) -> object:
        made.append(usual(**options | {"delay": 0, "mininterval": 0}))
        return made[-1]

    monkeypatch.setattr(tqdm, "tqdm", make)
    return made


def test_a_progress_bar_is_shown_for_each_id_on_a_terminal(
    bars: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    with Forest({1: [11, 12], 11: [], 12: [], 2: [21], 21: []}) as server:
        fetch_by_command(server, "-r", ids=(1, 2), stderr=Terminal())
    assert len(bars) == 2
    assert re.search(r"\d/3 .*groups/s", capsys.readouterr().err)


@pytest.mark.parametrize(("stderr", "verbosity"), [(Terminal(), 0), (io.StringIO(), 1)])
def test_no_progress_bar_is_shown_without_a_terminal_or_at_verbosity_0(
    stderr: io.StringIO,
    verbosity: int,
    bars: list[object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Forest(tree_of(20, 5)) as server:
        fetch_by_command(server, "-r", "-v", str(verbosity), stderr=stderr)
    assert (bars, capsys.readouterr().err) == ([], "")


def test_progress_is_reported_after_each_answer_and_counts_unstored_answers(
    one_by_one: None,
) -> None:
    seen: list[tuple[int, int]] = []
    stored: list[int] = []

    def report(progress: Progress) -> None:
        seen.append((progress.done, progress.known))
        stored.append(progress.unstored)

    with Forest(tree_of(13, 3)) as server:
        fetch(server, report=report)
    assert seen == sorted(seen)
    assert (seen[0][1], seen[-1]) == (4, (13, 13))
    assert stored[-1] == 1
    assert max(stored) == 2


# Errors and Ctrl-C in the middle of a fetch


class InterruptedCrawl(Crawl):
    """A crawl that Ctrl-C interrupts when it waits for the eleventh answer below the root."""

    _taken = 0

    def _take_back(self) -> Answer | Failure | None:
        if self._taken == 10:
            raise KeyboardInterrupt
        self._taken += 1
        return super()._take_back()


def refuse(*args: object) -> None:
    raise OperationalError("no")


def test_answers_received_before_the_key_becomes_invalid_are_stored(in_order: None) -> None:
    with Forest(tree_of(40, 39)) as server:
        change_key(server, at=20)
        with pytest.raises(AuthenticationFailed):
            fetch(server)
    assert fetched() == 20


def test_the_fetch_group_command_reports_wrong_credentials_once() -> None:
    with Forest(tree_of(100, 99)) as server:
        change_key(server, at=1)
        outcome = fetch_by_command(server, "-r")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert "401" in outcome.err


def test_a_database_error_ends_the_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 10)
    monkeypatch.setattr(recorder, "store", refuse)
    with Forest(tree_of(400, 399), latency=0.01) as server:
        with pytest.raises(DatabaseError):
            fetch(server)
        assert len(server.asked) < 400


@pytest.mark.parametrize("end", [KeyboardInterrupt, AuthenticationFailed, OperationalError])
def test_an_aborted_fetch_reports_failures_of_single_groups(
    end: type[BaseException], in_order: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Progress] = []
    with Forest(tree_of(30, 29)) as server:
        server.failing = {3: 500}
        if end is KeyboardInterrupt:
            monkeypatch.setattr(run_module, "Crawl", InterruptedCrawl)
        elif end is OperationalError:
            monkeypatch.setattr(recorder, "store", refuse)
        else:
            change_key(server, at=20)
        with pytest.raises(end) as caught:
            fetch(server, report=reports.append)
    assert set(reports[-1].failures) == {3}
    assert reports[-1].unstored == (29 if end is OperationalError else 0)
    if isinstance(caught.value, IletimerkeziError):
        assert set(caught.value.failures) == {3}


def test_the_fetch_group_command_prints_failed_groups_before_a_fatal_error(in_order: None) -> None:
    with Forest(tree_of(30, 29)) as server:
        server.failing = {3: 500}
        change_key(server, at=20)
        outcome = fetch_by_command(server, "-r")
    assert (outcome.status, outcome.out) == (1, "")
    assert failed_ids(outcome) == ["3", "1"]


def test_the_fetch_group_command_prints_failed_groups_and_lost_answers_before_a_database_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "store", refuse)
    with Forest(tree_of(20, 19)) as server:
        server.failing = {3: 500}
        outcome = fetch_by_command(server, "-r")
    assert outcome.status == 1
    assert [line.partition(": ")[0] for line in outcome.err.splitlines()] == [
        "CommandError",
        "19 answers could not be stored",
        "Group 1",
    ]
    assert failed_ids(outcome) == ["3", "1"]


def test_ctrl_c_ends_the_command_with_status_130_after_storing_all_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "Crawl", InterruptedCrawl)
    with Forest(tree_of(60, 59)) as server:
        outcome = fetch_by_command(server, "-r")
    assert outcome.status == 130
    assert outcome.err == (
        "CommandError: Stopped. All answers received so far are stored. The next fetch requests "
        "all groups again.\n"
    )
    assert fetched() >= 11


def test_answers_received_before_ctrl_c_are_stored() -> None:
    last_is_sent = threading.Event()

    def interrupt(progress: Progress) -> None:
        if progress.done > 1:
            assert last_is_sent.wait(30)
            raise KeyboardInterrupt

    with Forest(tree_of(30, 29)) as server:
        server.at_answer(30, last_is_sent.set)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, report=interrupt)
    # Each of four connections may still wait for an answer.
    assert fetched() >= 26


def test_the_fetch_group_command_prints_failed_groups_when_ctrl_c_ends_the_fetch(
    in_order: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "Crawl", InterruptedCrawl)
    with Forest(tree_of(60, 59)) as server:
        server.failing = {3: 500, 999: 463}
        outcome = fetch_by_command(server, "-r", ids=(999, 1))
    assert outcome.status == 130
    assert failed_ids(outcome) == ["999", "3"]
    assert "\nStopped." in outcome.err


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OperationalError])
def test_answers_that_cannot_be_stored_after_ctrl_c_are_counted(
    problem: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: Iterator[type[BaseException]] = iter([KeyboardInterrupt, problem])

    def fail(*args: object) -> None:
        raise next(problems)

    monkeypatch.setattr(recorder, "store", fail)
    with Forest(tree_of(30, 29)) as server:
        outcome = fetch_by_command(server, "-r")
    assert outcome.status == 130
    assert outcome.err == ("CommandError: 30 answers could not be stored: fetch again.\nStopped.\n")


def test_ctrl_c_during_the_last_batch_does_not_lose_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = store

    def interrupted(*args: object) -> None:
        monkeypatch.setattr(recorder, "store", usual)
        raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "store", interrupted)
    with Forest(tree_of(30, 5)) as server:
        outcome = fetch_by_command(server, "-r")
    assert (outcome.status, fetched()) == (130, 30)
    assert "All answers received so far are stored" in outcome.err


@pytest.fixture
def handle_sigint() -> Iterator[Callable[[Any], object]]:
    """A function that sets a handler of SIGINT until the test ends."""
    usual = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, usual)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["set_autocommit", "commit"])
@pytest.mark.parametrize("is_late", [False, True])
def test_ctrl_c_waits_for_the_end_of_a_running_transaction(
    step: str,
    is_late: bool,
    handle_sigint: Callable[[Any], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrapper = connections["default"]
    usual = getattr(wrapper, step)

    def interrupted(*args: object, **options: object) -> None:
        delattr(wrapper, step)
        if not is_late:
            signal.raise_signal(signal.SIGINT)
        usual(*args, **options)
        if is_late:
            signal.raise_signal(signal.SIGINT)

    handle_sigint(signal.default_int_handler)
    monkeypatch.setattr(recorder, "BATCH_GROUPS", 5)
    with Forest(tree_of(30, 5)) as server, override_settings(**server.settings):
        server.at_answer(10, lambda: setattr(wrapper, step, interrupted))
        with pytest.raises(KeyboardInterrupt):
            fetch_group(1, recursive=True)
    assert not wrapper.in_atomic_block
    assert wrapper.get_autocommit()
    assert fetched() >= 2


@pytest.mark.django_db(transaction=True)
def test_a_fetch_keeps_the_sigint_handler_of_the_project(
    handle_sigint: Callable[[Any], object],
) -> None:
    calls: list[int] = []
    handle_sigint(lambda number, frame: calls.append(number))
    with Forest(tree_of(30, 5)) as server:
        server.at_answer(20, lambda: signal.raise_signal(signal.SIGINT))
        assert fetch(server).created == 30
    assert calls == [signal.SIGINT]


def test_ctrl_c_during_a_database_error_still_ends_the_fetch(
    handle_sigint: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt_and_refuse(*args: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise OperationalError

    handle_sigint(signal.default_int_handler)
    monkeypatch.setattr(rules, "apply", interrupt_and_refuse)
    with Forest({1: []}) as server, pytest.raises(KeyboardInterrupt):
        fetch(server)
