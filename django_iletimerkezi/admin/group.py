"""The mirror's admin pages. Operators browse and fetch groups, but cannot edit them.

Modules for fetching and deleting are imported on use, because Django imports this module at the
start of every manage.py command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.db.models import Sum
from django.http import HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..display import WHOLE_TREE, label
from ..ids import parse_id
from ..models import Group
from ..turkish import SEARCH_KEY_LENGTH
from . import tree
from .changelist import FROM_VAR, MAX_QUERY, SubgroupsChangeList, TreeChangeList, search
from .filters import FetchedFilter, PresenceFilter, SubgroupsFilter, is_allowed
from .html import Table, as_html

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.urls import URLPattern

    from ..models import GroupQuerySet

    ModelAdmin = admin.ModelAdmin[Group]
else:
    ModelAdmin = admin.ModelAdmin

_TEMPLATES = "django_iletimerkezi/admin"


class GroupAdmin(ModelAdmin):
    """Deleting removes groups from the mirror only, until they are fetched again.

    The tree has its own columns and pages, and the search its own fields: ``list_display``,
    ``list_per_page`` and the names in ``search_fields`` of a subclass change nothing.
    """

    list_filter = (PresenceFilter, FetchedFilter, SubgroupsFilter)
    list_per_page = tree.PAGE
    list_max_show_all = WHOLE_TREE
    show_full_result_count = False
    sortable_by = ()
    ordering = tree.ORDER
    search_fields = ("search_key",)
    actions = ("fetch_selected", "fetch_selected_recursively")
    fields = (
        "full_name",
        "id",
        "parent_group",
        "count",
        "total_count",
        "fetched_at",
        "seen_at",
        "missing_since",
    )
    readonly_fields = fields

    change_list_template = f"{_TEMPLATES}/change_list.html"
    change_form_template = f"{_TEMPLATES}/change_form.html"
    object_history_template = f"{_TEMPLATES}/object_history.html"
    delete_confirmation_template = f"{_TEMPLATES}/delete_confirmation.html"
    delete_selected_confirmation_template = f"{_TEMPLATES}/delete_selected_confirmation.html"

    class Media:
        css: ClassVar = {"all": ("django_iletimerkezi/tree.css",)}
        js = ("admin/js/actions.js", "django_iletimerkezi/tree.js")  # In this order.

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return False

    def has_fetch_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        may_fetch = request.user.has_perm("django_iletimerkezi.fetch_group")
        return may_fetch and self.has_view_permission(request, obj)

    # The list

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        fetch_view = wrap(self.fetch_view)
        for alias in connections:
            # With ATOMIC_REQUESTS nothing would be stored until the whole fetch ends.
            transaction.non_atomic_requests(alias)(fetch_view)
        return [
            path("fetch/", fetch_view, name=self._url_name("fetch")),
            path("subgroups/", wrap(self.subgroups_view), name=self._url_name("subgroups")),
            *super().get_urls(),
        ]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TreeChangeList]:
        return SubgroupsChangeList if self._is_at(request, "subgroups") else TreeChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Group], search_term: str
    ) -> tuple[QuerySet[Group], bool]:
        return (search(queryset, search_term) if search_term else queryset), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        filters = (
            item[0] if isinstance(item, list | tuple) else item
            for item in self.get_list_filter(request)
        )
        declared = [item for item in (*filters, self.date_hierarchy) if isinstance(item, str)]
        return is_allowed(lookup, value, self.opts, declared)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if changelist := context.get("cl"):
            context |= self._table_context(request, changelist.nodes, changelist)
            context["fetch_url"] = self._fetch_url(request)
        return response

    def subgroups_view(self, request: HttpRequest) -> HttpResponse:
        """Return only the subgroup rows of some groups."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        self._enter_site(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        try:
            changelist = cast("TreeChangeList", self.get_changelist_instance(request))
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('changelist')}?{ERROR_FLAG}=1")
        context = self._table_context(request, changelist.nodes, changelist)
        return TemplateResponse(request, f"{_TEMPLATES}/subgroups.html", context)

    def _table_context(
        self,
        request: HttpRequest,
        nodes: Sequence[tree.Node | tree.More],
        changelist: TreeChangeList | None = None,
    ) -> dict[str, Any]:
        kept = changelist.kept_query() if changelist else ""
        tree_query = f"?{kept}&{FROM_VAR}=" if kept else f"?{FROM_VAR}="
        back = self.get_preserved_filters(request)
        if len(back) > 3 * MAX_QUERY:  # Escaping triples a query at most.
            back = ""
        table = Table(
            groups_url=self._url("changelist"),
            group_query=f"?{back}" if back else "",
            tree_query=tree_query,
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

    def _enter_site(self, request: HttpRequest) -> None:
        """Let templates of themes find the admin site, as in Django's own views."""
        request.current_app = self.admin_site.name

    def _url(self, page: str, *args: object) -> str:
        name = f"admin:{self._url_name(page)}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _is_at(self, request: HttpRequest, page: str) -> bool:
        match = request.resolver_match
        return match is not None and match.url_name == self._url_name(page)

    def _fetch_url(self, request: HttpRequest, group: Group | None = None) -> str:
        return self._url("fetch") if self.has_fetch_permission(request, group) else ""

    # The page of a group

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Group | None:
        # An empty "_to_field" in the query string would be a field without a name.
        group: Any = super().get_object(request, object_id, from_field or None)
        if group:
            # For the read-only fields, which get no request.
            group.everything = self.get_queryset(request)
            group.ancestors = group.everything.path(group.pk)[:-1]
        return cast("Group | None", group)

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        help_texts = {"total_count": _("Missing groups are not counted.")}
        return super().get_form(*args, **{"help_texts": help_texts, **kwargs})

    @admin.display(description=gettext_lazy("name"))
    def full_name(self, group: Group) -> str:
        return label(group.name, SEARCH_KEY_LENGTH)

    @admin.display(description=gettext_lazy("parent group"))
    def parent_group(self, group: Any) -> str:
        if not group.ancestors:
            return "-"
        parent = group.ancestors[-1]
        return format_html('<a href="{}">{}</a>', self._url("change", parent.pk), parent)

    @admin.display(description=gettext_lazy("contacts, including subgroups"))
    def total_count(self, group: Any) -> int:
        listed = group.everything.subtree(group.pk).listed()
        return int(listed.aggregate(total=Sum("count", default=0))["total"])

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        group = context["original"]
        if group is None:
            return super().render_change_form(request, context, *args, **kwargs)
        groups = cast("GroupQuerySet", self.get_queryset(request))
        children = groups.filter(parent=group).exclude(pk=group.pk).order_by(*tree.ORDER)
        found = tree.nodes(children[: tree.PAGE + 1], groups)
        shown = tree.arrange(
            [*found[: tree.PAGE], *tree.next_level(found[: tree.PAGE], groups, groups)]
        )
        if len(found) > tree.PAGE:
            shown.append(tree.More(group.pk, tree.PAGE))
        context |= self._table_context(request, shown)
        context["path"] = tree.shortened(group.ancestors)
        context["title"] = capfirst(self.opts.verbose_name)
        context["fetch_url"] = self._fetch_url(request, group)
        return super().render_change_form(request, context, *args, **kwargs)

    # Fetching

    def fetch_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_fetch_permission(request):
            raise PermissionDenied
        self._enter_site(request)
        if request.method == "POST" and "action" in request.POST:
            return self._repeat_action(request)
        from .fetch import FetchForm  # noqa: PLC0415 - see the module's docstring

        form = FetchForm(request.POST or None, initial={"group_id": request.GET.get("group_id")})
        if form.is_valid():
            group_id, recursive = form.cleaned_data["group_id"], form.cleaned_data["recursive"]
            mirrored = self.get_queryset(request).filter(pk=group_id).first()
            if not self.has_fetch_permission(request, mirrored):
                raise PermissionDenied
            if fetched := self._fetch(request, [group_id], recursive=recursive):
                # A replica may lag behind, and a subclass may hide the group.
                can_be_seen = self.get_queryset(request).contains(fetched[0])
                page = ("change", fetched[0].pk) if can_be_seen else ("changelist",)
                return HttpResponseRedirect(self._url(*page))
        title = _("Fetch a contact group")
        fieldsets = [(None, {"fields": list(form.fields)})]
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "original": title,  # The last of the breadcrumbs.
            "opts": self.opts,
            "adminform": helpers.AdminForm(form, fieldsets, {}, model_admin=self),  # type: ignore[arg-type]  # any form
            "list_url": self._url("changelist"),
            "errors": form.errors,
            "media": self.media,
            "has_view_permission": True,
        }
        return TemplateResponse(request, f"{_TEMPLATES}/fetch.html", context)

    @admin.action(permissions=["fetch"], description=gettext_lazy("Fetch selected contact groups"))
    def fetch_selected(
        self, request: HttpRequest, queryset: QuerySet[Group]
    ) -> HttpResponse | None:
        return self._fetch_selected(request, queryset, recursive=False)

    @admin.action(
        permissions=["fetch"],
        description=gettext_lazy("Fetch selected groups with everything below"),
    )
    def fetch_selected_recursively(
        self, request: HttpRequest, queryset: QuerySet[Group]
    ) -> HttpResponse | None:
        return self._fetch_selected(request, queryset, recursive=True)

    def _fetch_selected(
        self, request: HttpRequest, queryset: QuerySet[Group], *, recursive: bool
    ) -> HttpResponse | None:
        if not self._is_at(request, "fetch"):
            # Only the fetch view is outside of ATOMIC_REQUESTS. 307 makes the browser repeat the
            # POST there, and _repeat_action calls this method again.
            return HttpResponseRedirect(_with_query(self._url("fetch"), request), status=307)
        ids = list(queryset.values_list("pk", flat=True))
        if recursive:
            ids = tree.uppermost(Group.objects.using(queryset.db), ids)
        if ids:
            self._fetch(request, ids, recursive=recursive)
        else:
            text = _("The selected groups no longer exist. Nothing was fetched.")
            self.message_user(request, text, messages.WARNING)
        return self._redirect_to_list(request)

    def _repeat_action(self, request: HttpRequest) -> HttpResponse:
        """Run an action of the list, with the query string of the list."""
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('changelist')}?{ERROR_FLAG}=1")
        response = self.response_action(request, changelist.get_queryset(request))
        return response or self._redirect_to_list(request)

    def _fetch(self, request: HttpRequest, ids: Collection[int], *, recursive: bool) -> list[Group]:
        from .fetch import fetch_and_report  # noqa: PLC0415 - see the module's docstring

        def log(group: Group, text: str) -> None:
            self.log_change(request, group, text)

        groups = self.get_queryset(request)
        return fetch_and_report(request, ids, groups, recursive=recursive, log=log)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Group], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        selected = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        is_all = request.POST.get("select_across", "0") != "0"
        text = ""
        if (queryset.count() if is_all else len(selected)) > tree.MAX_ROWS:
            text = _("Too many groups are selected: at most %s at a time. Nothing was done.")
            text %= tree.MAX_ROWS
        elif not all(map(parse_id, selected)):
            text = _("The selection contains something other than groups. Nothing was done.")
        if text:
            self.message_user(request, text, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)

    # Deleting

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        _remove(Group.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        _remove(queryset)

    def response_delete(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().response_delete(request, *args, **kwargs)
        if not isinstance(response, HttpResponseRedirect) or not self.has_view_permission(request):
            return response
        # Django sends users who may not change groups to the index instead.
        return self._redirect_to_list(request)

    def _redirect_to_list(self, request: HttpRequest) -> HttpResponse:
        if self._is_at(request, "fetch"):
            return HttpResponseRedirect(_with_query(self._url("changelist"), request))
        kept: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return HttpResponseRedirect(add_preserved_filters(kept, self._url("changelist")))


def _with_query(url: str, request: HttpRequest) -> str:
    return f"{url}?{request.META.get('QUERY_STRING', '')}".removesuffix("?")


def _remove(groups: QuerySet[Group]) -> None:
    from ..mirror.store import remove  # noqa: PLC0415 - see the module's docstring

    remove(groups)
