"""Tests of what ``make release-check`` built, in a new project and a bare environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import django_iletimerkezi

from .migration_hashes import hashes

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
VERSION = django_iletimerkezi.__version__
STEM = f"django_iletimerkezi-{VERSION}"
HAS_ADDRESS = bool(os.environ.get("REPOSITORY_URL"))
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
    """Run a program in a new project, in an environment that has only the wheel."""
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


def test_the_build_makes_a_wheel_and_a_source_distribution() -> None:
    assert {path.name for path in DIST.iterdir()} == {f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz"}


def test_the_source_distribution_has_the_package_and_the_files_to_build_it() -> None:
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
        "setup.py",
    }


def test_pypi_shows_no_relative_link_and_only_pictures_with_an_address() -> None:
    with (
        zipfile.ZipFile(DIST / f"{STEM}-py3-none-any.whl") as wheel,
        tarfile.open(DIST / f"{STEM}.tar.gz") as archive,
    ):
        of_source = archive.extractfile(f"{STEM}/PKG-INFO")
        assert of_source
        shown = [wheel.read(f"{STEM}.dist-info/METADATA").decode(), of_source.read().decode()]
    for text in shown:
        assert [link for link in re.findall(r"\]\(([^)]+)", text) if "https://" not in link] == []
        assert ("![" in text, "\nProject-URL: " in text) == (HAS_ADDRESS, HAS_ADDRESS)


def test_the_tag_matches_the_version_and_a_tagged_version_has_a_date() -> None:
    tag = os.environ.get("RELEASE_TAG")
    assert tag in {None, f"v{VERSION}"}
    day = r"\d{4}-\d\d-\d\d" if tag else ".+"
    heading = rf"^## {re.escape(VERSION)} \({day}\)$"
    assert re.search(heading, (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)


def test_the_wheel_works_in_a_bare_project(run: Run) -> None:
    where = "import django_iletimerkezi as it, sys; print(it.__file__.startswith(sys.prefix))"
    assert run("python", "-c", where).stdout == "True\n"

    def manage(*args: str, **variables: str) -> tuple[list[str], list[str]]:
        process = run("python", "-W", "error", "manage.py", *args, **variables)
        return process.stdout.splitlines(), process.stderr.splitlines()

    no_issues = ["System check identified no issues (0 silenced)."]
    assert manage("check", "--fail-level", "INFO") == (no_issues, [])
    assert manage("makemigrations", "--check", "--dry-run") == (["No changes detected"], [])
    out, err = manage("migrate", "django_iletimerkezi")
    applied = [f"  Applying django_iletimerkezi.{name}... OK" for name in hashes()]
    assert (out[-len(applied) :], err) == (applied, [])
    out, err = manage("fetch_group", "5")
    assert out[0] == "Test 1 (id 97101, 1 contact, at least 3 including subgroups)"
    assert out[1] == "└── Test 2 (id 97489, 2 contacts)"
    assert "2 created" in out[2]
    assert len(err) == 1  # The sample returns another group than the one asked for.
    assert "1 kişi" in manage("fetch_group", "5", LANGUAGE_CODE="tr")[0][0]
