"""The async variants of the services."""

from __future__ import annotations

import asyncio
import inspect
import threading
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from django_iletimerkezi import services
from django_iletimerkezi.exceptions import FetchPaused, GroupNotFound
from django_iletimerkezi.models import Fetch, Group
from django_iletimerkezi.testing import Sandbox

from .forest import Forest
from .records import record

QUEUE: list[int] = []
SERVICES = [
    name
    for name in services.__all__
    if inspect.isfunction(getattr(services, name))
    and not name.startswith("a")
    and name != "get_client"  # Reads only the settings.
]


def enqueue(fetch_id: int) -> None:
    QUEUE.append(fetch_id)


pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_an_async_variant_with_the_same_parameters(name: str) -> None:
    service, variant = getattr(services, name), getattr(services, f"a{name}")
    assert inspect.iscoroutinefunction(variant) or inspect.isasyncgenfunction(variant)
    assert inspect.signature(variant) == inspect.signature(service)
    assert (variant.__name__, variant.__qualname__) == (f"a{name}", f"a{name}")
    assert variant.__doc__ == f"Async variant of ``{name}``."
    assert f"a{name}" in services.__all__


def test_async_services_fetch_a_group_and_the_phone_book(sandbox: Sandbox) -> None:
    async def fetch() -> None:
        result = await services.afetch_group(1200, recursive=True)
        assert (result.group.name, result.created) == ("Çalışanlar", 8)
        assert (await services.afetch_groups()).main_groups == 2

    async_to_sync(fetch)()
    assert Group.objects.count() == 34


def test_afetch_each_fetches_several_groups_one_after_another(sandbox: Sandbox) -> None:
    async def fetch() -> list[Any]:
        return [fetched async for fetched in services.afetch_each([1200, 6, 1300])]

    outcomes = async_to_sync(fetch)()
    assert [fetched.group_id for fetched in outcomes] == [1200, 6, 1300]
    assert isinstance(outcomes[1].outcome, GroupNotFound)
    assert sandbox.asked == [1200, 6, 1300]


def test_leaving_a_loop_over_afetch_each_stops_the_requests(sandbox: Sandbox) -> None:
    async def fetch() -> None:
        async for _fetched in services.afetch_each([1200, 1300]):
            break

    async_to_sync(fetch)()
    assert sandbox.asked == [1200]


def test_async_services_raise_errors_to_the_caller(sandbox: Sandbox) -> None:
    async def fetch() -> None:
        with pytest.raises(GroupNotFound):
            await services.afetch_group(6)
        with pytest.raises(ValueError, match="depth"):
            await services.afetch_groups(depth=-1)

    async_to_sync(fetch)()


def test_a_slow_vendor_does_not_block_the_event_loop() -> None:
    may_answer = threading.Event()

    async def answer() -> None:
        may_answer.set()

    async def fetch() -> None:
        await asyncio.gather(services.afetch_group(1), answer())

    with Forest({1: []}) as forest, override_settings(**forest.settings):
        forest.before_sending = lambda number: may_answer.wait()
        async_to_sync(fetch)()
    assert Group.objects.get().pk == 1


@override_settings(ILETIMERKEZI_ENQUEUE=f"{__name__}.enqueue")
def test_async_services_start_run_continue_and_cancel_background_fetches(
    sandbox: Sandbox, django_capture_on_commit_callbacks: Any
) -> None:
    async def start() -> list[Fetch]:
        started = [await services.astart_fetch(group_id) for group_id in (1200, 1300, 1400)]
        await services.arun_fetch(started[0].pk)
        await services.acontinue_fetch(started[1])
        assert await services.acancel_fetch(started[2])
        assert await services.aresume_fetches() == 0
        return started

    QUEUE.clear()
    with django_capture_on_commit_callbacks(execute=True):
        started = async_to_sync(start)()
    assert [fetch.pk for fetch in started] == QUEUE
    states = Fetch.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["succeeded", "succeeded", "cancelled"]


def test_afetch_groups_pauses_at_its_time_limit(sandbox: Sandbox) -> None:
    with pytest.raises(FetchPaused):
        async_to_sync(services.afetch_groups)(seconds=0)


def test_aprune_fetches_deletes_old_fetches() -> None:
    record(age=timedelta(days=2))
    pruned = async_to_sync(services.aprune_fetches)(older_than=timedelta(days=1))
    assert pruned.fetches == 1
