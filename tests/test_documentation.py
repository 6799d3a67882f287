"""Every command and code sample of the documentation is run, and its output is compared."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import translation

from django_iletimerkezi.testing import Sandbox

from .documentation import Block, Outcome, Step, blocks, is_as_shown, perform, steps

ROOT = Path(__file__).parent.parent
ENGLISH, TURKISH = ROOT / "docs/en", ROOT / "docs/tr"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {path: blocks(path, ROOT) for path in PAGES}

RUN = {"python", "pycon", "console"}
NOT_RUN = {
    "": "a drawing",
    "ini": "read by other programs; a block that starts with # .env is written to that file",
    "py": "needs a theme; tests/browser/urls.py does the same",
    "text": "a crontab, or requests and answers",
    "{eval-rst}": "for Sphinx, by make docs",
    "{include}": "for Sphinx, by make docs",
    "{toctree}": "for Sphinx, by make docs",
}
COMMANDS_NOT_RUN = {
    "python -m pip install django-iletimerkezi": "needs a package index",
    "python -m pip install --upgrade django-iletimerkezi": "needs a package index",
    "python -m pip install django-environ": "needs a package index",
    "python -m pip install pytest-django": "needs a package index",
    "python -m pip install django-tasks-db": "needs a package index",
    "python -m pip install django-tasks-rq": "needs a package index",
    "python -m pip install celery": "needs a package index",
    "python manage.py db_worker": "run by make test-engines",
    "python manage.py rqworker --job-class django_tasks_rq.Job": "run by make test-engines",
    "python -m celery -A mysite worker": "run by make test-engines",
    "python -m celery -A mysite beat": "run by make test-engines",
    "python manage.py createsuperuser": "asks for a password",
    "python manage.py runserver": "runs forever",
    (
        ".venv/bin/django-admin makemigrations --settings tests.settings --pythonpath . "
        "-n what_it_does"
    ): "writes a file into the package",
}

# The reader of a README sets everything but the sandbox's address.
SETTINGS_BEFORE_README = """
from os import environ as _given

ILETIMERKEZI_BASE_URL = _given["ILETIMERKEZI_BASE_URL"]
"""
SETTINGS_BEFORE_OTHER_PAGES = """
INSTALLED_APPS += ["django_iletimerkezi"]

from django_iletimerkezi.testing import Sandbox

sandbox = Sandbox().start()
ILETIMERKEZI_BASE_URL = sandbox.url
ILETIMERKEZI_API_KEY = sandbox.key
ILETIMERKEZI_API_HASH = sandbox.hash
"""

each_page = pytest.mark.parametrize(
    "path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def samples(path: Path) -> list[Block]:
    return [block for block in BLOCKS[path] if block.language in RUN or block.file]


def is_copy(path: Path) -> bool:
    """Does a Turkish page have the same samples as the English page?"""
    if not path.is_relative_to(TURKISH):
        return False
    original = ENGLISH / path.relative_to(TURKISH)
    return [block.meaning for block in samples(original)] == [
        block.meaning for block in samples(path)
    ]


def language(path: Path) -> str:
    return "tr" if "tr" in re.split(r"[/.]", path.relative_to(ROOT).as_posix()) else "en"


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")


def start_project(folder: Path, settings: str) -> None:
    folder.mkdir()
    call_command("startproject", "mysite", str(folder))
    append(folder / "mysite/settings.py", settings)


def run_process(folder: Path, *arguments: str, given: str = "", **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Our other pytest plugins would only slow down a reader's tests.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "pytest_django.plugin,django_iletimerkezi.pytest_plugin",
            "COLUMNS": "80",
        }
        | environment,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def check(step: Step, outcome: Outcome) -> None:
    report = f"{step.where}: {step.text}\n{outcome.output}"
    if step.kind == "command":
        assert is_as_shown(step.shown, outcome.output), report
    shows_error = re.search(r"^(Command|SystemCheck)Error", step.shown, re.MULTILINE)
    assert outcome.status == 0 or shows_error, report


class Project:
    """A project of the reader, in which a page creates files and runs commands."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment

    def run(self, waiting: list[Step]) -> None:
        """Perform steps in order, in a new process."""
        output = run_process(
            self.folder,
            "-m",
            "tests.documentation",
            given=json.dumps([asdict(step) for step in waiting]),
            DJANGO_SETTINGS_MODULE="mysite.settings",
            **self.environment,
        )
        outcomes = json.loads(output.splitlines()[-1])
        for step, outcome in zip(waiting, outcomes, strict=True):
            check(step, Outcome(**outcome))


