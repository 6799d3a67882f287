"""The wheel has the whole package and nothing else, and its metadata is true."""

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
from typing import Any

import pytest

import django_iletimerkezi

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "django_iletimerkezi"


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def environments() -> list[str]:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["tox:tox"]["env_list"].split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    without_caches = shutil.ignore_patterns("__pycache__")
    for folder in ("django_iletimerkezi", "example_project", "tests", "tools"):
        shutil.copytree(ROOT / folder, source / folder, ignore=without_caches)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(target)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_the_wheel_has_every_file_of_the_package_and_no_others(wheel: zipfile.ZipFile) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "django_iletimerkezi/locale/tr/LC_MESSAGES/django.mo" in files
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files


def test_the_wheel_names_its_license_and_dependencies(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    lines = wheel.read(metadata).decode().splitlines()
    assert "License-Expression: MIT" in lines
    required = [line for line in lines if line.startswith("Requires-Dist: ")]
    names = [re.split("[<>=]", line.split()[1])[0] for line in required]
    assert names == ["django", "requests", "tqdm", "urllib3"]


def test_the_classifiers_match_the_tested_matrix() -> None:
    claimed = {
        label.rpartition(" :: ")[2]
        for label in pyproject()["project"]["classifiers"]
        if label.startswith(("Framework :: Django :: ", "Programming Language :: Python :: 3."))
    }
    assert claimed == {
        f"{label[0]}.{label[1:]}"
        for environment in environments()
        for label in re.findall(r"\d+", environment)
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
