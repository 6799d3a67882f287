"""Every command and code sample in the documentation is run, and its output compared."""

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
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from django_iletimerkezi.testing import Sandbox

from .documentation import Block, Outcome, Step, blocks, is_as_shown, perform, steps

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCKS = {path: blocks(path, ROOT) for path in PAGES}

RUN = {"python", "pycon", "console"}
NOT_RUN = {
    "ini": "read by other programs; what names .env in its first line is written there",
    "text": "lines for a crontab, requests and answers as they cross the wire",
    "{eval-rst}": "for Sphinx: make docs builds it",
    "{include}": "for Sphinx: make docs builds it",
    "{toctree}": "for Sphinx: make docs builds it",
}
COMMANDS_NOT_RUN = {
    "python -m pip install django-iletimerkezi": "needs an index of packages",
    "python -m pip install --upgrade django-iletimerkezi": "needs an index of packages",
    "python -m pip install django-environ": "needs an index of packages",
    "python -m pip install pytest-django": "needs an index of packages",
    "python manage.py createsuperuser": "asks for a password",
    "python manage.py runserver": "does not end",
    (
        ".venv/bin/django-admin makemigrations --settings tests.settings --pythonpath . "
        "-n what_it_does"
    ): "writes a file into the package",
}
EXAMPLE = re.compile(r"(?:DJANGO_LANGUAGE_CODE=(\w+) )?make run")

# What a README leaves to its reader: everything but the address of the sandbox is for it to set.
SETTINGS_OF_A_BARE_PROJECT = """
from os import environ as _given

ILETIMERKEZI_BASE_URL = _given["ILETIMERKEZI_BASE_URL"]
"""
SETTINGS_OF_A_PROJECT = """
INSTALLED_APPS += ["django_iletimerkezi"]

from django_iletimerkezi.testing import Sandbox

sandbox = Sandbox().start()
ILETIMERKEZI_BASE_URL = sandbox.url
ILETIMERKEZI_API_KEY = sandbox.key
ILETIMERKEZI_API_HASH = sandbox.hash
"""


def samples(path: Path) -> list[tuple[str, str]]:
    return [(block.language, block.text) for block in BLOCKS[path] if block.language in RUN]


def is_copy(path: Path) -> bool:
    """Tell whether a Turkish page has the samples of the English one, and shows no output."""
    turkish = ROOT / "docs/tr"
    return (
        path.is_relative_to(turkish)
        and samples(ROOT / "docs/en" / path.relative_to(turkish)) == samples(path)
        and not any(
            step.shown
            for block in BLOCKS[path]
            if block.language == "console"
            for step in steps(block)
        )
    )


def language(path: Path) -> str:
    return "tr" if "tr" in re.split(r"[/.]", path.relative_to(ROOT).as_posix()) else "en"


def check(step: Step, outcome: Outcome) -> None:
    report = f"{step.where}: {step.text}\n{outcome.said}"
    if step.kind == "command":
        assert is_as_shown(step.shown, outcome.said), report
    assert outcome.status == 0 or re.search(
        r"^(Command|SystemCheck)Error", step.shown, re.MULTILINE
    ), report


