"""Base classes and functions that all our admin pages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ChangeList
from django.db import connections, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from . import tree
from .lookups import is_allowed, is_valid

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

_View = TypeVar("_View", bound=Callable[..., Any])

Options = list[Any] | tuple[Any, ...]
"""The type of admin options. A subclass may replace an option with a longer list or tuple."""

TEMPLATES = "django_iletimerkezi/admin"


class ReadOnlyAdmin(ModelAdmin):
    """Base class of our admins. Users can browse and delete rows, but not add or edit them."""

    class Media:
        css: ClassVar = {"all": ("django_iletimerkezi/tree.css",)}
        js = ("admin/js/actions.js", "django_iletimerkezi/tree.js")  # tree.js wraps actions.js.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        # Pass None for an empty "_to_field", because Django would look up a field without a name.
        return super().get_object(request, object_id, from_field or None)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        filters = (
            item[0] if isinstance(item, list | tuple) else item
            for item in self.get_list_filter(request)
        )
        declared = [item for item in (*filters, self.date_hierarchy) if isinstance(item, str)]
        return is_allowed(lookup, value, self.opts, declared)

    def _selects_too_many(self, request: HttpRequest, queryset: QuerySet[Any]) -> bool:
        """Are more than ``MAX_ROWS`` rows selected for an action?"""
        selected = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        is_all = request.POST.get("select_across", "0") != "0"
        return (queryset.count() if is_all else len(selected)) > tree.MAX_ROWS

    def response_delete(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().response_delete(request, *args, **kwargs)
        if not isinstance(response, HttpResponseRedirect) or not self.has_view_permission(request):
            return response
        # Django would redirect users without the change permission to the index.
        return self._redirect_to_list(request)

    def _redirect_to_list(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the list, and keep the filters that the user has set."""
        kept: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return HttpResponseRedirect(add_preserved_filters(kept, self._url("changelist")))

    def _url(self, page: str, *args: object) -> str:
        return page_url(self, page, *args)

    def _url_with_query(self, request: HttpRequest, page: str) -> str:
        return f"{self._url(page)}?{request.META.get('QUERY_STRING', '')}".removesuffix("?")

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _is_at(self, request: HttpRequest, page: str) -> bool:
        match = request.resolver_match
        return match is not None and match.url_name == self._url_name(page)

    def _enter_site(self, request: HttpRequest) -> None:
        """Set the current admin site as Django's own views do. Theme templates need this site."""
        request.current_app = self.admin_site.name


class SafeChangeList(ChangeList):
    """A list that rejects a filter whose value the database cannot compare with the field."""

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        given = super().get_filters_params(params)
        for name, texts in given.items():
            if not all(is_valid(name, text, self.lookup_opts) for text in texts):
                raise IncorrectLookupParameters
        return given


def page_url(model_admin: ModelAdmin, page: str, *args: object) -> str:
    """Return the URL of an admin page, for example “changelist”."""
    options = model_admin.opts
    name = f"admin:{options.app_label}_{options.model_name}_{page}"
    return reverse(name, args=args, current_app=model_admin.admin_site.name)


def outside_transactions(view: _View) -> _View:
    """Exempt a view from ATOMIC_REQUESTS.

    Otherwise a fetch in the view would store nothing until the view returns.
    """
    for alias in connections:
        transaction.non_atomic_requests(alias)(view)
    return view


def wrap(response: Any, page: str) -> None:
    """Make our template extend the template that Django, a theme or a mixin has chosen."""
    response.context_data["base_template"] = response.resolve_template(response.template_name)
    response.template_name = f"{TEMPLATES}/{page}"
