"""A mirrored tree as text and as JSON, from rows in any order. Loops in them come to an end."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..display import visible
from ..models import Group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_DEEPEST_INDENT = 50
_ASCII_LINES = str.maketrans("│├└─…", "||`-~")


def first_levels(root: Group, most: int) -> tuple[list[Group], dict[int, int]]:
    """Return as many whole levels of a tree as have at most so many groups together.

    The second value is how many groups are below each of those at the lower edge.
    """
    groups = Group.objects.using(root._state.db)
    rows, level = {root.pk: root}, [root.pk]
    while level:
        below = groups.filter(parent__in=level).exclude(pk=root.pk)[: most - len(rows) + 1]
        new = {row.pk: row for row in below if row.pk not in rows}
        if len(rows) + len(new) > most:
            return list(rows.values()), groups.count_below(level)
        rows |= new
        level = list(new)
    return list(rows.values()), {}


def text_lines(
    rows: Iterable[Group], root_id: int, hidden: Mapping[int, int] | None = None
) -> Iterator[str]:
    """Yield a line a group: its name, id and number of contacts, drawn as a tree.

    ``hidden`` has the numbers of groups that are below one and not among the rows.
    """
    leads: list[str] = []
    for depth, is_last, group in _walk(rows, root_id):
        del leads[depth:]
        branch = "" if depth == 0 else "└── " if is_last else "├── "
        yield (
            "".join(leads[1:_DEEPEST_INDENT])
            + branch
            + _describe(group)
            + _below((hidden or {}).get(group.pk))
        )
        leads.append("    " if is_last else "│   ")


def json_lines(rows: Iterable[Group], root_id: int) -> Iterator[str]:
    """Yield the tree as one JSON object, a line a group, with the keys of the vendor's answer.

    Groups that the vendor no longer lists are left out, and what hangs below them.
    """
    listed = [row for row in rows if row.missing_since is None or row.pk == root_id]
    line, deepest = "", 0
    for depth, _is_last, group in _walk(listed, root_id):
        if line:
            yield line + _close(deepest - depth)
        fields = {"id": group.pk, "name": group.name, "count": group.count}
        line = "  " * min(depth, _DEEPEST_INDENT) + json.dumps(fields)[:-1] + ', "children": ['
        deepest = depth
    if line:
        yield line + "]}" * (deepest + 1)


def _close(levels: int) -> str:
    """Close the groups that have ended where the next one is so many levels higher."""
    return "" if levels < 0 else "]}" * (levels + 1) + ","


def in_ascii(line: str) -> str:
    """Return a line for a terminal that knows no more than ASCII."""
    return line.translate(_ASCII_LINES).encode("ascii", "backslashreplace").decode()


def _describe(group: Group) -> str:
    contacts = ngettext("%(count)s contact", "%(count)s contacts", group.count) % {
        "count": group.count
    }
    about = f"{visible(group.name)} (id {group.pk}, {contacts})"
    if group.missing_since is None:
        return about
    since = group.missing_since
    local = timezone.localtime(since) if timezone.is_aware(since) else since
    return about + " " + _("missing since %s") % f"{local:%Y-%m-%d %H:%M}"


def _below(number: int | None) -> str:
    if number is None:
        return ""
    text = ngettext("%(count)s group below", "%(count)s groups below", number)
    return " … " + text % {"count": number}


def _walk(rows: Iterable[Group], root_id: int) -> Iterator[tuple[int, bool, Group]]:
    """Yield depth, whether it is the last of its siblings, and group; each group once."""
    children: defaultdict[int | None, list[Group]] = defaultdict(list)
    roots = []
    for row in sorted(rows, key=lambda row: row.pk, reverse=True):
        if row.pk == root_id:
            roots.append(row)
        else:
            children[row.parent_id].append(row)
    waiting = [(0, True, row) for row in roots]
    while waiting:
        depth, is_last, row = waiting.pop()
        yield depth, is_last, row
        siblings = children.pop(row.pk, [])
        waiting += [(depth + 1, index == 0, child) for index, child in enumerate(siblings)]
