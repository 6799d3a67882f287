"""The command in processes of its own: killed, interrupted, contradicted, and on a terminal."""

from __future__ import annotations

import itertools
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from django_iletimerkezi.models import Group
from django_iletimerkezi.testing import GroupDict

from .commands import Outcome
from .forest import Forest, describe, tree_of
from .vendor import HASH, KEY

ROOT = Path(__file__).parent.parent
CONNECTIONS = 4
STOPPED = (
    "CommandError: Stopped. What was answered is stored: run the same command again to go on.\n"
)

Tree = Mapping[int, Iterable[int]]


@dataclass(frozen=True)
class Row:
    parent_id: int | None
    name: str
    count: int
    is_missing: bool = False


class Database:
    """What a child process writes to, and how the test looks at it.

    On SQLite that is a file, for no other process can see the tests' database in memory.
    """

    def __init__(self, directory: Path) -> None:
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
        """Return the groups of which the vendor's own answer is stored."""
        table = Group._meta.db_table
        found = self._execute(f"SELECT id FROM {table} WHERE fetched_at IS NOT NULL")
        return {group_id for (group_id,) in found}

    def clear(self) -> None:
        self._execute(f"UPDATE {Group._meta.db_table} SET parent_id = NULL")
        self._execute(f"DELETE FROM {Group._meta.db_table}")

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
    """Calls ``meanwhile`` with the number of each request before that is answered."""

    def __init__(
        self, links: Tree | Callable[[int], Iterable[int] | None], *, latency: float = 0
    ) -> None:
        super().__init__(links, key=KEY, hash=HASH, latency=latency)
        self.meanwhile: Callable[[int], object] = lambda _number: None
        self.links: set[tuple[int, int]] = set()
        self._numbers = itertools.count(1)

    def find(self, group_id: int) -> GroupDict | None:
        group = super().find(group_id)
        if group:
            self.links |= {(group_id, child["id"]) for child in group["children"]}
        return group

    def answer(self, path: str, body: bytes) -> tuple[int, GroupDict | None]:
        answer = super().answer(path, body)
        self.meanwhile(next(self._numbers))
        return answer


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
        pass  # So a terminal ends on Linux.
    return read


def row(parent_id: int | None, group_id: int) -> Row:
    told = describe(group_id)
    return Row(parent_id, told["name"], told["count"])


def rows_of(tree: Tree) -> dict[int, Row]:
    """Return what the mirror holds of a tree when it is complete."""
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


def test_a_loop_is_seen() -> None:
    rows = {1: row(2, 1), 2: row(1, 2), 3: row(2, 3), 4: row(None, 4)}
    assert loops(rows) == {1, 2}


def test_what_is_stored_when_a_fetch_is_killed_is_true_and_can_be_completed(
    database: Database,
) -> None:
    tree = tree_of(240, 6)
    chance = random.Random(20)
    stored_at_kill = []
    for number in chance.sample(range(1, len(tree) + 1), 20):
        kill_during_request(number, chance.uniform(0, 0.02), database, tree)
        rows = database.rows()
        assert rows.items() <= rows_of(tree).items()
        stored_at_kill.append(len(rows))
        if len(rows) == len(tree):
            database.clear()
    assert any(0 < stored < len(tree) for stored in stored_at_kill)
    with Stage(tree) as server:
        outcome = run(database, server, "1", "-r")
    assert (outcome.status, outcome.err) == (0, "")
    assert database.rows() == rows_of(tree)


def kill_during_request(number: int, delay: float, database: Database, tree: Tree) -> None:
    with Stage(tree, latency=0.002) as server:
        process = start(database, server, "1", "-r")

        def kill(request: int) -> None:
            if request == number:
                time.sleep(delay)
                process.kill()

        server.meanwhile = kill
        assert end(process).status == -signal.SIGKILL


def test_writers_that_contradict_each_other_leave_no_loop_and_lose_nothing(
    database: Database,
) -> None:
    chance = random.Random(8)
    ids = range(1, 41)

    def list_of(group_id: int) -> list[int]:
        return [child for child in chance.sample(ids, chance.randint(1, 4)) if child != group_id]

    with Stage(list_of) as server:
        writers = [
            start(database, server, *map(str, chance.sample(ids, 6)), "--depth", "2", batch=5)
            for _writer in range(8)
        ]
        outcomes = [end(writer) for writer in writers]
    assert [(outcome.status, outcome.err) for outcome in outcomes] == [(0, "")] * 8
    rows = database.rows()
    assert rows.keys() == set(server.asked) | {child for _parent, child in server.links}
    assert loops(rows) == set()
    links = {(found.parent_id, pk) for pk, found in rows.items() if found.parent_id is not None}
    assert links
    assert links <= server.links
    told = {pk: replace(found, parent_id=None, is_missing=False) for pk, found in rows.items()}
    assert told == {pk: row(None, pk) for pk in rows}


