from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as _settings

from django_iletimerkezi.testing import Sandbox

# Only make test-live sends requests to the vendor itself.
collect_ignore = ["live"]
# make test-browser runs these, with a browser and other settings.
if _settings.SETTINGS_MODULE != "tests.browser.settings":
    collect_ignore.append("browser")


@pytest.fixture
def sandbox(settings: Any) -> Iterator[Sandbox]:
    """A sandbox that the settings point to."""
    with Sandbox() as sandbox:
        for name, value in sandbox.settings.items():
            setattr(settings, name, value)
        yield sandbox
