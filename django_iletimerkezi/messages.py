"""Messages about fetches for the commands and the admin, in the active language."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from django import db
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .display import label, visible
from .ids import parse_id
from .mirror.store import CLOCK_SKEW
from .models import Change, Fetch, Group, GroupQuerySet
from .services import FetchResult, GroupResult, PhoneBookResult, Progress

# Error texts of SQLite, PostgreSQL and MariaDB, in this order. The exception types are too general.
_NOT_MIGRATED = re.compile(
    r"no such table|no such column|has no column"
    r"|(?:relation|column) .*does not exist"
    r"|doesn't exist|Unknown column"
)
# The numbers are error codes of MariaDB's client. PostgreSQL's connection errors contain “connect”.
_NOT_CONNECTED = re.compile(
    r"unable to open database"
    r"|connect"
    r"|^\((?:0|20\d\d), |Access denied|Unknown database",
    re.IGNORECASE,
)

# MariaDB and MySQL use the first message. PostgreSQL uses the second message.
_UNSTORABLE = re.compile(r"Incorrect string value|has no equivalent in encoding")


TABLES = [model._meta.db_table for model in (Group, Fetch, Change)]
"""The tables that store names or messages."""


def describe_results(results: Sequence[FetchResult]) -> str:
    """Summarize the given fetches in one line."""
    return _(
        "%(what)s: %(created)s created, %(changed)s changed, %(unchanged)s unchanged, "
        "%(missing)s missing."
    ) % {
        "what": _describe_target(results),
        "created": sum(result.created for result in results),
        "changed": sum(result.changed for result in results),
        "unchanged": sum(result.unchanged for result in results),
        "missing": sum(result.missing for result in results),
    }


def _describe_target(results: Sequence[FetchResult]) -> str:
    match results:
        case [PhoneBookResult(main_groups=number)]:
            text = ngettext(
                "Fetched the phone book with %s main group",
                "Fetched the phone book with %s main groups",
                number,
            )
            return text % number
        case [GroupResult(group=group)]:
            return _("Fetched “%(group)s” (id %(id)s)") % {"group": group, "id": group.pk}
    return _("Fetched %s contact groups") % len(results)


def describe_fetch(fetch: Fetch) -> str:
    """Name a fetch by its id and its target."""
    return _("Fetch %(id)s (%(what)s)") % {"id": fetch.pk, "what": fetch}


def describe_change(change: Change, groups: Mapping[int, Group]) -> str:
    """Describe a change in one line. ``groups`` is the result of ``mentioned_groups``."""
    kind, before, after = change.get_kind_display(), change.before or "", change.after or ""
    group = f"{groups.get(change.group_id, '')} (id {change.group_id})".lstrip()
    match change.kind:
        case Change.Kind.RENAMED:
            names = " → ".join(distinct_labels(before, after))
            return f"{kind}: {names} (id {change.group_id})"
        case Change.Kind.RECOUNTED:
            return f"{kind}: {group}: {before} → {after}"
        case Change.Kind.MOVED:
            places = (describe_place(parent_id, groups) for parent_id in (before, after))
            return f"{kind}: {group}: {' → '.join(places)}"
        case _:
            return f"{kind}: {group}"


def distinct_labels(before: str, after: str) -> tuple[str, str]:
    """Return short forms of two names, or the full names if their short forms look the same."""
    short = label(before), label(after)
    if short[0] != short[1] or before == after:
        return short
    return f"“{visible(before)}”", f"“{visible(after)}”"


def describe_place(parent_id: str, groups: Mapping[int, Group]) -> str:
    """Return a parent's name, or the id if ``groups`` lacks the parent. No id means “top level”."""
    return str(groups.get(parse_id(parent_id) or 0, parent_id)) if parent_id else _("top level")


