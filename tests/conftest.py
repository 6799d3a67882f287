from __future__ import annotations

from importlib.util import find_spec

import pytest
from django.conf import settings as _settings

from django_iletimerkezi.testing import Sandbox

pytest_plugins = ["django_iletimerkezi.pytest_plugin", "pytester"]

# Only make test-live sends requests to the vendor itself.
collect_ignore = ["live"]
# make test-engines runs these, with real task queues.
collect_ignore.append("engines")
# make test-browser runs these, with a browser and other settings.
if not _settings.SETTINGS_MODULE.startswith("tests.browser."):
    collect_ignore.append("browser")

# Environments of tox have no mypy.
if not find_spec("mypy"):
    collect_ignore.append("test_types.py")


@pytest.fixture
def sandbox(iletimerkezi_sandbox: Sandbox) -> Sandbox:
    return iletimerkezi_sandbox
