"""The filters of the lists of groups and of fetches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..models import Fetch, Group
from .access import visible_changes

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


class _Filter(admin.SimpleListFilter):
    """Base class of most filters. A subclass maps each value to a label and a condition."""

    conditions: Callable[[QuerySet[Any]], dict[str, tuple[_StrPromise, Q]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, _StrPromise]]:
        self._conditions = self.conditions(model_admin.get_queryset(request))
        return [(value, text) for value, (text, _condition) in self._conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
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
        return {
            "yes": (_("Fetched"), ~Q(fetched_at=None)),
            "never": (_("Never fetched"), Q(listed_at=None, missing_since=None)),
            "old": (_("More than a day ago"), Q(fetched_at__lt=timezone.now() - timedelta(days=1))),
        }


class SubgroupsFilter(_Filter):
    title = _("subgroups")
    parameter_name = "subgroups"

    def conditions(self, everything: QuerySet[Group]) -> dict[str, tuple[_StrPromise, Q]]:
        # Use EXISTS instead of IN. If the parent ids do not fit into ``work_mem``, PostgreSQL
        # evaluates IN by comparing each row with each parent.
        has_any = Q(Exists(everything.order_by().filter(parent=OuterRef("pk"))))
        return {
            "yes": (_("With subgroups"), has_any),
            "no": (_("Without subgroups"), ~has_any),
        }


class ChangedFilter(admin.SimpleListFilter):
    """Finds recently changed groups. Offered only to users who may view fetches."""

    title = _("changes")
    parameter_name = "changed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, _StrPromise]]:
        self._changes = visible_changes(request, model_admin.admin_site)
        if self._changes is None:
            return []
        return [("day", _("Changed in the last day")), ("week", _("Changed in the last week"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> QuerySet[Group]:
        days = {"day": 1, "week": 7}.get(self.value() or "")
        if not days or self._changes is None:
            return queryset
        recent = self._changes.since(timezone.now() - timedelta(days=days))
        return queryset.filter(pk__in=recent.values("group_id"))


class StateFilter(_Filter):
    title = _("state")
    parameter_name = "state"

    def conditions(self, everything: QuerySet[Fetch]) -> dict[str, tuple[_StrPromise, Q]]:
        interrupted = Q(pk__in=Fetch.objects.interrupted().values("pk"))
        states: dict[str, tuple[Any, Q]] = {
            value: (text, Q(state=value)) for value, text in Fetch.State.choices
        }
        text, is_running = states[Fetch.State.RUNNING]
        states[Fetch.State.RUNNING] = (text, is_running & ~interrupted)
        return states | {"interrupted": (_("interrupted"), interrupted)}
