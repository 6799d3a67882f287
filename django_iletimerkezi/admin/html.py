"""Nodes of a tree as HTML. Not a template: a page has hundreds, and this is much faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache

from django.utils import timezone
from django.utils.formats import date_format, localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from ..models import Group
from .tree import More, Node

_GROUP = """<tr data-id="{id}" data-level="{level}"{attributes}>
{box}<th class="iletimerkezi-name" aria-labelledby="{names}">{toggle}{name}{missing}{path}</th>
<td class="iletimerkezi-number">{id}</td>
<td class="iletimerkezi-number">{contacts}</td>
<td class="iletimerkezi-number">{subgroups}</td>
<td>{fetched}</td>
</tr>
"""
_MORE = """<tr data-level="{level}" data-parent="{parent}" data-start="{start}">
{box}<th class="iletimerkezi-name"><a href="{url}" data-more>{text}</a></th>
<td></td><td></td><td></td><td></td>
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
_NAME = '<a id="g{id}" href="{url}"{popup}><bdi>{name}</bdi></a>'
_MISSING = ' <span id="m{id}" class="iletimerkezi-missing" title="{exact}">{text}</span>'
_TIME = '<time datetime="{iso}" title="{exact}">{text}</time>'

_NOTHING = SafeString("")
_NO_BOX = SafeString("<td></td>")


def _caching_date_format() -> Callable[[date], str]:
    return cache(lambda day: date_format(day, "DATE_FORMAT"))


@dataclass(frozen=True, slots=True)
class Table:
    """What the rows of a table share. An id is appended to ``tree_query``."""

    groups_url: str
    group_query: str
    tree_query: str
    has_checkboxes: bool = False
    is_flat: bool = False
    is_popup: bool = False
    format_day: Callable[[date], str] = field(default_factory=_caching_date_format)

    def group_url(self, group: Group) -> str:
        return f"{self.groups_url}{group.pk}/change/"

    def tree_url(self, group_id: int) -> str:
        return f"{self.groups_url}{self.tree_query}{group_id}"

    def exact(self, moment: datetime) -> str:
        """Format date and time, to the second, in the active language."""
        local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
        return f"{self.format_day(local.date())} {local:%H:%M:%S}"


def as_html(nodes: Iterable[Node | More], table: Table) -> SafeString:
    """Return the rows of a table's body. Names are escaped."""
    rows = (_more(node, table) if isinstance(node, More) else _group(node, table) for node in nodes)
    return mark_safe("".join(rows))  # noqa: S308 - format_html made each row


def _group(node: Node, table: Table) -> SafeString:
    group = node.group
    pk = group.pk
    return format_html(
        _GROUP,
        id=pk,
        level=node.level,
        attributes=_attributes(node, table),
        box=_box(node, table),
        toggle=_toggle(node, table),
        name=_name(group, table),
        names=f"g{pk} m{pk}" if group.missing_since else f"g{pk}",
        missing=_missing(group, table),
        path=_path(node, table),
        contacts=localize(group.count),
        subgroups=_subgroups(node, table),
        fetched=_time(group.fetched_at, table) if group.fetched_at else _("never"),
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
    return format_html(_BOX, id=node.group.pk) if node.is_match else _NO_BOX


def _toggle(node: Node, table: Table) -> SafeString:
    if table.is_flat or not node.matching:
        return _NOTHING
    pk = node.group.pk
    return format_html(_TOGGLE, url=table.tree_url(pk), id=pk)


def _name(group: Group, table: Table) -> SafeString:
    return format_html(
        _NAME,
        id=group.pk,
        url=table.group_url(group) + table.group_query,
        popup=_popup(group, table),
        name=str(group),
    )


def _popup(group: Group, table: Table) -> SafeString:
    """Let a click choose the group where a popup offers groups to choose."""
    return format_html(' data-popup-opener="{}"', group.pk) if table.is_popup else _NOTHING


def _missing(group: Group, table: Table) -> SafeString:
    if not group.missing_since:
        return _NOTHING
    exact = table.exact(group.missing_since)
    return format_html(_MISSING, id=group.pk, exact=exact, text=_("missing"))


def _path(node: Node, table: Table) -> SafeString:
    if not node.path:
        return _NOTHING
    parts = format_html_join(
        " › ",
        '<a href="{}"{}><bdi>{}</bdi></a>',
        ((table.group_url(part.group), _popup(part.group, table), part.text) for part in node.path),
    )
    return format_html('\n<div class="iletimerkezi-path">{}</div>', parts)


def _subgroups(node: Node, table: Table) -> str:
    number = localize(node.subgroups)
    if not table.is_flat or not node.subgroups:
        return number
    return format_html('<a href="{}">{}</a>', table.tree_url(node.group.pk), number)


def _more(more: More, table: Table) -> SafeString:
    return format_html(
        _MORE,
        level=more.level,
        parent=more.parent_id,
        start=more.start,
        box=_NO_BOX if table.has_checkboxes else _NOTHING,
        url=f"{table.tree_url(more.parent_id)}&p={more.page}",
        text=_("More"),
    )


def _time(moment: datetime, table: Table) -> SafeString:
    exact = table.exact(moment)
    return format_html(_TIME, iso=moment.isoformat(), exact=exact, text=_ago(moment))


def _ago(moment: datetime) -> str:
    """Say how long ago a moment was, in its largest unit."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}
