"""Measure pages with a long history, and fetches while it is pruned: a process like ``pages``.

Writes a row of the report as JSON on each line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import timedelta
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import environ
import MySQLdb
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from . import vendor
from .bench import CREDENTIALS, TOP, Router, Row, give_up, ratios, seconds
from .pages import REQUESTS, Page, configure, prepare, scratch_databases, settle, spread, time

if TYPE_CHECKING:
    from collections.abc import Iterator

MYSQL_URL = os.environ.get("BENCH_MYSQL_URL", "mysql://root@127.0.0.1:3306")
SMALL = "small"
LARGE = "large"
ENGINES = "sqlite", "postgresql"
FETCHES = 10_000
CHANGES = 1_000_000
FULL = 100
"""Fetches that share the changes. The others found none, as most fetches do."""
OWN = 1_000
"""Changes of the group whose page is measured."""
SLOWER = 2
MOST_QUERIES = 12
LONGEST_WAIT = 1
TREE = 200
"""Groups that each fetch mirrors: so few that a fetch takes a fraction of a second."""


def plant(using: str, fetches: int, changes: int, own: int) -> None:
    """Store old fetches with their changes, and a group with changes of its own."""
    from django_iletimerkezi.mirror import bulk  # noqa: PLC0415 - it needs the settings
    from django_iletimerkezi.models import Change, Fetch, Group  # noqa: PLC0415 - as above

    Router.using = using
    at = timezone.now() - timedelta(days=100)
    Group.objects.using(using).create(id=1, name=vendor.name(1), count=own)
    times = {"requested_at": at, "started_at": at, "alive_at": at, "finished_at": at}
    Fetch.objects.using(using).bulk_create(
        Fetch(kind=Fetch.Kind.PHONE_BOOK, state=Fetch.State.SUCCEEDED, **times)
        for _fetch in range(fetches)
    )
    ids = Fetch.objects.using(using).order_by("pk").values_list("pk", flat=True)[:FULL]
    for pk in ids:
        rows = (
            Change(
                fetch_id=pk,
                group_id=number,
                at=at,
                kind=Change.Kind.RENAMED,
                before=vendor.name(number),
                after=vendor.name(number + 1),
            )
            for number in range(2, 2 + changes // len(ids))
        )
        bulk.insert(using, Change, rows)
    recounts = (
        Change(
            fetch_id=pk,
            group_id=1,
            at=at + timedelta(minutes=number),
            kind=Change.Kind.RECOUNTED,
            before=str(number),
            after=str(number + 1),
        )
        for number in range(own)
    )
    bulk.insert(using, Change, recounts)
    settle(using)


def page_rows(engine: str) -> Iterator[Row]:
    """Return the rows about pages with a long history, against the same with a short one."""
    from django_iletimerkezi.models import Fetch  # noqa: PLC0415 - it needs the settings

    short, long = f"{engine}_{SMALL}", f"{engine}_{LARGE}"
    name = connections[long].display_name
    clients = {short: prepare(short), long: prepare(long)}
    plant(short, fetches=1, changes=1, own=1)
    plant(long, FETCHES, CHANGES, OWN)
    group = reverse("admin:django_iletimerkezi_group_change", args=[1])
    fetches = reverse("admin:django_iletimerkezi_fetch_changelist")
    for what, url in {
        f"list of {FETCHES:,} fetches": fetches,
        f"page of a fetch with {CHANGES // FULL:,} of {CHANGES:,} changes": "",
        f"page of a group with {OWN:,} changes": group,
    }.items():
        pages = []
        for using, client in clients.items():
            first = Fetch.objects.using(using).earliest("pk")
            own = reverse("admin:django_iletimerkezi_fetch_change", args=[first.pk])
            pages.append(Page(using, client, url or own))
        less, more = time(REQUESTS, *pages)
        pairs, queries = ratios(more, less), pages[1].queries()
        yield Row(
            f"{what}, against a short history, {name}",
            f"{spread(pairs)}: {seconds(more)} against {seconds(less)}, {queries} queries",
            f"at most {SLOWER} x, at most {MOST_QUERIES} queries",
            median(pairs) <= SLOWER and queries <= MOST_QUERIES,
        )


def prune_row(using: str, databases: dict[str, Any], url: str) -> Row:
    Router.using = using
    name = connections[using].display_name
    command = [sys.executable, "-m", "benchmarks.history", "--prune", using, json.dumps(databases)]
    alone = median(fetch(url) for _fetch in range(10))
    start = perf_counter()
    longest, number = 0.0, 0
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as pruning:  # noqa: S603 - our own script
        while pruning.poll() is None:
            longest = max(longest, fetch(url))
            number += 1
        deleted = pruning.communicate()[0].strip()
    took = perf_counter() - start
    if deleted != f"{FETCHES} {CHANGES + OWN}":
        raise RuntimeError(f"{deleted!r} was pruned")
    return Row(
        f"longest wait of a fetch of {TREE} groups while {CHANGES:,} changes are pruned, {name}",
        f"{longest - alone:.2f} s: the slowest of {number} fetches in {took:.0f} s took "
        f"{longest:.2f} s, against {alone:.2f} s alone",
        f"at most {LONGEST_WAIT} s",
        longest - alone <= LONGEST_WAIT,
    )


def fetch(url: str) -> float:
    """Mirror a tree, and return how many seconds that took."""
    from django_iletimerkezi.services import fetch_group  # noqa: PLC0415 - it needs the settings

    start = perf_counter()
    with override_settings(
        ILETIMERKEZI_API_KEY=CREDENTIALS["key"],
        ILETIMERKEZI_API_HASH=CREDENTIALS["hash"],
        ILETIMERKEZI_BASE_URL=url,
    ):
        result = fetch_group(vendor.group_id(TREE), recursive=True)
    if result.created + result.unchanged != TREE:
        raise RuntimeError(f"{result} is not the whole tree")
    return perf_counter() - start


def prune(using: str) -> None:
    from django_iletimerkezi.services import prune_fetches  # noqa: PLC0415 - it needs the settings

    Router.using = using
    sys.stdout.write("{} {}".format(*prune_fetches(older_than=timedelta(days=90))))


@contextlib.contextmanager
def scratch_mysql() -> Iterator[dict[str, Any]]:
    """Create a database on the MariaDB server; give its settings."""
    database = environ.Env.db_url_config(f"{MYSQL_URL}/bench_history_{os.getpid()}")
    server = {
        "host": database["HOST"],
        "port": int(database["PORT"]),
        "user": database["USER"],
        "password": database["PASSWORD"],
    }
    with contextlib.closing(MySQLdb.connect(**server)) as admin:
        admin.query(f"CREATE DATABASE {database['NAME']} CHARACTER SET utf8mb4")
        try:
            yield database
        finally:
            connections.close_all()
            admin.query(f"DROP DATABASE {database['NAME']}")


def rows_about(databases: dict[str, Any], url: str) -> Iterator[Row]:
    for engine in ENGINES:
        yield from page_rows(engine)
        yield prune_row(f"{engine}_{LARGE}", databases, url)
    call_command("migrate", database="mysql", verbosity=0)
    plant("mysql", FETCHES, CHANGES, OWN)
    yield prune_row("mysql", databases, url)


def main() -> None:
    signal.signal(signal.SIGTERM, give_up)
    first, *rest = sys.argv[1:]
    if first == "--prune":
        using, databases = rest
        configure(json.loads(databases))
        prune(using)
        return
    with scratch_databases(SMALL, LARGE) as databases, scratch_mysql() as mysql:
        databases["mysql"] = mysql
        configure(databases)
        for row in rows_about(databases, first):
            sys.stdout.write(f"{json.dumps(asdict(row))}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
