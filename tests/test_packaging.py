"""What is in the wheel, and whether the metadata tells the truth."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytest

import django_iletimerkezi

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("django_iletimerkezi", "tests", "example_project"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(target)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_the_wheel_holds_the_package_alone(wheel: zipfile.ZipFile) -> None:
    info = f"django_iletimerkezi-{django_iletimerkezi.__version__}.dist-info"
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"django_iletimerkezi", info}


@pytest.mark.parametrize(
    "path",
    [
        "py.typed",
        "migrations/0001_initial.py",
        "locale/tr/LC_MESSAGES/django.mo",
        "management/commands/fetch_group.py",
        "management/commands/iletimerkezi_doctor.py",
        "static/django_iletimerkezi/tree.css",
        "static/django_iletimerkezi/tree.js",
        "templates/admin/django_iletimerkezi/group/change_list.html",
        "templates/django_iletimerkezi/table.html",
    ],
)
def test_the_wheel_holds_what_is_not_found_by_importing(wheel: zipfile.ZipFile, path: str) -> None:
    assert (
        wheel.read(f"django_iletimerkezi/{path}")
        == (ROOT / "django_iletimerkezi" / path).read_bytes()
    )


def test_the_wheel_names_its_licence_and_dependencies(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    lines = wheel.read(metadata).decode().splitlines()
    assert "License-Expression: MIT" in lines
    required = [line for line in lines if line.startswith("Requires-Dist: ")]
    names = [re.split("[<>=]", line.split()[1])[0] for line in required]
    assert names == ["django", "requests", "tqdm", "urllib3"]


def test_the_classifiers_are_the_tested_matrix() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    claimed = {
        label.rpartition(" :: ")[2]
        for label in project["classifiers"]
        if label.startswith(("Framework :: Django :: ", "Programming Language :: Python :: 3."))
    }
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    environments = config["tox:tox"]["env_list"].split()
    assert claimed == {
        f"{label[0]}.{label[1:]}"
        for environment in environments
        for label in re.findall(r"\d+", environment)
    }
    assert "lowest" in environments


def test_no_version_is_below_the_floor_and_lowest_stands_on_it() -> None:
    is_lowest = os.environ.get("TOX_ENV_NAME") == "lowest"
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    floors = dict(re.findall(r"(\w+)>=([\d.]+)", " ".join(pyproject["project"]["dependencies"])))
    assert len(floors) == len(pyproject["project"]["dependencies"])
    for name, floor in floors.items():
        installed = _numbers(version(name))
        assert installed >= _numbers(floor), name
        assert not is_lowest or f"{version(name)}.0".startswith(f"{floor}."), name
    python = _numbers(pyproject["project"]["requires-python"].removeprefix(">="))
    assert sys.version_info[:2] >= python
    assert not is_lowest or sys.version_info[:2] == python


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def test_the_version_is_that_of_the_newest_entry_in_the_changelog() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    entries = [re.fullmatch(r"## (\d+\.\d+\.\d+) \((.+)\)", line) for line in headings]
    assert all(entries), headings
    versions, dates = zip(*(entry.groups() for entry in entries if entry), strict=True)
    assert versions[0] == django_iletimerkezi.__version__
    assert all(date.fromisoformat(day) for day in dates if day != "unreleased")
    assert "unreleased" not in dates[1:]


def test_the_version_is_written_in_one_place() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["dynamic"] == ["version"]
    dynamic = pyproject["tool"]["setuptools"]["dynamic"]
    assert dynamic == {"version": {"attr": "django_iletimerkezi.__version__"}}
    quoted = f'"{django_iletimerkezi.__version__}"'
    holders = [
        path for path in ROOT.glob("django_iletimerkezi/**/*.py") if quoted in path.read_text()
    ]
    assert [path.name for path in holders] == ["__init__.py"]
