"""A host project with django-stubs sees the types of the models and of the services."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = """
SECRET_KEY = "only-for-tests"
INSTALLED_APPS = ["django_iletimerkezi"]
"""
CONFIG = """
[mypy]
strict = true
follow_imports = silent
plugins = mypy_django_plugin.main

[mypy.plugins.django-stubs]
django_settings_module = settings
"""


def test_mypy_sees_the_types_in_a_host_project(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    shutil.copy(ROOT / "tests/typed_host.py", tmp_path / "host.py")
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    cache = pytestconfig.cache.mkdir("types")
    process = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", cache, "host.py"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}", "MYPYPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
