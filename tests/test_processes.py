"""The command in its own process: killed, interrupted, among other writers, on a terminal."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from django_iletimerkezi.models import Change, Group
from django_iletimerkezi.testing import GroupDict

from .changes import assert_changes_end_in_rows
from .commands import Outcome
from .forest import Forest, describe, tree_of
from .vendor import HASH, KEY

ROOT = Path(__file__).parent.parent
CONNECTIONS = 4
STOPPED = (
    "CommandError: Stopped. All answers received so far are stored. The next fetch requests all "
    "groups again.\n"
)

# Those of PostgreSQL are of psycopg.IsolationLevel: repeatable read and serializable.
ISOLATIONS: dict[str, list[Any]] = {
    "sqlite": [None],
    "postgresql": [None, 3, 4],
    "mysql": [None, "repeatable read", "serializable"],
}

Tree = Mapping[int, Iterable[int]]


@dataclass(frozen=True)
class Row:
    parent_id: int | None
    name: str
    count: int
    is_missing: bool = False


class Database:
    """The database that a child process writes to, read by the test.

    On SQLite it is a file, because no other process can see the tests' database in memory.
    """

    def __init__(self, directory: Path) -> None:
        self.options: dict[str, Any] = {}
        self._file: Path | None = None
        if connection.vendor == "sqlite":
            self._file = directory / "db.sqlite3"
            self.url = f"sqlite:///{self._file}"
            with connection.cursor() as cursor:
                cursor.execute("VACUUM INTO %s", [str(self._file)])
        else:
            path = f"/{connection.settings_dict['NAME']}"
            self.url = urlsplit(os.environ["DATABASE_URL"])._replace(path=path).geturl()

    def rows(self) -> dict[int, Row]:
        columns = "id, parent_id, name, count, missing_since IS NOT NULL"
        found = self._execute(f"SELECT {columns} FROM {Group._meta.db_table}")
        return {group_id: Row(*values) for group_id, *values in found}

    def fetched(self) -> set[int]:
        """Return the groups whose own answer is stored."""
        table = Group._meta.db_table
        found = self._execute(f"SELECT id FROM {table} WHERE fetched_at IS NOT NULL")
        return {group_id for (group_id,) in found}

    def changes(self) -> list[tuple[Any, ...]]:
        columns = ", ".join(map(connection.ops.quote_name, ("group_id", "kind", "before", "after")))
        return self._execute(f"SELECT {columns} FROM {Change._meta.db_table} ORDER BY id")

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        if self._file:
            with closing(sqlite3.connect(self._file)) as file, file:
                return file.execute(statement).fetchall()
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def database(transactional_db: None, tmp_path: Path) -> Database:
    return Database(tmp_path)


class Stage(Forest):
    """A forest that notes the links in its answers."""

    def __init__(
        self, links: Tree | Callable[[int], Iterable[int] | None], *, latency: float = 0
    ) -> None:
        super().__init__(links, key=KEY, hash=HASH, latency=latency)
        self.links: set[tuple[int, int]] = set()

    def find(self, group_id: int) -> GroupDict | None:
        group = super().find(group_id)
        if group:
            self.links |= {(group_id, child["id"]) for child in group["children"]}
        return group


def start(
    database: Database, server: Stage, *args: str, batch: int = 20, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "django", "fetch_group", *args],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "tests.process_settings",
            "DATABASE_URL": database.url,
            "DATABASE_OPTIONS": json.dumps(database.options),
            "BATCH_GROUPS": str(batch),
            **server.settings,
        },
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
    )


def end(process: subprocess.Popen[str]) -> Outcome:
    with process:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Outcome(process.returncode, out, err)


def run(database: Database, server: Stage, *args: str) -> Outcome:
    return end(start(database, server, *args))


def run_on_a_terminal(database: Database, server: Stage, *args: str) -> Outcome:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = start(database, server, *args, stderr=theirs)
    os.close(theirs)
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(read_all, ours)
        outcome = end(process)
    os.close(ours)
    return Outcome(outcome.status, outcome.out, shown.result().decode())


def read_all(terminal: int) -> bytes:
    read = b""
    try:
        while more := os.read(terminal, 65536):
            read += more
    except OSError:
        pass  # On Linux this is how a terminal ends.
    return read


def row(parent_id: int | None, group_id: int) -> Row:
    group = describe(group_id)
    return Row(parent_id, group["name"], group["count"])


def rows_of(tree: Tree) -> dict[int, Row]:
    """Return the rows of a tree that is mirrored completely."""
    parents = {child: parent for parent, children in tree.items() for child in children}
    return {group_id: row(parents.get(group_id), group_id) for group_id in tree}


def loops(rows: Mapping[int, Row]) -> set[int]:
    """Return the groups that are above themselves."""
    found = set()
    for start_id in rows:
        above, seen = rows[start_id].parent_id, set[int]()
        while above is not None and above not in seen:
            seen.add(above)
            above = rows[above].parent_id
        if start_id in seen:
            found.add(start_id)
    return found


def test_the_loop_detection_of_these_tests_finds_only_groups_in_a_loop() -> None:
    rows = {1: row(2, 1), 2: row(1, 2), 3: row(2, 3), 4: row(None, 4)}
    assert loops(rows) == {1, 2}


def test_a_killed_fetch_leaves_correct_rows_for_the_next_fetch(
    database: Database,
) -> None:
    tree = tree_of(120, 6)
    chance = random.Random(20)
    fetched = []
    # Seven on each of three databases make twenty moments.
    for number in chance.sample(range(1, 120), 7):
        kill_during_answer(number, chance.uniform(0, 0.02), database, tree)
        rows = database.rows()
        assert rows.items() <= rows_of(tree).items()
        created = sorted((pk, "created", None, found.name) for pk, found in rows.items())
        assert sorted(database.changes()) == created
        fetched.append(len(database.fetched()))
    assert any(0 < stored < len(tree) for stored in fetched)
    with Stage(tree) as server:
        outcome = run(database, server, "1", "-r")
    assert (outcome.status, outcome.err) == (0, "")
    assert database.rows() == rows_of(tree)


def kill_during_answer(number: int, delay: float, database: Database, tree: Tree) -> None:
    """Kill a fetch at a random moment while it waits for an answer or stores others."""
    with Stage(tree, latency=0.002) as server:
        process = start(database, server, "1", "-r", batch=5)

        def kill() -> None:
            time.sleep(delay)
            process.kill()

        server.at_answer(number, kill)
        assert end(process).status == -signal.SIGKILL


@pytest.mark.parametrize("isolation", ISOLATIONS[connection.vendor])
def test_concurrent_contradicting_fetches_store_all_groups_without_a_loop(
    isolation: Any, database: Database
) -> None:
    if isolation:
        database.options = {"OPTIONS": {"isolation_level": isolation}}
    chance = random.Random(8)
    ids = range(1, 41)

    def list_of(group_id: int) -> list[int]:
        return [child for child in chance.sample(ids, chance.randint(1, 4)) if child != group_id]

    with Stage(list_of) as server:
        writers = [
            start(database, server, *map(str, chance.sample(ids, 3)), "--depth", "2", batch=5)
            for _writer in range(5)
        ]
        outcomes = [end(writer) for writer in writers]
    assert [(outcome.status, outcome.err) for outcome in outcomes] == [(0, "")] * 5
    rows = database.rows()
    assert rows.keys() == set(server.asked) | {child for _parent, child in server.links}
    assert loops(rows) == set()
    links = {(found.parent_id, pk) for pk, found in rows.items() if found.parent_id is not None}
    assert links
    assert links <= server.links
    unplaced = {pk: replace(found, parent_id=None, is_missing=False) for pk, found in rows.items()}
    assert unplaced == {pk: row(None, pk) for pk in rows}
    facts = {
        pk: {
            "name": found.name,
            "count": found.count,
            "parent": found.parent_id,
            "missing": bool(found.is_missing),
        }
        for pk, found in rows.items()
    }
    assert_changes_end_in_rows(database.changes(), facts)


@pytest.mark.parametrize("number", [1, 60, 120])
def test_ctrl_c_ends_a_fetch_after_storing_earlier_answers(number: int, database: Database) -> None:
    tree = tree_of(120, 6)
    with Stage(tree, latency=0.005) as server:
        process = start(database, server, "1", "-r")
        server.at_answer(number, lambda: process.send_signal(signal.SIGINT))
        outcome = end(process)
    assert (outcome.status, outcome.out, outcome.err) == (130, "", STOPPED)
    rows = database.rows()
    assert rows.items() <= rows_of(tree).items()
    assert len(rows) >= (number if number > 1 else 0)


def test_ctrl_c_ends_a_fetch_while_the_vendor_hangs(
    database: Database,
) -> None:
    tree = tree_of(200, 20)
    hanging, going_on = threading.Semaphore(0), threading.Event()

    def hang(number: int) -> None:
        if number > 100:
            hanging.release()
            going_on.wait()

    with Stage(tree) as server:
        server.before_sending = hang
        try:
            # With small batches answers arrive faster than they are stored.
            process = start(database, server, "1", "-r", batch=5)
            for _connection in range(CONNECTIONS):
                assert hanging.acquire(timeout=60)
            process.send_signal(signal.SIGINT)
            outcome = end(process)  # While the vendor still hangs.
        finally:
            going_on.set()
        assert (outcome.status, outcome.out, outcome.err) == (130, "", STOPPED)
        # Ctrl-C may interrupt the moment in which an answer is taken from the queue.
        assert len(database.fetched()) >= 99
        assert database.rows().items() <= rows_of(tree).items()
        assert run(database, server, "1", "-r").status == 0
    assert database.rows() == rows_of(tree)


def test_progress_goes_to_stderr_and_json_to_stdout(database: Database) -> None:
    # A progress bar appears after half a second.
    with Stage(tree_of(120, 20), latency=0.025) as server:
        outcome = run_on_a_terminal(database, server, "1", "-r", "--format", "json")
    assert outcome.status == 0
    bars = re.findall(r"(\d+)/120 \[[^]]*\dgroups/s\]", outcome.err)
    assert bars
    assert bars == sorted(bars, key=int)
    (top,) = json.loads(outcome.out)
    assert (top["id"], len(top["children"])) == (1, 20)
