"""The group list in the admin, as a tree or as search results with paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from datetime import datetime
from typing import Any, NamedTuple, cast

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.paginator import InvalidPage
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from ..display import WHOLE_TREE
from ..finding import ORDER, Part, read_paths
from ..ids import MAX_ID, parse_id, parse_number
from ..models import Group, GroupQuerySet
from . import tree
from .access import is_filtered
from .pages import SafeChangeList

FROM_VAR = "_from"
START_VAR = "_start"

MAX_QUERY = 600
"""Most characters in a query string. Each link repeats the query, so longer queries bloat pages."""


class Summary(NamedTuple):
    """The totals of all groups. ``oldest`` is the earliest ``seen_at`` of the listed groups."""

    groups: int
    contacts: int
    unexplored: int
    missing: int
    oldest: datetime | None


def summarize(groups: GroupQuerySet, number: int) -> Summary:
    """Summarize all groups. Reads only an index and the top level, unless a host hides groups.

    ``number`` is the number of groups, which the list has already counted.
    """
    if is_filtered(groups):
        contacts, _groups, unexplored = groups.totals()
    else:
        tops = groups.order_by().filter(parent=None)
        sums = tops.aggregate(Sum("total", default=0), Sum("unexplored", default=0))
        contacts, unexplored = int(sums["total__sum"]), int(sums["unexplored__sum"])
    # Compare with a date, because SQLite does not use the index for IS NOT NULL.
    epoch = datetime(1970, 1, 1, tzinfo=timezone.now().tzinfo)
    by_age = groups.listed().order_by("missing_since", "seen_at").values_list("seen_at", flat=True)
    missing = groups.order_by().filter(missing_since__gt=epoch).count()
    return Summary(number, contacts, unexplored, missing, oldest=by_age.first())


class TreeChangeList(SafeChangeList):
    """The group list as a tree, or as search results.

    ``nodes`` are the rows of the page. ``path`` is the path to the group at which the tree starts.
    ``table_context`` is the context of the table template.
    """

    queryset: GroupQuerySet
    root_queryset: GroupQuerySet
    nodes: Sequence[tree.Node | tree.More]
    table_context: dict[str, Any]
    summary: Summary | None = None
    path: tuple[Part, ...] = ()
    from_id: int | None = None

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        given = super().get_filters_params(params)
        return {name: texts for name, texts in given.items() if name not in {FROM_VAR, START_VAR}}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Group]:
        queryset = super().get_queryset(request, exclude_parameters)
        # Django excludes parameters only to count facets. In the tree of a group, facets count the
        # direct subgroups of this group.
        if exclude_parameters is not None and self.from_id:
            queryset = queryset.filter(parent=self.from_id)
        return queryset

    def get_results(self, request: HttpRequest) -> None:
        if len(request.META.get("QUERY_STRING", "")) > MAX_QUERY:
            messages.error(request, _("The search text is too long."))
            raise IncorrectLookupParameters
        if self.query:
            self._find(request)
        else:
            self._grow(request)
        self.result_list = [node.group for node in self.nodes if isinstance(node, tree.Node)]

    @property
    def counted(self) -> TreeChangeList:
        """A copy whose ``result_count`` covers all pages."""
        counted = copy(self)
        if self.from_id and self.multi_page:
            counted.result_count = self.paginator.count + bool(self.path)
        return counted

    @property
    def without_columns(self) -> TreeChangeList:
        """A copy without columns, so that Django and themes do not render their own rows."""
        bare = copy(self)
        bare.list_display = ()
        return bare

    def read_from_ids(self) -> list[int]:
        """Return the ids of the groups at which the tree starts.

        Raises IncorrectLookupParameters if an id is invalid.
        """
        ids = [parse_id(text) for text in self.filter_params.get(FROM_VAR, [])]
        if None in ids:
            raise IncorrectLookupParameters
        return cast("list[int]", ids)

    def kept_query(self) -> str:
        """Return the filters as a query string, without the search and the position in the tree."""
        ours = {FROM_VAR, START_VAR, SEARCH_VAR}
        kept = {name: value for name, value in self.filter_params.items() if name not in ours}
        return urlencode(kept, doseq=True)

    def _find(self, request: HttpRequest) -> None:
        self.list_per_page = tree.PAGE
        super().get_results(request)
        self.nodes = found = tree.nodes(self.result_list, self.root_queryset)
        paths = read_paths([node.group.pk for node in found], self.root_queryset)
        for node in found:
            node.path = paths.get(node.group.pk, ())

    def _grow(self, request: HttpRequest) -> None:
        self.show_full_result_count = self.can_show_all = False
        from_ids = self.read_from_ids()
        self.from_id = from_ids[-1] if from_ids else None
        self.nodes = self._subtree(request, self.from_id) if self.from_id else self._top(request)
        self.show_admin_actions = bool(self.nodes)

    def _top(self, request: HttpRequest) -> list[tree.Node | tree.More]:
        self.result_count = self.queryset.count()
        has_filters = len(self.queryset.query.where) > len(self.root_queryset.query.where)
        self.full_result_count = None if has_filters else self.result_count
        if not has_filters and self.result_count and not self.is_popup:
            self.summary = summarize(self.root_queryset, self.result_count)
        if self.result_count <= WHOLE_TREE:
            self.multi_page = False
            return tree.arrange(self._nodes(self.queryset.order_by(*ORDER)))
        found = self._page(request, tree.roots(self.queryset))
        return tree.arrange([*found, *tree.next_level(found, self.root_queryset, self.queryset)])

    def _subtree(self, request: HttpRequest, group_id: int) -> list[tree.Node | tree.More]:
        paths = read_paths([group_id], self.root_queryset, inclusive=True)
        self.path = paths.get(group_id, ())
        start = self.root_queryset.filter(pk=group_id)
        top = self._nodes(cast("GroupQuerySet", self.apply_select_related(start)))
        for node in top:
            node.is_match = self.queryset.contains(node.group)
        found = self._page(request, self.queryset.filter(parent=group_id).order_by(*ORDER))
        below = tree.next_level(found, self.root_queryset, self.queryset)
        shown = tree.arrange([*top, *found, *below], paged=group_id)
        # Do not offer "select all", because groups outside this tree would be selected too.
        self.result_count = sum(isinstance(node, tree.Node) for node in shown)
        self.full_result_count = self.result_count
        return shown

    def _page(self, request: HttpRequest, groups: GroupQuerySet) -> list[tree.Node]:
        self.paginator = self.model_admin.get_paginator(request, groups, tree.PAGE)
        if self.page_num == 1:
            # Do not count the groups, because counting the top level of a filtered tree is very
            # slow. In most trees, the top level fits on one page.
            found = list(groups[: tree.PAGE + 1])
            self.multi_page = len(found) > tree.PAGE
            return self._nodes(found[: tree.PAGE])
        self.multi_page = self.paginator.count > tree.PAGE
        try:
            page = self.paginator.page(self.page_num if self.multi_page else 1)
        except InvalidPage:
            raise IncorrectLookupParameters from None
        return self._nodes(page.object_list)

    def _nodes(self, groups: Iterable[Group]) -> list[tree.Node]:
        return tree.nodes(groups, self.root_queryset, self.queryset)


class ExportChangeList(TreeChangeList):
    """The filtered groups for the CSV export. ``_from`` limits the file to one subtree."""

    def get_results(self, request: HttpRequest) -> None:
        self.result_list = self.nodes = []
        from_ids = self.read_from_ids()
        if len(from_ids) > 1:
            raise IncorrectLookupParameters
        for group_id in from_ids:
            below = self.root_queryset.subtree(group_id).order_by().values("pk")
            self.queryset = self.queryset.filter(pk__in=below)


class SubgroupsChangeList(TreeChangeList):
    """The subgroups of the requested groups. tree.js inserts these subgroups into the page."""

    def get_results(self, request: HttpRequest) -> None:
        start = parse_number(request.GET.get(START_VAR, "0"))
        from_ids = self.read_from_ids()
        if start is None or start + tree.PAGE >= MAX_ID or not 1 <= len(from_ids) <= tree.PAGE:
            raise IncorrectLookupParameters
        if len(self.kept_query()) > MAX_QUERY:
            raise IncorrectLookupParameters
        self.nodes = tree.subgroups(from_ids, start, self.root_queryset, self.queryset)
