"""What came of a fetch in words, for commands and pages, in the language that is active."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.db import Error, InterfaceError, OperationalError, ProgrammingError
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .services import FetchResult

_LONGEST_REFUSAL = 300

# What the databases say, in this order: SQLite, PostgreSQL, MariaDB. None has an exception for it.
_NOT_MIGRATED = re.compile(
    r"no such table|no such column|has no column"
    r"|(?:relation|column) .*does not exist"
    r"|doesn't exist|Unknown column"
)
# The numbers are those of the client of MariaDB; PostgreSQL's all speak of a connection.
_NOT_CONNECTED = re.compile(
    r"unable to open database"
    r"|connect"
    r"|^\((?:0|20\d\d), |Access denied|Unknown database",
    re.IGNORECASE,
)


def describe_counts(what: str, results: Sequence[FetchResult]) -> str:
    """Return one line on what was done to how many groups, by all fetches together."""
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


def describe_other(asked_for: int, answered: int) -> str:
    """Return one line on an answer about another group than the one that was asked for."""
    said = _("Asked for group %(asked)s, the vendor answered about group %(answered)s.")
    return said % {"asked": asked_for, "answered": answered}


def describe_failure(group_id: int, error: Exception) -> str:
    """Return one line on why a group could not be fetched, by the vendor or by the database.

    It is in the language that is active, and holds no credential.
    """
    reason = describe_refusal(error) if isinstance(error, Error) else str(error)
    return _("Group %(id)s: %(error)s") % {"id": group_id, "error": reason}


def describe_refusal(error: Error) -> str:
    """Return one line on why the database did not do as it was told."""
    said = str(error).partition("\n")[0][:_LONGEST_REFUSAL]
    refusal = _("The database refused (%s).") % said
    return f"{refusal} {_hint(error)}".rstrip()


def _hint(error: Error) -> str:
    """Return what to look at after a refusal; empty where nothing is known to help."""
    if isinstance(error, OperationalError | ProgrammingError) and _NOT_MIGRATED.search(str(error)):
        return _("Has “manage.py migrate” been run?")
    if isinstance(error, OperationalError | InterfaceError) and _NOT_CONNECTED.search(str(error)):
        return _("Check DATABASES, and that the server runs.")
    return ""
