"""The outcome of a fetch in words, for the command and the admin, in the active language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from django import db
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .mirror.store import CLOCK_SKEW
from .services import FetchResult

# Messages of SQLite, PostgreSQL and MariaDB, in this order. No exception type is specific enough.
_NOT_MIGRATED = re.compile(
    r"no such table|no such column|has no column"
    r"|(?:relation|column) .*does not exist"
    r"|doesn't exist|Unknown column"
)
# The numbers are errors of MariaDB's client. PostgreSQL's connection errors say “connect”.
_NOT_CONNECTED = re.compile(
    r"unable to open database"
    r"|connect"
    r"|^\((?:0|20\d\d), |Access denied|Unknown database",
    re.IGNORECASE,
)


def describe_results(results: Sequence[FetchResult]) -> str:
    """Sum up some fetches in one line."""
    group = results[0].group
    what = (
        _("Fetched “%(group)s” (id %(id)s)") % {"group": group, "id": group.pk}
        if len(results) == 1
        else _("Fetched %s contact groups") % len(results)
    )
    return _(
        "%(what)s: %(created)s created, %(changed)s changed, %(unchanged)s unchanged, "
        "%(missing)s missing."
    ) % {
        "what": what,
        "created": sum(result.created for result in results),
        "changed": sum(result.changed for result in results),
        "unchanged": sum(result.unchanged for result in results),
        "missing": sum(result.missing for result in results),
    }


def describe_alias(asked_for: int, returned: int) -> str:
    """Say in one line that the vendor returned a different group than requested."""
    return _("Asked for group %(asked)s, but the vendor returned group %(returned)s.") % {
        "asked": asked_for,
        "returned": returned,
    }


def describe_clock(ahead: timedelta | None) -> str:
    """Say in one line that this machine's clock is wrong; empty if it is right or unknown."""
    if ahead is None or abs(ahead) <= CLOCK_SKEW:
        return ""
    minutes = round(abs(ahead) / timedelta(minutes=1))
    text = (
        _("The clock of this machine is %s minutes ahead of the vendor's: correct it.")
        if ahead > timedelta()
        else _("The clock of this machine is %s minutes behind the vendor's: correct it.")
    )
    return text % minutes


def describe_failure(group_id: int, error: Exception) -> str:
    """Say in one line why a group could not be fetched. Holds no credential."""
    reason = describe_refusal(error) if isinstance(error, db.Error) else str(error)
    return _("Group %(id)s: %(error)s") % {"id": group_id, "error": reason}


def describe_loss(unstored: int) -> str:
    """Say in one line that answers were lost."""
    return (
        ngettext(
            "%s answer could not be stored: fetch again.",
            "%s answers could not be stored: fetch again.",
            unstored,
        )
        % unstored
    )


def describe_refusal(error: db.Error) -> str:
    """Describe a database error in one line, with the next step if one is known."""
    reason = str(error).partition("\n")[0][:300].rstrip(".")
    text = _("Database error: %s.") % reason
    return f"{text} {_next_step(error)}".rstrip()


def _next_step(error: db.Error) -> str:
    could_be_schema = isinstance(error, db.OperationalError | db.ProgrammingError)
    if could_be_schema and _NOT_MIGRATED.search(str(error)):
        return _("Has “manage.py migrate” been run?")
    could_be_connection = isinstance(error, db.OperationalError | db.InterfaceError)
    if could_be_connection and _NOT_CONNECTED.search(str(error)):
        return _("Check DATABASES, and that the server is running.")
    return ""
