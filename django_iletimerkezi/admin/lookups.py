"""Decides which lookups and values a query string may use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import DateTimeField, ForeignKey, IntegerField, JSONField
from django.db.models.options import Options

from ..ids import MAX_ID, parse_number

_BOUNDED = {
    *("", "exact", "iexact", "in", "isnull", "gt", "gte", "lt", "lte"),
    *("contains", "icontains", "startswith", "istartswith"),
}
"""Lookups that read each row at most once and never raise a database error."""


def is_allowed(lookup: str, value: str, options: Options[Any], declared: Iterable[str]) -> bool:
    """May a query string use this lookup?

    Allows lookups that take bounded time, lookups of the fields in ``declared``, and the host's
    ``limit_choices_to``. Django rejects unknown fields later.
    """
    fields, suffix = _resolve(lookup, options)
    if fields and isinstance(fields[0], JSONField):
        return False  # SQLite raises an error for some JSON lookups.
    # Stored totals include hidden groups, so a filter on totals could reveal hidden groups.
    is_derived = bool(fields) and fields[0].name in {"total", "unexplored"}
    is_own = not is_derived and (len(fields) < 2 or fields[1:] == [options.pk])
    if not fields or (is_own and fields[0].concrete and suffix in _BOUNDED):
        return True
    # These lookups raise a database error for some values.
    is_safe = not lookup.endswith(("__regex", "__iregex", "__range"))
    is_declared = f"{lookup}__".startswith(tuple(f"{name}__" for name in declared))
    limits = (limit() if callable(limit) else limit for limit in options.related_fkey_lookups)
    return (is_safe and is_declared) or any(
        (lookup, value) in url_params_from_lookup_dict(limit).items() for limit in limits
    )


def is_valid(lookup: str, value: str, options: Options[Any]) -> bool:
    """Can the database compare the field with this value?"""
    if "\0" in value:
        return False
    fields, suffix = _resolve(lookup, options)
    if "year" in suffix:
        return all(1 < (parse_number(part) or 0) < 9999 for part in value.split(","))
    if not fields or suffix == "isnull" or suffix not in _BOUNDED:
        return True
    if isinstance(fields[-1], DateTimeField):
        return all(map(_is_in_calendar, value.split(",")))
    if isinstance(fields[-1], IntegerField | ForeignKey):
        return all(map(_is_number, value.split(",")))
    return True


def _is_number(text: str) -> bool:
    number = parse_number(text.removeprefix("-"))
    return number is not None and number <= MAX_ID


def _is_in_calendar(text: str) -> bool:
    """Can this time be converted to any time zone?"""
    try:
        moment = DateTimeField().to_python(text)
    except ValidationError:
        return True  # Django rejects the text later.
    return bool(1 < moment.year < 9999)


def _resolve(lookup: str, options: Options[Any] | None) -> tuple[list[Any], str]:
    """Split a lookup into its fields and the remaining suffix."""
    fields: list[Any] = []
    names = lookup.split("__")
    while names and options:
        try:
            field: Any = options.pk if names[0] == "pk" else options.get_field(names[0])
        except FieldDoesNotExist:
            break
        fields.append(field)
        options = field.related_model._meta if field.is_relation else None
        del names[0]
    return fields, "__".join(names)
