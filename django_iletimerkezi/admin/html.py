"""Renders tree nodes as HTML. A template would be much slower for hundreds of nodes per page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache

from django.forms.utils import to_current_timezone
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import Group
from .columns import Columns
from .tree import More, Node

_GROUP = """<tr data-id="{id}" data-level="{level}"{attributes}>
{box}<th class="iletimerkezi-name" aria-labelledby="{names}">{toggle}\
<a id="g{id}" href="{url}"{popup}><bdi>{name}</bdi></a>{mark}{path}</th>
<td class="iletimerkezi-number">{id}</td>
<td class="iletimerkezi-number">{contacts}</td>
{total}<td class="iletimerkezi-number">{subgroups}</td>
<td>{fetched}</td>{columns}
</tr>
"""
_MORE = """<tr data-level="{level}" data-parent="{parent}" data-start="{start}">
{box}<th class="iletimerkezi-name"><a href="{url}" data-more>{text}</a></th>
<td></td><td></td>{total}<td></td><td></td>{columns}
</tr>
"""
_BOX = (
    '<td class="action-checkbox"><input type="checkbox" name="_selected_action" value="{id}" '
    'class="action-select" aria-labelledby="iletimerkezi-select g{id}"></td>\n'
)
_TOGGLE = (
    '<a class="iletimerkezi-toggle" href="{url}" '
    'aria-labelledby="iletimerkezi-subgroups g{id}"></a>'
)
_MISSING = ' <span id="m{id}" class="iletimerkezi-missing" title="{exact}">{text}</span>'
_CHANGED = ' <span id="m{id}" class="iletimerkezi-badge">{text}</span>'
_TIME = '<time datetime="{iso}" title="{exact}">{text}</time>'

_TOTAL = '<td class="iletimerkezi-number">{total}{bar}</td>\n'
_AT_LEAST = '<span title="{}">{}</span>'
_BAR = (
    '<svg class="iletimerkezi-bar" viewBox="0 0 100 1" preserveAspectRatio="none" '
    'aria-hidden="true"><rect width="{}" height="1"/></svg>'
)

_NOTHING = SafeString("")
_EMPTY = SafeString("<td></td>")


@dataclass(frozen=True, slots=True)
class Table:
    """The options that all rows of a table share.

    Links append a group id to ``tree_query``. If ``largest`` is not 0, bars compare the totals with
    this number. ``marks`` maps the ids of recently changed groups to the texts of their marks.
    """

    groups_url: str
    group_query: str
    tree_query: str
    columns: Columns
    has_totals: bool = True
    largest: int = 0
    marks: Mapping[int, str] = field(default_factory=dict)
    has_checkboxes: bool = False
    is_flat: bool = False
    is_popup: bool = False
    # Cached, because formatting is slow and many rows share a day or a number.
    format_day: Callable[[date], str] = field(default_factory=lambda: cache(date_format))
    format_number: Callable[[int], str] = field(default_factory=lambda: cache(format_number))

    def group_url(self, group: Group) -> str:
        return f"{self.groups_url}{group.pk}/change/"

    def tree_url(self, group_id: int) -> str:
        return f"{self.groups_url}{self.tree_query}{group_id}"


def exact(moment: datetime, format_day: Callable[[date], str] = date_format) -> str:
    """Format a date and time to the second in the active language."""
    local = to_current_timezone(moment)
    return f"{format_day(local.date())} {local:%H:%M:%S}"


def as_html(nodes: Iterable[Node | More], table: Table) -> SafeString:
    """Render the rows of a table body. Names are escaped."""
    rows = (_more(node, table) if isinstance(node, More) else _group(node, table) for node in nodes)
    return mark_safe("".join(rows))  # noqa: S308 - format_html builds each row


def _group(node: Node, table: Table) -> SafeString:
    group = node.group
    pk = group.pk
    mark = _mark(group, table)
    return format_html(
        _GROUP,
        id=pk,
        level=node.level,
        attributes=_attributes(node, table),
        box=_box(node, table),
        toggle=_toggle(node, table),
        url=table.group_url(group) + table.group_query,
        popup=_popup(group, table),
        name=str(group),
        names=f"g{pk} m{pk}" if mark else f"g{pk}",
        mark=mark,
        path=_path(node, table),
        contacts=table.format_number(group.count),
        total=_total(group, table),
        subgroups=_subgroups(node, table),
        fetched=time_tag(group.fetched_at, table.format_day) if group.fetched_at else _("never"),
        columns=table.columns.cells(group),
    )


def _attributes(node: Node, table: Table) -> SafeString:
    attributes = ""
    if node.group.parent_id:
        attributes += f' data-parent="{int(node.group.parent_id)}"'
    if node.matching and not table.is_flat:
        attributes += f' data-subgroups="{int(node.matching)}"'
    if node.is_open:
        attributes += " data-open"
    return SafeString(attributes)


def _box(node: Node, table: Table) -> SafeString:
    if not table.has_checkboxes:
        return _NOTHING
    return format_html(_BOX, id=node.group.pk) if node.is_match else _EMPTY


def _toggle(node: Node, table: Table) -> SafeString:
    if table.is_flat or not node.matching:
        return _NOTHING
    pk = node.group.pk
    return format_html(_TOGGLE, url=table.tree_url(pk), id=pk)


def _popup(group: Group, table: Table) -> SafeString:
    """Return the HTML attribute that lets a link choose its group in a popup."""
    return format_html(' data-popup-opener="{}"', group.pk) if table.is_popup else _NOTHING


def _mark(group: Group, table: Table) -> SafeString:
    if group.missing_since:
        moment = exact(group.missing_since, table.format_day)
        return format_html(_MISSING, id=group.pk, exact=moment, text=_("missing"))
    text = table.marks.get(group.pk)
    return format_html(_CHANGED, id=group.pk, text=text) if text else _NOTHING


def _path(node: Node, table: Table) -> SafeString:
    if not node.path:
        return _NOTHING
    parts = format_html_join(
        " › ",
        '<a href="{}"{}><bdi>{}</bdi></a>',
        ((table.group_url(part.group), _popup(part.group, table), part.text) for part in node.path),
    )
    return format_html('\n<div class="iletimerkezi-path">{}</div>', parts)


def _total(group: Group, table: Table) -> SafeString:
    if not table.has_totals:
        return _NOTHING
    total = table.format_number(group.total)
    if group.unexplored:
        text = _("at least %s") % total
        total = format_html(_AT_LEAST, describe_unexplored(group.unexplored), text)
    bar = _NOTHING
    if table.largest:
        bar = format_html(_BAR, f"{100 * group.total / table.largest:.1f}")
    return format_html(_TOTAL, total=total, bar=bar)


def describe_total(contacts: int, unexplored: int) -> str:
    """Format a total, with “at least” if it is a lower bound."""
    if not unexplored:
        return format_number(contacts)
    least = _("at least %s") % format_number(contacts)
    return f"{least}; {describe_unexplored(unexplored)}"


def describe_unexplored(number: int) -> str:
    text = ngettext("%s group has never been fetched", "%s groups have never been fetched", number)
    return text % format_number(number)


def format_number(number: int) -> str:
    """Format a number with thousands separators."""
    return number_format(number, force_grouping=True)


def _subgroups(node: Node, table: Table) -> str:
    number = table.format_number(node.subgroups)
    if not table.is_flat or not node.subgroups:
        return number
    return format_html('<a href="{}">{}</a>', table.tree_url(node.group.pk), number)


def _more(more: More, table: Table) -> SafeString:
    return format_html(
        _MORE,
        level=more.level,
        parent=more.parent_id,
        start=more.start,
        box=_EMPTY if table.has_checkboxes else _NOTHING,
        total=_EMPTY if table.has_totals else _NOTHING,
        url=f"{table.tree_url(more.parent_id)}&p={more.page}",
        text=_("More"),
        columns=table.columns.empty_cells(),
    )


def time_tag(moment: datetime, format_day: Callable[[date], str] = date_format) -> SafeString:
    """Render the time since a moment, with the exact time of the moment as a tooltip."""
    precise = exact(moment, format_day)
    return format_html(_TIME, iso=moment.isoformat(), exact=precise, text=ago(moment))


def ago(moment: datetime) -> str:
    """Describe the time since a moment. Uses only the largest unit of time."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}
