"""The wheel has exactly the files of the package, and correct metadata."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from configparser import ConfigParser
from datetime import date
from email import message_from_string
from email.message import Message
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import django_iletimerkezi
from django_iletimerkezi import pytest_plugin

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "django_iletimerkezi"


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def environments() -> list[str]:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    newest = config["tox:tox"]["labels"].partition("newest = ")[2].splitlines()[0]
    return [*config["tox:tox"]["env_list"].split(), *newest.split(", ")]


Build = Callable[[str], zipfile.ZipFile]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build the wheel for an address of the repository."""
    source = tmp_path_factory.mktemp("source")
    without_caches = shutil.ignore_patterns("__pycache__")
    for folder in ("django_iletimerkezi", "example_project", "tests", "tools"):
        shutil.copytree(ROOT / folder, source / folder, ignore=without_caches)
    for name in ("pyproject.toml", "setup.cfg", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)

    def build(address: str) -> zipfile.ZipFile:
        target = tmp_path_factory.mktemp("wheel")
        make = f"from setuptools import build_meta; print(build_meta.build_wheel({str(target)!r}))"
        subprocess.run(
            [sys.executable, "-c", make],
            cwd=source,
            env=os.environ | {"REPOSITORY_URL": address},
            check=True,
            capture_output=True,
        )
        return zipfile.ZipFile(next(target.glob("*.whl")))

    return build


@pytest.fixture(scope="module")
def wheel(build: Build) -> zipfile.ZipFile:
    return build("")


def metadata(wheel: zipfile.ZipFile) -> Message:
    path = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    return message_from_string(wheel.read(path).decode())


def description(found: Message) -> str:
    text = found.get_payload()
    assert isinstance(text, str)
    return text


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_the_wheel_has_every_file_of_the_package_and_no_others(wheel: zipfile.ZipFile) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "django_iletimerkezi/locale/tr/LC_MESSAGES/django.mo" in files
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files


def test_the_wheel_names_its_license_and_dependencies(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)
    assert found["License-Expression"] == "MIT"
    names = [re.split("[<>=]", line)[0] for line in found.get_all("Requires-Dist", [])]
    assert names == ["django", "requests", "tqdm", "urllib3"]


def test_the_wheel_registers_the_pytest_plugin(wheel: zipfile.ZipFile) -> None:
    entry_points = next(name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    registered = ConfigParser()
    registered.read_string(wheel.read(entry_points).decode())
    assert dict(registered["pytest11"]) == {"iletimerkezi": pytest_plugin.__name__}


def test_without_a_repository_url_the_pypi_page_has_no_relative_links_or_pictures(
    wheel: zipfile.ZipFile,
) -> None:
    found = metadata(wheel)
    text = description(found)
    assert found["Description-Content-Type"] == "text/markdown"
    assert found["Project-URL"] is None
    assert {link.partition("://")[0] for link in links(text)} <= {"https"}
    assert "README.tr.md" not in text
    assert not re.search(r"!\[|<img", text)
    assert not re.search(r"\n{3}", text)


def test_repository_url_makes_all_links_and_pictures_absolute(build: Build) -> None:
    found = metadata(build("https://github.com/someone/something/"))
    text = description(found)
    ours = "https://github.com/someone/something"
    at_tag = rf"{ours}/(raw|blob)/v{re.escape(django_iletimerkezi.__version__)}/([^#)]+)"
    views = re.findall(at_tag, text)
    assert views
    for view, path in views:
        assert (ROOT / path).exists()
        assert (view == "raw") is path.endswith(".png")
    assert [target for target in links(text) if "://" not in target] == []
    assert re.findall(r"!\[.+\]\(([^)]+)\)", text) != []
    pairs = [url.split(", ") for url in found.get_all("Project-URL", [])]
    addresses = dict(pairs)
    assert list(addresses) == ["Homepage", "Documentation", "Changelog", "Issues"]
    assert (addresses.pop("Homepage"), addresses.pop("Issues")) == (ours, f"{ours}/issues")
    for url in addresses.values():
        link = re.fullmatch(at_tag, url)
        assert link
        assert (ROOT / link[2]).exists()


def test_the_classifiers_match_the_tested_matrix() -> None:
    claimed = {
        label.rpartition(" :: ")[2]
        for label in pyproject()["project"]["classifiers"]
        if label.startswith(("Framework :: Django :: ", "Programming Language :: Python :: 3."))
    }
    assert claimed == {
        f"{label[0]}.{label[1:]}"
        for environment in environments()
        for label in re.findall(r"(?:py|django)(\d+)", environment)
    }


def test_installed_versions_are_not_below_the_declared_minimum() -> None:
    project = pyproject()["project"]
    is_lowest = os.environ.get("TOX_ENV_NAME") == "lowest"
    floors = dict(re.findall(r"(\w+)>=([\d.]+)", " ".join(project["dependencies"])))
    assert len(floors) == len(project["dependencies"])
    for name, floor in floors.items():
        assert _numbers(version(name)) >= _numbers(floor), name
        assert not is_lowest or f"{version(name)}.0".startswith(f"{floor}."), name
    python = _numbers(project["requires-python"].removeprefix(">="))
    assert sys.version_info[:2] >= python
    assert not is_lowest or sys.version_info[:2] == python
    assert "lowest" in environments()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def test_the_newest_changelog_entry_has_the_current_version() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    entries = [re.fullmatch(r"## (\d+\.\d+\.\d+) \((.+)\)", line) for line in headings]
    assert all(entries), headings
    versions, dates = zip(*(entry.groups() for entry in entries if entry), strict=True)
    assert versions[0] == django_iletimerkezi.__version__
    assert all(date.fromisoformat(day) for day in dates if day != "unreleased")
    assert "unreleased" not in dates[1:]


def test_the_version_is_written_in_one_place() -> None:
    assert pyproject()["tool"]["setuptools"]["dynamic"] == {
        "version": {"attr": "django_iletimerkezi.__version__"}
    }
    quoted = f'"{django_iletimerkezi.__version__}"'
    holders = [path for path in PACKAGE.rglob("*.py") if quoted in path.read_text("utf-8")]
    assert [path.name for path in holders] == ["__init__.py"]
