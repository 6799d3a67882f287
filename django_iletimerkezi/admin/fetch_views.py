"""The pages and actions that fetch groups, or queue fetches if there is a task queue.

Imports ``fetch_runs`` only when needed, because Django imports this module at the start of every
manage.py command.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..engine import find_engine
from ..ids import parse_id
from ..models import Fetch, Group
from . import tree
from .access import find_fetch_admin
from .fetch_forms import IN_BACKGROUND, FetchForm, PhoneBookForm
from .pages import TEMPLATES, ReadOnlyAdmin, outside_transactions, page_url

if TYPE_CHECKING:
    from .fetch_runs import Run


class FetchingAdmin(ReadOnlyAdmin):
    """Base class of ``GroupAdmin``. Lets users fetch groups with a form and with actions."""

    def has_fetch_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        may_fetch = request.user.has_perm("django_iletimerkezi.fetch_group")
        return may_fetch and self.has_view_permission(request, obj)

    def get_urls(self) -> list[URLPattern]:
        fetch_view = outside_transactions(self.admin_site.admin_view(self.fetch_view))
        return [path("fetch/", fetch_view, name=self._url_name("fetch")), *super().get_urls()]

    # The form

    def fetch_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_fetch_permission(request):
            raise PermissionDenied
        self._enter_site(request)
        if request.method == "POST" and "action" in request.POST:
            return self._repeat_action(request)
        if "phone_book" in request.GET or "phone_book" in request.POST:
            return self._phone_book_view(request)
        form = FetchForm(request.POST or None, initial={"group_id": request.GET.get("group_id")})
        if form.is_valid():
            group_id, recursive = form.cleaned_data["group_id"], form.cleaned_data["recursive"]
            mirrored = self.get_queryset(request).filter(pk=group_id).first()
            if not self.has_fetch_permission(request, mirrored):
                raise PermissionDenied
            run = self.fetch(request, [group_id], recursive=recursive)
            if run.unfinished:
                return HttpResponseRedirect(self._url_after(request, run.unfinished))
            if run.groups:
                # Open the list if a subclass hides the group, or if a replica lacks the new group.
                is_hidden = run.groups[0]._state.adding
                page = ("changelist",) if is_hidden else ("change", run.groups[0].pk)
                return HttpResponseRedirect(self._url(*page))
        if has_engine():
            form.fields["recursive"].help_text = IN_BACKGROUND
        return self._fetch_page(request, _("Fetch a contact group"), form)

    def _phone_book_view(self, request: HttpRequest) -> HttpResponse:
        form = PhoneBookForm(request.POST or None)
        if form.is_valid():
            run = self.fetch(request, [None])
            return HttpResponseRedirect(self._url_after(request, run.unfinished))
        if has_engine():
            form.fields["phone_book"].help_text = IN_BACKGROUND
        return self._fetch_page(request, _("Fetch the whole phone book"), form)

    def _fetch_page(self, request: HttpRequest, title: str, form: forms.Form) -> HttpResponse:
        fieldsets = [(None, {"fields": list(form.fields)})]
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "original": title,  # Shown as the last breadcrumb.
            "opts": self.opts,
            "adminform": helpers.AdminForm(form, fieldsets, {}, model_admin=self),  # type: ignore[arg-type]  # any form
            "list_url": self._url("changelist"),
            "errors": form.errors,
            "media": self.media,
            "has_view_permission": True,
        }
        return TemplateResponse(request, f"{TEMPLATES}/fetch_form.html", context)

    def fetch(
        self, request: HttpRequest, ids: Sequence[int | None], *, recursive: bool = False
    ) -> Run:
        """Fetch or queue groups, or the phone book if ``ids`` is ``[None]``, and add messages."""
        from .fetch_runs import fetch_or_queue  # noqa: PLC0415 - see the module's docstring

        return fetch_or_queue(self, request, ids, recursive=recursive)

    def _url_after(self, request: HttpRequest, fetches: Sequence[Fetch]) -> str:
        """Return the URL of the group list, or of a single fetch that the user may view."""
        url = self.record_url(request, fetches) if len(fetches) == 1 else ""
        return url or self._url("changelist")

    def record_url(self, request: HttpRequest, fetches: Sequence[Fetch | None]) -> str:
        """Return the URL of a single fetch, or of the fetch list from the first to the last fetch.

        Empty if no fetch was recorded, or if the user may not view fetches.
        """
        recorded = [fetch.pk for fetch in fetches if fetch and fetch.pk]
        fetch_admin = find_fetch_admin(request, self.admin_site)
        if not recorded or not fetch_admin:
            return ""
        if len(recorded) == 1:
            return page_url(fetch_admin, "change", recorded[0])
        query: dict[str, str | int] = {
            "id__gte": min(recorded),
            "id__lte": max(recorded),
            "started_by": request.user.get_username(),
        }
        return f"{page_url(fetch_admin, 'changelist')}?{urlencode(query)}"

    # The actions

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
            # Redirect to the fetch view, because only this view is exempt from ATOMIC_REQUESTS.
            # After a 307 the browser repeats the POST, and _repeat_action calls this method again.
            return HttpResponseRedirect(self._url_with_query(request, "fetch"), status=307)
        ids = list(queryset.values_list("pk", flat=True))
        if recursive:
            ids = tree.uppermost(Group.objects.using(queryset.db), ids)
        if ids:
            unfinished = self.fetch(request, ids, recursive=recursive).unfinished
            if len(ids) == len(unfinished) == 1 and (url := self.record_url(request, unfinished)):
                return HttpResponseRedirect(url)
        else:
            text = _("The selected groups no longer exist. Nothing was fetched.")
            self.message_user(request, text, messages.WARNING)
        return self._redirect_to_list(request)

    def _repeat_action(self, request: HttpRequest) -> HttpResponse:
        """Run a list action in the fetch view. The URL contains the query string of the list."""
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('changelist')}?{ERROR_FLAG}=1")
        response = self.response_action(request, changelist.get_queryset(request))
        return response or self._redirect_to_list(request)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Group], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        if self._selects_too_many(request, queryset):
            text = _("Too many groups are selected: select at most %s at a time. Nothing was done.")
            text %= tree.MAX_ROWS
        elif not all(map(parse_id, request.POST.getlist(helpers.ACTION_CHECKBOX_NAME))):
            text = _("The selection contains an invalid group id. Nothing was done.")
        else:
            return super().response_action(request, queryset, *args, **kwargs)
        self.message_user(request, text, messages.ERROR)
        return None

    # URLs

    def _redirect_to_list(self, request: HttpRequest) -> HttpResponse:
        if self._is_at(request, "fetch"):
            return HttpResponseRedirect(self._url_with_query(request, "changelist"))
        return super()._redirect_to_list(request)

    def _fetch_url(self, request: HttpRequest, group: Group | None = None) -> str:
        return self._url("fetch") if self.has_fetch_permission(request, group) else ""


def has_engine() -> bool:
    """Is a task queue set up? Returns False for invalid settings, which the next fetch reports."""
    with suppress(ImproperlyConfigured):
        return find_engine() is not None
    return False
