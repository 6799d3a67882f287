"""The admin pages of recorded fetches. Users can browse and delete fetches, but not edit them.

Imports ``changes``, ``fetch_runs``, ``messages`` and the mirror only when needed, because Django
imports this module at the start of every manage.py command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import Q, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from ..display import visible
from ..models import Change, Fetch, Group, GroupQuerySet
from . import tree
from .access import find_admin, of_visible_groups, visible_groups
from .fetch_views import FetchingAdmin, has_engine
from .filters import StateFilter
from .html import exact, format_number, time_tag
from .pages import (
    TEMPLATES,
    Options,
    ReadOnlyAdmin,
    SafeChangeList,
    outside_transactions,
    page_url,
    wrap,
)
from .progress import continuable, describe_numbers, describe_status, live, noteworthy_parts


class FetchList(SafeChangeList):
    """The list of fetches. Leaves out parts, and shows the name of each fetch's group."""

    # FetchAdmin.get_queryset keeps parts, so that visible_changes includes the changes of parts.
    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Fetch]:
        return super().get_queryset(*args, **kwargs).filter(parent=None)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        groups = visible_groups(request, self.model_admin.admin_site)
        named = _read_names({fetch.group_id for fetch in self.result_list}, groups)
        for fetch in self.result_list:
            fetch.named_groups = named


def _read_names(ids: Set[int | None], groups: GroupQuerySet) -> dict[int, Group]:
    return groups.only("name").in_bulk(list(ids - {None}))


