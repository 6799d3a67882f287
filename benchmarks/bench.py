"""Measure the speed that the package promises, and write BENCHMARKS.md: ``make bench``.

Each figure is the ratio of two things that are measured in turn within this one run, five times;
the median counts. PostgreSQL is that of ``BENCH_POSTGRESQL_URL``; a database of its own is
created there and dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple

import django
import environ
import psycopg
import requests
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from . import vendor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django_iletimerkezi.api.parsing import Answer, GroupData
    from django_iletimerkezi.models import Group

TOP = Path(__file__).resolve().parent.parent
REPETITIONS = 5
CONNECTIONS = 8
LATENCY = 0.02
MIRRORED = 3_000
NAIVE = 200
"""Fewer groups where they are asked for one at a time: these take a time each, however many."""
STORED = 100_000
ANSWERS = 10
LONGEST_RUN = 45 * 60
LONGEST_MILLION = 60 * 60
"""Seconds: two databases are filled with a million groups each."""
MILLION_TITLE = "## 1,000,000 groups"

POSTGRESQL_URL = os.environ.get("BENCH_POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432")
CREDENTIALS = {"key": "sandbox-key", "hash": "sandbox-hash"}


@dataclass(frozen=True)
class Row:
    """A line of the report."""

    what: str
    measured: str
    bound: str = ""
    reached: bool | None = None


class Taken(NamedTuple):
    """How long a job took, in seconds: in all, and of this process's own work."""

    wall: float
    processor: float


class Router:
    """Sends the mirror to the database whose turn it is."""

    using = "default"

    def db_for_read(self, model: object, **hints: object) -> str:
        return self.using

    db_for_write = db_for_read


def configure(database: str, postgresql: str = "") -> None:
    databases: dict[str, Any] = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}
    }
    if postgresql:
        databases["postgresql"] = environ.Env.db_url_config(f"{POSTGRESQL_URL}/{postgresql}")
    settings.configure(
        INSTALLED_APPS=["django_iletimerkezi"],
        DATABASES=databases,
        DATABASE_ROUTERS=[Router()],
        USE_TZ=True,
        ILETIMERKEZI_API_KEY=CREDENTIALS["key"],
        ILETIMERKEZI_API_HASH=CREDENTIALS["hash"],
        ILETIMERKEZI_MAX_CONNECTIONS=CONNECTIONS,
    )
    django.setup()


# What is measured.


def mirror(url: str, size: int) -> None:
    """Mirror a tree as a host project does."""
    from django_iletimerkezi.services import fetch_group  # noqa: PLC0415 - it needs the settings

    with override_settings(ILETIMERKEZI_BASE_URL=url):
        result = fetch_group(vendor.group_id(size), recursive=True)
    told = result.created + result.changed + result.unchanged
    if told != size or result.failures:
        raise RuntimeError(f"{told} of {size} groups were mirrored")


def mirror_phone_book(url: str) -> None:
    """Mirror a phone book of ``MIRRORED`` groups without knowing an id."""
    from django_iletimerkezi.services import fetch_groups  # noqa: PLC0415 - it needs the settings

    with override_settings(ILETIMERKEZI_BASE_URL=url):
        result = fetch_groups()
    told = result.created + result.changed + result.unchanged
    if told != MIRRORED or result.failures:
        raise RuntimeError(f"{told} of {MIRRORED} groups were mirrored")


def ask_for_phone_book(url: str) -> None:
    """Send the same requests with bare sessions of requests: 1 + ``MIRRORED``."""
    body = {"request": {"authentication": CREDENTIALS}}
    answer = requests.post(f"{url}get-groups/json", json=body, timeout=30).json()
    if len(answer["response"]["groups"]) != vendor.FANOUT:
        raise RuntimeError("not all main groups were listed")
    ask_only(url, vendor.PHONE_BOOK, first=2)


