from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import override_settings

from django_iletimerkezi.testing import Sandbox

# The vendor itself is asked by make test-live alone.
collect_ignore = ["live"]
# These need a browser, and settings of their own: make test-browser.
if settings.SETTINGS_MODULE != "tests.browser.settings":
    collect_ignore.append("browser")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The well-behaved vendor, to which the settings point."""
    with Sandbox() as sandbox, override_settings(**sandbox.settings):
        yield sandbox
