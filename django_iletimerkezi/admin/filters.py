"""The filters of the list of groups, and which lookups a query string may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import DateTimeField, ForeignKey, IntegerField, Q, QuerySet
from django.db.models.options import Options
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..ids import MAX_ID, parse_number
from ..models import Group

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

_BOUNDED = {
    *("", "exact", "iexact", "in", "isnull", "gt", "gte", "lt", "lte"),
    *("contains", "icontains", "startswith", "istartswith"),
}
"""Lookups that read each row at most once and raise no database error for any value."""


def is_allowed(lookup: str, value: str, options: Options[Any], declared: Iterable[str]) -> bool:
    """May a query string have this lookup?

    Allows lookups that take bounded time, fields that the host ``declared``, and its
    ``limit_choices_to``. Django refuses unknown fields later.
    """
    fields, suffix = _resolve(lookup, options)
    is_own = len(fields) < 2 or fields[1:] == [options.pk]
    if not fields or (is_own and fields[0].concrete and suffix in _BOUNDED):
        return True
    # Some values of these lookups raise a database error.
    is_safe = not lookup.endswith(("__regex", "__iregex", "__range"))
    is_declared = f"{lookup}__".startswith(tuple(f"{name}__" for name in declared))
    limits = (limit() if callable(limit) else limit for limit in options.related_fkey_lookups)
    return (is_safe and is_declared) or any(
        (lookup, value) in url_params_from_lookup_dict(limit).items() for limit in limits
    )


def is_valid(lookup: str, value: str, options: Options[Any]) -> bool:
    """Can the database compare with this value?"""
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
    """Can a time be converted to another time zone?"""
    try:
        moment = DateTimeField().to_python(text)
    except ValidationError:
        return True  # Django refuses the text later.
    return bool(1 < moment.year < 9999)


def _resolve(lookup: str, options: Options[Any] | None) -> tuple[list[Any], str]:
    """Split a lookup into the fields that it names one after the other, and the rest."""
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


class _Filter(admin.SimpleListFilter):
    """A filter whose subclass maps each value to a text and a condition."""

    conditions: Callable[[QuerySet[Group]], dict[str, tuple[_StrPromise, Q]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, _StrPromise]]:
        self._conditions = self.conditions(model_admin.get_queryset(request))
        return [(value, text) for value, (text, _condition) in self._conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> QuerySet[Group]:
        _text, condition = self._conditions.get(self.value() or "", ("", Q()))
        return queryset.filter(condition) if condition else queryset


class PresenceFilter(_Filter):
    title = _("presence")
    parameter_name = "presence"

    def conditions(self, everything: QuerySet[Group]) -> dict[str, tuple[_StrPromise, Q]]:
        is_listed = Q(missing_since=None)
        return {
            "listed": (_("Listed by the vendor"), is_listed),
            "missing": (_("Missing"), ~is_listed),
        }


class FetchedFilter(_Filter):
    title = _("last fetched")
    parameter_name = "fetched"

    def conditions(self, everything: QuerySet[Group]) -> dict[str, tuple[_StrPromise, Q]]:
        never = Q(fetched_at=None)
        return {
            "yes": (_("Fetched"), ~never),
            "never": (_("Never fetched"), never),
            "old": (
                _("More than a day ago"),
                Q(fetched_at__lt=timezone.now() - timedelta(days=1)),
            ),
        }


class SubgroupsFilter(_Filter):
    title = _("subgroups")
    parameter_name = "subgroups"

    def conditions(self, everything: QuerySet[Group]) -> dict[str, tuple[_StrPromise, Q]]:
        parents = everything.exclude(parent=None).order_by().values("parent_id").distinct()
        has_any = Q(pk__in=parents)
        return {
            "yes": (_("With subgroups"), has_any),
            "no": (_("Without subgroups"), ~has_any),
        }
