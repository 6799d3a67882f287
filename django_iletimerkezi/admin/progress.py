"""Texts and elements on the page of an unfinished fetch."""

from __future__ import annotations

from django.db.models import Case, QuerySet, Value, When
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import Fetch, FetchQuerySet
from .html import format_number


def live(name: str, content: str, tag: str = "span") -> SafeString:
    """Return an element whose content fetch.js replaces while the fetch runs."""
    return format_html(f'<{tag} data-iletimerkezi-live="{{}}">{{}}</{tag}>', name, content)


def describe_status(fetch: Fetch, *, is_queueing: bool) -> str:
    """Describe the state of an unfinished fetch and the time left, in one line."""
    if fetch.is_interrupted:
        return _("Interrupted: the fetch has stored nothing for several minutes.")
    if fetch.state == Fetch.State.RUNNING:
        return " ".join(filter(None, [_("Running."), _describe_time_left(fetch)]))
    return (
        _("Waiting for a worker.") if is_queueing else _("Paused. All answers so far are stored.")
    )


def describe_numbers(fetch: Fetch) -> str:
    """Describe the number of requested groups and the speed. Empty if no group is known."""
    if not fetch.known:
        return ""
    numbers = {"asked": format_number(fetch.asked), "known": format_number(fetch.known)}
    texts = [_("%(asked)s of %(known)s groups") % numbers]
    if rate := _rate(fetch):
        digits = 1 if rate < 10 else 0
        number = number_format(round(rate, digits), digits, force_grouping=True)
        texts.append(_("%s groups per second") % number)
    return ", ".join(texts)


def _describe_time_left(fetch: Fetch) -> str:
    rate = _rate(fetch)
    if not rate or fetch.asked >= fetch.known:
        return ""
    minutes = round((fetch.known - fetch.asked) / rate / 60)
    if not minutes:
        return _("Less than a minute left.")
    text = ngettext("About %s minute left.", "About %s minutes left.", minutes)
    return text % format_number(minutes)


def _rate(fetch: Fetch) -> float:
    """Return the groups per second of a running fetch, or 0 if the rate is unknown."""
    is_running = fetch.state == Fetch.State.RUNNING and not fetch.is_interrupted
    if not is_running or not fetch.started_at or not fetch.alive_at:
        return 0
    seconds = (fetch.alive_at - fetch.started_at).total_seconds()
    # Wait for the first batch, because the counters are stored only every five seconds.
    return fetch.asked / seconds if seconds >= 5 else 0


def continuable(*, is_queueing: bool) -> FetchQuerySet:
    """Return the fetches whose pages have the button *Continue*.

    With a task queue, only silent fetches have the button, because the other unfinished
    fetches are queued or running. Without a task queue, the parts of a phone book do not have the
    button, because one process continues the whole phone book.
    """
    if is_queueing:
        return Fetch.objects.silent()
    return Fetch.objects.idle().filter(parent=None)


def noteworthy_parts(fetch: Fetch) -> QuerySet[Fetch]:
    """Return the running, failed, partial and cancelled parts of a fetch, running parts first."""
    running = Fetch.State.RUNNING
    states = running, Fetch.State.FAILED, Fetch.State.PARTIAL, Fetch.State.CANCELLED
    parts = Fetch.objects.using(fetch._state.db).filter(parent=fetch, state__in=states)
    is_running = Case(When(state=running, then=Value(0)), default=Value(1))
    return parts.order_by(is_running, "pk")
