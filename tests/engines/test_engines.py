from __future__ import annotations

import os
import random
import time
from collections import Counter
from functools import partial

from .conftest import MakeHost
from .host import Host, commands, section, wait_until
from .vendor import Rows, changed, phone_book

GROUPS = 2_000
"""Enough for twenty batches: kills at random moments hit a fetch before, in and between batches."""
KILLS = 10
"""As many random moments as a test of less than a minute can have: each starts a worker."""
CONNECTIONS = 4
"""The default of the setting, so at most this many requests are on the way."""


def created(rows: Rows) -> list[tuple[int, str, str | None, str | None]]:
    return [(pk, "created", None, row.name) for pk, row in sorted(rows.items())]


def assert_is_fetched(host: Host, fetch_id: int) -> None:
    """Wait for a fetch into an empty mirror, and compare everything that it has stored."""
    size = len(host.vendor.rows)
    assert host.wait(fetch_id) == {
        "state": "succeeded",
        "asked": size,
        "known": size,
        "created": size,
        "changed": 0,
        "missing": 0,
        "failed": 0,
        "error": "",
    }
    assert host.mirror() == host.vendor.rows
    assert sorted(host.changes()) == created(host.vendor.rows)


def most_requests(host: Host) -> int:
    """Return the largest number of requests for the same group."""
    return max(Counter(host.vendor.asked).values())


def test_workers_fetch_a_phone_book_while_its_page_shows_the_progress(host: Host) -> None:
    host.vendor.show(phone_book(GROUPS), latency=2 * CONNECTIONS / GROUPS)
    fetch_id = host.press_button()
    assert host.fetch(fetch_id)["state"] == "queued"
    for _worker in range(2):
        host.work()
    shown: list[int] = []

    def is_finished() -> bool:
        page = host.page(fetch_id)
        shown.append(page["asked"])
        return bool(page["finished"])

    wait_until(is_finished, host.explain)
    assert any(0 < asked < GROUPS for asked in shown)
    assert_is_fetched(host, fetch_id)
    assert most_requests(host) == 1


def test_a_fetch_survives_kills_of_its_workers(host: Host) -> None:
    before, after = phone_book(GROUPS), changed(phone_book(GROUPS))
    host.vendor.show(before)
    host.console.run("services.fetch_groups()")
    assert host.mirror() == before
    host.console.run("Fetch.objects.all().delete()")
    host.vendor.show(after)
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    print("SEED =", seed)  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    fetch_id = host.start_fetch()
    for moment in sorted(chance.sample(range(len(after)), KILLS)):
        worker = host.work()
        wait_until(partial(is_at, moment, host, fetch_id), host.explain)
        time.sleep(chance.uniform(0, 0.3))
        worker.kill()
        host.let_three_minutes_pass()
        host.console.run("services.resume_fetches()")
    host.work()
    found = host.wait(fetch_id)
    assert host.mirror() == after
    expected = differences(before, after)
    recorded = [(pk, kind, new) for pk, kind, _old, new in host.changes()]
    assert sorted(recorded, key=str) == sorted(expected, key=str)
    kinds = {
        "created": {pk for pk, kind, _value in expected if kind == "created"},
        "missing": {pk for pk, kind, _value in expected if kind == "missing"},
    }
    others = {pk for pk, _kind, _value in expected} - kinds["created"] - kinds["missing"]
    assert (found["state"], found["failed"], found["error"]) == ("succeeded", 0, "")
    assert (found["created"], found["missing"]) == (len(kinds["created"]), len(kinds["missing"]))
    assert found["changed"] == len(others)
    assert found["asked"] == found["known"]


def is_at(moment: int, host: Host, fetch_id: int) -> bool:
    return host.vendor.answered >= moment or host.is_finished(fetch_id)


def differences(before: Rows, after: Rows) -> list[tuple[int, str, str | None]]:
    """Return the id, the kind and the new value of each change that a fetch must record."""
    found: list[tuple[int, str, str | None]] = []
    for pk, row in after.items():
        old = before.get(pk)
        if not old:
            found.append((pk, "created", row.name))
            continue
        if row.name != old.name:
            found.append((pk, "renamed", row.name))
        if row.contacts != old.contacts:
            found.append((pk, "recounted", str(row.contacts)))
        if row.parent != old.parent:
            found.append((pk, "moved", str(row.parent)))
    return found + [(pk, "missing", None) for pk in before.keys() - after.keys()]


