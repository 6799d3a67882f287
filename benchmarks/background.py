"""Measure how much faster several workers fetch a phone book in the background.

``bench`` starts this as a process of its own. A worker is a process that takes the ids of fetches
from a queue, and works on each fetch for a slice. Prints one row of the report per line, as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

from . import vendor
from .bench import (
    LATENCY,
    Router,
    Row,
    against,
    configure,
    give_up,
    in_turn,
    scratch_database,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = [*range(990, 1000), *range(1001, 1011)]
"""The sizes of the trees of the main groups. They differ, because the vendor has one tree of each
size. Twenty trees keep four workers busy until shortly before the end."""
GROUPS = sum(SIZES)
CONNECTIONS = 4
"""Per worker: the default of the setting."""
BOUNDS = {2: 0.6, 4: 0.35}
"""Most time by number of workers, as a share of the time of one worker. Ideal are 0.5 and 0.25, but
the workers share the processors with the vendor."""
REPETITIONS = 3
"""Few, because a repetition takes more than three minutes."""

_SPAWN = multiprocessing.get_context("spawn")
_queue: Any = None
"""The queue of the workers whose turn it is."""


def enqueue(fetch_id: int) -> None:
    _queue.put(fetch_id)


def rows() -> Iterator[Row]:
    what = (
        f"phone book of {len(SIZES)} main groups and {GROUPS:,} groups in the background, "
        f"{CONNECTIONS} connections per worker, {LATENCY * 1000:.0f} ms latency, PostgreSQL"
    )
    with ExitStack() as stack:
        url = stack.enter_context(serve(LATENCY, *map(vendor.group_id, SIZES)))
        queues = [stack.enter_context(workers(number, url)) for number in (1, *BOUNDS)]
        alone, *together = in_turn(
            *(partial(fetch_phone_book, queue) for queue in queues), repetitions=REPETITIONS
        )
        for (number, bound), taken in zip(BOUNDS.items(), together, strict=True):
            yield against(f"{what}, {number} workers against 1", taken, alone, bound)


def fetch_phone_book(queue: Any) -> None:
    """Fetch the phone book with the workers of a queue."""
    from django_iletimerkezi.services import start_fetch  # noqa: PLC0415 - it needs the settings

    global _queue  # noqa: PLW0603 - the app calls ``enqueue`` without it
    _queue = queue
    with override_settings(ILETIMERKEZI_ENQUEUE=f"{__name__}.enqueue"):
        fetch = start_fetch()
    while not fetch.is_finished:
        sleep(0.05)
        fetch.refresh_from_db()
    if (fetch.state, fetch.created) != ("succeeded", GROUPS):
        raise RuntimeError(f"{fetch.created} of {GROUPS} groups were mirrored: {fetch.state}")


@contextmanager
def workers(number: int, url: str) -> Iterator[Any]:
    """Start some workers, and yield their queue when all are ready."""
    queue, ready = _SPAWN.SimpleQueue(), _SPAWN.Barrier(number + 1)
    database = settings.DATABASES["postgresql"]["NAME"]
    processes = [
        _SPAWN.Process(target=work, args=(queue, ready, database, url), daemon=True)
        for _worker in range(number)
    ]
    for process in processes:
        process.start()
    try:
        ready.wait()
        yield queue
    finally:
        for process in processes:
            process.terminate()
            process.join()


def work(queue: Any, ready: Any, database: str, url: str) -> None:
    """Run the tasks of a queue until the process is terminated."""
    configure(":memory:", database)
    settings.ILETIMERKEZI_ENQUEUE = f"{__name__}.enqueue"
    settings.ILETIMERKEZI_BASE_URL = url
    settings.ILETIMERKEZI_MAX_CONNECTIONS = CONNECTIONS
    Router.using = "postgresql"
    from django_iletimerkezi.services import run_fetch  # noqa: PLC0415 - it needs the settings

    global _queue  # noqa: PLW0603 - as above
    _queue = queue
    ready.wait()
    while True:
        run_fetch(queue.get())


def main() -> None:
    signal.signal(signal.SIGTERM, give_up)
    with scratch_database("background") as database:
        configure(":memory:", database)
        Router.using = "postgresql"
        call_command("migrate", database=Router.using, verbosity=0)
        for row in rows():
            sys.stdout.write(f"{json.dumps(asdict(row))}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
