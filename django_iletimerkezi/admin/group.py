"""The admin pages of the mirror. Users can browse, fetch and delete groups, but not edit them.

Imports the CSV export, ``changes`` and ``mirror.store`` only when needed, because Django imports
this module at the start of every manage.py command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Max, QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..display import WHOLE_TREE, label
from ..finding import ORDER, path_texts, read_paths, search
from ..models import Fetch, Group, GroupQuerySet
from ..turkish import SEARCH_KEY_LENGTH
from . import tree
from .access import find_fetch_admin, is_filtered, plain, visible_changes
from .changelist import (
    FROM_VAR,
    MAX_QUERY,
    ExportChangeList,
    SubgroupsChangeList,
    Summary,
    TreeChangeList,
)
from .columns import Columns
from .fetch_views import FetchingAdmin
from .filters import ChangedFilter, FetchedFilter, PresenceFilter, SubgroupsFilter
from .html import Table, ago, as_html, describe_total, format_number
from .pages import TEMPLATES, Options, page_url, wrap


class Choice(NamedTuple):
    """A group that ``autocomplete_fields`` offers."""

    id: int
    path: str

    def __str__(self) -> str:
        return self.path


class PathPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Pages of groups, shown as paths. ``everything`` contains the groups that the user may see."""

    everything: GroupQuerySet

    def page(self, number: int | str) -> Page[Any]:
        page = super().page(number)
        paths = path_texts([group.pk for group in page.object_list], self.everything)
        page.object_list = [Choice(pk, path) for pk, path in paths.items()]
        return page


