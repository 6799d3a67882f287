"""The filters of the list of groups, and which lookups a query string may use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.core.exceptions import FieldDoesNotExist
from django.db.models import ForeignKey, IntegerField, Q, QuerySet
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
    field, suffix = _split(lookup, options)
    if field is None or (field.concrete and suffix in _BOUNDED):
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
    field, suffix = _split(lookup, options)
    is_number = isinstance(field, IntegerField | ForeignKey)
    if not is_number or suffix == "isnull" or suffix not in _BOUNDED:
        return "\0" not in value
    return all(_is_number(part) for part in value.split(","))


def _is_number(text: str) -> bool:
    number = parse_number(text.removeprefix("-"))
    return number is not None and number <= MAX_ID


def _split(lookup: str, options: Options[Any]) -> tuple[Any, str]:
    """Split a lookup into its model field, None if unknown, and the rest."""
    name, _separator, suffix = lookup.partition("__")
    if name == "parent":
        suffix = re.sub(r"^(id|pk)(__|$)", "", suffix)
    try:
        return options.pk if name == "pk" else options.get_field(name), suffix
    except FieldDoesNotExist:
        return None, suffix


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
