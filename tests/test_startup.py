from __future__ import annotations

import subprocess
import sys

import pytest

from django_iletimerkezi import api


def output_of(script: str) -> str:
    """Return the last line that a script prints in a project of its own."""
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.splitlines()[-1]


def test_starting_a_project_imports_neither_requests_nor_urllib3() -> None:
    script = (
        "import django, sys; django.setup(); "
        "from django.core.management import call_command; call_command('check'); "
        "import django.contrib.admin, tests.urls; "
        "import django_iletimerkezi.management.commands.fetch_group; "
        "import django_iletimerkezi.management.commands.iletimerkezi_doctor; "
        "print(sorted({'requests', 'urllib3'} & set(sys.modules)))"
    )
    assert output_of(script) == "[]"


def test_starting_a_project_imports_the_clock_module() -> None:
    script = "import django, sys; django.setup(); print('django_iletimerkezi.clock' in sys.modules)"
    assert output_of(script) == "True"


def test_the_pytest_plugin_imports_neither_django_nor_the_rest_of_the_package() -> None:
    script = (
        "import django_iletimerkezi.pytest_plugin, sys; "
        "print(*sorted(name for name in sys.modules if name.startswith('django')))"
    )
    assert output_of(script) == "django_iletimerkezi django_iletimerkezi.pytest_plugin"


def test_the_api_package_exports_all_listed_names() -> None:
    assert [getattr(api, name).__name__ for name in api.__all__] == api.__all__


def test_the_api_package_refuses_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        _ = api.Missing
