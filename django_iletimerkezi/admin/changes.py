"""Shows recorded changes on the pages of fetches and groups, and marks changed groups in the tree.

The admin modules import this module only when needed, because Django imports the admin modules at
the start of every manage.py command.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from functools import cache
from itertools import takewhile
from typing import Any, NamedTuple

from django.core.paginator import Paginator
from django.db.models import Count, Subquery
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ..display import label
from ..ids import parse_number
from ..messages import describe_place, distinct_labels, mentioned_groups
from ..models import Change, ChangeQuerySet, Group, GroupQuerySet
from .chart import Point, draw
from .html import exact, format_number
from .tree import PAGE

NEWEST = PAGE // 2
"""Most changes of a group on one page of the list and in the chart. With more changes, the dots in
the chart would touch."""


class Row(NamedTuple):
    """A change, formatted for a page."""

    kind: str
    label: str
    group_id: int
    group: str
    group_url: str
    record_url: str
    before: str
    after: str
    at: str


class Link(NamedTuple):
    """A link to all changes, to one kind of change, or to one page of changes."""

    text: str
    query: str
    is_current: bool = False


Url = Callable[[int], str]


def rows(
    changes: Collection[Change],
    groups: GroupQuerySet,
    *,
    group_url: Url = lambda pk: "",
    record_url: Url = lambda pk: "",
) -> list[Row]:
    """Return a row for each change. ``groups`` are the groups that the user may see."""
    named = mentioned_groups(changes, groups)
    labels = {value: str(text) for value, text in Change.Kind.choices}
    # Cached, because formatting is slow and many rows share a day.
    format_day = cache(date_format)

    def row(change: Change) -> Row:
        pk = change.group_id
        before, after = _values(change, named)
        return Row(
            kind=change.kind,
            label=labels.get(change.kind, change.kind),
            group_id=pk,
            group=str(named[pk]) if pk in named else "",
            group_url=group_url(pk) if pk in named else "",
            record_url=record_url(change.fetch_id),
            before=before,
            after=after,
            at=exact(change.at, format_day),
        )

    return list(map(row, changes))


def _values(change: Change, named: Mapping[int, Group]) -> tuple[str, str]:
    before, after = change.before or "", change.after or ""
    match change.kind:
        case Change.Kind.RECOUNTED:
            return _number(before), _number(after)
        case Change.Kind.MOVED:
            return describe_place(before, named), describe_place(after, named)
        case _:
            return distinct_labels(before, after)


def _number(text: str) -> str:
    """Format a number. If a host has stored a text instead, shorten the text."""
    number = parse_number(text)
    return label(text) if number is None else format_number(number)


def changes_of_fetch(
    changes: ChangeQuerySet, given: Mapping[str, str]
) -> tuple[list[Link], list[Change], list[Link]]:
    """Return links to the kinds of changes, the changes of one page, and links to the pages.

    ``given`` has the parameters of the query string. An invalid kind selects all kinds. An invalid
    page number selects the first page.
    """
    changes = changes.order_by("kind", "pk")  # Matches the index.
    counts = dict(changes.order_by().values_list("kind").annotate(Count("pk")))
    total = sum(counts.values())
    kind = given.get("kind", "")
    if kind in counts:
        total = counts[kind]
        changes = changes.filter(kind=kind)
    paginator = Paginator(range(total), PAGE)
    number = _page_number(paginator, given.get("p", ""))
    start = (number - 1) * PAGE
    # Read the ids from the index first, so that only the rows of this page are read from the table.
    ids = list(changes.values_list("pk", flat=True)[start : start + PAGE])
    page = changes.model.objects.using(changes.db).filter(pk__in=ids).order_by("kind", "pk")
    return list(_kinds(counts, kind)), list(page), list(_pages(paginator, number, kind))


def _kinds(counts: Mapping[str, int], current: str) -> Iterator[Link]:
    """Yield a link to all changes, and a link to each kind that occurs."""
    everything = _("All")
    total = format_number(sum(counts.values()))
    yield Link(f"{everything} ({total})", "?", current not in counts)
    for kind, text in Change.Kind.choices:
        if kind in counts:
            query = f"?{urlencode({'kind': kind})}"
            number = format_number(counts[kind])
            yield Link(f"{text} ({number})", query, kind == current)


def _pages(paginator: Paginator[int], current: int, kind: str) -> Iterator[Link]:
    if paginator.num_pages == 1:
        return
    for number in paginator.get_elided_page_range(current, on_each_side=2, on_ends=1):
        query = urlencode({"kind": kind, "p": number} if kind else {"p": number})
        yield Link(str(number), f"?{query}" if isinstance(number, int) else "", number == current)


def _page_number(paginator: Paginator[Any], text: str) -> int:
    """Parse a page number from the query string. Returns 1 if the page does not exist."""
    number = parse_number(text) or 1
    return number if number <= paginator.num_pages else 1


def changes_of_group(changes: ChangeQuerySet, given: str) -> tuple[list[Change], list[Link]]:
    """Return one page of a group's changes, newest first, and links to newer and older changes.

    ``given`` is the page number from the query string.
    """
    paginator = Paginator(changes.order_by("-pk"), NEWEST)
    page = paginator.page(_page_number(paginator, given))
    links = []
    if page.has_previous():
        links.append(Link(_("Newer changes"), f"?changes={page.previous_page_number()}"))
    if page.has_next():
        links.append(Link(_("Older changes"), f"?changes={page.next_page_number()}"))
    return list(page), links


def recent_marks(
    changes: ChangeQuerySet | None, groups: Collection[Group], using: str
) -> dict[int, str]:
    """Map the ids of groups that changed in the last day to the texts of their marks.

    Groups that were created by the first fetch with changes are not marked as new, because this
    fetch would mark every group. Uses one query.
    """
    if changes is None or not groups:
        return {}
    first = Change.objects.using(using).order_by("pk").values("fetch")[:1]
    recent = changes.using(using).filter(
        group_id__in=[group.pk for group in groups], at__gte=timezone.now() - timedelta(days=1)
    )
    found = recent.exclude(kind=Change.Kind.CREATED, fetch=Subquery(first))
    marks: dict[int, str] = {}
    for group_id, kind in found.values_list("group_id", "kind").distinct():
        if kind == Change.Kind.CREATED:
            marks[group_id] = pgettext("mark", "new")
        else:
            marks.setdefault(group_id, pgettext("mark", "changed"))
    return marks


def contacts_over_time(group: Group, changes: ChangeQuerySet) -> list[Point]:
    """Return a group's latest contact counts, oldest first. Empty if only one count is known."""
    kinds = [Change.Kind.CREATED, Change.Kind.RECOUNTED]
    newest = list(changes.filter(kind__in=kinds).order_by("-pk")[:NEWEST])
    # Stop at CREATED, because older changes belong to a deleted row of this group.
    recounts = list(takewhile(lambda change: change.kind == Change.Kind.RECOUNTED, newest))
    if not recounts:
        return []
    created = newest[len(recounts)].at if len(recounts) < len(newest) else None
    points = [Point(created, parse_number(recounts[-1].before or "") or 0)]
    points += [
        Point(change.at, parse_number(change.after or "") or 0) for change in reversed(recounts)
    ]
    if points[-1].contacts != group.count:  # A newer change was deleted, or the row was edited.
        points.append(Point(None, group.count))
    return points


def chart(points: Collection[Point]) -> dict[str, Any]:
    """Return the context of the chart's template."""
    numbers = [point.contacts for point in points]
    first, last = next(iter(points)), numbers[-1]
    starts = [point.since for point in points if point.since]
    names = {
        "first": format_number(first.contacts),
        "last": format_number(last),
        "lowest": format_number(min(numbers)),
        "highest": format_number(max(numbers)),
    }
    text = _(
        "Contacts over time: from %(first)s to %(last)s, lowest %(lowest)s, highest %(highest)s"
    )
    return names | {
        "svg": draw(list(points), timezone.now(), text % names),
        "start": exact(starts[0]),
        "points": [
            (
                exact(point.since) if point.since else _("unknown") if number else _("earlier"),
                format_number(point.contacts),
            )
            for number, point in enumerate(points)
        ],
    }
