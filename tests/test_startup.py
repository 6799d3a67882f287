from __future__ import annotations

import subprocess
import sys

import pytest

from django_iletimerkezi import api


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
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.splitlines()[-1] == "[]"


def test_the_api_package_exports_the_names_that_it_lists() -> None:
    assert [getattr(api, name).__name__ for name in api.__all__] == api.__all__


def test_the_api_package_refuses_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        _ = api.Missing
