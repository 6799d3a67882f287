from __future__ import annotations

import hashlib
import hmac
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.functional import SimpleLazyObject
from django.views.debug import ExceptionReporter

from django_iletimerkezi.conf import conf

# Far from the lines in tracebacks, because the error page also prints source lines.
CREDENTIAL = "t0p-s3cret"
WRONG_CREDENTIALS = [CREDENTIAL.encode(), {"value": CREDENTIAL}]

MISSING = "The credentials of iletimerkezi are missing"
CONTRADICTORY = "ILETIMERKEZI_API_HASH and ILETIMERKEZI_API_SECRET are both set"


def refusal(attribute: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        getattr(conf, attribute)
    return str(caught.value)


def error_page(attribute: str) -> str:
    """Return the page that Django shows if the setting is invalid."""
    try:
        getattr(conf, attribute)
    except ImproperlyConfigured:
        return ExceptionReporter(None, *sys.exc_info()).get_traceback_html()
    return ""


@pytest.mark.parametrize(
    ("name", "attribute", "default", "other"),
    [
        ("ILETIMERKEZI_API_KEY", "api_key", "", "a key"),
        ("ILETIMERKEZI_API_HASH", "api_hash", "", "a hash"),
        ("ILETIMERKEZI_API_SECRET", "api_secret", "", "a secret"),
        (
            "ILETIMERKEZI_BASE_URL",
            "base_url",
            "https://api.iletimerkezi.com/v1/",
            "http://127.0.0.1:8000/v1",
        ),
        ("ILETIMERKEZI_TIMEOUT", "timeout", 30, 0.5),
        ("ILETIMERKEZI_TIMEOUT", "timeout", 30, 3600),
        ("ILETIMERKEZI_RETRIES", "retries", 2, 0),
        ("ILETIMERKEZI_RETRIES", "retries", 2, 100),
        ("ILETIMERKEZI_MAX_CONNECTIONS", "max_connections", 4, 1),
        ("ILETIMERKEZI_MAX_CONNECTIONS", "max_connections", 4, 100),
    ],
)
def test_a_setting_takes_effect_at_the_next_access(
    name: str, attribute: str, default: Any, other: Any
) -> None:
    assert getattr(conf, attribute) == default
    with override_settings(**{name: other}):
        assert getattr(conf, attribute) == other
    assert getattr(conf, attribute) == default


def test_a_lazy_credential_is_converted_to_a_string() -> None:
    with override_settings(ILETIMERKEZI_API_KEY=SimpleLazyObject(lambda: "a key")):
        assert json.dumps(conf.api_key) == '"a key"'


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("API_KEY", " 12345678", "starts or ends with whitespace."),
        ("API_HASH", "12345678\n", "starts or ends with whitespace."),
        ("API_KEY", 12345678, "must be a string, but is of type int."),
        ("API_HASH", b"12345678", "must be a string, but is of type bytes."),
        ("API_SECRET", ["12345678"], "must be a string, but is of type list."),
        ("BASE_URL", None, "must be a string, but is of type NoneType."),
        ("TIMEOUT", "12345678", "must be a number of seconds, but is of type str."),
        ("TIMEOUT", None, "must be a number of seconds, but is of type NoneType."),
        ("TIMEOUT", True, "must be a number of seconds, but is of type bool."),
        ("TIMEOUT", Decimal(12345678), "must be a number of seconds, but is of type Decimal."),
        ("RETRIES", "12345678", "must be a whole number, but is of type str."),
        ("RETRIES", 12345678.0, "must be a whole number, but is of type float."),
        ("RETRIES", False, "must be a whole number, but is of type bool."),
        ("MAX_CONNECTIONS", "12345678", "must be a whole number, but is of type str."),
        ("MAX_CONNECTIONS", True, "must be a whole number, but is of type bool."),
    ],
)
def test_a_setting_of_the_wrong_type_or_with_whitespace_is_refused_without_showing_its_value(
    name: str, value: Any, message: str
) -> None:
    with override_settings(**{f"ILETIMERKEZI_{name}": value}):
        shown = refusal(name.lower())
    assert shown == f"ILETIMERKEZI_{name} {message}"
    assert "12345678" not in shown


@pytest.mark.parametrize("seconds", [0, -1, 0.0, 3600.1, float("inf"), float("nan"), 10**400])
def test_a_timeout_out_of_range_is_refused(seconds: float) -> None:
    with override_settings(ILETIMERKEZI_TIMEOUT=seconds):
        expected = "ILETIMERKEZI_TIMEOUT must be above 0 and at most 3600 seconds."
        assert refusal("timeout") == expected


@pytest.mark.parametrize("number", [-1, 101])
def test_a_number_of_retries_out_of_range_is_refused(number: int) -> None:
    with override_settings(ILETIMERKEZI_RETRIES=number):
        assert refusal("retries") == "ILETIMERKEZI_RETRIES must be from 0 to 100."


