from __future__ import annotations

import subprocess
import sys


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
