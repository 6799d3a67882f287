"""The mirror, to be looked at, and to be fetched anew. Nothing in it is written by hand."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..api.parsing import read_id
from ..display import visible
from ..mirror import store
from ..models import Group
from . import tree
from .changelist import (
    PARENT_VAR,
    FetchedFilter,
    LevelChangeList,
    PresenceFilter,
    SubgroupsFilter,
    TreeChangeList,
    search,
)
from .fetch import FetchForm, fetch_and_tell
from .html import Table, as_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.urls import URLPattern

    from ..models import GroupQuerySet

    ModelAdmin = admin.ModelAdmin[Group]
else:
    ModelAdmin = admin.ModelAdmin

_MOST_SELECTED = 500
_LONGEST_NAME = 5000
_LONGEST_QUERY = 200
_TEMPLATES = "admin/django_iletimerkezi/group"
_UNSOUND = ("__regex", "__iregex", "__range")
_FETCHING = {"fetch_selected", "fetch_selected_with_everything_below"}


class GroupAdmin(ModelAdmin):
    """Deleting removes from the mirror only, until the next fetch.

    The tree has its own columns, pages and search: ``list_display``, ``list_per_page`` and
    ``search_fields`` of a subclass change nothing.
    """

    list_display = ("name", "id", "count", "fetched_at")
    list_filter = (PresenceFilter, FetchedFilter, SubgroupsFilter)
    list_per_page = tree.LEVEL
    list_max_show_all = tree.WHOLE
    show_full_result_count = False
    sortable_by = ()
    ordering = tree.ORDER
    search_fields = ("search_key",)
    actions = ("fetch_selected", "fetch_selected_with_everything_below")
    fields = (
        "shown_name",
        "id",
        "parent",
        "count",
        "count_with_all_below",
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

    # What people may do.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return False

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        may_fetch = request.user.has_perm("django_iletimerkezi.fetch_group")
        return may_fetch and self.has_view_permission(request)

    # The tree.

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        urls = [
            path("fetch/", wrap(self.fetch_view), name=self._url_name("fetch")),
            path("rows/", wrap(self.rows_view), name=self._url_name("rows")),
            *super().get_urls(),
        ]
        for url in urls:
            if url.name in {self._url_name("fetch"), self._url_name("changelist")}:
                _do_without_transaction(url.callback)
        return urls

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TreeChangeList]:
        match = request.resolver_match
        is_level = match and match.url_name == self._url_name("rows")
        return LevelChangeList if is_level else TreeChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Group], search_term: str
    ) -> tuple[QuerySet[Group], bool]:
        return (search(queryset, search_term) if search_term else queryset), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # What a database makes an error of: an expression that is none, and two ends in one text.
        return not lookup.endswith(_UNSOUND) and super().lookup_allowed(lookup, value, request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if changelist := context.get("cl"):
            context |= self._table(request, changelist.rows, changelist)
            context["fetch_url"] = self._fetch_url(request)
        return response

    def rows_view(self, request: HttpRequest) -> HttpResponse:
        """Answer with the subgroups of the groups ``parent``, as a page that has them alone."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        try:
            changelist = cast("TreeChangeList", self.get_changelist_instance(request))
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('changelist')}?{ERROR_FLAG}=1")
        table = self._table(request, changelist.rows, changelist)
        return TemplateResponse(request, "django_iletimerkezi/rows_page.html", table)

    def _table(
        self,
        request: HttpRequest,
        rows: Sequence[tree.Row | tree.More],
        changelist: TreeChangeList | None = None,
    ) -> dict[str, Any]:
        """Return what the template of a table needs."""
        kept = changelist.kept_query() if changelist else ""
        back = self.get_preserved_filters(request)
        tree_query = f"{_in_bounds(kept)}&{PARENT_VAR}=".removeprefix("&")
        table = Table(
            groups_url=self._url("changelist"),
            group_query=f"?{_in_bounds(back)}".removesuffix("?"),
            tree_query=f"?{tree_query}",
        )
        if changelist:
            table = replace(
                table,
                has_checkboxes=bool(self.get_actions(request)),
                is_flat=bool(changelist.query),
                is_popup=changelist.is_popup,
            )
        return {
            "table": table,
            "rows": rows,
            "rows_html": as_html(rows, table),
            "rows_url": f"{self._url('rows')}?{kept}{'&' if kept else ''}",
            "all_url": f"{self._url('changelist')}?{kept}".removesuffix("?"),
        }

    def _url(self, page: str, *args: object) -> str:
        name = f"admin:{self._url_name(page)}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _fetch_url(self, request: HttpRequest) -> str:
        return self._url("fetch") if self.has_fetch_permission(request) else ""

    # A group.

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Group | None:
        group: Any = super().get_object(request, *args, **kwargs)
        if group:
            group.all_seen = self.get_queryset(request)
        return cast("Group | None", group)

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        help_texts = {"count_with_all_below": _("Groups that are missing are not counted.")}
        return super().get_form(*args, **{"help_texts": help_texts, **kwargs})

    @admin.display(description=gettext_lazy("name"))
    def shown_name(self, group: Group) -> str:
        return Truncator(visible(group.name)).chars(_LONGEST_NAME)

    @admin.display(description=gettext_lazy("contacts in it and in all below it"))
    def count_with_all_below(self, group: Any) -> int:
        """Count what the vendor lists: a group that is missing has none."""
        return tree.contacts(group.all_seen.subtree(group.pk).listed())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        group = context["original"]
        if group is None:
            return super().render_change_form(request, context, *args, **kwargs)
        groups = cast("GroupQuerySet", self.get_queryset(request))
        children = groups.filter(parent=group).exclude(pk=group.pk).order_by(*tree.ORDER)
        found = tree.rows(children[: tree.LEVEL + 1], groups)
        rows = tree.arrange(found[: tree.LEVEL] + tree.next_level(groups, found[: tree.LEVEL]))
        if len(found) > tree.LEVEL:
            rows.append(tree.More(group.pk, tree.LEVEL))
        context |= self._table(request, rows)
        context["path"] = tree.shortened(groups.paths([group.pk]).get(group.pk, [])[:-1])
        context["fetch_url"] = self._fetch_url(request)
        return super().render_change_form(request, context, *args, **kwargs)

    # Fetching.

    def fetch_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_fetch_permission(request):
            raise PermissionDenied
        is_post = request.method == "POST"
        form = FetchForm(
            request.POST if is_post else None, initial={"group_id": request.GET.get("group_id")}
        )
        if is_post and form.is_valid():
            wanted = form.cleaned_data
            fetched = self._fetch(request, [wanted["group_id"]], recursive=wanted["recursive"])
            if fetched:
                return HttpResponseRedirect(self._url("change", fetched[0].pk))
        title = _("Fetch a contact group")
        fieldsets = [(None, {"fields": list(form.fields)})]
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "original": title,
            "opts": self.opts,
            "adminform": helpers.AdminForm(form, fieldsets, {}),  # type: ignore[arg-type]  # any form
            "errors": form.errors,
            "media": self.media,
            "has_view_permission": True,
        }
        return TemplateResponse(request, "django_iletimerkezi/fetch.html", context)

    @admin.action(permissions=["fetch"], description=gettext_lazy("Fetch selected contact groups"))
    def fetch_selected(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        self._fetch_selected(request, queryset, recursive=False)

    @admin.action(
        permissions=["fetch"],
        description=gettext_lazy("Fetch selected with everything below"),
    )
    def fetch_selected_with_everything_below(
        self, request: HttpRequest, queryset: QuerySet[Group]
    ) -> None:
        self._fetch_selected(request, queryset, recursive=True)

    def _fetch_selected(
        self, request: HttpRequest, queryset: QuerySet[Group], *, recursive: bool
    ) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        if not ids:
            said = _("Nothing that was selected is here any more. Nothing has been done.")
            self.message_user(request, said, messages.WARNING)
            return
        if recursive:
            ids = tree.uppermost(Group.objects.using(queryset.db), ids)
        self._fetch(request, ids, recursive=recursive)

    def _fetch(self, request: HttpRequest, ids: Iterable[int], *, recursive: bool) -> list[Group]:
        def log(group: Group, said: str) -> None:
            self.log_change(request, group, said)

        return fetch_and_tell(request, ids, recursive=recursive, log=log)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Group], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        chosen = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        number = len(chosen)
        if request.POST.get("select_across", "0") != "0":
            number = queryset.count()
        said = ""
        if number > _MOST_SELECTED:
            said = _("Too many are selected: at most %s at a time. Nothing has been done.")
            said %= _MOST_SELECTED
        elif not all(map(_is_id, chosen)):
            said = _("What was selected are not contact groups. Nothing has been done.")
        if said:
            self.message_user(request, said, messages.ERROR)
            return None
        if _FETCHING.intersection(request.POST.getlist("action")):
            return super().response_action(request, queryset, *args, **kwargs)
        with _atomic_as_requests():
            return super().response_action(request, queryset, *args, **kwargs)

    # Deleting.

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        store.remove(Group.objects.filter(pk=obj.pk))

    def response_delete(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().response_delete(request, *args, **kwargs)
        if not isinstance(response, HttpResponseRedirect) or not self.has_view_permission(request):
            return response
        # Django sends who may not change a group to the index.
        kept: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return HttpResponseRedirect(add_preserved_filters(kept, self._url("changelist")))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        store.remove(queryset)


def _do_without_transaction(view: Callable[..., Any]) -> None:
    """Keep a view that fetches out of one long transaction, whatever ATOMIC_REQUESTS says."""
    for alias in connections:
        transaction.non_atomic_requests(alias)(view)


@contextmanager
def _atomic_as_requests() -> Iterator[None]:
    """Do what ATOMIC_REQUESTS asks for within a view that does without."""
    with ExitStack() as stack:
        for alias, settings in connections.settings.items():
            if settings["ATOMIC_REQUESTS"]:
                stack.enter_context(transaction.atomic(alias))
        yield


def _is_id(text: str) -> bool:
    try:
        return read_id(text) > 0
    except ValueError:
        return False


def _in_bounds(query: str) -> str:
    """Return a query string for links that are on every row, or nothing if it is long."""
    return query if len(query) <= _LONGEST_QUERY else ""
