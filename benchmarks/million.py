"""Measure pages and commands at a million groups: a process of its own, which ``bench`` starts.

Compares each with the same at 10,000 groups, and the page of the root with the recursion that it
cannot do without. Writes a row of the report as JSON on each line.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from django.urls import reverse

from . import vendor
from .bench import CREDENTIALS, TOP, Router, Row, against, give_up, in_turn, ratios
from .pages import ENGINES, Page, configure, prepare, scratch_databases, settle, shown, spread, time

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = 10_000
LARGE = 1_000_000
CHUNK = 10_000
"""Groups that are created at a time: all at once would need gigabytes."""
FEW_HITS = 300
SLOWER_THAN_RECURSION = 2
MORE_MEMORY = 100
"""MB, against the JSON of a small tree."""

QUERIES = {
    "tree page": "",
    "one level": "?_from={second}",
    f"search with {FEW_HITS} hits": "?q=merkez",
    "search that finds a fifth": "?q=bayi",
    "filter listed": "?presence=listed",
    "filter missing": "?presence=missing",
    "filter fetched": "?fetched=yes",
    "filter never fetched": "?fetched=never",
    "filter fetched more than a day ago": "?fetched=old",
    "filter with subgroups": "?subgroups=yes",
    "filter without subgroups": "?subgroups=no",
    "page of the root": "{root}/change/",
}

_RECURSION = """
    WITH RECURSIVE subtree (id) AS (
        SELECT id FROM {table} WHERE id = %s
        UNION
        SELECT child.id FROM {table} child JOIN subtree ON child.parent_id = subtree.id
    )
    SELECT COUNT(*) FROM subtree"""


def plant(using: str, size: int) -> None:
    """Store the vendor's tree of so many groups, with everything that searches and filters find."""
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    Router.using = using
    now = datetime.now(UTC)

    def group(number: int) -> Group:
        kind = "Bayi" if number % 5 == 0 else "Merkez" if size - number <= FEW_HITS else "Şube"
        return Group(
            id=vendor.group_id(size, number),
            parent_id=vendor.group_id(size, (number - 2) // vendor.FANOUT + 1)
            if number > 1
            else None,
            name=f"{kind} {number}",
            count=number % 500,
            seen_at=now,
            fetched_at=None if number % 50 == 1 else now - timedelta(hours=number % 27),
            # Only leaves, so that the JSON has nearly all groups.
            missing_since=now if number % 100 == 3 and number > size // 2 else None,
        )

    for first in range(1, size + 1, CHUNK):
        Group.objects.bulk_create(map(group, range(first, min(first + CHUNK, size + 1))))
    settle(using)


def rows_about(engine: str, url: str) -> Iterator[Row]:
    few, many = f"{engine}_{SMALL}", f"{engine}_{LARGE}"
    name = connections[many].display_name
    clients = [prepare(using) for using in (few, many)]
    for using, size in (few, SMALL), (many, LARGE):
        start = perf_counter()
        plant(using, size)
        sys.stderr.write(f"{using}: planted in {perf_counter() - start:.0f} s\n")
    for what, query in QUERIES.items():
        pages = [
            Page(using, client, _address(query, size))
            for using, client, size in zip((few, many), clients, (SMALL, LARGE), strict=True)
        ]
        less, more = time(1, *pages)
        yield Row(
            f"{what}, {name}",
            f"{spread(ratios(more, less))}: {shown(more, drawn(pages[1]))} "
            f"against {shown(less, drawn(pages[0]))}",
            "none",
        )
    root = Page(many, clients[1], _address(QUERIES["page of the root"], LARGE))
    page, recursion = in_turn(root.get, partial(recurse, many), before=lambda: None)
    what = f"page of the root, against the recursion alone, {name}"
    yield against(what, page, recursion, SLOWER_THAN_RECURSION)
    yield json_row(engine, url, name)


def drawn(page: Page) -> int:
    return page.get().count(b"<tr data-id=")


def _address(query: str, size: int) -> str:
    ids = {"root": vendor.group_id(size), "second": vendor.group_id(size, 2)}
    return reverse("admin:django_iletimerkezi_group_changelist") + query.format(**ids)


def recurse(using: str) -> None:
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    with connections[using].cursor() as cursor:
        cursor.execute(_RECURSION.format(table=Group._meta.db_table), [vendor.group_id(LARGE)])
        if cursor.fetchone()[0] != LARGE:
            raise RuntimeError("the recursion did not reach all groups")


def json_row(engine: str, url: str, name: str) -> Row:
    small, large = (json_of(f"{engine}_{size}", size, url) for size in (SMALL, LARGE))
    more = large["peak"] - small["peak"]
    return Row(
        f"fetch_group ID --format json of the whole tree, {name}",
        f"{large['seconds'] / small['seconds']:.0f} x: {large['seconds']:.1f} s against "
        f"{small['seconds']:.2f} s; peak memory {large['peak']:.0f} against {small['peak']:.0f} MB",
        f"at most {MORE_MEMORY} MB more",
        more <= MORE_MEMORY,
    )


def json_of(using: str, size: int, url: str) -> dict[str, float]:
    """Print the JSON of a whole tree in a process of its own; return its time and peak memory."""
    command = [sys.executable, "-m", "benchmarks.million", url, using, str(size)]
    config = json.dumps({using: connections.databases[using]}, default=str)
    done = subprocess.run(  # noqa: S603 - our own script
        command, cwd=TOP, input=config, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout))


class Nowhere(io.StringIO):
    """Counts lines that end, and drops them."""

    lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


def print_json(url: str, using: str, size: int) -> None:
    databases: dict[str, Any] = json.load(sys.stdin)
    configure({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}} | databases)
    Router.using = using
    output = Nowhere()
    ours = {
        "ILETIMERKEZI_API_KEY": CREDENTIALS["key"],
        "ILETIMERKEZI_API_HASH": CREDENTIALS["hash"],
        "ILETIMERKEZI_BASE_URL": url,
    }
    start = perf_counter()
    with override_settings(**ours):
        call_command("fetch_group", str(vendor.group_id(size)), format="json", stdout=output)
    took = perf_counter() - start
    if output.lines < 0.98 * size:
        raise RuntimeError(f"{output.lines} lines of JSON for {size} groups")
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(json.dumps({"seconds": took, "peak": int(peak.split()[1]) / 1000}))


def main() -> None:
    signal.signal(signal.SIGTERM, give_up)
    url, *given = sys.argv[1:]
    if given:
        using, size = given
        print_json(url, using, int(size))
        return
    with scratch_databases(SMALL, LARGE) as databases:
        configure(databases)
        for engine in ENGINES:
            for row in rows_about(engine, url):
                sys.stdout.write(f"{json.dumps(asdict(row))}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