class Reader:
    """Follows a page from top to bottom, in this process if the page creates no files."""

    def __init__(
        self, path: Path, folder: Path, sandbox: Sandbox, migrated_project: Callable[[], Path]
    ) -> None:
        self.folder = folder
        self.blocks = BLOCKS[path]
        self.migrated_project = migrated_project
        self.project = self.start(path, sandbox)
        self.namespace: dict[str, Any] = {"__name__": "shell"}
        self.waiting: list[Step] = []

    def start(self, path: Path, sandbox: Sandbox) -> Project | None:
        """Return the project that the reader has before the page, if there is any."""
        if any("startproject" in block.text for block in self.blocks):
            return Project(self.folder)
        if not any(block.file for block in self.blocks):
            return None
        folder = self.folder / "mysite"
        if path.parent == ROOT:
            start_project(folder, SETTINGS_BEFORE_README)
            project = Project(folder, **sandbox.settings)
        else:
            project = Project(shutil.copytree(self.migrated_project(), folder))
        append(folder / "mysite/settings.py", f'LANGUAGE_CODE = "{language(path)}"')
        return project

    def follow(self) -> None:
        for block in self.blocks:
            if block.file and self.project:
                self.run_waiting()  # A process reads the settings only once.
                append(self.project.folder / block.file, block.text)
            elif block.language in RUN:
                for step in steps(block):
                    self.follow_step(step)
        self.run_waiting()

    def follow_step(self, step: Step) -> None:
        if step.kind == "command" and step.text in COMMANDS_NOT_RUN:
            return
        if self.project is None:
            check(step, perform(step, self.namespace))
        elif step.kind == "command" and step.text.startswith("cd "):
            self.project.folder /= step.text.removeprefix("cd ")
        elif step.kind == "command" and re.search(" start(project|app) ", step.text):
            self.run_waiting()
            with contextlib.chdir(self.project.folder):
                check(step, perform(step, self.namespace))
        else:
            self.waiting.append(step)

    def run_waiting(self) -> None:
        if self.project and self.waiting:
            self.project.run(self.waiting)
            self.waiting.clear()


@pytest.fixture(scope="session")
def migrated_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return the folder of a project that has the app, its tables and the sandbox."""

    @cache
    def make() -> Path:
        folder = tmp_path_factory.mktemp("documentation") / "mysite"
        start_project(folder, SETTINGS_BEFORE_OTHER_PAGES)
        Project(folder).run([Step("", "command", "python manage.py migrate --verbosity 0")])
        return folder

    return make


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if samples(path) and not is_copy(path)],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_documentation_samples_print_the_documented_output(
    path: Path,
    tmp_path: Path,
    sandbox: Sandbox,
    migrated_project: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with translation.override(language(path)):
        Reader(path, tmp_path, sandbox, migrated_project).follow()


def test_each_code_block_is_run_or_excluded_by_its_language() -> None:
    for block in (block for found in BLOCKS.values() for block in found):
        assert block.language in RUN | NOT_RUN.keys(), f"{block}: {block.language!r}"


def test_each_excluded_language_or_command_occurs_in_the_documentation() -> None:
    found = [block for page in BLOCKS.values() for block in page]
    assert NOT_RUN.keys() <= {block.language for block in found}
    consoles = [block for block in found if block.language == "console"]
    assert COMMANDS_NOT_RUN.keys() <= {step.text for block in consoles for step in steps(block)}


@pytest.mark.parametrize(
    ("shown", "output", "is_same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("", "a\n", False),
        ("a\n", "a\nb\n", False),
        ("a\n...\nc\n", "a\nb\nb\nc\n", True),
        ("a\n...\nc\n", "a\nc\n", True),
        ("a\n...\nc\n", "a\nb\n", False),
        ("...\n", "", True),
        ("a...\n", "abc\n", False),
        ("a\n", "\ufeffa\n", True),
    ],
)
def test_documented_output_must_match_except_for_lines_omitted_as_three_dots(
    shown: str, output: str, is_same: bool
) -> None:
    assert is_as_shown(shown, output) is is_same


@each_page
def test_links_to_files_lead_to_existing_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), target


def test_the_turkish_page_about_workers_has_the_same_recipes_as_the_english_page() -> None:
    assert is_copy(TURKISH / "how-to/background.md")


def outline(path: Path) -> list[str]:
    """Return the levels of a page's headings."""
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+(?= )", prose, re.MULTILINE)


def test_english_and_turkish_pages_have_the_same_heading_levels() -> None:
    english, turkish = (
        {path.relative_to(folder): outline(path) for path in folder.rglob("*.md")}
        for folder in (ENGLISH, TURKISH)
    )
    assert english == turkish
    assert outline(ROOT / "README.md") == outline(ROOT / "README.tr.md")


@pytest.mark.parametrize("folder", [ENGLISH, TURKISH])
def test_the_comparison_page_shows_the_figures_of_the_benchmarks(folder: Path) -> None:
    report = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    page = (folder / "explanation/why-not.md").read_text(encoding="utf-8")
    # Turkish has a decimal comma, and names the rows first.
    page = re.sub(r"(\d),(\d)", r"\1.\2", page)
    page = re.sub(r"(\d+) satır, (\d+) ms", r"\2 ms for \1 rows", page)
    loops = re.findall(r"\| 200 groups, .*: ([\d.]+) s against ([\d.]+) s", report)
    seconds = [float(each) for loop in loops for each in loop]
    assert [*map(float, re.findall(r"([\d.]+) s\b", page))] == pytest.approx(seconds, rel=0.05)
    times = r"(\d+ ms for \d+ rows)"
    ours, theirs = zip(
        *re.findall(f"django-treebeard .*: {times} against {times}", report), strict=True
    )
    assert re.findall(times, page) == [*ours, *theirs]
    statements = re.findall(r"SQL statements for 3,000 groups, the first time \| (\d+)", report)
    assert re.findall(r"(\d+) SQL", page) == statements
