"""Runs or queues fetches for the admin pages, and adds messages about the outcome."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from django import db
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..background import end_if_old
from ..display import FEW
from ..engine import find_engine
from ..exceptions import FetchPaused, IletimerkeziError
from ..messages import (
    describe_error,
    describe_failure,
    describe_other_account,
    describe_problems,
    describe_results,
    describe_unlogged,
    describe_warnings,
)
from ..models import Fetch, Group
from ..services import (
    FetchResult,
    GroupResult,
    Progress,
    cancel_fetch,
    continue_fetch,
    fetch_each,
    fetch_groups,
    resume_fetches,
    start_fetch,
)
from .progress import continuable

if TYPE_CHECKING:
    from .fetch_views import FetchingAdmin

logger = logging.getLogger("django_iletimerkezi")

REQUEST_SECONDS = 20
"""Seconds until a fetch in a web request pauses. By default, Gunicorn ends a request after 30
seconds, and storing the pending answers takes a few seconds."""


class Run(NamedTuple):
    """The fetched groups, and the fetches that are queued or paused."""

    groups: Sequence[Group] = ()
    unfinished: Sequence[Fetch] = ()


def fetch_or_queue(
    admin: FetchingAdmin, request: HttpRequest, ids: Sequence[int | None], *, recursive: bool
) -> Run:
    """Fetch the given groups, or the phone book if ``ids`` is ``[None]``, and add messages.

    If there is a task queue, queues the fetches instead.
    """
    try:
        engine = find_engine()
    except ImproperlyConfigured as error:
        messages.error(request, str(error))
        return Run()
    if engine:
        return _queue(admin, request, ids, recursive=recursive)
    if None in ids:
        return _fetch_phone_book(admin, request)
    return _fetch_each(admin, request, list(filter(None, ids)), recursive=recursive)


def _queue(
    admin: FetchingAdmin, request: HttpRequest, ids: Sequence[int | None], *, recursive: bool
) -> Run:
    fetches: list[Fetch] = []
    errors: list[str] = []
    rest = deque(ids)
    while rest and not errors:
        try:
            fetch = start_fetch(rest.popleft(), recursive=recursive, **_origin(request))
        except (db.Error, ImproperlyConfigured) as error:
            errors.append(describe_error(error))
        else:
            if fetch.state == Fetch.State.FAILED:
                errors.append(_with_link(fetch.error, admin.record_url(request, [fetch])))
            else:
                fetches.append(fetch)
    if fetches:
        text = ngettext(
            "%s fetch is running in the background.",
            "%s fetches are running in the background.",
            len(fetches),
        )
        messages.success(
            request, _with_link(text % len(fetches), admin.record_url(request, fetches))
        )
    _add_messages(request, messages.ERROR, [*errors, *_describe_rest(rest)])
    return Run(unfinished=fetches)


def continue_or_queue(request: HttpRequest, fetch: Fetch) -> None:
    """Continue a fetch, or queue it again if there is a task queue, and add a message."""
    try:
        engine = find_engine()
        if not continuable(is_queueing=engine is not None).filter(pk=fetch.pk).exists():
            messages.warning(
                request, _("The fetch is finished, or another process is working on it.")
            )
        elif end_if_old(fetch):
            messages.error(request, fetch.error)
        elif engine:
            resume_fetches()
            messages.success(request, _("The fetch was queued again."))
        else:
            continue_fetch(fetch, seconds=REQUEST_SECONDS)
            messages.success(request, _("The fetch is finished."))
    except FetchPaused:
        messages.warning(request, _describe_pause(fetch))
    except (IletimerkeziError, db.Error, ImproperlyConfigured) as error:
        messages.error(request, describe_error(error))


def cancel(request: HttpRequest, fetch: Fetch) -> None:
    """Cancel a fetch, and add a message."""
    try:
        was_unfinished = cancel_fetch(fetch)
    except db.Error as error:
        messages.error(request, describe_error(error))
    else:
        if was_unfinished:
            messages.success(request, _("The fetch was cancelled."))
        else:
            messages.warning(request, _("The fetch had already finished."))


def queue_interrupted() -> None:
    """Queue interrupted fetches again. Errors are only logged, so that the page is still shown."""
    try:
        resume_fetches()
    except (db.Error, ImproperlyConfigured):
        logger.exception("Interrupted fetches could not be queued again.")


def _fetch_phone_book(admin: FetchingAdmin, request: HttpRequest) -> Run:
    latest = deque([Progress()], maxlen=1)
    errors: list[str] = []
    unfinished: list[Fetch] = []
    try:
        result = fetch_groups(report=latest.append, seconds=REQUEST_SECONDS, **_origin(request))
    except FetchPaused as pause:
        unfinished = _add_pause(admin, request, pause)
    except (IletimerkeziError, db.Error, ImproperlyConfigured) as error:
        fetch = getattr(error, "fetch", None) or latest[0].fetch
        errors.append(_with_link(describe_error(error), admin.record_url(request, [fetch])))
    else:
        _add_results(admin, request, [result])
    [progress] = latest
    if progress.maybe_other_account:
        messages.warning(request, describe_other_account())
    _add_messages(request, messages.ERROR, [*errors, *describe_problems(progress)])
    return Run(unfinished=unfinished)


def _fetch_each(
    admin: FetchingAdmin, request: HttpRequest, group_ids: Sequence[int], *, recursive: bool
) -> Run:
    """Fetch groups one by one, and add messages about the outcome.

    If the user may not see a fetched group, the messages and the admin log do not show its name,
    and the returned group has only an id.
    """
    groups = admin.get_queryset(request)
    results: list[GroupResult] = []
    errors: list[str] = []
    unfinished: list[Fetch] = []
    rest = list(group_ids)
    try:
        for fetched in fetch_each(
            group_ids, recursive=recursive, seconds=REQUEST_SECONDS, **_origin(request)
        ):
            rest.remove(fetched.group_id)
            errors += describe_problems(fetched.progress)
            if isinstance(fetched.outcome, GroupResult):
                result = _without_hidden_name(fetched.outcome, groups)
                results.append(result)
                try:
                    admin.log_change(request, result.group, describe_results([result]))
                except db.Error as error:
                    errors.append(describe_unlogged(fetched.group_id, error))
            elif isinstance(fetched.outcome, FetchPaused):
                unfinished = _add_pause(admin, request, fetched.outcome)
            else:
                failure = describe_failure(fetched.group_id, fetched.outcome)
                url = admin.record_url(request, [fetched.progress.fetch])
                errors.append(_with_link(failure, url))
    except ImproperlyConfigured as error:
        errors.append(str(error))
        rest.clear()
    _add_results(admin, request, results)
    _add_messages(request, messages.ERROR, [*errors, *_describe_rest(rest)])
    return Run([result.group for result in results], unfinished)


def _add_results(
    admin: FetchingAdmin, request: HttpRequest, results: Sequence[FetchResult]
) -> None:
    """Add the warnings of the given fetches, and one message that sums up their results."""
    if not results:
        return
    warnings = dict.fromkeys(
        text for result in results for text in describe_warnings(result.aliases, result.clock_ahead)
    )
    _add_messages(request, messages.WARNING, warnings)
    url = admin.record_url(request, [result.fetch for result in results])
    messages.success(request, _with_link(describe_results(results), url))


def _add_pause(admin: FetchingAdmin, request: HttpRequest, pause: FetchPaused) -> list[Fetch]:
    """Warn that a fetch has paused, and return the fetch in a list."""
    url = admin.record_url(request, [pause.fetch])
    messages.warning(request, _with_link(_describe_pause(pause.fetch), url))
    return [pause.fetch]


def _describe_pause(fetch: Fetch) -> str:
    return _(
        "Paused after %(seconds)s seconds: %(asked)s of %(known)s known groups have been fetched "
        "and stored."
    ) % {"seconds": REQUEST_SECONDS, "asked": fetch.asked, "known": fetch.known}


def _describe_rest(group_ids: Collection[int | None]) -> list[str]:
    """Name the unfetched groups in one line. Empty if all groups were fetched."""
    if not group_ids:
        return []
    shown = list(group_ids)[:20]  # These ids fill two lines.
    ids = ", ".join(map(str, shown))
    more = "…" if len(group_ids) > len(shown) else ""
    text = ngettext(
        "%(number)s group was not fetched: %(ids)s",
        "%(number)s groups were not fetched: %(ids)s",
        len(group_ids),
    )
    return [text % {"number": len(group_ids), "ids": f"{ids}{more}"}]


def _origin(request: HttpRequest) -> dict[str, Any]:
    return {"source": Fetch.Source.ADMIN, "started_by": request.user.get_username()}


def _with_link(text: str, url: str) -> str:
    if not url:
        return text
    a = '{} <a class="iletimerkezi-details" href="{}">{}</a>'
    return format_html(a, text, url, _("Details"))


def _without_hidden_name(result: GroupResult, groups: QuerySet[Group]) -> GroupResult:
    group = result.group
    return result if groups.contains(group) else replace(result, group=Group(pk=group.pk))


def _add_messages(request: HttpRequest, level: int, texts: Collection[str]) -> None:
    """Add the first ``FEW`` messages, and a message with the number of omitted messages."""
    for text in list(texts)[:FEW]:
        messages.add_message(request, level, text)
    if (left := len(texts) - FEW) > 0:
        text = ngettext("… and %s more like this.", "… and %s more like these.", left) % left
        messages.add_message(request, level, text)
