"""Fetches while freezegun stops or moves the clock, as tests of host projects do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from freezegun import freeze_time

from django_iletimerkezi.exceptions import ServiceUnavailable
from django_iletimerkezi.mirror import crawl
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import GroupResult, fetch_group

from . import vendor
from .clients import make_client, set_backoff
from .forest import Forest, tree_of
from .vendor import Vendor, reply, well

pytestmark = pytest.mark.django_db

CLOCKS: list[Callable[[], Any]] = [
    lambda: freeze_time("1970-01-02"),
    lambda: freeze_time("2050-01-02"),
    lambda: freeze_time("1970-01-02", tick=True),
    lambda: freeze_time("2050-01-02", tick=True),
    lambda: freeze_time("2050-01-02", auto_tick_seconds=60),
]
MANY = 2000
"""Refusals before the vendor answers. A fetch that has not ended by then succeeds, which fails
the test."""


@pytest.fixture(params=CLOCKS, ids=["past", "future", "ticking past", "ticking", "stepping"])
def clock(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    set_backoff(monkeypatch, 0.02)


def fetch(server: Forest) -> GroupResult:
    with override_settings(**server.settings, ILETIMERKEZI_RETRIES=1):
        return fetch_group(1, recursive=True)


def throttles(refusals: Iterator[bool]) -> Callable[[], float]:
    return lambda: 0.01 if next(refusals, False) else 0


def test_a_throttled_fetch_stores_all_groups_with_a_fake_clock(clock: Any) -> None:
    with Forest(tree_of(60, 6)) as server:
        server.throttle = throttles(number % 20 >= 14 for number in range(100))
        with clock:
            assert fetch(server).created == 60
    assert sorted(server.asked) == list(range(1, 61))
    assert len(server.throttled) >= 10
    assert Group.objects.count() == 60


def test_stored_times_come_from_a_frozen_clock() -> None:
    with Forest({1: []}) as server, freeze_time("2020-01-02"):
        assert fetch(server).group.seen_at == datetime(2020, 1, 2, tzinfo=UTC)


def test_a_fetch_ends_if_all_requests_are_throttled_with_a_fake_clock(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl, "PATIENCE", 0.5)
    with Forest(tree_of(60, 6)) as server:
        server.throttle = throttles(itertools.chain([False], [True] * MANY))
        with clock, pytest.raises(ServiceUnavailable, match="429"):
            fetch(server)
    assert 0 < len(server.throttled) < MANY
    assert Group.objects.count() == 7


def test_a_throttled_fetch_does_not_give_up_early_with_a_fake_clock(clock: Any) -> None:
    with Forest({1: [2], 2: []}) as server:
        server.throttle = throttles(iter([False, *[True] * 10]))
        with clock:
            assert fetch(server).failures == {}


def test_the_request_timeout_is_enforced_with_a_fake_clock(clock: Any) -> None:
    with Vendor(vendor.drip_body) as server, make_client(server.url, timeout=0.3) as client:
        with clock, pytest.raises(ServiceUnavailable, match=r"did not answer within 0\.3 seconds"):
            client.get_group(5)
        assert server.finished == []


def test_a_pause_started_with_a_fake_clock_ends_with_the_real_clock(clock: Any) -> None:
    with Vendor(reply(429), well()) as server, make_client(server.url) as client:
        with clock, pytest.raises(ServiceUnavailable, match="429"):
            client.get_group(5)
        assert client.get_group(5).id == 5
