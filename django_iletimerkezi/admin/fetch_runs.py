"""Runs or queues fetches for the admin pages, and adds messages about the outcome."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django import db
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..background import end_if_old
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

logger = logging.getLogger("django_iletimerkezi")

SECONDS = 20
"""Seconds that a web request fetches before the fetch pauses. Gunicorn ends a request after 30
seconds, and the pause needs some of them to store the answers."""

MAX_IDS = 20
"""Most ids in a message: two lines of text."""

MAX_MESSAGES = 10
"""Most messages of one level: more would fill the screen."""

LinkTo = Callable[[Sequence[Fetch]], str]
"""Returns the URL of a page about some fetches, or an empty text."""

Log = Callable[[Group, str], object]
"""Logs a fetched group with a summary of the fetch."""


class Run(NamedTuple):
    """The fetched groups, and the fetches that are queued or paused."""

    groups: Sequence[Group] = ()
    unfinished: Sequence[Fetch] = ()


def queue(
    request: HttpRequest,
    group_ids: Sequence[int | None],
    link_to: LinkTo,
    *,
    recursive: bool = False,
) -> Run:
    """Queue a fetch per id, None for the phone book, and add messages about the outcome."""
    fetches: list[Fetch] = []
    errors: list[str] = []
    rest = deque(group_ids)
    while rest and not errors:
        try:
            fetch = start_fetch(rest.popleft(), recursive=recursive, **_origin(request))
        except (db.Error, ImproperlyConfigured) as error:
            errors.append(describe_error(error))
        else:
            if fetch.state == Fetch.State.FAILED:
                errors.append(_with_link(fetch.error, link_to, [fetch]))
            else:
                fetches.append(fetch)
    if fetches:
        text = ngettext(
            "%s fetch runs in the background.",
            "%s fetches run in the background.",
            len(fetches),
        )
        messages.success(request, _with_link(text % len(fetches), link_to, fetches))
    _add_messages(request, messages.ERROR, [*errors, *_describe_rest(rest)])
    return Run(unfinished=fetches)


def continue_or_queue(request: HttpRequest, fetch: Fetch) -> None:
    """Continue a fetch, or queue it again if there is a task queue, and add a message."""
    try:
        engine = find_engine()
        if not continuable(is_queueing=engine is not None).filter(pk=fetch.pk).exists():
            messages.warning(request, _("The fetch is finished, or another process works on it."))
        elif end_if_old(fetch):
            messages.error(request, fetch.error)
        elif engine:
            resume_fetches()
            messages.success(request, _("The fetch was queued again."))
        else:
            continue_fetch(fetch, seconds=SECONDS)
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
            messages.warning(request, _("The fetch was already finished."))


def queue_interrupted() -> None:
    """Queue interrupted fetches again. Logs errors, because the page does not depend on them."""
    try:
        resume_fetches()
    except (db.Error, ImproperlyConfigured):
        logger.exception("Interrupted fetches could not be queued again.")


def fetch_phone_book(request: HttpRequest, link_to: LinkTo) -> Run:
    """Fetch the whole phone book, and add messages about the outcome."""
    latest = deque([Progress()], maxlen=1)
    errors: list[str] = []
    unfinished: list[Fetch] = []
    try:
        result = fetch_groups(report=latest.append, seconds=SECONDS, **_origin(request))
    except FetchPaused as pause:
        unfinished = _add_pause(request, pause, link_to)
    except (IletimerkeziError, db.Error, ImproperlyConfigured) as error:
        fetch = getattr(error, "fetch", None) or latest[0].fetch
        errors.append(_with_link(describe_error(error), link_to, [fetch]))
    else:
        _add_messages(request, messages.WARNING, describe_warnings(result))
        messages.success(request, _with_link(describe_results([result]), link_to, [result.fetch]))
    [progress] = latest
    if progress.maybe_other_account:
        messages.warning(request, describe_other_account())
    _add_messages(request, messages.ERROR, [*errors, *describe_problems(progress)])
    return Run(unfinished=unfinished)


def fetch_and_report(
    request: HttpRequest,
    group_ids: Collection[int],
    groups: QuerySet[Group],
    *,
    recursive: bool,
    log: Log,
    link_to: LinkTo,
) -> Run:
    """Fetch groups one by one, and add messages about the outcome.

    If a fetched group is not in ``groups``, messages and log do not show its name, and the returned
    object has only an id.
    """
    results: list[GroupResult] = []
    errors: list[str] = []
    unfinished: list[Fetch] = []
    rest = list(group_ids)
    try:
        for fetched in fetch_each(
            group_ids, recursive=recursive, seconds=SECONDS, **_origin(request)
        ):
            rest.remove(fetched.group_id)
            errors += describe_problems(fetched.progress)
            if isinstance(fetched.outcome, GroupResult):
                result = _without_hidden_name(fetched.outcome, groups)
                results.append(result)
                errors += _log(log, fetched.group_id, result)
            elif isinstance(fetched.outcome, FetchPaused):
                unfinished = _add_pause(request, fetched.outcome, link_to)
            else:
                failure = describe_failure(fetched.group_id, fetched.outcome)
                errors.append(_with_link(failure, link_to, [fetched.progress.fetch]))
    except ImproperlyConfigured as error:
        errors.append(str(error))
        rest.clear()
    _add_results(request, results, link_to)
    _add_messages(request, messages.ERROR, [*errors, *_describe_rest(rest)])
    return Run([result.group for result in results], unfinished)


def _log(log: Log, group_id: int, result: GroupResult) -> list[str]:
    """Log a fetched group. Returns a text for people if the database refuses the entry."""
    try:
        log(result.group, describe_results([result]))
    except db.Error as error:
        return [describe_unlogged(group_id, error)]
    return []


def _add_results(request: HttpRequest, results: Sequence[GroupResult], link_to: LinkTo) -> None:
    """Add the warnings of some fetches, and one message with all their counts."""
    if not results:
        return
    warnings = (text for result in results for text in describe_warnings(result))
    _add_messages(request, messages.WARNING, list(dict.fromkeys(warnings)))
    fetches = [result.fetch for result in results]
    messages.success(request, _with_link(describe_results(results), link_to, fetches))


def _add_pause(request: HttpRequest, pause: FetchPaused, link_to: LinkTo) -> list[Fetch]:
    """Warn that a fetch has paused, and return this fetch."""
    messages.warning(request, _with_link(_describe_pause(pause.fetch), link_to, [pause.fetch]))
    return [pause.fetch]


def _describe_pause(fetch: Fetch) -> str:
    return _(
        "Paused after %(seconds)s seconds: %(asked)s of %(known)s known groups are fetched and "
        "stored."
    ) % {"seconds": SECONDS, "asked": fetch.asked, "known": fetch.known}


def _describe_rest(group_ids: Collection[int | None]) -> list[str]:
    """Return a text with the groups that were not fetched, if any."""
    if not group_ids:
        return []
    ids = ", ".join(str(group_id) for group_id in list(group_ids)[:MAX_IDS])
    more = "…" if len(group_ids) > MAX_IDS else ""
    text = ngettext(
        "%(number)s group was not fetched: %(ids)s",
        "%(number)s groups were not fetched: %(ids)s",
        len(group_ids),
    )
    return [text % {"number": len(group_ids), "ids": f"{ids}{more}"}]


def _origin(request: HttpRequest) -> dict[str, Any]:
    return {"source": Fetch.Source.ADMIN, "started_by": request.user.get_username()}


def _with_link(text: str, link_to: LinkTo, fetches: Iterable[Fetch | None]) -> str:
    url = link_to([fetch for fetch in fetches if fetch])
    if not url:
        return text
    a = '{} <a class="iletimerkezi-details" href="{}">{}</a>'
    return format_html(a, text, url, _("Details"))


def _without_hidden_name(result: GroupResult, groups: QuerySet[Group]) -> GroupResult:
    group = result.group
    return result if groups.contains(group) else replace(result, group=Group(pk=group.pk))


def _add_messages(request: HttpRequest, level: int, texts: Collection[str]) -> None:
    """Add the first messages, and the number of the others."""
    for text in list(texts)[:MAX_MESSAGES]:
        messages.add_message(request, level, text)
    if (left := len(texts) - MAX_MESSAGES) > 0:
        text = ngettext("… and %s more like this.", "… and %s more like these.", left) % left
        messages.add_message(request, level, text)
