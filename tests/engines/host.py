"""A host project that follows a recipe of docs/en/how-to/background.md, and its workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import environ
from django.core.management import call_command
from django.db.utils import ConnectionHandler

from ..documentation import Block, blocks, steps
from .console import Console
from .vendor import ROOT, Row, Rows, Vendor

PAGE = ROOT / "docs/en/how-to/background.md"

MAX_WAIT = 120
"""Seconds: a whole test takes about a minute, and only a failing test waits this long."""

SETTINGS = """
# Settings of the test, below those of the recipe.
import os

import environ

DEBUG = False
SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": environ.Env().db()}
INSTALLED_APPS += ["django_iletimerkezi", "tests.engines.apps.Watched"]
ILETIMERKEZI_BASE_URL = os.environ["ILETIMERKEZI_BASE_URL"]
ILETIMERKEZI_API_KEY = os.environ["ILETIMERKEZI_API_KEY"]
ILETIMERKEZI_API_HASH = os.environ["ILETIMERKEZI_API_HASH"]
ILETIMERKEZI_TASK_SECONDS = int(os.environ.get("TASK_SECONDS", "120"))
# No request of a busy machine may time out: longer than any test.
ILETIMERKEZI_TIMEOUT = 600
"""


def section(title: str) -> list[Block]:
    """Return the blocks below a heading of the page, up to the next heading of any level."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    is_code = False
    headings: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        is_code ^= line.startswith("```")
        if not is_code and (heading := re.match(r"#+ (.*)", line)):
            headings[heading[1]] = number
    start = headings[title]
    end = min((number for number in headings.values() if number > start), default=len(lines) + 1)
    return [block for block in blocks(PAGE, ROOT) if start < block.line < end]


def commands(*titles: str) -> list[str]:
    """Return the commands in some sections of the page, without the installation of packages."""
    consoles = [
        block for title in titles for block in section(title) if block.language == "console"
    ]
    found = [step.text for block in consoles for step in steps(block)]
    return [command for command in found if " pip install " not in command]


