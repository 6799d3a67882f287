from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, run_checks
from django.core.checks import Warning as CheckWarning
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from django_iletimerkezi.checks import check_settings

AS_TEXT = "Set it to the text that the vendor's panel shows."


def checked(*, key: Any = "key", hash: Any = "hash", **others: Any) -> list[CheckMessage]:  # noqa: A002 - the vendor's word
    credentials = {"ILETIMERKEZI_API_KEY": key, "ILETIMERKEZI_API_HASH": hash}
    with override_settings(**credentials, **others):
        return check_settings()


def test_good_settings_pass() -> None:
    assert checked() == []


def test_a_key_with_a_secret_passes() -> None:
    assert checked(hash="", ILETIMERKEZI_API_SECRET="secret") == []


def test_a_loopback_host_without_tls_passes() -> None:
    assert checked(ILETIMERKEZI_BASE_URL="http://127.0.0.1:8000/v1/") == []


@pytest.mark.parametrize("given", [{"key": ""}, {"hash": ""}, {"key": "", "hash": ""}])
def test_missing_credentials_are_a_warning(given: dict[str, str]) -> None:
    text = (
        "The credentials of iletimerkezi are missing: "
        "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH."
    )
    hint = "Create both in the vendor's panel. Until then no group can be fetched."
    assert checked(**given) == [CheckWarning(text, hint=hint, id="django_iletimerkezi.W001")]


@pytest.mark.parametrize("key", ["key", ""])
def test_hash_and_secret_together_are_an_error(key: str) -> None:
    text = "ILETIMERKEZI_API_HASH and ILETIMERKEZI_API_SECRET are both set: keep one of them."
    hint = "The hash from the panel is enough; a secret is for older accounts."
    found = checked(key=key, ILETIMERKEZI_API_SECRET="secret")
    assert found == [Error(text, hint=hint, id="django_iletimerkezi.E001")]


def test_a_key_of_a_wrong_type_is_an_error() -> None:
    text = "ILETIMERKEZI_API_KEY must be a string, not of type int."
    assert checked(key=1) == [Error(text, hint=AS_TEXT, id="django_iletimerkezi.E002")]


def test_a_hash_of_a_wrong_type_is_an_error() -> None:
    text = "ILETIMERKEZI_API_HASH must be a string, not of type bytes."
    assert checked(hash=b"") == [Error(text, hint=AS_TEXT, id="django_iletimerkezi.E003")]


def test_a_secret_of_a_wrong_type_is_an_error() -> None:
    text = "ILETIMERKEZI_API_SECRET must be a string, not of type list."
    found = checked(ILETIMERKEZI_API_SECRET=[])
    assert found == [Error(text, hint=AS_TEXT, id="django_iletimerkezi.E004")]


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        (
            "http://api.iletimerkezi.com/v1/",
            "must start with https:// because it receives the credentials.",
        ),
        ("", "must be a URL such as https://api.iletimerkezi.com/v1/."),
        (None, "must be a string, not of type NoneType."),
    ],
)
def test_a_base_url_that_cannot_be_trusted_is_an_error(url: Any, flaw: str) -> None:
    text, hint = (
        f"ILETIMERKEZI_BASE_URL {flaw}",
        "Remove the setting to use the vendor's own address.",
    )
    found = checked(ILETIMERKEZI_BASE_URL=url)
    assert found == [Error(text, hint=hint, id="django_iletimerkezi.E005")]


def test_a_timeout_of_a_wrong_type_is_an_error() -> None:
    text = "ILETIMERKEZI_TIMEOUT must be a number of seconds, not of type str."
    hint = "For example 30, as a number."
    found = checked(ILETIMERKEZI_TIMEOUT="30")
    assert found == [Error(text, hint=hint, id="django_iletimerkezi.E006")]


def test_a_wrong_number_of_retries_is_an_error() -> None:
    text = "ILETIMERKEZI_RETRIES must be from 0 to 100."
    hint = "For example 2, as a number."
    found = checked(ILETIMERKEZI_RETRIES=-1)
    assert found == [Error(text, hint=hint, id="django_iletimerkezi.E007")]


def test_a_wrong_number_of_connections_is_an_error() -> None:
    text = "ILETIMERKEZI_MAX_CONNECTIONS must be a whole number, not of type str."
    hint = "For example 4, as a number."
    found = checked(ILETIMERKEZI_MAX_CONNECTIONS="4")
    assert found == [Error(text, hint=hint, id="django_iletimerkezi.E008")]


def test_no_two_checks_share_an_id() -> None:
    names = ("API_SECRET", "BASE_URL", "TIMEOUT", "RETRIES", "MAX_CONNECTIONS")
    others = {f"ILETIMERKEZI_{name}": object() for name in names}
    found = checked(key=1, hash=1, **others) + checked(key="")
    found += checked(ILETIMERKEZI_API_SECRET="secret")
    assert len({message.id for message in found}) == len(found) == 9


def test_the_check_command_finds_an_error() -> None:
    with (
        override_settings(ILETIMERKEZI_TIMEOUT="30"),
        pytest.raises(SystemCheckError, match=r"django_iletimerkezi\.E006"),
    ):
        call_command("check")


def test_the_check_command_passes_without_credentials_but_says_so() -> None:
    said = StringIO()
    call_command("check", stderr=said)
    assert "(django_iletimerkezi.W001)" in said.getvalue()


def test_the_checks_have_a_tag() -> None:
    found = run_checks(tags=["django_iletimerkezi"])
    assert [message.id for message in found] == ["django_iletimerkezi.W001"]


@pytest.mark.django_db
@override_settings(ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH="")
def test_migrate_passes_without_credentials() -> None:
    said = StringIO()
    call_command("migrate", stdout=said, stderr=said)
    assert "No migrations to apply." in said.getvalue()


@override_settings(ILETIMERKEZI_API_KEY="", ILETIMERKEZI_TIMEOUT="30")
def test_missing_credentials_and_a_wrong_setting_are_both_told() -> None:
    ids = [message.id for message in check_settings()]
    assert ids == ["django_iletimerkezi.E006", "django_iletimerkezi.W001"]


@override_settings(ILETIMERKEZI_API_KEY=5)
def test_a_credential_of_a_wrong_type_is_told_once() -> None:
    assert [message.id for message in check_settings()] == ["django_iletimerkezi.E002"]