class GroupAdmin(FetchingAdmin):
    """Lets users browse, fetch and delete groups. A deletion affects only the mirror.

    A subclass adds columns to the tree with ``list_display``. ``list_per_page`` and the names in
    ``search_fields`` have no effect, because the page size of the tree and the fields of the search
    are fixed.
    """

    list_display: Options = ()
    list_filter: ClassVar[Options] = (
        PresenceFilter,
        FetchedFilter,
        ChangedFilter,
        SubgroupsFilter,
    )
    list_max_show_all = WHOLE_TREE
    show_full_result_count = False
    sortable_by = ()
    ordering = ORDER
    search_fields = ("search_key",)
    search_help_text = gettext_lazy(
        "Name or id. The search ignores case and accents: s also finds ş."
    )
    actions: Options = ("fetch_selected", "fetch_selected_recursively")
    fields: ClassVar[Options] = (
        "full_name",
        "id",
        "parent_group",
        "own_count",
        "total_count",
        "fetched_at",
        "seen_at",
        "missing_since",
    )
    readonly_fields: ClassVar[Options] = fields

    object_history_template = f"{TEMPLATES}/object_history.html"
    delete_confirmation_template = f"{TEMPLATES}/delete_confirmation.html"
    delete_selected_confirmation_template = f"{TEMPLATES}/delete_selected_confirmation.html"

    # The list

    def get_urls(self) -> list[URLPattern]:
        admin_view = self.admin_site.admin_view
        return [
            # Do not use "export", because django-import-export has a page with this name.
            path("csv/", admin_view(self.csv_view), name=self._url_name("csv")),
            path("subgroups/", admin_view(self.subgroups_view), name=self._url_name("subgroups")),
            *super().get_urls(),
        ]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TreeChangeList]:
        if self._is_at(request, "csv"):
            return ExportChangeList
        return SubgroupsChangeList if self._is_at(request, "subgroups") else TreeChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Group], search_term: str
    ) -> tuple[QuerySet[Group], bool]:
        return (search(queryset, search_term) if search_term else queryset), False

    def get_paginator(
        self, request: HttpRequest, queryset: QuerySet[Group], *args: Any, **kwargs: Any
    ) -> Paginator[Group]:
        """Show paths in the ``autocomplete_fields`` of other admins."""
        match = request.resolver_match
        if match is None or match.url_name != "autocomplete":
            return super().get_paginator(request, queryset, *args, **kwargs)
        paginator = PathPaginator(queryset, *args, **kwargs)
        paginator.everything = cast("GroupQuerySet", self.get_queryset(request))
        return paginator

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if changelist := context.get("cl"):
            table_context = self._table_context(request, changelist.nodes, changelist)
            changelist.table_context = table_context
            context |= table_context
            context["group_opts"] = Group._meta  # Lets proxy models use our template.
            context["fetch_url"] = self._fetch_url(request)
            if not changelist.is_popup:
                context |= self._running_context(request)
            context["csv_url"] = self._url_with_query(request, "csv")
            if changelist.summary:
                context["summary"] = self._summary(request, changelist.summary)
            wrap(response, "change_list.html")
        return response

    def subgroups_view(self, request: HttpRequest) -> HttpResponse:
        """Return only the table rows with the subgroups of the requested groups."""
        changelist = self._read_list(request)
        if isinstance(changelist, HttpResponse):
            return changelist
        context = self._table_context(request, changelist.nodes, changelist)
        return TemplateResponse(request, f"{TEMPLATES}/subgroups.html", context)

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """Export the groups of the list, or a group and everything below it, as CSV."""
        changelist = self._read_list(request)
        if isinstance(changelist, HttpResponse):
            return changelist
        from ..export import csv_lines  # noqa: PLC0415 - see the module's docstring

        rows = tree.with_paths(changelist.queryset, changelist.root_queryset)
        return StreamingHttpResponse(
            csv_lines(rows, has_totals=not is_filtered(changelist.root_queryset)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="contact-groups.csv"'},
        )

    def _read_list(self, request: HttpRequest) -> TreeChangeList | HttpResponse:
        """Return the requested list, or an error response if the request is invalid."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        self._enter_site(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        try:
            return cast("TreeChangeList", self.get_changelist_instance(request))
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('changelist')}?{ERROR_FLAG}=1")

    def _running_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return the context of the newest active fetch, if the user may view or start fetches."""
        fetch_admin = find_fetch_admin(request, self.admin_site)
        if not fetch_admin and not self.has_fetch_permission(request):
            return {}
        fetches = fetch_admin.get_queryset(request) if fetch_admin else Fetch.objects.all()
        is_alive = {"finished_at": None, "alive_at__gte": Fetch.silence_cutoff()}
        running = fetches.filter(parent=None, **is_alive).order_by("-pk").first()
        url = page_url(fetch_admin, "change", running.pk) if running and fetch_admin else ""
        return {"running": running, "running_url": url}

    def _summary(self, request: HttpRequest, summary: Summary) -> Iterator[tuple[str, str]]:
        """Yield each text above the list with the query string of its filter, or with ``""``."""
        filters = self.get_list_filter(request)
        number = summary.groups
        yield ngettext("%s group", "%s groups", number) % format_number(number), ""
        text = ngettext("%s contact", "%s contacts", summary.contacts)
        if summary.unexplored:
            text = ngettext("at least %s contact", "at least %s contacts", summary.contacts)
        yield text % format_number(summary.contacts), ""
        missing = _("%s missing") % format_number(summary.missing)
        yield missing, "?presence=missing" if PresenceFilter in filters else ""
        unexplored = _("%s never fetched") % format_number(summary.unexplored)
        yield unexplored, "?fetched=never" if FetchedFilter in filters else ""
        if summary.oldest:
            query = {"missing_since__isnull": "1", "seen_at__lte": summary.oldest.isoformat()}
            yield _("oldest data: %s") % ago(summary.oldest), f"?{urlencode(query)}"

    def _table_context(
        self,
        request: HttpRequest,
        nodes: Sequence[tree.Node | tree.More],
        changelist: TreeChangeList | None = None,
        largest: int = 0,
    ) -> dict[str, Any]:
        from .changes import recent_marks  # noqa: PLC0415 - see the module's docstring

        kept = changelist.kept_query() if changelist else ""
        tree_query = f"?{kept}&{FROM_VAR}=" if kept else f"?{FROM_VAR}="
        back = self.get_preserved_filters(request)
        groups = self.get_queryset(request)
        shown = [node.group for node in nodes if isinstance(node, tree.Node)]
        table = Table(
            groups_url=self._url("changelist"),
            # The list rejects longer queries. Escaping at most triples the length of a query.
            group_query=f"?{back}" if 0 < len(back) <= 3 * MAX_QUERY else "",
            tree_query=tree_query,
            columns=Columns(self, self.get_list_display(request)),
            has_totals=not is_filtered(groups),
            largest=largest,
            marks=recent_marks(visible_changes(request, self.admin_site), shown, groups.db),
            has_checkboxes=bool(changelist and self.get_actions(request)),
            is_flat=bool(changelist and changelist.query),
            is_popup=bool(changelist and changelist.is_popup),
        )
        return {
            "table": table,
            "nodes": nodes,
            "rows_html": as_html(nodes, table),
            "subgroups_url": f"{self._url('subgroups')}{tree_query}",
            "all_url": f"{self._url('changelist')}?{kept}".removesuffix("?"),
            "page_size": tree.PAGE,
            "max_rows": tree.MAX_ROWS,
        }

    # The page of a group

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Group | None:
        group: Any = super().get_object(request, object_id, from_field)
        if group:
            # Store the data for the read-only fields, whose methods do not receive the request.
            group.everything = self.get_queryset(request)
            group.path = read_paths([group.pk], group.everything).get(group.pk, ())
        return cast("Group | None", group)

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        help_texts = {"total_count": _("Missing groups are not counted.")}
        return super().get_form(*args, **{"help_texts": help_texts, **kwargs})

    @admin.display(description=gettext_lazy("name"))
    def full_name(self, group: Group) -> str:
        return label(group.name, SEARCH_KEY_LENGTH)

    @admin.display(description=gettext_lazy("parent group"))
    def parent_group(self, group: Any) -> str:
        if not group.path:
            return "-"
        parent = group.path[-1].group
        return format_html('<a href="{}">{}</a>', self._url("change", parent.pk), parent)

    @admin.display(description=gettext_lazy("contacts, including subgroups"))
    def total_count(self, group: Any) -> str:
        contacts, unexplored = group.total, group.unexplored
        if is_filtered(group.everything):
            contacts, _groups, unexplored = group.everything.subtree(group.pk).totals()
        return describe_total(contacts, unexplored)

    @admin.display(description=gettext_lazy("number of contacts"))
    def own_count(self, group: Group) -> str:
        return format_number(group.count)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        group = context["original"]
        if group is None:
            return super().render_change_form(request, context, *args, **kwargs)
        groups = cast("GroupQuerySet", self.get_queryset(request))
        if isinstance(related := self.get_list_select_related(request), list | tuple):
            groups = groups.select_related(*related)
        children = groups.filter(parent=group).exclude(pk=group.pk).order_by(*ORDER)
        found = tree.nodes(children[: tree.PAGE + 1], groups)
        page = found[: tree.PAGE]
        shown = tree.arrange([*page, *tree.next_level(page, groups, groups)])
        largest = max((node.group.total for node in page), default=0)
        if len(found) > tree.PAGE:
            shown.append(tree.More(group.pk, tree.PAGE))
            largest = children.aggregate(largest=Max("total"))["largest"]
        context |= self._table_context(request, shown, largest=largest)
        context["csv_url"] = f"{self._url('csv')}?{FROM_VAR}={group.pk}"
        context["path"] = group.path
        context["title"] = capfirst(self.opts.verbose_name)
        context["fetch_url"] = self._fetch_url(request, group)
        context |= self._history_context(request, group)
        response = super().render_change_form(request, context, *args, **kwargs)
        wrap(response, "change_form.html")
        return response

    def _history_context(self, request: HttpRequest, group: Any) -> dict[str, Any]:
        """Return the recorded changes of a group, if the user may view fetches."""
        changes = visible_changes(request, self.admin_site)
        fetch_admin = find_fetch_admin(request, self.admin_site)
        if changes is None or fetch_admin is None:
            return {}
        from .changes import changes_of_group, chart, contacts_over_time, rows  # noqa: PLC0415 - see the module's docstring

        changes = changes.using(group._state.db).filter(group_id=group.pk)
        page, links = changes_of_group(changes, request.GET.get("changes", ""))
        record_url = partial(page_url, fetch_admin, "change")
        points = contacts_over_time(group, changes)
        return {
            "changes": rows(page, plain(group.everything), record_url=record_url),
            "change_links": links,
            "chart": chart(points) if points else None,
        }

    # Deleting

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        _remove(Group.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        _remove(queryset)


def _remove(groups: QuerySet[Group]) -> None:
    from ..mirror.store import remove  # noqa: PLC0415 - see the module's docstring

    remove(groups)
