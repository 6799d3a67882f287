"""The example project, run as its user runs it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .vendor import HASH, KEY, Vendor, well

PROJECT = Path(__file__).parent.parent / "example_project"


def manage(database: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *args],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{database}"} | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "db.sqlite3"
    assert manage(path, "migrate", "--verbosity", "0").stderr == ""
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path))


def test_without_credentials_the_sandbox_answers_and_one_line_says_so(database: Path) -> None:
    process = manage(database, "fetch_group", "5")
    assert process.stdout.splitlines() == [
        "Test 1 (id 97101, 1 contact)",
        "└── Test 2 (id 97489, 2 contacts)",
        "Group 97101: 2 created, 0 changed, 0 unchanged, 0 missing.",
    ]
    assert process.stderr.splitlines() == [
        "No credentials in the environment or .env: using the sandbox.",
        "Asked for group 5, the vendor answered about group 97101.",
    ]


def test_the_project_speaks_turkish(database: Path) -> None:
    process = manage(database, "fetch_group", "5", DJANGO_LANGUAGE_CODE="tr")
    assert process.stdout.splitlines() == [
        "Test 1 (id 97101, 1 kişi)",
        "└── Test 2 (id 97489, 2 kişi)",
        "Grup 97101: 2 oluşturuldu, 0 değiştirildi, 0 değişmedi, 0 kayıp.",
    ]


def test_with_credentials_the_vendor_is_asked(database: Path) -> None:
    with Vendor(well()) as server:
        process = manage(
            database,
            "fetch_group",
            "5",
            ILETIMERKEZI_API_KEY=KEY,
            ILETIMERKEZI_API_HASH=HASH,
            ILETIMERKEZI_BASE_URL=server.url,
        )
    assert process.stdout.splitlines()[0] == "Müşteriler (id 5, 1 contact)"
    assert process.stderr == ""
    assert f'{{"key": "{KEY}", "hash": "{HASH}"}}'.encode() in server.received[0]


def test_half_of_the_credentials_is_not_taken_for_none(database: Path) -> None:
    process = manage(database, "fetch_group", "5", ILETIMERKEZI_API_KEY=KEY)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        "CommandError: The credentials of iletimerkezi are missing: "
        "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH."
    )


def test_a_bad_id_exits_with_1_and_no_traceback(database: Path) -> None:
    process = manage(database, "fetch_group", "abc")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.splitlines()[-1] == (
        "CommandError: Not a group id: abc. An id is a whole number from 1 to 9223372036854775807."
    )


def serve_until_it_listens(database: Path, **environment: str) -> None:
    """Run what "make serve" does before it opens the admin."""
    recipe = subprocess.run(
        ["make", "--dry-run", "serve"],
        cwd=PROJECT.parent,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    line = next(line for line in recipe.splitlines() if "manage.py shell " in line)
    process = manage(database, *shlex.split(line.partition("manage.py ")[2]), **environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


def count_groups(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (number,) = connection.execute("SELECT COUNT(*) FROM django_iletimerkezi_group").fetchone()
    assert isinstance(number, int)
    return number


def test_the_admin_opens_with_the_phone_book_of_the_sandbox(database: Path) -> None:
    serve_until_it_listens(database)
    assert count_groups(database) == 32


def test_the_admin_opens_without_asking_the_vendor(database: Path) -> None:
    with Vendor() as server:
        serve_until_it_listens(
            database,
            ILETIMERKEZI_API_KEY=KEY,
            ILETIMERKEZI_API_HASH=HASH,
            ILETIMERKEZI_BASE_URL=server.url,
        )
    assert server.received == []
    assert count_groups(database) == 0


def test_the_checks_find_nothing_to_say(database: Path) -> None:
    process = manage(database, "check", "--fail-level", "WARNING")
    assert (process.returncode, process.stderr) == (0, "")
