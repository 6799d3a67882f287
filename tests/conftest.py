from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as _settings

from django_iletimerkezi.testing import Sandbox

# The vendor itself is asked by make test-live alone.
collect_ignore = ["live"]
# These need a browser, and settings of their own: make test-browser.
if _settings.SETTINGS_MODULE != "tests.browser.settings":
    collect_ignore.append("browser")


@pytest.fixture
def sandbox(settings: Any) -> Iterator[Sandbox]:
    """The well-behaved vendor, to which the settings point."""
    with Sandbox() as sandbox:
        for name, value in sandbox.settings.items():
            setattr(settings, name, value)
        yield sandbox