@pytest.mark.parametrize("number", [1, 60, 200])
def test_ctrl_c_ends_a_fetch_that_the_same_command_completes(
    number: int, database: Database
) -> None:
    tree = tree_of(200, 6)
    with Stage(tree, latency=0.005) as server:
        process = start(database, server, "1", "-r")
        interrupted_at = []

        def interrupt(request: int) -> None:
            if request == number:
                interrupted_at.append(time.monotonic())
                process.send_signal(signal.SIGINT)

        server.meanwhile = interrupt
        outcome = end(process)
        assert time.monotonic() - interrupted_at[0] < 2
        assert (outcome.status, outcome.out, outcome.err) == (130, "", STOPPED)
        rows = database.rows()
        assert rows.items() <= rows_of(tree).items()
        assert len(rows) >= (number if number > 1 else 0)
        assert run(database, server, "1", "-r").status == 0
    assert database.rows() == rows_of(tree)


def test_ctrl_c_while_the_vendor_hangs_ends_at_once_and_all_that_was_answered_is_stored(
    database: Database,
) -> None:
    tree = tree_of(400, 20)
    hanging, going_on = threading.Semaphore(0), threading.Event()

    def hang(request: int) -> None:
        if request > 200:
            hanging.release()
            going_on.wait(30)

    with Stage(tree) as server:
        server.meanwhile = hang
        # With small batches answers arrive faster than they are stored.
        process = start(database, server, "1", "-r", batch=5)
        for _connection in range(CONNECTIONS):
            assert hanging.acquire(timeout=30)
        process.send_signal(signal.SIGINT)
        interrupted_at = time.monotonic()
        outcome = end(process)
        assert time.monotonic() - interrupted_at < 2
        assert (outcome.status, outcome.out, outcome.err) == (130, "", STOPPED)
        # The interruption may hit the very moment in which one of them is taken.
        assert len(database.fetched()) >= 199
        assert database.rows().items() <= rows_of(tree).items()
        going_on.set()
        assert run(database, server, "1", "-r").status == 0
    assert database.rows() == rows_of(tree)


def test_a_terminal_shows_progress_while_stdout_has_json_alone(database: Database) -> None:
    with slow_vendor() as server:
        outcome = run_on_a_terminal(database, server, "1", "-r", "--format", "json")
    assert outcome.status == 0
    bars = re.findall(r"(\d+)/200 \[[^]]*\dgroups/s\]", outcome.err)
    assert bars
    assert bars == sorted(bars, key=int)
    (top,) = json.loads(outcome.out)
    assert (top["id"], len(top["children"])) == (1, 20)


def test_no_progress_is_shown_in_a_pipe(database: Database) -> None:
    with slow_vendor() as server:
        outcome = run(database, server, "1", "-r")
    assert (outcome.status, outcome.err) == (0, "")


def test_no_progress_is_shown_to_those_who_want_quiet(database: Database) -> None:
    with slow_vendor() as server:
        outcome = run_on_a_terminal(database, server, "1", "-r", "-v", "0")
    assert outcome == Outcome(0, "", "")


def slow_vendor() -> Stage:
    """Return one whose tree takes 0.8 seconds: a bar appears after half a second."""
    return Stage(tree_of(200, 20), latency=0.016)


def test_a_tree_that_changes_while_it_is_fetched_loses_nothing_and_is_right_the_next_time(
    database: Database,
) -> None:
    first = tree_of(200, 6)
    second = moved(first, random.Random(5))
    for before, after in ((first, second), (second, first)):
        with Stage(before, latency=0.002) as server:
            change_during_request(100, server, after)
            outcome = run(database, server, "1", "-r")
            assert (outcome.status, outcome.err) == (0, "")
            rows = database.rows()
            assert rows.keys() >= {1} | {child for _parent, child in server.links}
            assert loops(rows) == set()
            outcome = run(database, server, "1", "-r")
        assert (outcome.status, outcome.err) == (0, "")
        assert database.rows() == rows_of(after)


def change_during_request(number: int, server: Stage, tree: Tree) -> None:
    def change(request: int) -> None:
        if request == number:
            server.list_of = tree.get

    server.meanwhile = change


def moved(tree: Tree, chance: random.Random) -> Tree:
    """Return the tree with every third group, and what is below it, somewhere else."""
    parents = {child: parent for parent, children in tree.items() for child in children}
    for group_id in chance.sample(sorted(parents), len(parents) // 3):
        elsewhere = [pk for pk in tree if group_id not in path(pk, parents)]
        parents[group_id] = chance.choice(elsewhere)
    return {pk: [child for child, parent in parents.items() if parent == pk] for pk in tree}


def path(group_id: int | None, parents: Mapping[int, int]) -> Iterator[int]:
    while group_id is not None:
        yield group_id
        group_id = parents.get(group_id)