def test_a_fetch_with_several_queued_tasks_runs_only_once_on_two_workers(host: Host) -> None:
    host.vendor.show(one_tree(GROUPS))
    fetch_id = host.start_fetch("1, recursive=True")
    for _push in range(4):
        host.push(fetch_id)
    for _worker in range(2):
        host.work()
    assert_is_fetched(host, fetch_id)
    assert most_requests(host) == 1


def one_tree(size: int) -> Rows:
    """Return a phone book with one main group."""
    return phone_book(size, main_groups=1)


def test_sigterm_ends_a_slice_early_and_another_worker_continues(host: Host) -> None:
    host.vendor.show(one_tree(GROUPS))
    fetch_id = host.start_fetch("1, recursive=True")
    worker = host.work()
    wait_until(lambda: host.vendor.answered >= GROUPS // 4, host.explain)
    worker.terminate()
    found = host.fetch(fetch_id)
    assert found["state"] == "queued", host.explain()
    assert GROUPS // 4 < found["asked"] < GROUPS
    host.work()
    assert_is_fetched(host, fetch_id)
    # The requests on their way at the signal are repeated.
    assert len(host.vendor.asked) <= GROUPS + CONNECTIONS


def test_a_fetch_runs_in_several_slices_until_all_groups_are_fetched(host: Host) -> None:
    host.vendor.show(one_tree(GROUPS), latency=2 * CONNECTIONS / GROUPS)
    fetch_id = host.start_fetch("1, recursive=True")
    host.work(TASK_SECONDS="1")
    assert_is_fetched(host, fetch_id)
    assert host.tasks_begun > 1
    # The requests on their way at the end of a slice are repeated.
    assert len(host.vendor.asked) <= GROUPS + CONNECTIONS * host.tasks_begun


def test_a_fetch_whose_task_redis_delivers_twice_requests_each_group_once(
    make_host: MakeHost,
) -> None:
    host = make_host("celery-redis")
    host.vendor.show(one_tree(GROUPS), latency=0.5)
    fetch_id = host.start_fetch("1, recursive=True")
    host.work(VISIBILITY="1")
    wait_until(lambda: host.tasks_begun == 1, host.explain)
    # A worker looks ten seconds after its start for tasks that exceed the visibility timeout, and
    # then every hundred seconds. So the second one starts during the task.
    host.work(VISIBILITY="1")
    wait_until(lambda: host.tasks_begun > 1, host.explain)
    host.vendor.set_latency(0)
    assert_is_fetched(host, fetch_id)
    assert most_requests(host) == 1


def test_celery_beat_fetches_the_phone_book(make_host: MakeHost) -> None:
    host = make_host("celery-rabbitmq")
    host.vendor.show(phone_book(GROUPS))
    [command] = commands("Celery beat")
    beat = host.work(command, BEAT="1")
    host.work()
    wait_until(lambda: host.vendor.answered > 0, host.explain)
    beat.kill()
    fetch_id = host.console.run("result = Fetch.objects.get(parent=None, source='schedule').pk")
    assert_is_fetched(host, fetch_id)


def test_cron_fetches_the_phone_book_and_resumes_a_fetch_whose_task_was_lost(
    make_host: MakeHost,
) -> None:
    host = make_host("db-sqlite")
    [crontab] = section("cron")
    fetch, resume = (line.partition("manage.py ")[2].split() for line in crontab.text.splitlines())
    host.vendor.show(phone_book(GROUPS))
    fetch_id = host.start_fetch()
    host.lose_tasks()
    host.let_three_minutes_pass()
    assert host.run("manage.py", *resume) == ""
    host.work()
    assert_is_fetched(host, fetch_id)
    host.vendor.show(changed(phone_book(GROUPS)))
    assert host.run("manage.py", *fetch) == ""
    assert host.mirror() == host.vendor.rows