class Host:
    """A project with one of the engines. Makes the files and the tables, and starts a console."""

    def __init__(
        self, folder: Path, recipe: list[str], database: str, settings: str, vendor: Vendor
    ) -> None:
        self.folder = folder
        self.vendor = vendor
        self.workers: list[Worker] = []
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "DATABASE_URL": database,
            "TASKS_BEGUN": str(folder / "tasks_begun"),
            **vendor.settings,
        }
        folder.mkdir()
        call_command("startproject", "mysite", str(folder))
        for title in recipe:
            for block in section(title):
                if block.file:
                    self._append(block.file, block.text)
        self._append("mysite/settings.py", SETTINGS + settings)
        [self.worker_command] = commands(recipe[0])
        self.run("manage.py", "migrate", "--verbosity", "0")
        self.console = Console(folder, self.environment)
        self.console.run(
            """
            import django
            django.setup()
            from datetime import timedelta
            from django.db.models import F
            from tests.engines.clear import clear, clear_queue
            from django_iletimerkezi import services
            from django_iletimerkezi.engine import find_engine
            from django_iletimerkezi.models import Change, Fetch, Group
            """
        )

    def _append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{text}\n")

    def run(self, *arguments: str) -> str:
        """Run a Python command in the project until it ends, and return its output."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            check=True,
            encoding="utf-8",
        ).stdout

    def work(self, command: str = "", **environment: str) -> Worker:
        """Start a worker, or another command that does not end."""
        number = len(self.workers)
        arguments = (command or self.worker_command).split()[1:]
        if arguments[-1:] == ["worker"]:  # RabbitMQ still knows the name of a killed Celery worker.
            arguments.append(f"--hostname={os.getpid()}-{number}@%h")
        worker = Worker(
            self.folder,
            arguments,
            self.environment | environment,
            self.folder / f"{number}.log",
        )
        self.workers.append(worker)
        return worker

    def start_fetch(self, arguments: str = "") -> int:
        pk: int = self.console.run(f"result = services.start_fetch({arguments}).pk")
        return pk

    def press_button(self) -> int:
        """Fetch the phone book from the admin."""
        pk: int = self.console.run(
            """
            from django.contrib.auth.models import User
            from django.test import Client
            from django.urls import reverse
            user, _ = User.objects.get_or_create(
                username="demo", is_staff=True, is_superuser=True
            )
            client = Client()
            client.force_login(user)
            url = reverse("admin:django_iletimerkezi_group_fetch")
            assert client.post(url, {"phone_book": "on"}).status_code == 302
            result = Fetch.objects.get(parent=None, source="admin", started_by="demo").pk
            """
        )
        return pk

    def page(self, fetch_id: int) -> dict[str, Any]:
        """Return what the page of a fetch polls in the admin."""
        found: dict[str, Any] = self.console.run(
            f"""
            url = reverse("admin:django_iletimerkezi_fetch_progress", args=[{fetch_id}])
            result = client.get(url).json()
            """
        )
        return found

    def push(self, fetch_id: int) -> None:
        """Queue one more task for a fetch, in whatever state the fetch is."""
        self.console.run(f"find_engine()({fetch_id})")

    def let_three_minutes_pass(self) -> None:
        """Move the last signs of life of the fetches three minutes back, instead of waiting."""
        self.console.run(
            """
            from django_iletimerkezi.mirror.retry import persistently
            alive_at = F("alive_at") - Fetch.SILENCE - timedelta(seconds=1)
            rows = Fetch.objects.filter(finished_at=None)
            # The transaction of a killed worker may still be ending.
            persistently(lambda using: rows.using(using).update(alive_at=alive_at))
            """
        )

    def fetch(self, fetch_id: int) -> dict[str, Any]:
        names = "state", "asked", "known", "created", "changed", "missing", "failed", "error"
        found: dict[str, Any] = self.console.run(
            f"result = Fetch.objects.filter(pk={fetch_id}).values(*{names}).get()"
        )
        return found

    def is_finished(self, fetch_id: int) -> bool:
        answer: bool = self.console.run(f"result = Fetch.objects.get(pk={fetch_id}).is_finished")
        return answer

    def wait(self, fetch_id: int) -> dict[str, Any]:
        """Wait until a fetch is finished, and return its fields."""
        wait_until(lambda: self.is_finished(fetch_id), self.explain)
        return self.fetch(fetch_id)

    def explain(self) -> str:
        rows = self.console.run(
            "result = list(Fetch.objects.values_list('pk', 'state', 'asked', 'known', 'error'))"
        )
        logs = [log.read_text(errors="replace")[-3000:] for log in self.folder.glob("*.log")]
        return "\n".join([str(rows), *logs])

    def mirror(self) -> Rows:
        """Return the groups of the mirror that are not missing."""
        found = self.console.run(
            """
            groups = Group.objects.filter(missing_since=None)
            result = list(groups.values_list("pk", "parent_id", "name", "count"))
            """
        )
        return {pk: Row(*values) for pk, *values in found}

    @property
    def tasks_begun(self) -> int:
        """The number of tasks in which a worker found an unfinished fetch."""
        return len((self.folder / "tasks_begun").read_text())

    def changes(self) -> list[tuple[int, str, str | None, str | None]]:
        """Return the recorded changes, oldest first."""
        found = self.console.run(
            """
            changes = Change.objects.order_by("pk")
            result = list(changes.values_list("group_id", "kind", "before", "after"))
            """
        )
        return [tuple(change) for change in found]

    def clear(self) -> None:
        """End the workers, and empty the tables and the queue."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()
        (self.folder / "tasks_begun").write_text("")
        self.console.run("clear()")

    def lose_tasks(self) -> None:
        """Empty the queue."""
        self.console.run("clear_queue()")

    def close(self) -> None:
        self.clear()
        self.console.close()


class Worker:
    """A worker, with the processes that it starts."""

    def __init__(
        self, folder: Path, arguments: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.log = log
        self._mark = uuid4()
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment | {"ENGINES_WORKER": str(self._mark)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Kill the worker and all its processes with SIGKILL."""
        self._send(signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM to all processes of the worker, as systemd does, and wait for their end."""
        self._send(signal.SIGTERM)
        wait_until(lambda: not self._family(), self.log.read_text)

    def _send(self, number: int) -> None:
        for pid in self._family():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _family(self) -> list[int]:
        """Return the ids of the worker's processes, even of those whose parent has ended."""
        self._process.poll()  # An ended worker would stay a zombie, and be found.
        mark = f"ENGINES_WORKER={self._mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


def wait_until(is_true: Callable[[], bool], explain: Callable[[], str]) -> None:
    """Wait until a function returns True. Fails with an explanation after ``MAX_WAIT``."""
    end = time.monotonic() + MAX_WAIT
    while not is_true():
        assert time.monotonic() < end, explain()
        time.sleep(0.05)


def create_database(url: str) -> None:
    """Create an empty database. Drops an older database with the same name."""
    settings = environ.Env.db_url_config(url)
    if "sqlite" in settings["ENGINE"]:
        return
    connection = ConnectionHandler({"default": settings})["default"]
    force = " WITH (FORCE)" if connection.vendor == "postgresql" else ""
    charset = "" if force else " CHARACTER SET utf8mb4"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {settings['NAME']}{force}")
        cursor.execute(f"CREATE DATABASE {settings['NAME']}{charset}")
