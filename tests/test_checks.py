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


def check(*, key: Any = "key", hash: Any = "hash", **others: Any) -> list[CheckMessage]:  # noqa: A002 - the vendor's word
    """Run the checks with key, hash and other settings, named without their prefix."""
    given = {"API_KEY": key, "API_HASH": hash, **others}
    with override_settings(**{f"ILETIMERKEZI_{name}": value for name, value in given.items()}):
        return check_settings()


@pytest.mark.parametrize(
    "given",
    [{}, {"hash": "", "API_SECRET": "secret"}, {"BASE_URL": "http://127.0.0.1:8000/v1/"}],
    ids=["key and hash", "key and secret", "loopback"],
)
def test_valid_settings_pass_the_checks(given: dict[str, str]) -> None:
    assert check(**given) == []


@pytest.mark.parametrize("given", [{"key": ""}, {"hash": ""}, {"key": "", "hash": ""}])
def test_missing_credentials_are_reported_as_a_warning(given: dict[str, str]) -> None:
    [message] = check(**given)
    assert isinstance(message, CheckWarning)
    assert message.id == "django_iletimerkezi.W001"
    assert "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH" in message.msg
    assert message.hint
    assert "Create the key and the hash in the vendor's panel" in message.hint


@pytest.mark.parametrize(
    ("given", "number", "text", "hint"),
    [
        ({"API_SECRET": "secret"}, "E001", "both set", "hash from the panel"),
        ({"API_SECRET": "secret", "key": ""}, "E001", "both set", "hash from the panel"),
        ({"key": 1}, "E002", "API_KEY must be a string", "from the vendor's panel"),
        ({"hash": b""}, "E003", "API_HASH must be a string", "from the vendor's panel"),
        ({"API_SECRET": []}, "E004", "API_SECRET must be a string", "from the vendor's panel"),
        ({"BASE_URL": "http://10.0.0.1/"}, "E005", "must start with https://", "Remove the"),
        ({"BASE_URL": ""}, "E005", "must be a URL such as", "Remove the setting"),
        ({"BASE_URL": None}, "E005", "BASE_URL must be a string", "Remove the setting"),
        ({"TIMEOUT": "30"}, "E006", "TIMEOUT must be a number of seconds", "such as 30,"),
        ({"RETRIES": -1}, "E007", "RETRIES must be from 0 to 100", "such as 2,"),
        ({"MAX_CONNECTIONS": "4"}, "E008", "MAX_CONNECTIONS must be a whole", "such as 4,"),
    ],
)
def test_invalid_settings_are_reported_as_errors(
    given: dict[str, Any], number: str, text: str, hint: str
) -> None:
    [message] = check(**given)
    assert isinstance(message, Error)
    assert message.id == f"django_iletimerkezi.{number}"
    assert text in message.msg
    assert message.hint
    assert hint in message.hint


def test_missing_credentials_and_an_invalid_setting_are_both_reported() -> None:
    ids = [message.id for message in check(key="", TIMEOUT="30")]
    assert ids == ["django_iletimerkezi.E006", "django_iletimerkezi.W001"]


def test_a_credential_of_the_wrong_type_is_not_also_reported_as_missing() -> None:
    assert [message.id for message in check(key=5, hash="")] == ["django_iletimerkezi.E002"]


def test_check_ids_are_unique() -> None:
    names = ("API_SECRET", "BASE_URL", "TIMEOUT", "RETRIES", "MAX_CONNECTIONS")
    found = check(key=1, hash=1, **{name: object() for name in names})
    found += check(key="") + check(API_SECRET="secret")
    assert len({message.id for message in found}) == len(found) == 9


@pytest.mark.django_db  # On SQLite, Django 6.1 asks the database about JSON.
def test_the_check_command_fails_for_an_invalid_setting() -> None:
    with override_settings(ILETIMERKEZI_TIMEOUT="30"):
        with pytest.raises(SystemCheckError, match=r"django_iletimerkezi\.E006"):
            call_command("check")


@pytest.mark.django_db  # On SQLite, Django 6.1 asks the database about JSON.
def test_the_check_command_warns_about_missing_credentials() -> None:
    output = StringIO()
    call_command("check", stderr=output)
    assert "(django_iletimerkezi.W001)" in output.getvalue()


def test_the_checks_can_be_run_by_their_tag() -> None:
    found = run_checks(tags=["django_iletimerkezi"])
    assert [message.id for message in found] == ["django_iletimerkezi.W001"]


@pytest.mark.django_db
@override_settings(ILETIMERKEZI_API_KEY="", ILETIMERKEZI_API_HASH="")
def test_migrate_passes_without_credentials() -> None:
    output = StringIO()
    call_command("migrate", stdout=output, stderr=output)
    assert "No migrations to apply." in output.getvalue()