def ask_only(url: str, size: int, first: int = 1) -> None:
    """Ask for the same groups with bare sessions of requests, and store nothing."""
    ids = [vendor.group_id(size, number) for number in range(first, size + 1)]
    counts = []

    def ask(share: Sequence[int]) -> None:
        # What was not answered is missing from the counts.
        with contextlib.suppress(requests.RequestException), requests.Session() as session:
            answers = [
                session.post(f"{url}get-group/json", json=_request(group_id)).json()
                for group_id in share
            ]
            counts.append(sum(answer["response"]["status"]["code"] == 200 for answer in answers))

    threads = [
        threading.Thread(target=ask, args=(ids[start::CONNECTIONS],))
        for start in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sum(counts) != len(ids):
        raise RuntimeError(f"{sum(counts)} of {len(ids)} groups were answered")


def mirror_naively(url: str, group_id: int, parent_id: int | None = None) -> None:
    """Do what comes to mind first: a request and an ``update_or_create`` for each group."""
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    answer = requests.post(f"{url}get-group/json", json=_request(group_id), timeout=30).json()
    group = answer["response"]["group"]
    Group.objects.update_or_create(
        id=group["id"],
        defaults={
            "parent_id": parent_id,
            "name": group["name"],
            "count": group["count"],
            "seen_at": datetime.now(UTC),
        },
    )
    for child in group.get("children", ()):
        mirror_naively(url, child["id"], group["id"])


def _request(group_id: int) -> dict[str, object]:
    return {"request": {"authentication": CREDENTIALS, "group": {"id": group_id}}}


def nested_answers() -> list[Answer]:
    """Return answers with ``STORED`` groups, each with a whole tree."""
    from django_iletimerkezi.api.parsing import Answer, GroupData  # noqa: PLC0415 - as above

    size = STORED // ANSWERS

    def tree(offset: int, number: int) -> GroupData:
        below = (tree(offset, child) for child in vendor.children(size, number))
        return GroupData(offset + number, vendor.name(number), number % 500, tuple(below))

    start = datetime.now(UTC)
    trees = (tree(index * size, 1) for index in range(ANSWERS))
    return [
        Answer(group.id, start + timedelta(milliseconds=index), group)
        for index, group in enumerate(trees)
    ]


def store(answers: Sequence[Answer], *, with_history: bool = False, expected: int = STORED) -> None:
    from django_iletimerkezi.mirror.journal import Journal  # noqa: PLC0415 - it needs the settings
    from django_iletimerkezi.mirror.store import store  # noqa: PLC0415 - as above
    from django_iletimerkezi.models import Fetch  # noqa: PLC0415 - as above

    journal = Journal(Fetch())
    if with_history:
        journal.start()
    differences = store(answers, {}, journal if with_history else None)
    if len(differences) != expected:
        raise RuntimeError(f"{len(differences)} instead of {expected} groups were changed")


def renamed(answers: Sequence[Answer]) -> list[Answer]:
    """Return later answers with the same groups, and a new name for every fiftieth group."""

    def rename(group: GroupData) -> GroupData:
        name = f"{group.name} (yeni)" if group.id % 50 == 0 else group.name
        return replace(group, name=name, children=tuple(map(rename, group.children)))

    return [
        replace(answer, asked_at=answer.asked_at + timedelta(minutes=1), group=rename(answer.group))
        for answer in answers
    ]


def bulk_create(rows: Sequence[Group]) -> None:
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    Group.objects.bulk_create(rows)


def peak_memory(url: str, size: int, folder: Path) -> float:
    """Return the most MiB that a process of its own has held while it mirrored a tree."""
    database = folder / f"{size}.sqlite3"
    with (
        contextlib.closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as empty,
        contextlib.closing(sqlite3.connect(database)) as copy,
    ):
        empty.backup(copy)
    command = [sys.executable, "-m", "benchmarks.bench", "--peak", url, str(size), str(database)]
    done = subprocess.run(  # noqa: S603 - our own script
        command, cwd=TOP, stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST_RUN
    )
    return int(done.stdout) / 1024


def print_peak(url: str, size: int, database: str) -> None:
    configure(database)
    mirror(url, size)
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(peak.split()[1])


# How it is measured.


def empty_table() -> None:
    call_command("flush", database=Router.using, interactive=False, verbosity=0)


def in_turn(
    *jobs: Callable[[], object],
    before: Callable[[], object] = empty_table,
    repetitions: int = REPETITIONS,
) -> list[list[Taken]]:
    """Return how long each job took each time, by default with an emptied table before each."""
    times: list[list[Taken]] = [[] for _job in jobs]
    for repetition in range(repetitions):
        turn = list(zip(jobs, times, strict=True))
        for job, taken in turn if repetition % 2 else reversed(turn):
            before()
            wall, processor = perf_counter(), process_time()
            job()
            taken.append(Taken(perf_counter() - wall, process_time() - processor))
    return times


def ratios(ours: Sequence[Taken], other: Sequence[Taken]) -> list[float]:
    return sorted(a.wall / b.wall for a, b in zip(ours, other, strict=True))


def seconds(taken: Sequence[Taken]) -> str:
    return f"{median(each.wall for each in taken):.3g} s"


def against(what: str, ours: Sequence[Taken], other: Sequence[Taken], bound: float) -> Row:
    """Return the row about a time that may be at most so many times another."""
    pairs = ratios(ours, other)
    measured = (
        f"{median(pairs):.2f} x ({pairs[0]:.2f} to {pairs[-1]:.2f}): "
        f"{seconds(ours)} against {seconds(other)}"
    )
    return Row(what, measured, f"at most {bound} x", median(pairs) <= bound)


def requests_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    what = f"recursive mirror of {MIRRORED:,} groups, {CONNECTIONS} connections"
    for url, bound, latency in (slow, 1.05, "20 ms latency"), (fast, 1.1, "no latency"):
        yield against_requests(
            f"{what}, {latency}",
            lambda: mirror(url, MIRRORED),  # noqa: B023 - at once
            lambda: ask_only(url, MIRRORED),  # noqa: B023 - at once
            bound,
        )


def against_requests(
    what: str, ours: Callable[[], object], bare: Callable[[], object], bound: float
) -> Row:
    our_times, bare_times = in_turn(ours, bare)
    row = against(f"{what}, against bare requests", our_times, bare_times, bound)
    work = median(a.processor / b.processor for a, b in zip(our_times, bare_times, strict=True))
    return replace(row, measured=f"{row.measured}; processor time {work:.2f} x")


def statement_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    return count_statements(f"{MIRRORED:,} groups", lambda: mirror(slow, MIRRORED))


def phone_book_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    """Return the rows about the whole phone book. The bounds are those of a recursive mirror."""
    what = f"phone book of {MIRRORED:,} groups without an id"
    for url, bound, latency in (slow, 1.05, "20 ms latency"), (fast, 1.1, "no latency"):
        yield against_requests(
            f"{what}, {CONNECTIONS} connections, {latency}",
            lambda: mirror_phone_book(url),  # noqa: B023 - at once
            lambda: ask_for_phone_book(url),  # noqa: B023 - at once
            bound,
        )
    yield from count_statements(f"a {what}", lambda: mirror_phone_book(slow))


def count_statements(what: str, job: Callable[[], object]) -> Iterator[Row]:
    connection = connections["default"]
    connection.ensure_connection()
    empty_table()
    for time, bound in ("the first time", 60), ("again, with nothing new", 40):
        statements: list[str] = []
        connection.connection.set_trace_callback(statements.append)
        job()
        connection.connection.set_trace_callback(None)
        count = len(statements)
        yield Row(
            f"SQL statements for {what}, {time}",
            f"{count}, BEGIN and COMMIT included",
            f"at most {bound}",
            count <= bound,
        )


def naive_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    what = f"{NAIVE} groups, against requests.post and update_or_create for each"
    for url, bound, latency in (slow, 5, "20 ms latency"), (fast, None, "no latency"):
        naive, ours = in_turn(
            lambda: mirror_naively(url, vendor.group_id(NAIVE)),  # noqa: B023 - at once
            lambda: mirror(url, NAIVE),  # noqa: B023 - at once
        )
        factor = median(ratios(naive, ours))
        yield Row(
            f"{what}, {latency}",
            f"{factor:.1f} x faster: {seconds(ours)} against {seconds(naive)}",
            f"at least {bound} x" if bound else "none",
            factor >= bound if bound else None,
        )


def storing_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    answers = nested_answers()
    for using, bound in ("default", 0.6), ("postgresql", 1.1):
        Router.using = using
        empty_table()
        store(answers)
        rows = list(Group.objects.order_by("id"))
        if len(rows) != STORED:
            raise RuntimeError(f"{len(rows)} of {STORED} groups were stored")
        ours, bulk = in_turn(lambda: store(answers), lambda: bulk_create(rows))  # noqa: B023 - at once
        name = connections[using].display_name
        what = f"storing {STORED:,} groups from {ANSWERS} nested answers, {name}"
        yield against(f"{what}, against bulk_create of the same rows", ours, bulk, bound)
    Router.using = "default"


def history_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    answers = nested_answers()
    later = renamed(answers)
    for using, bound in ("default", 1.2), ("postgresql", 2.2):
        Router.using = using
        name = connections[using].display_name
        empty_table()
        store(answers)
        rows = list(Group.objects.order_by("id"))
        ours, bulk = in_turn(
            lambda: store(answers, with_history=True),
            lambda: bulk_create(rows),  # noqa: B023 - at once
        )
        what = f"storing {STORED:,} groups with their changes, {name}"
        yield against(f"{what}, against bulk_create of the groups", ours, bulk, bound)

        def restore() -> None:
            empty_table()
            store(answers)

        again, without = in_turn(
            lambda: store(later, with_history=True, expected=STORED // 50),
            lambda: store(later, expected=STORED // 50),
            before=restore,
        )
        what = f"storing them again with 2 % renamed, {name}"
        yield against(f"{what}, against without history", again, without, 1.15)
    Router.using = "default"


def memory_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    small = median(peak_memory(fast, 1_000, folder) for _repetition in range(REPETITIONS))
    large = peak_memory(fast, 100_000, folder)
    yield Row(
        "peak memory of a recursive mirror of 100,000 groups, against that of 1,000",
        f"{large / small:.2f} x: {large:.0f} MiB (once) against {small:.0f} MiB",
        "at most 1.5 x",
        large <= 1.5 * small,
    )


def check_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    """Return the row about what the installed app costs each management command."""
    with_app, without = in_turn(
        lambda: check(folder, "django_iletimerkezi"), lambda: check(folder), before=lambda: None
    )
    what = "manage.py check of a project with the admin and the app, against without the app"
    yield against(what, with_app, without, 1.05)


def check(folder: Path, *apps: str) -> None:
    """Run ``manage.py check`` in processes of their own: one alone is too short to be measured.

    The garbage collector is off. Whether the app's objects start one more collection, which takes
    as long as the whole app, depends on how many objects the project has without it.
    """
    settings_module = folder / "bench_settings.py"
    settings_module.write_text(
        "from tests.settings import *\n"
        "ILETIMERKEZI_API_KEY = ILETIMERKEZI_API_HASH = 'x'\n"
        "INSTALLED_APPS = [app for app in INSTALLED_APPS if app != 'django_iletimerkezi']\n"
        f"INSTALLED_APPS += {list(apps)!r}\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{TOP}:{folder}", "PYTHONDONTWRITEBYTECODE": ""}
    script = (
        "import gc; gc.disable(); from django.core.management import execute_from_command_line; "
        "execute_from_command_line(['manage.py', 'check', '--settings', 'bench_settings'])"
    )
    command = [sys.executable, "-c", script]
    for _process in range(5):
        subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603 - our own


def page_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    """Return the rows about pages, which a process with the admin's settings measures."""
    return rows_of("benchmarks.pages")


def long_history_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    """Return the rows about a long history, which a process with the admin's settings measures."""
    return rows_of("benchmarks.history", fast)


def background_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    """Return the rows about several workers, which a process with a phone book measures."""
    return rows_of("benchmarks.background")


def million_rows(slow: str, fast: str, folder: Path) -> Iterator[Row]:
    """Return the rows about a million groups, which takes too long for every run."""
    return rows_of("benchmarks.million", fast)


def rows_of(module: str, *arguments: str) -> Iterator[Row]:
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own script
        try:
            for line in process.stdout or ():
                yield Row(**json.loads(line))
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")


PARTS = {
    "requests": requests_rows,
    "statements": statement_rows,
    "phone-book": phone_book_rows,
    "naive": naive_rows,
    "storing": storing_rows,
    "history": history_rows,
    "memory": memory_rows,
    "check": check_rows,
    "pages": page_rows,
    "long-history": long_history_rows,
    "background": background_rows,
    "million": million_rows,
}
USUAL = [part for part in PARTS if part != "million"]


# The report.


def report(rows: Sequence[Row], took: float) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`python -m benchmarks.bench`): do not edit.",
        "",
        *table(rows, took),
        "",
        f"A ratio is the median of {REPETITIONS} pairs that were measured in turn, with the least",
        "and the greatest in brackets; the times are medians too. The vendor is a `Sandbox` in a",
        "process of its own. What is measured is in `benchmarks/bench.py`, the pages in",
        "`benchmarks/pages.py`: there a time is the mean of ten requests, or a single long one.",
        "The workers are in `benchmarks/background.py`: there the median is that of 3 pairs.",
        "",
    ]
    return "\n".join(lines)


def million_report(rows: Sequence[Row], took: float) -> str:
    lines = [
        MILLION_TITLE,
        "",
        'Written by `make bench ARGS="--only million"`. Each ratio is to the same with 10,000',
        "groups, for a single request. A fifth are 200,000 of 1,000,000 groups. What is",
        "measured is in `benchmarks/million.py`.",
        "",
        *table(rows, took),
        "",
    ]
    return "\n".join(lines)


def table(rows: Sequence[Row], took: float) -> list[str]:
    verdict = {True: "yes", False: "**no**", None: ""}
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. The run took {took / 60:.1f} minutes.",
        "",
        "| what | measured | bound | reached |",
        "|---|---|---|---|",
        *(
            f"| {row.what} | {row.measured} | {row.bound} | {verdict[row.reached]} |"
            for row in rows
        ),
    ]


