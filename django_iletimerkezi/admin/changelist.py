"""The list of groups in the admin: as a tree, or flat with paths for what a search has found."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import EmptyResultSet
from django.core.paginator import InvalidPage
from django.db.models import Case, Count, Q, When
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from ..api.parsing import BIGGEST, read_id
from ..models import Group
from ..turkish import search_key
from . import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from ..models import GroupQuerySet

PARENT_VAR = "parent"
START_VAR = "start"
OUR_VARS = (PARENT_VAR, START_VAR)
_MOST_WORDS = 20
MOST_PARENTS = 50
_LONGEST_QUERY = 3000


def search(groups: QuerySet[Group], term: str) -> QuerySet[Group]:
    """Return the groups whose name or id has each word of a term; those of its ids come first."""
    words = _words(term)
    if not words:
        return groups.none()
    for word in words:
        groups = groups.filter(Q(search_key__contains=word) | Q(pk__in=read_ids(word)))
    is_named = Case(When(pk__in=read_ids(term), then=0), default=1)
    return groups.order_by(is_named, *tree.ORDER)


def read_ids(term: str) -> list[int]:
    """Return the words of a search that may be ids."""
    ids = []
    for word in _words(term):
        with suppress(ValueError):
            ids.append(read_id(word))
    return ids


def _words(term: str) -> list[str]:
    return list(dict.fromkeys(search_key(term).split()))[:_MOST_WORDS]


def _can_be_asked(param: object) -> bool:
    """Return whether each database takes this value in a statement."""
    if isinstance(param, str):
        return "\0" not in param
    return not isinstance(param, int) or abs(param) <= BIGGEST


class PresenceFilter(admin.SimpleListFilter):
    title = _("presence")
    parameter_name = "presence"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("listed", _("Listed by the vendor")), ("missing", _("Missing"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> QuerySet[Group]:
        is_missing = {"listed": False, "missing": True}.get(self.value() or "")
        if is_missing is None:
            return queryset
        return queryset.filter(missing_since__isnull=not is_missing)


class FetchedFilter(admin.SimpleListFilter):
    title = _("last fetched")
    parameter_name = "fetched"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [
            ("yes", _("Fetched")),
            ("never", _("Never fetched")),
            ("old", _("More than a day ago")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> QuerySet[Group]:
        match self.value():
            case "yes":
                return queryset.exclude(fetched_at=None)
            case "never":
                return queryset.filter(fetched_at=None)
            case "old":
                return queryset.filter(fetched_at__lt=timezone.now() - timedelta(days=1))
        return queryset


class SubgroupsFilter(admin.SimpleListFilter):
    title = _("subgroups")
    parameter_name = "subgroups"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:
        return [("yes", _("With subgroups")), ("no", _("Without subgroups"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> QuerySet[Group]:
        below = Group.objects.using(queryset.db).exclude(parent=None)
        has_any = Q(pk__in=below.values("parent").distinct())
        match self.value():
            case "yes":
                return queryset.filter(has_any)
            case "no":
                return queryset.filter(~has_any)
        return queryset


class TreeChangeList(ChangeList):
    """``rows`` is what the page shows; ``path`` leads to the group at which the tree starts."""

    queryset: GroupQuerySet
    root_queryset: GroupQuerySet
    path: tuple[tree.Part, ...] = ()
    parent_id: int | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        given = super().get_filters_params(params)
        return {name: value for name, value in given.items() if name not in OUR_VARS}

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Group]:
        groups = super().get_queryset(request, *args, **kwargs)
        if not groups.query.where:
            return groups
        try:
            _sql, params = groups.query.get_compiler(groups.db).as_sql()
        except EmptyResultSet:
            return groups
        except Exception as error:
            # As Django does with what it finds out before the statement is written.
            raise IncorrectLookupParameters(error) from error
        if not all(map(_can_be_asked, params)):
            raise IncorrectLookupParameters
        return groups

    def get_results(self, request: HttpRequest) -> None:
        if len(request.META.get("QUERY_STRING", "")) > _LONGEST_QUERY:
            # Each link of the page has it.
            messages.error(request, _("That is too long to be searched for."))
            raise IncorrectLookupParameters
        if self.query:
            super().get_results(request)
            found = tree.rows(self.result_list)
            tree.add_paths(found, self.root_queryset)
            ids = read_ids(self.query)
            found.sort(key=lambda row: row.group.pk not in ids)
            self.rows: list[tree.Row | tree.More] = list(found)
        else:
            self.show_full_result_count = self.can_show_all = False
            parents = self.read_parents()
            self.parent_id = parents[-1] if parents else None
            self.rows = self._below(request, parents[-1]) if parents else self._top(request)
            self.show_admin_actions = bool(self.rows)
            is_all = not parents and not self.queryset.query.where
            self.full_result_count = self.result_count if is_all else None
        self.result_list = [row.group for row in self.rows if isinstance(row, tree.Row)]
        if self.parent_id:
            # There is no action on all below a group: what would be "all" to it, is in sight.
            self.result_count = self.full_result_count = len(self.result_list)

    @property
    def counted(self) -> TreeChangeList:
        """Return this list with the number of groups that are on all its pages."""
        counted = copy(self)
        if self.parent_id and self.multi_page:
            counted.result_count = self.paginator.count + len(self.path[-1:])
        return counted

    def read_parents(self) -> list[int]:
        """Return the ids in the query string, or refuse it."""
        try:
            return [read_id(text) for text in self.filter_params.get(PARENT_VAR, [])]
        except ValueError:
            raise IncorrectLookupParameters from None

    def kept_query(self) -> str:
        """Return the filters as the beginning of a query string."""
        kept = {
            name: value
            for name, value in self.filter_params.items()
            if name not in {*OUR_VARS, SEARCH_VAR}
        }
        return urlencode(kept, doseq=True)

    def _top(self, request: HttpRequest) -> list[tree.Row | tree.More]:
        roots = tree.roots(self.queryset)
        if self.queryset.query.where:
            self.result_count, at_top = self.queryset.count(), None
        else:
            numbers = self.queryset.aggregate(
                all=Count("pk"), top=Count("pk", filter=Q(parent=None))
            )
            self.result_count, at_top = numbers["all"], numbers["top"]
        is_whole = self.result_count <= tree.WHOLE
        found = self._page(request, roots, tree.WHOLE if is_whole else tree.LEVEL, at_top)
        if is_whole:
            others = self.queryset.exclude(pk__in=[row.group.pk for row in found])
            found += tree.rows(others[: tree.WHOLE], self.queryset)
        else:
            found += tree.next_level(self.queryset, found)
        return tree.arrange(found)

    def _below(self, request: HttpRequest, parent_id: int) -> list[tree.Row | tree.More]:
        self.path = tree.shortened(self.root_queryset.paths([parent_id]).get(parent_id, []))
        top = tree.rows(self.root_queryset.filter(pk=parent_id), self.queryset)
        for row in top:
            row.is_found = not self.queryset.query.where or self.queryset.contains(row.group)
        found = self._page(request, self.queryset.filter(parent=parent_id), tree.LEVEL)
        return tree.arrange(
            [*top, *found, *tree.next_level(self.queryset, found)], paged=[parent_id]
        )

    def _page(
        self, request: HttpRequest, groups: GroupQuerySet, size: int, number: int | None = None
    ) -> list[tree.Row]:
        self.paginator = self.model_admin.get_paginator(request, groups, size)
        if number is not None:
            self.paginator.count = number
        self.multi_page = self.paginator.count > size
        if not self.multi_page:
            return tree.rows(groups[:size], self.queryset)
        try:
            page = self.paginator.page(self.page_num)
        except InvalidPage:
            raise IncorrectLookupParameters from None
        return tree.rows(page.object_list, self.queryset)


class LevelChangeList(TreeChangeList):
    """Only the subgroups of some groups, to be put into a page that is there."""

    def get_results(self, request: HttpRequest) -> None:
        start = request.GET.get(START_VAR, "0")
        if not (start.isascii() and start.isdigit() and len(start) < 10):
            raise IncorrectLookupParameters
        parents = self.read_parents()
        if not 1 <= len(parents) <= MOST_PARENTS:
            raise IncorrectLookupParameters
        self.rows = tree.subgroups(self.queryset, parents, int(start))
