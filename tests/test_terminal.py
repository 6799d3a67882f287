"""What the commands write to any stream."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_iletimerkezi.management.terminal import TerminalCommand
from django_iletimerkezi.models import Group


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "│   └── Iğdır 📟"),
        ("ascii", r"|   `-- I\u011fd\u0131r \U0001f4df"),
        ("cp1254", r"|   `-- Iğdır \U0001f4df"),
        ("iso8859-9", r"|   `-- Iğdır \U0001f4df"),
    ],
)
def test_only_unencodable_characters_are_replaced(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, write_through=True) as stream:
        TerminalCommand(stdout=stream).write("│   └── Iğdır 📟")
        assert raw.getvalue().decode(encoding) == written + "\n"


@pytest.mark.usefixtures("sandbox")
@pytest.mark.django_db
def test_a_full_disk_is_reported_after_all_groups_are_fetched() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stdout:
        with pytest.raises(CommandError, match="could not be written: No space left on device"):
            call_command("fetch_group", "1110", "1120", stdout=stdout)
    assert Group.objects.exclude(fetched_at=None).count() == 2


def test_a_command_does_not_raise_if_stdout_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    TerminalCommand().write("nothing")


def manage(tmp_path: Path, redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the example project with the redirections of a shell."""
    command = " ".join([sys.executable, "manage.py", *arguments, redirections])
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd="example_project",
        env=os.environ
        | {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_groups_are_fetched_if_the_output_cannot_be_written(tmp_path: Path) -> None:
    assert manage(tmp_path, "", "migrate").returncode == 0
    for redirections, returncode, error in (
        (">/dev/full", 1, "The output could not be written: No space left on device."),
        (">&-", 0, ""),
        ("2> >(head -n 1 >/dev/null)", 0, ""),  # The first line is the project's own.
        ("| true", 0, ""),
    ):
        process = manage(tmp_path, redirections, "fetch_group", "5", "1110", "1120")
        assert process.returncode == returncode
        assert error in process.stderr
        assert "Traceback" not in process.stderr
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database, database:
            rows = database.execute(
                "UPDATE django_iletimerkezi_group SET fetched_at = NULL"
                " WHERE fetched_at IS NOT NULL RETURNING id"
            )
            assert sorted(rows) == [(1110,), (1120,)]


@pytest.mark.django_db
def test_the_help_is_shown_in_turkish_on_a_terminal_without_turkish_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="cp1252", write_through=True) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with override_settings(LANGUAGE_CODE="tr"), pytest.raises(SystemExit):
            call_command("fetch_group", "--help")
        shown = raw.getvalue().decode("cp1252")
    assert r"\u0131" in shown