def write(text: str) -> None:
    """Replace one part of the file, the usual one or that about a million groups."""
    file = TOP / "BENCHMARKS.md"
    usual, title, million = file.read_text().partition(MILLION_TITLE)
    if text.startswith(MILLION_TITLE):
        file.write_text(f"{usual.rstrip()}\n\n{text}")
    else:
        file.write_text(f"{text}\n{title}{million}" if title else text)


def machine() -> str:
    information = Path("/proc/cpuinfo").read_text()
    models = [line.split(":")[1] for line in information.splitlines() if "model name" in line]
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("SHOW server_version")
        postgresql = cursor.fetchone()[0].split()[0]
    return (
        f"{os.cpu_count()} cores of {models[0].strip() if models else platform.machine()}, "
        f"Python {platform.python_version()}, Django {django.__version__}, "
        f"requests {requests.__version__}, SQLite {sqlite3.sqlite_version}, "
        f"PostgreSQL {postgresql}"
    )


# The surroundings.


@contextlib.contextmanager
def serve(latency: float, *main_ids: int) -> Iterator[str]:
    """Start a vendor; give its base URL."""
    command = [sys.executable, "-m", "benchmarks.vendor", str(latency), *map(str, main_ids)]
    process = subprocess.Popen(  # noqa: S603 - our own script
        command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


@contextlib.contextmanager
def scratch_database(kind: str = "bench") -> Iterator[str]:
    """Create a database on the PostgreSQL server; give its name."""
    name = f"{kind}_{os.getpid()}"
    with psycopg.connect(f"{POSTGRESQL_URL}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            connections.close_all()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def measure(parts: Sequence[str]) -> str:
    start = perf_counter()
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        configure(str(folder / "bench.sqlite3"), stack.enter_context(scratch_database()))
        for using in connections:
            call_command("migrate", database=using, verbosity=0)
        slow, fast = (stack.enter_context(serve(latency)) for latency in (LATENCY, 0))
        mirror(fast, NAIVE)
        ask_only(fast, NAIVE)
        for part in parts:
            for row in PARTS[part](slow, fast, folder):
                rows.append(row)
                took = perf_counter() - start
                sys.stderr.write(f"{took:4.0f} s  {row.what}: {row.measured}\n")
        write_up = million_report if parts == ["million"] else report
        return write_up(rows, perf_counter() - start)


def give_up(number: int, _frame: object) -> None:
    late = "The benchmark took too long."
    raise SystemExit(late if number == signal.SIGALRM else "Stopped.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="print these; write only the section of million"
    )
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        url, size, database = options.peak
        print_peak(url, int(size), database)
        return
    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGTERM, give_up)
    parts = options.only or USUAL
    signal.alarm(LONGEST_MILLION if "million" in parts else LONGEST_RUN)
    text = measure(parts)
    sys.stdout.write(text)
    if parts in (USUAL, ["million"]):
        write(text)


if __name__ == "__main__":
    main()
