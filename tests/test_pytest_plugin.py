"""The fixture ``iletimerkezi_sandbox`` in the test runs of host projects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from django_iletimerkezi.services import get_client
from django_iletimerkezi.testing import Sandbox

USES_IT = """
    from django.conf import settings

    def test_the_settings_point_to_the_sandbox(iletimerkezi_sandbox):
        assert settings.ILETIMERKEZI_BASE_URL == iletimerkezi_sandbox.url

    def test_the_settings_are_restored():
        assert not hasattr(settings, "ILETIMERKEZI_BASE_URL")
"""
USES_IT_WITH_PYTEST_DJANGO = """
    import pytest
    from django.conf import settings as django_settings

    from django_iletimerkezi.services import fetch_group

    @pytest.mark.django_db
    def test_a_group_is_fetched(settings, iletimerkezi_sandbox):
        settings.ILETIMERKEZI_RETRIES = 0
        assert fetch_group(5).group.name == "Test 1"

    @pytest.mark.django_db
    def test_the_order_of_the_fixtures_does_not_matter(iletimerkezi_sandbox, settings):
        settings.ILETIMERKEZI_API_HASH = "wrong"
        assert settings.ILETIMERKEZI_BASE_URL == iletimerkezi_sandbox.url

    def test_the_settings_are_restored():
        assert not hasattr(django_settings, "ILETIMERKEZI_BASE_URL")
"""


def test_the_sandbox_fixture_serves_the_documented_sample(iletimerkezi_sandbox: Sandbox) -> None:
    with get_client() as client:
        assert client.get_group(5).name == "Test 1"
    assert iletimerkezi_sandbox.asked == [5]


def test_the_sandbox_fixture_works_without_pytest_django(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(USES_IT)
    result = pytester.runpytest_inprocess("-p", "django_iletimerkezi.pytest_plugin")
    result.assert_outcomes(passed=2)
    assert not hasattr(django_settings, "ILETIMERKEZI_BASE_URL")


def test_pytest_finds_the_sandbox_fixture_of_the_installed_package(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(USES_IT_WITH_PYTEST_DJANGO)
    options = ("-p", "no:randomly", "-p", "no:cacheprovider", "--ds", "tests.settings")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in process.stdout, process.stdout