class FetchAdmin(ReadOnlyAdmin):
    """Lets users browse, continue, cancel and delete fetches, and fetch the failed groups again.

    ``what`` reads ``named_groups``, which ``FetchList``, ``get_object`` and ``_parts`` set on a
    fetch. Only ``get_object`` sets ``group_url``, so ``target`` works only on the page of a fetch.
    ``get_object`` also sets ``is_on_page``, so that ``_element`` marks the texts that fetch.js
    replaces.
    """

    list_display: Options = ("what", "badge", "who", "started", "duration", "counts")
    list_filter: ClassVar[Options] = (StateFilter, "kind", "source")
    ordering = ("-pk",)
    show_full_result_count = False
    fields: ClassVar[Options] = (
        "target",
        "badge",
        "who",
        "levels",
        "requested_at",
        "start",
        "last_stored",
        "finished_at",
        "duration",
        "progress",
        "counts",
        "error",
        "warnings",
    )
    readonly_fields: ClassVar[Options] = fields

    class Media:
        js = ("django_iletimerkezi/fetch.js",)

    # Permissions

    def has_delete_permission(self, request: HttpRequest, obj: Fetch | None = None) -> bool:
        may_delete = super().has_delete_permission(request, obj)
        is_deletable = obj is None or (obj.is_finished and not obj.parent_id)
        return may_delete and is_deletable

    # The list

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if has_engine() and self.has_view_permission(request):
            from .fetch_runs import queue_interrupted  # noqa: PLC0415 - see the module's docstring

            queue_interrupted()
        return super().changelist_view(request, *args, **kwargs)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FetchList]:
        return FetchList

    @admin.display(description=gettext_lazy("fetch"))
    def what(self, fetch: Any) -> str:
        group = fetch.named_groups.get(fetch.group_id)
        return f"{group} (id {group.pk})" if group else capfirst(str(fetch))

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def badge(self, fetch: Fetch) -> str:
        state, text = fetch.state, fetch.get_state_display()
        if fetch.is_interrupted:
            state, text = "interrupted", _("interrupted")
        badge = '<span class="iletimerkezi-badge iletimerkezi-{}">{}</span>'
        return _element(fetch, "badge", format_html(badge, state, text))

    @admin.display(description=gettext_lazy("started by"))
    def who(self, fetch: Fetch) -> str:
        source = fetch.get_source_display()
        return f"{visible(fetch.started_by)} ({source})" if fetch.started_by else source

    @admin.display(description=gettext_lazy("started"), ordering="requested_at")
    def started(self, fetch: Fetch) -> SafeString:
        return time_tag(fetch.started_at or fetch.requested_at)

    @admin.display(description=gettext_lazy("duration"))
    def duration(self, fetch: Fetch) -> str:
        text: str = self.get_empty_value_display()
        if fetch.started_at:
            last = fetch.alive_at if fetch.is_interrupted else timezone.now()
            duration = (fetch.finished_at or last or fetch.started_at) - fetch.started_at
            text = _describe_duration(max(duration, timedelta()))  # Machine clocks differ.
        return _element(fetch, "duration", text)

    @admin.display(description=gettext_lazy("changes"))
    def counts(self, fetch: Fetch) -> str:
        parts = [
            (fetch.created, _("%s new")),
            (fetch.changed, _("%s changed")),
            (fetch.missing, _("%s missing")),
            (fetch.failed, _("%s failed")),
        ]
        found = [text % format_number(number) for number, text in parts if number]
        return _element(fetch, "counts", ", ".join(found) or _("none"))

    # The page of a fetch

    def get_urls(self) -> list[URLPattern]:
        views = {
            "progress": require_safe(self.progress_view),
            "retry": require_POST(self.retry_view),
            "continue": require_POST(self.continue_view),
            "cancel": require_POST(self.cancel_view),
        }
        own = [
            path(
                f"<path:object_id>/{page}/",
                outside_transactions(self.admin_site.admin_view(view)),
                name=self._url_name(page),
            )
            for page, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Fetch | None:
        fetch: Any = super().get_object(request, object_id, from_field)
        if fetch:
            groups = visible_groups(request, self.admin_site)
            fetch.named_groups = _read_names({fetch.group_id, *fetch.reasons}, groups)
            fetch.group_url = self._group_url(request)
            fetch.is_on_page = True
        return cast("Fetch | None", fetch)

    def _group_url(self, request: HttpRequest) -> Callable[[int], str]:
        """Return a function from group ids to URLs, or to "" if the user may not view groups."""
        group_admin = find_admin(request, self.admin_site, Group)
        if not group_admin or not group_admin.has_view_permission(request):
            return lambda pk: ""
        return partial(page_url, group_admin, "change")

    @admin.display(description=gettext_lazy("fetch"))
    def target(self, fetch: Any) -> str:
        text = self.what(fetch)
        url = fetch.group_url(fetch.group_id) if fetch.group_id in fetch.named_groups else ""
        return format_html('<a href="{}">{}</a>', url, text) if url else text

    @admin.display(description=gettext_lazy("depth"))
    def levels(self, fetch: Fetch) -> str:
        return _("all levels") if fetch.depth is None else format_number(fetch.depth)

    @admin.display(description=gettext_lazy("groups asked for"))
    def progress(self, fetch: Fetch) -> str:
        numbers = {"asked": format_number(fetch.asked), "known": format_number(fetch.known)}
        return _element(fetch, "progress", _("%(asked)s of %(known)s") % numbers)

    @admin.display(description=gettext_lazy("started"))
    def start(self, fetch: Fetch) -> str:
        return _element(fetch, "start", self._exact(fetch.started_at))

    @admin.display(description=gettext_lazy("last activity"))
    def last_stored(self, fetch: Fetch) -> str:
        return _element(fetch, "last_stored", self._exact(fetch.alive_at))

    @admin.display(description=gettext_lazy("warnings"))
    def warnings(self, fetch: Fetch) -> str:
        from ..messages import describe_recorded_warnings  # noqa: PLC0415 - see the module's docstring

        lines = ((text,) for text in describe_recorded_warnings(fetch))
        text = format_html_join(mark_safe("<br>"), "{}", lines)
        return _element(fetch, "warnings", text or self.get_empty_value_display())

    def _exact(self, moment: datetime | None) -> str:
        return exact(moment) if moment else self.get_empty_value_display()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        from ..mirror.journal import changes_of  # noqa: PLC0415 - see the module's docstring
        from .changes import changes_of_fetch, rows  # noqa: PLC0415 - see the module's docstring

        fetch = context["original"]
        if fetch is None:
            return super().render_change_form(request, context, *args, **kwargs)
        groups = visible_groups(request, self.admin_site)
        changes = of_visible_groups(changes_of(fetch), groups)
        kinds, page, pages = changes_of_fetch(changes, request.GET)
        context |= {
            "title": capfirst(self.opts.verbose_name),
            "failures": list(_failures(fetch)),
            "max_failures": Fetch.MAX_FAILURES,
            "unrecorded": max(fetch.failed - len(fetch.reasons), 0),
            "retry_url": self._url("retry", fetch.pk) if self._fetching_admin(request) else "",
            "progress_url": "" if fetch.is_finished else self._url("progress", fetch.pk),
            "parent_url": self._url("change", fetch.parent_id) if fetch.parent_id else "",
            "live": self._live(request, fetch),
            "kinds": kinds,
            "changes": rows(page, groups, group_url=fetch.group_url),
            "pages": pages,
        }
        response = super().render_change_form(request, context, *args, **kwargs)
        wrap(response, "fetch_change_form.html")
        return response

    # The progress of an unfinished fetch

    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the numbers and elements that fetch.js shows on the page of a fetch."""
        fetch = self._requested(request, object_id)
        return JsonResponse(
            {
                "finished": fetch.is_finished,
                "asked": fetch.asked,
                "known": fetch.known,
                "elements": list(self._live(request, fetch).values()),
            }
        )

    def _live(self, request: HttpRequest, fetch: Any) -> dict[str, str]:
        """Map element names to HTML, for the elements that change while the fetch runs."""
        found: dict[str, str] = {}
        if fetch.kind == Fetch.Kind.PHONE_BOOK:
            found["parts"] = live("parts", self._parts(request, fetch), "div")
        if fetch.is_finished:
            return found
        is_queueing = has_engine()
        status = describe_status(fetch, is_queueing=is_queueing)
        buttons = self._buttons(request, fetch, is_queueing=is_queueing)
        found["status"] = live("status", status, "p")
        found["numbers"] = live("numbers", describe_numbers(fetch), "p")
        found["buttons"] = live("buttons", buttons, "div")
        for name in "badge", "start", "last_stored", "duration", "progress", "counts", "warnings":
            found[name] = getattr(self, name)(fetch)
        return found

    def _parts(self, request: HttpRequest, fetch: Fetch) -> str:
        """Return a table of the first noteworthy parts. Empty without noteworthy parts."""
        found = noteworthy_parts(fetch)
        parts: list[Any] = list(found[: tree.PAGE])
        if not parts:
            return ""
        groups = visible_groups(request, self.admin_site)
        named = _read_names({part.group_id for part in parts}, groups)
        for part in parts:
            part.named_groups = named
        rows = [
            {
                "url": self._url("change", part.pk),
                "what": self.what(part),
                "badge": self.badge(part),
                "progress": self.progress(part),
                "counts": self.counts(part),
            }
            for part in parts
        ]
        left = found.count() - len(parts) if len(parts) == tree.PAGE else 0
        rest = _describe_rest(left) if left > 0 else ""
        context = {"parts": rows, "rest": rest}
        return render_to_string(f"{TEMPLATES}/fetch_parts.html", context)

    def _buttons(self, request: HttpRequest, fetch: Fetch, *, is_queueing: bool) -> str:
        if not self._may_fetch(request, fetch):
            return ""
        is_continuable = continuable(is_queueing=is_queueing).filter(pk=fetch.pk).exists()
        context = {
            "form_id": f"{self.opts.model_name}_form",
            "continue_url": self._url("continue", fetch.pk) if is_continuable else "",
            "cancel_url": self._url("cancel", fetch.pk),
        }
        return render_to_string(f"{TEMPLATES}/fetch_buttons.html", context)

    def continue_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Continue a fetch that no process works on, or queue the fetch again."""
        from .fetch_runs import continue_or_queue  # noqa: PLC0415 - see the module's docstring

        fetch = self._requested(request, object_id, to_fetch=True)
        continue_or_queue(request, fetch)
        return HttpResponseRedirect(self._url("change", fetch.pk))

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        from .fetch_runs import cancel  # noqa: PLC0415 - see the module's docstring

        fetch = self._requested(request, object_id, to_fetch=True)
        cancel(request, fetch)
        return HttpResponseRedirect(self._url("change", fetch.pk))

    def _requested(self, request: HttpRequest, object_id: str, *, to_fetch: bool = False) -> Any:
        """Return the requested fetch. Raises PermissionDenied or Http404."""
        fetch = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, fetch):
            raise PermissionDenied
        if to_fetch and not self._may_fetch(request, fetch):
            raise PermissionDenied
        if not fetch:
            raise Http404
        self._enter_site(request)
        return fetch

    def _may_fetch(self, request: HttpRequest, fetch: Any) -> bool:
        """May the user fetch the group of this fetch?

        Without a group that the user may see, only the general permission to fetch counts.
        """
        group_admin = self._fetching_admin(request)
        group = fetch.named_groups.get(fetch.group_id) if fetch else None
        return group_admin is not None and group_admin.has_fetch_permission(request, group)

    # Fetching the failed groups again

    def _fetching_admin(self, request: HttpRequest) -> FetchingAdmin | None:
        """Return the admin that fetches groups, or None if the user may not fetch."""
        found = find_admin(request, self.admin_site, Group)
        if isinstance(found, FetchingAdmin) and found.has_fetch_permission(request):
            return found
        return None

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Fetch the failed groups again, recursively if the fetch had no depth limit."""
        fetch = self._requested(request, object_id)
        group_admin = self._fetching_admin(request)
        if not group_admin:
            raise PermissionDenied
        ids = [
            pk
            for pk in fetch.reasons
            if group_admin.has_fetch_permission(request, fetch.named_groups.get(pk))
        ]
        if ids:
            run = group_admin.fetch(request, ids, recursive=fetch.depth is None)
            if run.unfinished:
                url = group_admin.record_url(request, run.unfinished)
                return HttpResponseRedirect(url or self._url("changelist"))
        return HttpResponseRedirect(self._url("change", fetch.pk))

    # Deleting

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Fetch], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        if not self._selects_too_many(request, queryset):
            return super().response_action(request, queryset, *args, **kwargs)
        text = _(
            "Too many fetches are selected: select at most %s at a time, or run “manage.py "
            "prune_fetches”. Nothing was done."
        )
        self.message_user(request, text % tree.MAX_ROWS, messages.ERROR)
        return None

    def get_deleted_objects(
        self, objs: QuerySet[Fetch] | Sequence[Fetch], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name the fetches and count their changes. Unfinished fetches cannot be deleted."""
        fetches = list(objs)
        ids = [fetch.pk for fetch in fetches]
        changes = Change.objects.filter(Q(fetch__in=ids) | Q(fetch__parent__in=ids))
        groups = visible_groups(request, self.admin_site)
        counts = {
            str(self.opts.verbose_name_plural): len(fetches),
            str(Change._meta.verbose_name_plural): of_visible_groups(changes, groups).count(),
        }
        unfinished = [fetch for fetch in fetches if not fetch.is_finished]
        others: list[Fetch | None] = [fetch for fetch in fetches if fetch.is_finished]
        allowed = all(self.has_delete_permission(request, fetch) for fetch in others or [None])
        missing = set() if allowed else {str(self.opts.verbose_name)}
        return list(self._lines(fetches)), counts, missing, list(self._lines(unfinished))

    def _lines(self, fetches: Sequence[Fetch]) -> Iterator[str]:
        for fetch in fetches[: tree.PAGE]:
            url = self._url("change", fetch.pk)
            text = f"{capfirst(str(fetch))}, {exact(fetch.requested_at)}"
            yield format_html('<a href="{}">{}</a>, {}', url, text, self.badge(fetch))
        if (left := len(fetches) - tree.PAGE) > 0:
            yield _describe_rest(left)

    def delete_model(self, request: HttpRequest, obj: Fetch) -> None:
        _delete([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Fetch]) -> None:
        _delete(list(queryset.values_list("pk", flat=True)))


def _element(fetch: Any, name: str, content: str) -> str:
    """Return an element whose content fetch.js replaces. In lists, return only the content."""
    return live(name, content) if getattr(fetch, "is_on_page", False) else content


def _describe_rest(number: int) -> str:
    return ngettext("… and %s more.", "… and %s more.", number) % number


def _failures(fetch: Any) -> Iterator[dict[str, Any]]:
    for pk, reason in fetch.reasons.items():
        group = fetch.named_groups.get(pk)
        url = fetch.group_url(pk) if group else ""
        yield {"id": pk, "group": group or "", "url": url, "reason": reason}


def _describe_duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    if seconds < 60:
        text = _("%s s") % number_format(seconds, 1)
        return text.replace(" ", "\xa0")
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _delete(ids: Sequence[int]) -> None:
    from ..mirror.prune import delete  # noqa: PLC0415 - see the module's docstring
    from ..mirror.retry import after_commit  # noqa: PLC0415 - see the module's docstring

    # Django's delete view opens a transaction. Delete after its commit, in small transactions, so
    # that other writers need not wait.
    fetches = Fetch.objects.filter(pk__in=ids)
    after_commit(router.db_for_write(Group), lambda: delete(fetches))
