"""What ``make release-check`` built, used as a newcomer uses it: in a project of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import django_iletimerkezi

from .migration_hashes import hashes

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
VERSION = django_iletimerkezi.__version__
STEM = f"django_iletimerkezi-{VERSION}"
SETTINGS = """
import os
from django_iletimerkezi.testing import Sandbox

INSTALLED_APPS.append("django_iletimerkezi")
LANGUAGE_CODE = os.environ.get("LANGUAGE_CODE", LANGUAGE_CODE)
globals().update(Sandbox().start().settings)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of a bare environment, which has the wheel, in a new project's folder."""
    environment = tmp_path_factory.mktemp("environment")
    project = tmp_path_factory.mktemp("project")
    programs = environment / "bin"

    def run(program: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.run(
            [programs / program, *args],
            cwd=project,
            env={"PATH": os.environ["PATH"]} | variables,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return process

    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install: list[str | Path] = [
        programs / "pip",
        "install",
        "--quiet",
        DIST / f"{STEM}-py3-none-any.whl",
    ]
    subprocess.run(install, cwd=project, check=True)
    run("django-admin", "startproject", "shop", ".")
    with (project / "shop" / "settings.py").open("a") as settings:
        settings.write(SETTINGS)
    return run


def test_there_are_a_wheel_and_a_source_distribution() -> None:
    assert {path.name for path in DIST.iterdir()} == {f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz"}


def test_the_source_distribution_holds_the_package_and_what_builds_it() -> None:
    with tarfile.open(DIST / f"{STEM}.tar.gz") as archive:
        paths = [Path(name).relative_to(STEM) for name in archive.getnames()]
    assert {path.parts[0] for path in paths if path.parts} == {
        "LICENSE",
        "MANIFEST.in",
        "PKG-INFO",
        "README.md",
        "django_iletimerkezi",
        "django_iletimerkezi.egg-info",
        "pyproject.toml",
        "setup.cfg",
    }


def test_a_tag_names_this_version_and_then_the_changelog_has_its_date() -> None:
    tag = os.environ.get("RELEASE_TAG")
    assert tag in {None, f"v{VERSION}"}
    when = r"\d{4}-\d\d-\d\d" if tag else ".+"
    heading = rf"^## {re.escape(VERSION)} \({when}\)$"
    assert re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_wheel_works_in_a_bare_project(run: Run) -> None:
    where = "import django_iletimerkezi as it, sys; print(it.__file__.startswith(sys.prefix))"
    assert run("python", "-c", where).stdout == "True\n"

    def manage(*args: str, **variables: str) -> tuple[list[str], list[str]]:
        process = run("python", "-W", "error", "manage.py", *args, **variables)
        return process.stdout.splitlines(), process.stderr.splitlines()

    found = ["System check identified no issues (0 silenced)."]
    assert manage("check", "--fail-level", "INFO") == (found, [])
    assert manage("makemigrations", "--check", "--dry-run") == (["No changes detected"], [])
    out, err = manage("migrate", "django_iletimerkezi")
    done = [f"  Applying django_iletimerkezi.{name}... OK" for name in hashes()]
    assert (out[-len(done) :], err) == (done, [])
    tree = ["Test 1 (id 97101, 1 contact)", "└── Test 2 (id 97489, 2 contacts)"]
    summary = "Group 97101: 2 created, 0 changed, 0 unchanged, 0 missing."
    other = "Asked for group 5, the vendor answered about group 97101."
    assert manage("fetch_group", "5") == ([*tree, summary], [other])
    agac = ["Test 1 (id 97101, 1 kişi)", "└── Test 2 (id 97489, 2 kişi)"]
    ozet = "Grup 97101: 0 oluşturuldu, 0 değiştirildi, 2 değişmedi, 0 kayıp."
    assert manage("fetch_group", "5", LANGUAGE_CODE="tr")[0] == [*agac, ozet]