def run_process(folder: Path, *arguments: str, given: str = "", **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONDONTWRITEBYTECODE": "1",
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


class Project:
    """A project of a reader, on whose files and database a page works."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment

    def write(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{block.text}\n")

    def run(self, wanted: list[Step]) -> None:
        """Do some things after one another in a new process."""
        said = run_process(
            self.folder,
            "-m",
            "tests.documentation",
            given=json.dumps([asdict(step) for step in wanted]),
            DJANGO_SETTINGS_MODULE="mysite.settings",
            **self.environment,
        )
        outcomes = json.loads(said.splitlines()[-1])
        for step, outcome in zip(wanted, outcomes, strict=True):
            check(step, Outcome(**outcome))


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """Return a project with the app and its tables, in a language, against the sandbox."""
    made: list[Path] = []

    def make(code: str) -> Project:
        if not made:
            folder = tmp_path_factory.mktemp("documentation")
            run_process(folder, "-m", "django", "startproject", "mysite")
            with (folder / "mysite/mysite/settings.py").open("a") as file:
                file.write(SETTINGS_OF_A_PROJECT)
            project = Project(folder / "mysite")
            project.run([Step("", "command", "python manage.py migrate --verbosity 0")])
            made.append(project.folder)
        folder = shutil.copytree(made[0], tmp_path_factory.mktemp("project") / "mysite")
        with (folder / "mysite/settings.py").open("a") as file:
            file.write(f'LANGUAGE_CODE = "{code}"\n')
        return Project(folder)

    return make


@pytest.fixture
def bare_project(tmp_path: Path, sandbox: Sandbox) -> Callable[[str], Project]:
    """Return a project as Django makes it, in a language; its environment leads to the sandbox."""

    def make(code: str) -> Project:
        run_process(tmp_path, "-m", "django", "startproject", "mysite")
        with (tmp_path / "mysite/mysite/settings.py").open("a") as file:
            file.write(f'{SETTINGS_OF_A_BARE_PROJECT}\nLANGUAGE_CODE = "{code}"\n')
        return Project(tmp_path / "mysite", **sandbox.settings)

    return make


class Reader:
    """Follows a page from top to bottom: in a project if it writes files, else in this process."""

    def __init__(
        self,
        path: Path,
        folder: Path,
        new_project: Callable[[str], Project],
        bare_project: Callable[[str], Project],
    ) -> None:
        self.blocks = BLOCKS[path]
        self.language = language(path)
        self.new_project = new_project
        self.project: Project | None = None
        if any("startproject" in block.text for block in self.blocks):
            self.project = Project(folder)
        elif any(block.file for block in self.blocks):
            is_first_read = path.parent == ROOT  # a README: nothing is set up before it
            self.project = (bare_project if is_first_read else new_project)(self.language)
        self.namespace: dict[str, Any] = {"__name__": "shell"}
        self.waiting: list[Step] = []

    def follow(self) -> None:
        for block in self.blocks:
            if block.file and self.project:
                self.catch_up()
                self.project.write(block)
            elif block.language in RUN:
                for step in steps(block):
                    self.take(step)
        self.catch_up()

    def take(self, step: Step) -> None:
        if step.kind == "command" and step.text in COMMANDS_NOT_RUN:
            return
        if step.kind == "command" and (example := EXAMPLE.fullmatch(step.text)):
            self.run_example(step, example[1] or "en")
        elif self.project is None:
            check(step, perform(step, self.namespace))
        elif step.kind == "command" and step.text.startswith("cd "):
            self.project.folder /= step.text.removeprefix("cd ")
        elif step.kind == "command" and re.search(" start(project|app) ", step.text):
            self.catch_up()
            with contextlib.chdir(self.project.folder):
                check(step, perform(step, self.namespace))
        else:
            self.waiting.append(step)

    def catch_up(self) -> None:
        """Do what has to be done before a file changes."""
        if self.project and self.waiting:
            self.project.run(self.waiting)
            self.waiting.clear()

    def run_example(self, step: Step, language: str) -> None:
        """Run the last command of "make run", the only one to say something."""
        said = run_process(
            ROOT / "example_project",
            *("-u", "manage.py", "fetch_group", "5"),
            DATABASE_URL=f"sqlite:///{self.new_project('en').folder / 'db.sqlite3'}",
            DJANGO_LANGUAGE_CODE=language,
        )
        check(step, Outcome(0, said))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if samples(path) and not is_copy(path)],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_samples_do_what_is_shown(
    path: Path,
    sandbox: Sandbox,
    new_project: Callable[[str], Project],
    bare_project: Callable[[str], Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    reader = Reader(path, tmp_path, new_project, bare_project)
    with translation.override(reader.language):
        reader.follow()


def test_no_block_is_left_out_by_accident() -> None:
    for block in (block for found in BLOCKS.values() for block in found):
        assert block.language in RUN | NOT_RUN.keys(), f"{block}: {block.language!r}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_files_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), target


def test_no_exception_is_left_over() -> None:
    shown = {block.language for found in BLOCKS.values() for block in found}
    assert NOT_RUN.keys() <= shown
    commands = {
        step.text
        for found in BLOCKS.values()
        for block in found
        if block.language == "console"
        for step in steps(block)
    }
    assert COMMANDS_NOT_RUN.keys() <= commands


@pytest.mark.parametrize(
    ("shown", "said", "is_same"),
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
    ],
)
def test_only_a_line_of_three_dots_stands_for_other_lines(
    shown: str, said: str, is_same: bool
) -> None:
    assert is_as_shown(shown, said) is is_same


def test_both_languages_have_the_same_pages_with_the_same_headings() -> None:
    def outline(path: Path) -> list[str]:
        prose = re.sub(
            r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        return re.findall(r"^#+(?= )", prose, re.MULTILINE)

    english, turkish = (
        {path.relative_to(folder): outline(path) for path in folder.rglob("*.md")}
        for folder in (ROOT / "docs/en", ROOT / "docs/tr")
    )
    assert english == turkish
    assert outline(ROOT / "README.md") == outline(ROOT / "README.tr.md")
