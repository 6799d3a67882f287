"""Rows of a tree as HTML. Not a template: a page has hundreds of rows, and this is much faster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.formats import date_format, localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from .tree import More, Row, ago

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from ..models import Group

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


@dataclass(frozen=True, slots=True)
class Table:
    """What the rows of one table have in common. ``tree_query`` ends where an id belongs."""

    groups_url: str
    group_query: str
    tree_query: str
    has_checkboxes: bool = False
    is_flat: bool = False
    is_popup: bool = False

    def group_url(self, group: Group) -> str:
        return f"{self.groups_url}{group.pk}/change/"

    def tree_url(self, group_id: int) -> str:
        return f"{self.groups_url}{self.tree_query}{group_id}"


def as_html(rows: Iterable[Row | More], table: Table) -> SafeString:
    """Return the rows of a table's body. What names say is text in them."""
    never, missing, more = _("never"), _("missing"), _("More")
    exact = partial(_exact, dates={})
    return mark_safe(  # noqa: S308 - each is made by format_html
        "".join(
            _more(row, table, more)
            if isinstance(row, More)
            else _group(row, table, exact, never, missing)
            for row in rows
        )
    )


def _group(
    row: Row, table: Table, exact: Callable[[datetime], str], never: str, missing: str
) -> SafeString:
    group = row.group
    pk = str(group.pk)
    toggle, subgroups = _NOTHING, localize(row.subgroups)
    if not table.is_flat:
        if row.inside:
            toggle = format_html(_TOGGLE, url=table.tree_url(group.pk), id=pk)
    elif row.subgroups:
        subgroups = format_html('<a href="{}">{}</a>', table.tree_url(group.pk), subgroups)
    fetched: str = never
    if group.fetched_at:
        fetched = format_html(
            _TIME,
            iso=group.fetched_at.isoformat(),
            exact=exact(group.fetched_at),
            text=ago(group.fetched_at),
        )
    return format_html(
        _GROUP,
        id=pk,
        level=row.level,
        attributes=_attributes(row, table),
        box=_box(row, table),
        toggle=toggle,
        name=format_html(
            _NAME,
            id=pk,
            url=table.group_url(group) + table.group_query,
            popup=format_html(' data-popup-opener="{}"', pk) if table.is_popup else _NOTHING,
            name=str(group),
        ),
        names=f"g{pk} m{pk}" if group.missing_since else f"g{pk}",
        missing=format_html(_MISSING, id=pk, exact=exact(group.missing_since), text=missing)
        if group.missing_since
        else _NOTHING,
        path=_path(row, table) if row.path else _NOTHING,
        contacts=localize(group.count),
        subgroups=subgroups,
        fetched=fetched,
    )


def _box(row: Row, table: Table) -> SafeString:
    if not table.has_checkboxes:
        return _NOTHING
    return format_html(_BOX, id=str(row.group.pk)) if row.is_found else _NO_BOX


def _attributes(row: Row, table: Table) -> SafeString:
    attributes = ""
    if row.group.parent_id:
        attributes += f' data-parent="{int(row.group.parent_id)}"'
    if row.inside and not table.is_flat:
        attributes += f' data-inside="{int(row.inside)}"'
    if row.is_open:
        attributes += " data-open"
    return SafeString(attributes)


def _path(row: Row, table: Table) -> SafeString:
    parts = format_html_join(
        " › ",
        '<a href="{}"><bdi>{}</bdi></a>',
        ((table.group_url(part.group), part.text) for part in row.path),
    )
    return format_html('\n<div class="iletimerkezi-path">{}</div>', parts)


def _more(more: More, table: Table, text: str) -> SafeString:
    return format_html(
        _MORE,
        level=more.level,
        parent=str(more.parent_id),
        start=str(more.start),
        box=_NO_BOX if table.has_checkboxes else _NOTHING,
        url=f"{table.tree_url(more.parent_id)}&p={more.page}",
        text=text,
    )


def _exact(moment: datetime, dates: dict[object, str]) -> str:
    """Return date and time to the second, as people here write them."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    day = local.date()
    if day not in dates:
        dates[day] = date_format(day, "DATE_FORMAT")
    return f"{dates[day]} {local:%H:%M:%S}"
