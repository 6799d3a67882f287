"""System checks of the settings. They neither import requests nor use the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .conf import conf, contradictory_credentials, missing_credentials

TAG = "django_iletimerkezi"

_HINTS = {
    "api_key": ("E002", gettext_lazy("Set it to the text that the vendor's panel shows.")),
    "api_hash": ("E003", gettext_lazy("Set it to the text that the vendor's panel shows.")),
    "api_secret": ("E004", gettext_lazy("Set it to the text that the vendor's panel shows.")),
    "base_url": ("E005", gettext_lazy("Remove the setting to use the vendor's own address.")),
    "timeout": ("E006", gettext_lazy("For example 30, as a number.")),
    "retries": ("E007", gettext_lazy("For example 2, as a number.")),
    "max_connections": ("E008", gettext_lazy("For example 4, as a number.")),
}


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    return [*_check_each(), *_check_credentials()]


def _check_each() -> Iterator[CheckMessage]:
    for name, (number, hint) in _HINTS.items():
        try:
            getattr(conf, name)
        except ImproperlyConfigured as error:
            yield Error(str(error), hint=str(hint), id=f"{TAG}.{number}")


def _check_credentials() -> Iterator[CheckMessage]:
    try:
        is_contradictory, has_credentials = conf.is_contradictory, conf.has_credentials
    except ImproperlyConfigured:
        return  # Already reported.
    if is_contradictory:
        yield Error(
            contradictory_credentials(),
            hint=_("The hash from the panel is enough; a secret is for older accounts."),
            id=f"{TAG}.E001",
        )
    elif not has_credentials:
        yield CheckWarning(
            missing_credentials(),
            hint=_("Create both in the vendor's panel. Until then no group can be fetched."),
            id=f"{TAG}.W001",
        )
