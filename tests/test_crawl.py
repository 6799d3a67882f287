"""Requests for whole trees over real sockets, without a database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Container, Iterable
from typing import Any

import pytest
from django.utils import translation

from django_iletimerkezi.api.parsing import Answer
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    GroupNotFound,
    IletimerkeziError,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.mirror import crawl as crawl_module
from django_iletimerkezi.mirror.crawl import (
    Breaker,
    Crawl,
    Failure,
    Frontier,
    Workers,
    ask_once,
)
from django_iletimerkezi.testing import GroupDict

from . import vendor
from .answers import answer, group
from .clients import crawl, crawl_all, forest, make_client, set_backoff
from .forest import Forest, describe, tree_of
from .vendor import HASH, KEY, Vendor, envelope, reply, well


def failed(outcomes: Iterable[Answer | Failure]) -> dict[int, IletimerkeziError]:
    return {o.asked_for: o.error for o in outcomes if isinstance(o, Failure)}


@pytest.mark.parametrize("connections", [1, 8])
def test_every_group_of_a_tree_is_requested_once(connections: int) -> None:
    with forest(tree_of(60, 5)) as server:
        with make_client(server.url, max_connections=connections) as client:
            outcomes = crawl_all(client)
    assert sorted(server.asked) == list(range(1, 61))
    assert sorted(outcome.asked_for for outcome in outcomes) == list(range(2, 61))


@pytest.mark.parametrize(
    "links",
    [
        {1: [2], 2: [3], 3: [1]},
        {1: [2, 3], 2: [3], 3: [2]},
        {1: [2, 2, 3], 2: [3], 3: []},
        {1: [2, 3], 2: [1], 3: [1, 2]},
    ],
)
def test_groups_that_are_in_a_loop_or_listed_twice_are_requested_once(
    links: dict[int, list[int]],
) -> None:
    with forest(links) as server, make_client(server.url) as client:
        crawl_all(client)
    assert sorted(server.asked) == [1, 2, 3]


def test_a_group_returned_instead_of_the_root_is_also_requested() -> None:
    with forest({1: [2], 2: []}, aliases={99: 1}) as server, make_client(server.url) as client:
        crawl_all(client, root=99)
    assert sorted(server.asked) == [1, 2, 99]


def test_a_group_returned_instead_of_a_subgroup_is_also_requested() -> None:
    with forest({1: [6], 60: [61], 61: []}, aliases={6: 60}) as server:
        with make_client(server.url) as client:
            crawl_all(client)
    assert sorted(server.asked) == [1, 6, 60, 61]


# Depth


def endless(group_id: int) -> Iterable[int]:
    return [2 * group_id, 2 * group_id + 1]


@pytest.mark.parametrize(("depth", "last"), [(1, 3), (2, 7), (5, 63)])
def test_depth_limits_the_requested_levels_of_an_endless_tree(depth: int, last: int) -> None:
    with forest(endless) as server, make_client(server.url, max_connections=8) as client:
        crawl_all(client, depth=depth)
    assert sorted(server.asked) == list(range(1, last + 1))


def test_the_depth_of_a_group_on_two_levels_is_counted_from_the_upper_level() -> None:
    links = {1: [2, 5], 2: [3], 3: [4], 4: [5], 5: [6], 6: [7], 7: []}
    with forest(links) as server, make_client(server.url, max_connections=8) as client:
        crawl_all(client, depth=2)
    assert sorted(server.asked) == [1, 2, 3, 5, 6]


class Nested(Forest):
    """Lists three levels below group 2 in one answer."""

    def find(self, group_id: int) -> GroupDict | None:
        if group_id != 2:
            return super().find(group_id)
        deep = describe(5) | {"children": [describe(6) | {"children": [describe(7)]}]}
        return describe(2) | {"children": [deep]}


def test_a_group_below_the_depth_limit_is_requested_if_it_is_found_on_a_higher_level() -> None:
    links = {1: [2, 4], 4: [6], 5: [6], 6: [7], 7: [8], 8: []}
    with Nested(links, key=KEY, hash=HASH) as server:
        with make_client(server.url, max_connections=1) as client:
            steps = crawl(client, client.ask_group(1), 3)
            assert len(list(steps)) == 5
    assert server.asked == [1, 2, 4, 5, 6, 7]
    assert steps._frontier.known == 6


def test_the_frontier_accepts_a_group_on_a_deeper_level() -> None:
    frontier = Frontier(2)
    frontier.add(group(1, 2), level=1)
    assert take_all(frontier) == [[], [1], [2]]


def test_groups_answered_earlier_are_skipped_but_their_subgroups_are_requested() -> None:
    frontier = Frontier(None, answered={1: [2, 3], 2: [4]})
    frontier.add_id(1, 0)
    assert take_all(frontier) == [[3, 4]]
    assert (frontier.skipped, frontier.known) == (2, 4)


def test_groups_answered_earlier_count_towards_the_depth_limit() -> None:
    frontier = Frontier(2, answered={1: [2], 2: [3], 3: [4]})
    frontier.add_id(1, 0)
    assert take_all(frontier) == [[], [], []]
    assert (frontier.skipped, frontier.known) == (3, 3)


def take_all(frontier: Frontier) -> list[list[int]]:
    """Return the groups to request on each level."""
    levels = [frontier.take()]
    while frontier.descend():
        levels.append(frontier.take())
    return levels


def test_a_crawl_with_a_depth_limit_uses_all_connections_in_parallel() -> None:
    with forest(tree_of(61, 20), latency=0.05) as server:
        with make_client(server.url, max_connections=5) as client:
            crawl_all(client, depth=1)
    assert server.most_at_once == 5


# Connections and progress


def test_parallel_requests_are_limited_to_max_connections() -> None:
    with forest(tree_of(60, 20), latency=0.01) as server:
        with make_client(server.url, max_connections=5) as client:
            crawl_all(client)
    assert (server.most_at_once, server.connections) == (5, 5)


def test_progress_never_decreases_and_ends_with_the_whole_tree() -> None:
    with forest(tree_of(40, 3)) as server:
        server.failing = {5: 500, 7: 463}
        with make_client(server.url) as client:
            steps = crawl(client, client.ask_group(1))
            known = [(1, steps._frontier.known)]
            known += [(done, steps._frontier.known) for done, _outcome in enumerate(steps, 2)]
    assert known[0] == (1, 4)
    assert known == sorted(known)
    assert all(done <= found for done, found in known)
    assert known[-1][0] == known[-1][1] == len(known)


def test_workers_pause_while_too_many_answers_wait_for_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crawl_module, "MAX_WAITING", 30)
    with forest(tree_of(100, 99)) as server, make_client(server.url) as client:
        steps = iter(crawl(client, client.ask_group(1)))
        next(steps)
        wait_until_quiet(server)
        assert len(server.asked) <= 2 + 30 + client.max_connections
        assert len(list(steps)) == 98


def test_an_answer_that_lists_more_groups_than_the_waiting_limit_does_not_stop_the_crawl(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crawl_module, "MAX_WAITING", 10)
    with forest({1: range(2, 6), **dict.fromkeys(range(2, 6), range(100, 140))}) as server:
        server.list_of = lambda pk: range(2, 6) if pk == 1 else range(100, 140) if pk < 6 else []
        with make_client(server.url) as client:
            assert len(crawl_all(client)) == 4 + 40


def test_workers_continue_while_the_caller_is_busy() -> None:
    with forest(tree_of(100, 99)) as server, make_client(server.url) as client:
        steps = iter(crawl(client, client.ask_group(1)))
        next(steps)
        wait_until(lambda: len(server.asked) == 100)
        assert len(list(steps)) == 98


def test_workers_send_no_requests_after_the_crawl_stops() -> None:
    with forest(tree_of(3000, 1000), latency=0.01) as server, make_client(server.url) as client:
        for _outcome in crawl(client, client.ask_group(1)):
            break
        wait_until_quiet(server)
    assert len(server.asked) < 1000


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait_until_quiet(server: Forest) -> None:
    number = -1
    while number != len(server.asked):
        number = len(server.asked)
        time.sleep(0.3)


def test_answers_received_before_the_crawl_stopped_are_kept() -> None:
    with forest({1: [2, 3, 4], 2: [], 3: []}) as server, make_client(server.url) as client:
        steps = crawl(client, client.ask_group(1))
        arrived: list[Answer | Failure] = [next(iter(steps))]

        def has_both() -> bool:
            arrived.extend(steps.arrived())
            return {2, 3} <= {outcome.asked_for for outcome in arrived}

        wait_until(has_both)


def limit_threads(monkeypatch: pytest.MonkeyPatch, most: int, names: Container[str]) -> None:
    """Let the system refuse more than ``most`` of our threads that run the named methods."""
    left = iter(range(most))

    class Scarce(threading.Thread):
        def start(self) -> None:
            name: str = self._target.__qualname__  # type: ignore[attr-defined]  # private in the stubs
            if name in names and next(left, None) is None:
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(threading, "Thread", Scarce)


WORKER, WATCHDOG = "Workers._work", "Watchdog._watch"


def test_a_crawl_continues_with_fewer_threads_if_the_system_refuses_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with forest({1: [2, 3]}) as server, make_client(server.url) as client:
        root = client.ask_group(1)
        limit_threads(monkeypatch, 1, {WORKER})
        answers = list(crawl(client, root))
    assert len(answers) == 2
    assert server.most_at_once == 1


@pytest.mark.parametrize("most", [0, 1])
def test_a_crawl_raises_an_error_if_the_system_refuses_threads(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    with forest({1: [2]}) as server, make_client(server.url) as client:
        root = answer(0, group(1, 2))
        limit_threads(monkeypatch, most, {WORKER, WATCHDOG})
        with pytest.raises(ServiceUnavailable, match="lower ILETIMERKEZI_MAX_CONNECTIONS"):
            list(crawl(client, root))


# Failures of single groups


def test_a_failed_group_does_not_stop_the_crawl() -> None:
    with forest(tree_of(300, 10)) as server:
        server.failing = {7: 463, 170: 500, 177: 422}
        with make_client(server.url, max_connections=4) as client:
            outcomes = crawl_all(client)
    errors = failed(outcomes)
    assert (type(errors[7]), type(errors[170])) == (GroupNotFound, ServiceUnavailable)
    assert len(errors) == 3
    assert len(outcomes) == 299 - 10


class Nonsense(Forest):
    def find(self, group_id: int) -> GroupDict | None:
        return {"id": -1} if group_id == 2 else super().find(group_id)


def test_an_invalid_answer_fails_only_its_group() -> None:
    with Nonsense({1: [2, 3], 3: []}, key=KEY, hash=HASH) as server:
        with make_client(server.url) as client:
            errors = failed(crawl_all(client))
    assert {pk: type(error) for pk, error in errors.items()} == {2: UnexpectedResponse}


@pytest.mark.parametrize("fault", [vendor.reset, vendor.hang, vendor.cut_off])
def test_a_timeout_or_reset_fails_only_its_group(fault: vendor.Script) -> None:
    first = reply(200, envelope(group=tree_answer(6)))
    with Vendor(first, fault, *[well(id=number) for number in range(3, 7)]) as server:
        with make_client(server.url, max_connections=1, timeout=0.5) as client:
            outcomes = crawl_all(client)
    assert [type(outcome) for outcome in outcomes] == [Failure, *[Answer] * 4]


def tree_answer(last: int) -> dict[str, object]:
    return describe(1) | {"children": [describe(number) for number in range(2, last + 1)]}


def test_errors_of_subgroups_are_in_the_language_of_the_caller() -> None:
    with forest({1: [2], 2: []}) as server, make_client(server.url) as client:
        server.failing = {2: 500}
        with translation.override("tr"):
            (error,) = failed(crawl_all(client)).values()
    assert str(error).startswith("iletimerkezi şu anda kullanılamıyor")


# Failures that would affect every group


def test_a_rejected_key_ends_the_crawl() -> None:
    with forest(tree_of(2000, 50)) as server, make_client(server.url) as client:
        root = client.ask_group(1)
        server.key = "another"
        with pytest.raises(AuthenticationFailed):
            list(crawl(client, root))
    assert server.asked == [1]


@pytest.mark.parametrize("code", [401, 404])
def test_workers_stop_after_a_fatal_error_code(code: int) -> None:
    with Vendor(reply(200, envelope(group=tree_answer(500))), reply(code)) as server:
        with make_client(server.url, max_connections=2) as client:
            with pytest.raises(IletimerkeziError, match=str(code)):
                crawl_all(client)
    assert len(server.received) <= 3


def test_workers_stop_after_a_fatal_error_code_while_the_caller_is_busy() -> None:
    with forest(tree_of(500, 499), latency=0.01) as server, make_client(server.url) as client:
        steps = iter(crawl(client, client.ask_group(1)))
        codes: list[int] = []

        def note(code: int) -> dict[str, str]:
            codes.append(code)
            return {}

        server.headers_of = note
        next(steps)
        server.key = "another"
        wait_until(lambda: 401 in codes)
        wait_until_quiet(server)
        assert codes.count(401) <= client.max_connections
        with pytest.raises(AuthenticationFailed):
            list(steps)


def test_a_refused_connection_ends_the_crawl() -> None:
    server = forest(tree_of(2000, 50)).start()
    with make_client(server.url) as client:
        root = client.ask_group(1)
        server.stop()
        with pytest.raises(ServiceUnavailable, match="Connection refused"):
            list(crawl(client, root))


@pytest.mark.parametrize("code", [500, 503])
def test_each_worker_requests_at_most_two_groups_until_the_caller_handles_failures(
    code: int,
) -> None:
    with forest(tree_of(100, 99)) as server:
        with make_client(server.url, max_connections=4, retries=0) as client:
            root = client.ask_group(1)
            server.failing = dict.fromkeys(range(2, 101), code)
            steps = iter(crawl(client, root))
            next(steps)
            wait_until_quiet(server)
            assert len(server.asked) <= 1 + 2 * 4  # Each worker may request one more group.
            del steps


def test_repeated_connection_resets_end_the_crawl_after_a_few_groups() -> None:
    with Vendor(reply(200, envelope(group=tree_answer(500))), vendor.reset) as server:
        with make_client(server.url, max_connections=2) as client:
            with pytest.raises(ServiceUnavailable, match="broke"):
                crawl_all(client)
    assert len(server.received) < 12


@pytest.mark.parametrize("code", [500, 503])
def test_repeated_server_errors_end_the_crawl_after_a_few_groups(code: int) -> None:
    with Vendor(reply(200, envelope(group=tree_answer(500))), reply(code)) as server:
        with make_client(server.url) as client:
            with pytest.raises(ServiceUnavailable, match=str(code)):
                crawl_all(client)
    assert len(server.received) < 100


class Flaky(Forest):
    """Closes the connection when some groups are requested."""

    broken: Collection[int] = ()

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if json.loads(body)["request"]["group"]["id"] in self.broken:
            raise ConnectionResetError
        return super().answer(path, body)


@pytest.mark.parametrize("connections", [1, 4])
def test_many_failing_siblings_do_not_end_the_crawl_if_the_root_answers(connections: int) -> None:
    with Flaky(tree_of(200, 50), key=KEY, hash=HASH) as server:
        server.broken = range(3, 33)
        with make_client(server.url, max_connections=connections) as client:
            outcomes = crawl_all(client)
    assert set(failed(outcomes)) == set(server.broken)
    below = {pk for broken in server.broken for pk in tree_of(200, 50)[broken]}
    assert set(server.asked) == set(range(1, 201)) - set(server.broken) - below


@pytest.mark.parametrize("fate", [200, 463])
def test_the_root_is_requested_once_if_answers_arrive_between_failures(fate: int) -> None:
    with forest(tree_of(60, 59)) as server:
        server.failing = {
            pk: 500 if pk % 2 else fate for pk in range(2, 60) if pk % 2 or fate > 200
        }
        with make_client(server.url, max_connections=1) as client:
            crawl_all(client)
    assert sorted(server.asked) == list(range(1, 61))


class Moody(Forest):
    """Answers the second request for group 1 with an error code."""

    fate = 0

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        code, group = super().answer(path, body)
        is_second = self.asked.count(1) == 2 and self.asked[-1] == 1
        return (self.fate, {}) if is_second else (code, group)


@pytest.mark.parametrize("fate", [401, 429, 463])
def test_a_crawl_continues_if_the_second_request_for_the_root_is_refused(fate: int) -> None:
    with Moody(tree_of(12, 11), key=KEY, hash=HASH) as server:
        server.fate = fate
        server.failing = dict.fromkeys(range(2, 8), 500)
        with make_client(server.url, max_connections=1) as client:
            outcomes = crawl_all(client)
    assert server.asked.count(1) == 3
    assert len(outcomes) == 11


def test_a_bug_in_a_request_is_raised_and_not_reported_as_a_failure() -> None:
    def ask(group_id: int) -> Answer:
        raise ZeroDivisionError

    with forest({1: [2]}) as server, make_client(server.url) as client:
        frontier = Frontier(None)
        frontier.add_id(1, 0)
        with pytest.raises(ZeroDivisionError):
            list(Crawl(ask, frontier, probe=client.ask_groups, workers=1))


# Throttling


def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(crawl_module, "PATIENCE", seconds)


def test_a_long_retry_after_ends_the_crawl_and_says_when_to_retry() -> None:
    with forest(tree_of(2000, 50)) as server:
        with make_client(server.url, max_connections=4, retries=2) as client:
            root = client.ask_group(1)
            server.throttle = lambda: 3000
            with pytest.raises(ServiceUnavailable, match=r"Try again in 3000 seconds\.$"):
                list(crawl(client, root))
    assert len(server.throttled) <= 4


def test_a_500_with_a_long_retry_after_does_not_end_the_crawl() -> None:
    with forest(tree_of(20, 19)) as server, make_client(server.url) as client:
        root = client.ask_group(1)
        server.failing = {7: 500}
        server.headers_of = lambda code: {"Retry-After": "3000"} if code == 500 else {}
        outcomes = list(crawl(client, root))
    assert (set(failed(outcomes)), len(outcomes)) == ({7}, 19)


@pytest.mark.parametrize("options", [{}, {"has_answers": True}])
def test_throttling_ends_the_crawl_unless_the_vendor_has_answered_other_groups(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 0.05)

    def ask(group_id: int) -> Answer:
        raise ServiceUnavailable("", code=429)

    frontier = Frontier(None)
    frontier.add_id(1, 0)
    crawl = Crawl(ask, frontier, probe=lambda: None, workers=1, **options)
    if options:
        assert list(failed(crawl)) == [1]
    else:
        with pytest.raises(ServiceUnavailable):
            list(crawl)


def test_bursts_of_429_delay_a_crawl_but_no_group_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    set_backoff(monkeypatch, 0.1)
    with forest(tree_of(120, 30)) as server:
        requests = iter(range(10**6))
        server.throttle = lambda: 0.05 if next(requests) % 60 >= 50 else 0
        with make_client(server.url, max_connections=8) as client:
            outcomes = crawl_all(client)
    assert failed(outcomes) == {}
    assert sorted(server.asked) == list(range(1, 121))
    assert len(server.throttled) >= 10


def test_throttled_groups_are_requested_again_after_the_last_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_backoff(monkeypatch, 0.1)
    with forest(tree_of(40, 39)) as server:
        with make_client(server.url, max_connections=4, retries=0) as client:
            root = client.ask_group(1)
            refusals = iter(range(20))
            server.throttle = lambda: 0.01 if next(refusals, None) is not None else 0
            outcomes = list(crawl(client, root))
    assert failed(outcomes) == {}
    assert len(outcomes) == 39


def test_a_crawl_ends_if_all_requests_are_throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch, 0.5)
    with forest(tree_of(20, 19)) as server, make_client(server.url) as client:
        root = client.ask_group(1)
        server.throttle = lambda: 0.01
        with pytest.raises(ServiceUnavailable, match="429"):
            list(crawl(client, root))
    assert server.asked == [1]


def test_a_crawl_ends_if_all_requests_after_the_first_answers_are_throttled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch, 0.5)
    with forest(tree_of(60, 59)) as server, make_client(server.url) as client:
        answers = iter([0] * 10)
        server.throttle = lambda: next(answers, 0.01)
        with pytest.raises(ServiceUnavailable, match="429"):
            crawl_all(client)


@pytest.mark.parametrize("depth", [None, 4])
def test_single_groups_that_stay_throttled_become_failures(
    depth: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 1)
    set_backoff(monkeypatch, 0.1)
    tree = tree_of(31, 5)
    with forest(tree) as server:
        server.failing = {3: 429, 31: 429}
        with make_client(server.url) as client:
            outcomes = crawl_all(client, depth=depth)
    assert set(failed(outcomes)) == {3, 31}
    answered = {pk for pk in server.asked if pk not in server.failing}
    assert answered == set(tree) - {3, 31} - set(tree[3])


def test_many_groups_that_stay_throttled_become_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch, 2)
    monkeypatch.setattr(crawl_module, "MAX_WAITING", 2)
    set_backoff(monkeypatch, 0.02)
    with forest(tree_of(20, 19)) as server:
        server.failing = dict.fromkeys(range(2, 16), 429)
        with make_client(server.url) as client:
            outcomes = crawl_all(client)
    assert set(failed(outcomes)) == set(server.failing)
    assert len(outcomes) == 19


def test_a_crawl_that_receives_answers_may_take_longer_than_the_limit_for_vendor_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch, 1)
    with forest(tree_of(30, 29), latency=0.05) as server:
        with make_client(server.url, max_connections=1) as client:
            refusals = iter([0] * 28 + [0.01])
            server.throttle = lambda: next(refusals, 0)
            assert failed(crawl_all(client)) == {}


def test_time_spent_by_the_caller_does_not_count_as_vendor_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch, 1)
    with forest(tree_of(40, 39)) as server, make_client(server.url) as client:
        refusals = iter([0, 0, 0.01, 0.01, 0.01])
        server.throttle = lambda: next(refusals, 0)
        outcomes = []
        for outcome in crawl(client, client.ask_group(1)):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                time.sleep(1.5)
    assert (failed(outcomes), len(outcomes)) == ({}, 39)


# The breaker


def test_the_breaker_trips_after_each_run_of_consecutive_failures() -> None:
    breaker = Breaker(workers=1)
    unavailable = ServiceUnavailable("", code=500, temporary=False)
    absent = GroupNotFound(463, "")
    errors = [unavailable] * 2 + [absent] + [unavailable] * 3 + [unavailable] * 3
    assert [breaker.note_failure(error) for error in errors] == [False] * 5 + [
        True,
        False,
        False,
        True,
    ]


def test_throttling_neither_trips_nor_resets_the_breaker() -> None:
    breaker = Breaker(workers=1)
    unavailable, throttled = ServiceUnavailable("", code=500), ServiceUnavailable("", code=429)
    errors = [unavailable, unavailable, throttled, unavailable]
    assert [breaker.note_failure(error) for error in errors] == [False, False, False, True]


def test_reset_makes_the_breaker_count_failures_from_zero() -> None:
    breaker = Breaker(workers=2)
    unavailable = ServiceUnavailable("", code=500)
    assert not breaker.note_failure(unavailable)
    breaker.reset()
    assert [breaker.note_failure(unavailable) for _ in range(6)] == [False] * 5 + [True]


# The tick


def test_ask_once_calls_tick_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl_module, "TICK", 0.01)
    ticked = threading.Event()
    assert ask_once(lambda: ticked.wait(10), ticked.set)


def test_a_crawl_calls_tick_while_it_waits_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl_module, "TICK", 0.01)
    ticked = threading.Event()

    def ask(group_id: int) -> Answer:
        return answer(0, group(group_id, count=int(ticked.wait(10))))

    frontier = Frontier(None)
    frontier.add_id(1, 0)
    crawl = Crawl(ask, frontier, probe=lambda: None, workers=1, tick=ticked.set)
    assert list(crawl) == [answer(0, group(1, count=1))]


def test_a_crawl_calls_tick_while_it_repeats_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crawl_module, "TICK", 0.01)
    ticked = threading.Event()
    probed: list[bool] = []

    def ask(group_id: int) -> Answer:
        raise ServiceUnavailable("", code=500)

    def probe() -> None:
        ticked.clear()
        probed.append(ticked.wait(10))

    frontier = Frontier(None)
    for group_id in (1, 2, 3):
        frontier.add_id(group_id, 0)
    crawl = Crawl(ask, frontier, probe=probe, workers=1, tick=ticked.set)
    assert sorted(failed(crawl)) == [1, 2, 3]
    assert probed == [True]


# The workers


def test_a_paused_worker_exits_when_the_crawl_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crawl_module, "MAX_WAITING", 3)
    asked: list[int] = []

    def ask(group_id: int) -> Answer:
        asked.append(group_id)
        return answer(0, group(group_id, 11, 12, 13))

    threads = set(threading.enumerate())
    with Workers(ask, 1) as workers:
        (worker,) = set(threading.enumerate()) - threads
        workers.put(1)
        workers.put(2)
        time.sleep(0.05)
    worker.join(10)
    assert (worker.is_alive(), asked) == (False, [1])