@pytest.mark.parametrize("number", [0, 101])
def test_a_number_of_connections_out_of_range_is_refused(number: int) -> None:
    with override_settings(ILETIMERKEZI_MAX_CONNECTIONS=number):
        assert refusal("max_connections") == "ILETIMERKEZI_MAX_CONNECTIONS must be from 1 to 100."


@override_settings(ILETIMERKEZI_BASE_URL="http://api.iletimerkezi.com/v1/")
def test_a_base_url_without_tls_is_refused() -> None:
    assert "ILETIMERKEZI_BASE_URL must start with https://" in refusal("base_url")


@override_settings(ILETIMERKEZI_BASE_URL=f"https://user:{CREDENTIAL}@api.iletimerkezi.com/v1/")
def test_a_base_url_with_a_password_is_refused_without_showing_it() -> None:
    message = refusal("base_url")
    assert "ILETIMERKEZI_BASE_URL must be a plain URL without user" in message
    assert CREDENTIAL not in message


# Credentials


@pytest.mark.parametrize("attribute", ["api_key", "api_hash", "api_secret"])
def test_credentials_set_to_none_are_read_as_empty_strings(attribute: str) -> None:
    with override_settings(**{f"ILETIMERKEZI_{attribute.upper()}": None}):
        assert getattr(conf, attribute) == ""


@override_settings(ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="HaSh")
def test_the_hash_from_the_panel_is_sent_unchanged() -> None:
    assert conf.has_credentials
    assert conf.effective_hash == "HaSh"


@pytest.mark.parametrize(
    ("key", "secret"), [("key", "secret"), ("anahtar-ı", "gizli-ş"), ("key", "s" * 500)]
)
def test_the_hash_is_derived_from_the_secret(key: str, secret: str) -> None:
    expected = hmac.new(secret.encode(), key.encode(), hashlib.sha256).hexdigest()
    with override_settings(ILETIMERKEZI_API_KEY=key, ILETIMERKEZI_API_SECRET=secret):
        assert conf.has_credentials
        assert conf.effective_hash == expected


@override_settings(ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_SECRET="secret")
def test_the_derived_hash_is_lower_case_hexadecimal() -> None:
    expected = "96de09a0f8699191b28587118ac57df88bbf6c2d0c131d196dcd90f7efd68c93"
    assert conf.effective_hash == expected


@override_settings(ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_SECRET="\udcff")
def test_a_hash_is_derived_from_a_secret_that_is_not_utf_8() -> None:
    assert len(conf.effective_hash) == 64


@pytest.mark.parametrize(
    "given", [[], ["KEY"], ["HASH"], ["SECRET"], ["HASH", "SECRET"]], ids="+".join
)
def test_missing_credentials_are_refused(given: list[str]) -> None:
    with override_settings(**{f"ILETIMERKEZI_API_{name}": "given" for name in given}):
        assert not conf.has_credentials
        assert MISSING in refusal("effective_hash")


@override_settings(
    ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="hash", ILETIMERKEZI_API_SECRET="secret"
)
def test_hash_and_secret_together_are_refused() -> None:
    assert conf.is_contradictory
    assert CONTRADICTORY in refusal("effective_hash")


@override_settings(
    ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="", ILETIMERKEZI_API_SECRET="secret"
)
def test_an_empty_hash_does_not_contradict_a_secret() -> None:
    assert not conf.is_contradictory
    assert len(conf.effective_hash) == 64


# Django's error page


@pytest.mark.parametrize("attribute", ["effective_hash", "itself"])
@pytest.mark.parametrize("name", ["API_KEY", "API_HASH", "API_SECRET"])
@pytest.mark.parametrize("value", WRONG_CREDENTIALS, ids=lambda value: type(value).__name__)
def test_the_error_page_shows_no_credential_of_a_wrong_type(
    name: str, attribute: str, value: Any
) -> None:
    given = {"API_KEY": "a", "API_HASH": "b", "API_SECRET": "c"} | {name: value}
    with override_settings(**{f"ILETIMERKEZI_{name}": value for name, value in given.items()}):
        page = error_page(attribute if attribute != "itself" else name.lower())
    assert f"ILETIMERKEZI_{name} must be a string, but is of type" in page
    assert CREDENTIAL not in page


@override_settings(
    ILETIMERKEZI_API_KEY=CREDENTIAL,
    ILETIMERKEZI_API_HASH=CREDENTIAL,
    ILETIMERKEZI_API_SECRET=CREDENTIAL,
)
def test_the_error_page_for_a_hash_set_together_with_a_secret_shows_neither() -> None:
    page = error_page("effective_hash")
    assert CONTRADICTORY in page
    assert CREDENTIAL not in page
