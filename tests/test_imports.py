"""Which module imports which, and what the app costs at start-up."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import django_iletimerkezi

PACKAGE = Path(django_iletimerkezi.__file__).parent

ROW = re.compile(r"^\| `(\S+)\.py` \| .+ \|(.*)\|$", re.MULTILINE)
ALLOWED = {
    path.replace("/", "."): set(re.findall(r"`(\w+)`", imports))
    for path, imports in ROW.findall((PACKAGE.parent / "CONTRIBUTING.md").read_text())
}


def modules() -> dict[str, Path]:
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return {
        ".".join(path.with_suffix("").parts): PACKAGE / path
        for path in paths
        if "migrations" not in path.parts and not (path.name == "__init__.py" and path.parts[1:])
    }


def imported_of_ours(path: Path) -> set[str]:
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    named = {node.module for node in nodes if node.module}
    bare = {alias.name for node in nodes if not node.module for alias in node.names}
    return named | {"__init__" if name == "__version__" else name for name in bare}


def test_the_map_names_every_module() -> None:
    assert set(modules()) == set(ALLOWED)


@pytest.mark.parametrize("name", list(ALLOWED))
def test_a_module_imports_only_what_the_map_allows(name: str) -> None:
    assert imported_of_ours(modules()[name]) == ALLOWED[name]


def test_starting_a_project_imports_neither_requests_nor_urllib3() -> None:
    script = (
        "import django, sys; django.setup(); "
        "from django.core.management import call_command; call_command('check'); "
        "import django.contrib.admin, tests.urls; "
        "import django_iletimerkezi.management.commands.fetch_group; "
        "import django_iletimerkezi.management.commands.iletimerkezi_doctor; "
        "print(sorted({'requests', 'urllib3'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.splitlines()[-1] == "[]"
