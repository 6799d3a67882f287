"""A pytest plugin with a fixture for the tests of host projects.

pytest imports this module in every project whose environment contains this package. So the module
imports Django and the other modules of the package only when a test uses the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import Sandbox


@pytest.fixture
def iletimerkezi_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A running ``Sandbox`` with its sample groups. The project's settings point to the sandbox.

    The fixture works with and without pytest-django.
    """
    from django.test import override_settings  # noqa: PLC0415 - see the module's docstring

    from .testing import Sandbox  # noqa: PLC0415 - see the module's docstring

    plugins = request.config.pluginmanager
    with Sandbox() as sandbox:
        if any(map(plugins.has_plugin, ("django", "pytest_django.plugin"))):
            # Use pytest-django's fixture, because it undoes a test's changes in reverse order. With
            # `override_settings`, a changed setting could outlive the test.
            settings = request.getfixturevalue("settings")
            for name, value in sandbox.settings.items():
                setattr(settings, name, value)
            yield sandbox
        else:
            with override_settings(**sandbox.settings):
                yield sandbox
