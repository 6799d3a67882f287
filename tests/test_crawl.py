"""How a tree is asked for, over real sockets and without a database."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Collection, Iterable
from itertools import pairwise

import pytest
from django.utils import translation

from django_iletimerkezi.api.client import IletimerkeziClient
from django_iletimerkezi.api.parsing import Answer
from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    GroupNotFound,
    IletimerkeziError,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.mirror.crawl import Failure, Walk
from django_iletimerkezi.testing import GroupDict

from . import vendor
from .forest import Forest, describe, tree_of
from .test_client import make_client
from .vendor import HASH, KEY, Vendor, envelope, reply, well


def forest(links: object, **options: object) -> Forest:
    return Forest(links, key=KEY, hash=HASH, **options)  # type: ignore[arg-type]  # passed on


def walk(
    client: IletimerkeziClient, *, root: int = 1, depth: int | None = None
) -> list[Answer | Failure]:
    return list(Walk(client, client.ask(root), depth))


def asked(server: Forest) -> list[int]:
    return sorted(server.asked)


@pytest.mark.parametrize("connections", [1, 8])
def test_every_group_of_a_tree_is_asked_for_once(connections: int) -> None:
    with forest(tree_of(200, 5)) as server:
        with make_client(server.url, max_connections=connections) as client:
            outcomes = walk(client)
    assert asked(server) == list(range(1, 201))
    assert sorted(outcome.asked_for for outcome in outcomes) == list(range(2, 201))


@pytest.mark.parametrize(
    "links",
    [
        {1: [2], 2: [3], 3: [1]},
        {1: [2, 3], 2: [3], 3: [2]},
        {1: [2, 2, 3], 2: [3], 3: []},
        {1: [2, 3], 2: [1], 3: [1, 2]},
    ],
)
def test_loops_and_groups_in_two_places_are_asked_for_once(links: dict[int, list[int]]) -> None:
    with forest(links) as server, make_client(server.url) as client:
        walk(client)
    assert asked(server) == [1, 2, 3]


def test_a_group_that_answers_in_place_of_the_first_is_asked_for_itself_too() -> None:
    with forest({1: [2], 2: []}, aliases={99: 1}) as server:
        with make_client(server.url) as client:
            walk(client, root=99)
    assert asked(server) == [1, 2, 99]


def test_so_is_one_that_answers_in_place_of_another_further_down() -> None:
    with forest({1: [6], 60: [61], 61: []}, aliases={6: 60}) as server:
        with make_client(server.url) as client:
            walk(client)
    assert asked(server) == [1, 6, 60, 61]


def endless(group_id: int) -> Iterable[int]:
    return [2 * group_id, 2 * group_id + 1]


@pytest.mark.parametrize(("depth", "last"), [(1, 3), (2, 7), (5, 63)])
def test_a_depth_ends_a_tree_that_never_ends(depth: int, last: int) -> None:
    with forest(endless) as server, make_client(server.url, max_connections=8) as client:
        walk(client, depth=depth)
    assert asked(server) == list(range(1, last + 1))


def test_a_group_on_two_levels_belongs_to_the_upper_one() -> None:
    links = {1: [2, 5], 2: [3], 3: [4], 4: [5], 5: [6], 6: [7], 7: []}
    with forest(links) as server, make_client(server.url, max_connections=8) as client:
        walk(client, depth=2)
    assert asked(server) == [1, 2, 3, 5, 6]


def test_a_group_that_was_found_too_deep_and_then_higher_up_is_asked_for_on_the_upper_level() -> (
    None
):
    class Nested(Forest):
        def find(self, group_id: int) -> GroupDict | None:
            if group_id != 2:
                return super().find(group_id)
            deep = describe(5) | {"children": [describe(6) | {"children": [describe(7)]}]}
            return describe(2) | {"children": [deep]}

    links = {1: [2, 4], 4: [6], 5: [6], 6: [7], 7: [8], 8: []}
    with Nested(links, key=KEY, hash=HASH) as server:
        with make_client(server.url, max_connections=1) as client:
            steps = Walk(client, client.ask(1), 3)
            assert len(list(steps)) == 5
    assert server.asked == [1, 2, 4, 5, 6, 7]
    assert steps.known == 6


def test_no_more_requests_are_under_way_than_there_are_connections() -> None:
    with forest(tree_of(60, 20), latency=0.01) as server:
        with make_client(server.url, max_connections=5) as client:
            walk(client)
        assert server.most_at_once <= 5
        assert server.connections == 5


def test_done_and_known_count_up_to_the_whole_tree() -> None:
    with forest(tree_of(30, 3)) as server, make_client(server.url) as client:
        steps = Walk(client, client.ask(1), None)
        assert (steps.done, steps.known) == (1, 4)
        counts = [(steps.done, steps.known) for _outcome in steps]
    assert counts[-1] == (30, 30)
    assert all(done <= known for done, known in counts)


def test_a_group_that_fails_does_not_stop_the_others() -> None:
    with forest(tree_of(300, 10)) as server:
        server.failing = {7: 463, 170: 500, 177: 422}
        with make_client(server.url, max_connections=4) as client:
            outcomes = walk(client)
    failures = {o.asked_for: type(o.error) for o in outcomes if isinstance(o, Failure)}
    assert (failures[7], failures[170]) == (GroupNotFound, ServiceUnavailable)
    assert len(failures) == 3
    assert len(outcomes) == 299 - 10


def test_nonsense_about_one_group_is_a_failure_of_that_group() -> None:
    class Nonsense(Forest):
        def find(self, group_id: int) -> dict[str, object] | None:
            return {"id": -1} if group_id == 2 else dict(super().find(group_id) or {})

    with Nonsense({1: [2, 3], 3: []}, key=KEY, hash=HASH) as server:
        with make_client(server.url) as client:
            outcomes = walk(client)
    (failure,) = (o for o in outcomes if isinstance(o, Failure))
    assert (failure.asked_for, type(failure.error)) == (2, UnexpectedResponse)


def test_a_failure_that_would_hit_every_group_ends_the_walk_at_once() -> None:
    with forest(tree_of(2000, 50)) as server, make_client(server.url) as client:
        root = client.ask(1)
        server.key = "another"
        with pytest.raises(AuthenticationFailed):
            list(Walk(client, root, None))
    assert asked(server) == [1]


def test_a_server_that_goes_away_ends_the_walk_at_once() -> None:
    server = forest(tree_of(2000, 50)).start()
    with make_client(server.url) as client:
        root = client.ask(1)
        server.stop()
        start = time.monotonic()
        with pytest.raises(ServiceUnavailable, match="refused the connection"):
            list(Walk(client, root, None))
    assert time.monotonic() - start < 5


def test_a_retry_after_that_is_too_long_ends_the_walk_and_says_when_to_come_back() -> None:
    with forest(tree_of(2000, 50)) as server:
        with make_client(server.url, max_connections=4, retries=2) as client:
            root = client.ask(1)
            server.throttle = lambda: 3000
            with pytest.raises(ServiceUnavailable, match=r"Try again in 3000 seconds\.$"):
                list(Walk(client, root, None))
    assert len(server.throttled) <= 4


@pytest.mark.parametrize("depth", [None, 4])
def test_a_group_that_alone_is_never_let_in_is_a_failure_in_the_end(
    depth: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_iletimerkezi.mirror.crawl._PATIENCE", 2)
    with forest(tree_of(31, 5)) as server:
        server.failing = {3: 429, 31: 429}
        with make_client(server.url) as client:
            outcomes = walk(client, depth=depth)
    failed = {o.asked_for for o in outcomes if isinstance(o, Failure)}
    below_3 = set(tree_of(31, 5)[3])
    assert failed == {3, 31}
    let_in = [pk for pk in asked(server) if pk not in failed]
    assert let_in == sorted({*range(1, 32)} - failed - below_3)


def test_a_walk_may_last_longer_than_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_iletimerkezi.mirror.crawl._PATIENCE", 2)
    with forest(tree_of(30, 29), latency=0.1) as server:
        with make_client(server.url, max_connections=1) as client:
            refusals = iter([0] * 25 + [0.01])
            server.throttle = lambda: next(refusals, 0)
            outcomes = walk(client)
    assert len(outcomes) == len([o for o in outcomes if isinstance(o, Answer)]) == 29


def test_the_time_in_which_answers_are_stored_is_not_the_vendors_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("django_iletimerkezi.mirror.crawl._PATIENCE", 2)
    with forest(tree_of(40, 39)) as server:
        with make_client(server.url, max_connections=2) as client:
            refusals = iter([0, 0, 0.01, 0.01, 0.01])
            server.throttle = lambda: next(refusals, 0)
            outcomes = []
            for outcome in Walk(client, client.ask(1), None):
                outcomes.append(outcome)
                if len(outcomes) == 1:
                    time.sleep(3)
    assert len(outcomes) == len([o for o in outcomes if isinstance(o, Answer)]) == 39


def test_a_retry_after_makes_all_connections_wait() -> None:
    with forest(tree_of(400, 399), latency=0.005) as server:
        throttled = iter([0] * 100 + [1])
        server.throttle = lambda: next(throttled, 0)
        with make_client(server.url, max_connections=8, retries=2) as client:
            assert len(walk(client)) == 399
    pauses = [(late - early, early) for early, late in pairwise(sorted(server.times))]
    longest, since = max(pauses)
    # Requests that were on their way when the vendor said 429 still arrive.
    assert longest >= 0.9
    assert since - server.throttled[0] < 0.8
    after = [late - early for early, late in pairwise(server.times) if early > since]
    assert max(after) < 0.9


def test_a_storm_of_429_delays_a_walk_and_loses_nothing() -> None:
    with forest(tree_of(120, 30)) as server:
        requests = iter(range(10**6))
        # Every burst of fifty is followed by a burst of refusals.
        server.throttle = lambda: 0.05 if next(requests) % 60 >= 50 else 0
        with make_client(server.url, max_connections=8, retries=0) as client:
            outcomes = walk(client)
    assert [o for o in outcomes if isinstance(o, Failure)] == []
    assert asked(server) == list(range(1, 121))
    assert len(server.throttled) >= 10


def test_a_storm_that_outlasts_the_retries_loses_nothing() -> None:
    with forest(tree_of(40, 39)) as server:
        with make_client(server.url, max_connections=4, retries=0) as client:
            root = client.ask(1)
            end = time.monotonic() + 1.5
            server.throttle = lambda: 0.01 if time.monotonic() < end else 0
            outcomes = list(Walk(client, root, None))
    assert [o for o in outcomes if isinstance(o, Failure)] == []
    assert len(outcomes) == 39


def test_a_vendor_that_never_lets_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_iletimerkezi.mirror.crawl._PATIENCE", 0.5)
    with forest(tree_of(20, 19)) as server, make_client(server.url, retries=0) as client:
        root = client.ask(1)
        server.throttle = lambda: 0.01
        with pytest.raises(ServiceUnavailable, match="429"):
            list(Walk(client, root, None))
    assert asked(server) == [1]


def test_the_500_of_one_group_with_a_long_retry_after_does_not_end_the_walk() -> None:
    with forest(tree_of(20, 19)) as server, make_client(server.url) as client:
        root = client.ask(1)
        server.failing = {7: 500}
        server.headers_of = lambda code: {"Retry-After": "3000"} if code == 500 else {}
        outcomes = list(Walk(client, root, None))
    (failure,) = (o for o in outcomes if isinstance(o, Failure))
    assert (failure.asked_for, len(outcomes)) == (7, 19)


@pytest.mark.parametrize("fault", [vendor.reset, vendor.hang, vendor.cut_off])
def test_a_timeout_or_a_reset_of_one_group_does_not_end_the_walk(fault: vendor.Script) -> None:
    first = reply(200, envelope(group=tree_answer(6)))
    with Vendor(first, fault, *[well(id=number) for number in range(3, 7)]) as server:
        with make_client(server.url, max_connections=1, timeout=0.5) as client:
            outcomes = walk(client)
    assert [type(outcome) for outcome in outcomes] == [Failure, *[Answer] * 4]


def test_a_line_that_is_dead_ends_the_walk_after_a_few_groups() -> None:
    with Vendor(reply(200, envelope(group=tree_answer(500))), vendor.reset) as server:
        with make_client(server.url, max_connections=2) as client:
            with pytest.raises(ServiceUnavailable, match="broke"):
                walk(client)
    assert len(server.received) < 12


class Flaky(Forest):
    """Hangs up on some groups."""

    broken: Collection[int] = ()

    def answer(self, path: str, body: bytes) -> tuple[int, GroupDict | None]:
        if json.loads(body)["request"]["group"]["id"] in self.broken:
            raise ConnectionResetError
        return super().answer(path, body)


@pytest.mark.parametrize("connections", [1, 4])
def test_many_neighbours_that_break_do_not_end_the_walk(connections: int) -> None:
    with Flaky(tree_of(200, 50), key=KEY, hash=HASH) as server:
        server.broken = range(3, 33)
        with make_client(server.url, max_connections=connections) as client:
            outcomes = walk(client)
    failed = {o.asked_for for o in outcomes if isinstance(o, Failure)}
    assert failed == set(server.broken)
    assert set(server.asked) == set(range(1, 201)) - failed - {
        pk for broken in failed for pk in tree_of(200, 50)[broken]
    }


@pytest.mark.parametrize("code", [500, 503])
def test_a_vendor_that_is_down_ends_the_walk_after_a_few_groups(code: int) -> None:
    with Vendor(reply(200, envelope(group=tree_answer(500))), reply(code)) as server:
        with make_client(server.url) as client:
            with pytest.raises(ServiceUnavailable, match=str(code)):
                walk(client)
    assert len(server.received) < 100


@pytest.mark.parametrize("fate", [200, 463])
def test_failures_between_other_answers_do_not_have_the_first_group_asked_for_again(
    fate: int,
) -> None:
    with forest(tree_of(60, 59)) as server:
        server.failing = {
            pk: 500 if pk % 2 else fate for pk in range(2, 60) if pk % 2 or fate > 200
        }
        with make_client(server.url, max_connections=1) as client:
            walk(client)
    assert asked(server) == list(range(1, 61))


@pytest.mark.parametrize("fate", [401, 429, 463])
def test_a_first_group_that_is_refused_the_second_time_shows_that_the_vendor_is_there(
    fate: int,
) -> None:
    class Moody(Forest):
        def answer(self, path: str, body: bytes) -> tuple[int, GroupDict | None]:
            code, group = super().answer(path, body)
            return (
                (fate, None) if self.asked.count(1) == 2 and self.asked[-1] == 1 else (code, group)
            )

    with Moody(tree_of(12, 11), key=KEY, hash=HASH) as server:
        server.failing = dict.fromkeys(range(2, 8), 500)
        with make_client(server.url, max_connections=1) as client:
            outcomes = walk(client)
    assert server.asked.count(1) == 3
    assert len(outcomes) == 11


@pytest.mark.parametrize("code", [401, 404])
def test_a_code_that_would_hit_every_group_ends_the_walk_at_once(code: int) -> None:
    with Vendor(reply(200, envelope(group=tree_answer(500))), reply(code)) as server:
        with make_client(server.url, max_connections=2) as client:
            with pytest.raises(IletimerkeziError, match=str(code)):
                walk(client)
    assert len(server.received) <= 3


def tree_answer(last: int) -> dict[str, object]:
    return describe(1) | {"children": [describe(number) for number in range(2, last + 1)]}


def test_errors_of_subgroups_are_told_in_the_language_of_the_caller() -> None:
    with forest({1: [2]}) as server, make_client(server.url) as client:
        with translation.override("tr"):
            server.failing = {2: 500}
            server.list_of = {1: [2], 2: []}.get
            (failure,) = walk(client)
    assert isinstance(failure, Failure)
    assert str(failure.error).startswith("iletimerkezi şu anda kullanılamıyor")


def test_few_answers_are_held_at_a_time_if_they_are_large() -> None:
    class Large(Forest):
        def find(self, group_id: int) -> GroupDict | None:
            if group_id == 1:
                return dict(tree_answer(301))
            return describe(group_id) | {
                "children": [describe(group_id * 10_000 + number) for number in range(1000)]
            }

    with Large({}, key=KEY, hash=HASH) as server:
        with make_client(server.url, max_connections=4) as client:
            steps = iter(Walk(client, client.ask(1), 1))
            for _ in range(50):
                next(steps)
            time.sleep(0.5)
            ahead = len(server.asked) - 51
            steps.close()  # type: ignore[attr-defined]  # a generator
    assert ahead <= 10


def test_a_walk_that_is_left_stops_asking() -> None:
    with forest(tree_of(3000, 1000), latency=0.01) as server, make_client(server.url) as client:
        for _outcome in Walk(client, client.ask(1), None):
            break
        number = -1
        while number != len(server.asked):
            number = len(server.asked)
            time.sleep(0.5)
    assert number < 1000


def test_where_a_thread_cannot_be_started_those_that_were_come_to_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[threading.Thread] = []

    class Scarce(threading.Thread):
        def start(self) -> None:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    with forest({1: [2], 2: []}) as server, make_client(server.url) as client:
        root = client.ask(1)
        monkeypatch.setattr(threading, "Thread", Scarce)
        with pytest.raises(RuntimeError):
            list(Walk(client, root, None))
        (thread,) = started
        thread.join(10)
        assert not thread.is_alive()


def test_a_mistake_of_our_own_is_not_taken_for_a_failure_of_the_vendor() -> None:
    class Broken(IletimerkeziClient):
        def ask(self, group_id: int, *, within: float = math.inf) -> Answer:
            if group_id > 1:
                raise ZeroDivisionError
            return super().ask(group_id)

    with forest({1: [2]}) as server:
        with make_client(server.url) as client:
            client.__class__ = Broken
            with pytest.raises(ZeroDivisionError):
                walk(client)


def test_a_closed_client_asks_nothing_more() -> None:
    with forest({1: []}) as server:
        with make_client(server.url) as client:
            client.ask(1)
        with pytest.raises(RuntimeError, match="the client is closed"):
            client.ask(1)


def test_an_error_knows_whether_it_would_hit_every_request() -> None:
    assert not IletimerkeziError().hits_every_request
    assert AuthenticationFailed(401, "").hits_every_request


def test_of_what_arrives_after_a_walk_was_left_the_answers_can_be_had() -> None:
    with forest({1: [2, 3], 3: []}) as server:
        with make_client(server.url, max_connections=2) as client:
            steps = Walk(client, client.ask(1), None)
            outcomes = iter(steps)
            first = next(outcomes)
            while steps._outcomes.empty():
                time.sleep(0.01)
            outcomes.close()  # type: ignore[attr-defined]  # a generator
            steps._outcomes.put((4, IletimerkeziError()))
            arrived = list(steps.arrived())
    assert [o.asked_for for o in [first, *arrived] if isinstance(o, Answer)] == [3]
