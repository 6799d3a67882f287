"""System checks of the settings, and of the character sets of our tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .conf import conf, contradictory_credentials, missing_credentials
from .engine import find_engine

TAG = "django_iletimerkezi"

_HINTS = {
    "api_key": ("E002", gettext_lazy("Copy the value from the vendor's panel.")),
    "api_hash": ("E003", gettext_lazy("Copy the value from the vendor's panel.")),
    "api_secret": ("E004", gettext_lazy("Copy the value from the vendor's panel.")),
    "base_url": ("E005", gettext_lazy("Remove the setting to use the vendor's own address.")),
    "timeout": ("E006", gettext_lazy("Set a number such as 30, without quotes.")),
    "retries": ("E007", gettext_lazy("Set a number such as 2, without quotes.")),
    "max_connections": ("E008", gettext_lazy("Set a number such as 4, without quotes.")),
    "keep_fetches_days": (
        "E009",
        gettext_lazy("Set a number such as 90, or None to keep all fetches."),
    ),
    "task_seconds": ("E010", gettext_lazy("Set a number such as 120, without quotes.")),
    "task_backend": ("E011", gettext_lazy("Use the alias of a backend that TASKS defines.")),
    "task_queue": (
        "E012",
        gettext_lazy("Use the name of a queue that TASKS defines for the backend."),
    ),
    "enqueue": (
        "E013",
        gettext_lazy("Set the path of a function, such as “myproject.tasks.enqueue_fetch”."),
    ),
}


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    flaws: list[CheckMessage] = []
    for name, (number, hint) in _HINTS.items():
        try:
            getattr(conf, name)
        except ImproperlyConfigured as error:
            flaws.append(Error(str(error), hint=str(hint), id=f"{TAG}.{number}"))
    with suppress(ImproperlyConfigured):  # The loop above reports invalid credentials.
        has_credentials = conf.has_credentials
        if conf.is_contradictory:
            advice = _("Keep the hash from the panel; only older accounts need a secret.")
            flaws.append(Error(contradictory_credentials(), hint=advice, id=f"{TAG}.E001"))
        elif not has_credentials:
            advice = _(
                "Create the key and the hash in the vendor's panel. Without them, no group can be "
                "fetched."
            )
            flaws.append(CheckWarning(missing_credentials(), hint=advice, id=f"{TAG}.W001"))
    if not any(isinstance(flaw, Error) for flaw in flaws):
        flaws += _check_engine()
    return flaws


def _check_engine() -> Iterator[CheckMessage]:
    try:
        find_engine()
    except ImproperlyConfigured as error:
        advice = _(
            "Correct the settings of the task queue. Until then, groups cannot be fetched in the "
            "admin or with --background."
        )
        yield CheckWarning(str(error), hint=advice, id=f"{TAG}.W003")


def check_tables(databases: Iterable[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    if not databases:  # Most commands skip these checks and must not wait for the imports.
        return []
    # Import here, because apps.py imports this module before models can be imported.
    from .messages import TABLES, advise_charset  # noqa: PLC0415 - see above
    from .mirror import bulk  # noqa: PLC0415 - see above

    flaws: list[CheckMessage] = []
    for alias in databases:
        charsets = {table: bulk.narrow_charset(connections[alias], table) for table in TABLES}
        if narrow := [(table, charset) for table, charset in charsets.items() if charset]:
            table, charset = narrow[0]  # The advice covers all tables.
            text = _("The character set %(charset)s of the table %(table)s cannot store all names.")
            text %= {"table": table, "charset": charset}
            flaws.append(CheckWarning(text, hint=advise_charset(alias), id=f"{TAG}.W002"))
    return flaws
