"""The example project, run from the command line."""

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


def test_the_example_project_uses_the_sandbox_if_no_credentials_are_set(database: Path) -> None:
    process = manage(database, "fetch_group", "5")
    tree = [
        "Test 1 (id 97101, 1 contact, at least 3 including subgroups)",
        "└── Test 2 (id 97489, 2 contacts)",
    ]
    assert process.stdout.splitlines()[:2] == tree
    assert "2 created" in process.stdout
    notice, alias = process.stderr.splitlines()
    assert "using the sandbox" in notice
    assert "97101" in alias


def test_the_example_project_fetches_all_main_groups_of_the_sandbox(database: Path) -> None:
    process = manage(database, "fetch_groups")
    assert "2 main groups: 34 created" in process.stdout
    assert "using the sandbox" in process.stderr


def test_the_example_project_prints_turkish_if_its_language_is_turkish(database: Path) -> None:
    process = manage(database, "fetch_group", "5", DJANGO_LANGUAGE_CODE="tr")
    assert process.stdout.startswith("Test 1 (id 97101, 1 kişi, alt gruplar dahil en az 3)")


def test_the_example_project_uses_the_vendor_if_credentials_are_set(database: Path) -> None:
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


def test_the_example_project_reports_a_key_without_a_hash(database: Path) -> None:
    process = manage(database, "fetch_group", "5", ILETIMERKEZI_API_KEY=KEY)
    assert process.returncode == 1
    assert "credentials of iletimerkezi are missing" in process.stderr.splitlines()[-1]


def test_an_invalid_id_ends_the_command_with_status_1_and_without_a_traceback(
    database: Path,
) -> None:
    process = manage(database, "fetch_group", "abc")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.splitlines()[-1].startswith("CommandError: Invalid group id abc")
    assert "Traceback" not in process.stderr


def prepare_to_serve(database: Path, **environment: str) -> None:
    """Run what "make serve" runs before it starts the server."""
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


def test_make_serve_fetches_the_phone_book_of_the_sandbox(database: Path) -> None:
    prepare_to_serve(database)
    assert count_groups(database) == 34


def test_make_serve_does_not_send_requests_to_the_vendor(database: Path) -> None:
    with Vendor() as server:
        prepare_to_serve(
            database,
            ILETIMERKEZI_API_KEY=KEY,
            ILETIMERKEZI_API_HASH=HASH,
            ILETIMERKEZI_BASE_URL=server.url,
        )
    assert server.received == []
    assert count_groups(database) == 0


def test_the_example_project_passes_the_system_checks(database: Path) -> None:
    process = manage(database, "check", "--fail-level", "WARNING")
    assert (process.returncode, process.stderr) == (0, "")
