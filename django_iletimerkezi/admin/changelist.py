"""The list of groups in the admin: a tree, or the hits of a search with their paths."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import InvalidPage
from django.db.models import Case, Q, QuerySet, When
from django.http import HttpRequest
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from ..display import WHOLE_TREE
from ..ids import MAX_ID, parse_id, parse_number
from ..models import Group, GroupQuerySet
from ..turkish import search_key
from . import tree
from .filters import is_valid

FROM_VAR = "_from"
START_VAR = "_start"

MAX_QUERY = 600
"""Longest query string: every link on a page repeats it, and nobody types more."""


def search(groups: QuerySet[Group], term: str) -> QuerySet[Group]:
    """Find groups that have each word of a term in their name or id. Id matches come first."""
    words = search_key(term).split()
    if not words or "\0" in term:
        return groups.none()
    ids = []
    for word in words:
        match = Q(search_key__contains=word)
        if group_id := parse_id(word):
            ids.append(group_id)
            match |= Q(pk=group_id)
        groups = groups.filter(match)
    ids_first = [Case(When(pk__in=ids, then=0), default=1)] if ids else []
    return groups.order_by(*ids_first, *tree.ORDER)


class TreeChangeList(ChangeList):
    """``nodes`` is what the page shows, ``path`` leads to the group at which the tree starts."""

    queryset: GroupQuerySet
    root_queryset: GroupQuerySet
    nodes: Sequence[tree.Node | tree.More]
    path: tuple[tree.Part, ...] = ()
    from_id: int | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        given = super().get_filters_params(params)
        kept = {name: texts for name, texts in given.items() if name not in {FROM_VAR, START_VAR}}
        for name, texts in kept.items():
            if not all(is_valid(name, text, self.lookup_opts) for text in texts):
                raise IncorrectLookupParameters
        return kept

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Group]:
        queryset = super().get_queryset(request, exclude_parameters)
        # Only facets exclude parameters. They count what the filters would leave below a group.
        if exclude_parameters is not None and self.from_id:
            queryset = queryset.filter(parent=self.from_id)
        return queryset

    def get_results(self, request: HttpRequest) -> None:
        if len(request.META.get("QUERY_STRING", "")) > MAX_QUERY:
            messages.error(request, _("The search is too long."))
            raise IncorrectLookupParameters
        if self.query:
            self._find(request)
        else:
            self._grow(request)
        self.result_list = [node.group for node in self.nodes if isinstance(node, tree.Node)]

    @property
    def counted(self) -> TreeChangeList:
        """The same list, with the number of groups on all of its pages."""
        counted = copy(self)
        if self.from_id and self.multi_page:
            counted.result_count = self.paginator.count + bool(self.path)
        return counted

    def read_from_ids(self) -> list[int]:
        """Return the ids of the groups at which the tree starts, or refuse the query string."""
        ids = [parse_id(text) for text in self.filter_params.get(FROM_VAR, [])]
        if None in ids:
            raise IncorrectLookupParameters
        return cast("list[int]", ids)

    def kept_query(self) -> str:
        """Return the filters as the start of a query string."""
        ours = {FROM_VAR, START_VAR, SEARCH_VAR}
        kept = {name: value for name, value in self.filter_params.items() if name not in ours}
        return urlencode(kept, doseq=True)

    def _find(self, request: HttpRequest) -> None:
        self.list_per_page = tree.PAGE
        super().get_results(request)
        found = tree.nodes(self.result_list, self.root_queryset)
        tree.add_paths(found, self.root_queryset)
        self.nodes = found

    def _grow(self, request: HttpRequest) -> None:
        self.show_full_result_count = self.can_show_all = False
        from_ids = self.read_from_ids()
        self.from_id = from_ids[-1] if from_ids else None
        self.nodes = self._subtree(request, self.from_id) if self.from_id else self._top(request)
        self.show_admin_actions = bool(self.nodes)

    def _top(self, request: HttpRequest) -> list[tree.Node | tree.More]:
        self.result_count = self.queryset.count()
        self.full_result_count = None if self.queryset.query.where else self.result_count
        if self.result_count <= WHOLE_TREE:
            self.multi_page = False
            return tree.arrange(self._nodes(self.queryset.order_by(*tree.ORDER)))
        found = self._page(request, tree.roots(self.queryset))
        return tree.arrange([*found, *tree.next_level(found, self.root_queryset, self.queryset)])

    def _subtree(self, request: HttpRequest, group_id: int) -> list[tree.Node | tree.More]:
        self.path = tree.shortened(self.root_queryset.path(group_id))
        top = self._nodes(self.root_queryset.filter(pk=group_id))
        for node in top:
            node.is_match = self.queryset.contains(node.group)
        found = self._page(request, self.queryset.filter(parent=group_id).order_by(*tree.ORDER))
        below = tree.next_level(found, self.root_queryset, self.queryset)
        shown = tree.arrange([*top, *found, *below], paged=group_id)
        # "Select all" is not offered here: everything selectable is on the page.
        self.result_count = sum(isinstance(node, tree.Node) for node in shown)
        self.full_result_count = self.result_count
        return shown

    def _page(self, request: HttpRequest, groups: GroupQuerySet) -> list[tree.Node]:
        self.paginator = self.model_admin.get_paginator(request, groups, tree.PAGE)
        self.multi_page = self.paginator.count > tree.PAGE
        try:
            page = self.paginator.page(self.page_num if self.multi_page else 1)
        except InvalidPage:
            raise IncorrectLookupParameters from None
        return self._nodes(page.object_list)

    def _nodes(self, groups: GroupQuerySet) -> list[tree.Node]:
        return tree.nodes(groups, self.root_queryset, self.queryset)


class SubgroupsChangeList(TreeChangeList):
    """The subgroups of some groups, for tree.js to insert."""

    def get_results(self, request: HttpRequest) -> None:
        start = parse_number(request.GET.get(START_VAR, "0"))
        from_ids = self.read_from_ids()
        if start is None or start + tree.PAGE >= MAX_ID or not 1 <= len(from_ids) <= tree.PAGE:
            raise IncorrectLookupParameters
        if len(self.kept_query()) > MAX_QUERY:
            raise IncorrectLookupParameters
        self.nodes = tree.subgroups(from_ids, start, self.root_queryset, self.queryset)