def mentioned_groups(changes: Collection[Change], groups: GroupQuerySet) -> dict[int, Group]:
    """Return the changed groups and their old and new parents by id. Skips groups without a row."""
    ids = {change.group_id for change in changes}
    for change in changes:
        if change.kind == Change.Kind.MOVED:
            ids |= {parse_id(text or "") or 0 for text in (change.before, change.after)}
    return groups.only("name").in_bulk(list(ids))


def describe_other_account() -> str:
    """Warn in one line that the key may belong to another account."""
    return _(
        "None of the main groups from the vendor was in the mirror. Do the key and the hash belong "
        "to another account? Mirrored groups that the vendor cannot find are marked as missing."
    )


def describe_recorded_warnings(fetch: Fetch) -> list[str]:
    """Return one line for each warning in the record of a fetch."""
    account = [describe_other_account()] if fetch.maybe_other_account else []
    return [*account, *describe_warnings(fetch.aliases_by_id, fetch.clock_ahead)]


def describe_warnings(aliases: Mapping[int, int], clock_ahead: timedelta | None) -> list[str]:
    """Return one line for each alias, and one line if the clock was wrong."""
    lines = [describe_alias(*ids) for ids in aliases.items()]
    return [*lines, *filter(None, [describe_clock(clock_ahead)])]


def describe_problems(progress: Progress) -> list[str]:
    """Return one line for each failed group, and one line if answers were lost."""
    failures = [describe_failure(pk, error) for pk, error in progress.failures.items()]
    return [*failures, *([describe_loss(progress.unstored)] if progress.unstored else [])]


def describe_alias(asked_for: int, returned: int) -> str:
    """Warn in one line that the vendor returned a different group than requested."""
    return _("Asked for group %(asked)s, but the vendor returned group %(returned)s.") % {
        "asked": asked_for,
        "returned": returned,
    }


def describe_clock(ahead: timedelta | None) -> str:
    """Warn in one line that this machine's clock is wrong. Empty if no error is known."""
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
    """Explain in one line why a group could not be fetched. Never contains a credential."""
    return _("Group %(id)s: %(error)s") % {"id": group_id, "error": describe_error(error)}


def describe_error(error: Exception) -> str:
    """Explain in one line why a fetch failed, with advice if a fix is known.

    Never contains a credential.
    """
    if not isinstance(error, db.Error):
        return str(error)
    reason = str(error).partition("\n")[0][:300].rstrip(".")
    text = _("Database error: %s.") % reason
    return f"{text} {_next_step(error)}".rstrip()


def describe_loss(unstored: int) -> str:
    """Report in one line that answers were lost."""
    text = ngettext(
        "%s answer could not be stored: fetch again.",
        "%s answers could not be stored: fetch again.",
        unstored,
    )
    return text % unstored


def describe_unlogged(group_id: int, error: db.Error) -> str:
    """Report in one line that the admin log has no entry for a fetch."""
    return _("Group %(id)s was fetched, but the admin log entry could not be saved. %(error)s") % {
        "id": group_id,
        "error": describe_error(error),
    }


def _next_step(error: db.Error) -> str:
    could_be_schema = isinstance(error, db.OperationalError | db.ProgrammingError)
    if could_be_schema and _NOT_MIGRATED.search(str(error)):
        return _("Has “manage.py migrate” been run?")
    could_be_connection = isinstance(error, db.OperationalError | db.InterfaceError)
    if could_be_connection and _NOT_CONNECTED.search(str(error)):
        return _("Check DATABASES, and whether the database server is running.")
    if _UNSTORABLE.search(str(error)):
        return advise_charset(db.router.db_for_write(Group))
    return ""


def advise_charset(using: str) -> str:
    """Explain how to give a database a character set that can store every name."""
    if db.connections[using].vendor == "mysql":
        statements = (f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4;" for table in TABLES)
        return _("Run this in the database, then fetch again: %s") % " ".join(statements)
    return _("Move the tables to a database with the encoding UTF8, then fetch again.")
