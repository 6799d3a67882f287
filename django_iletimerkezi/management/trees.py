"""A mirrored tree as text and as JSON, from rows in any order. Loops do no harm."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..display import visible
from ..models import Group


def first_levels(root: Group, most: int) -> tuple[list[Group], dict[int, int]]:
    """Return the first levels of a tree, as many as fit into ``most`` groups.

    The second value counts, by id, the groups below each group of the last level.
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
    """Yield a line per group, drawn as a tree: name, id and number of contacts.

    ``hidden`` counts, by id, the groups below a group that are not among the rows.
    """
    leads: list[str] = []
    for depth, is_last, group in _depth_first(rows, root_id):
        del leads[depth:]
        branch = "" if depth == 0 else "└── " if is_last else "├── "
        line = "".join(leads[1:]) + branch + _describe(group)
        if hidden and group.pk in hidden:
            line += " … " + _describe_hidden(hidden[group.pk])
        yield line
        leads.append("    " if is_last else "│   ")


def json_lines(rows: Iterable[Group], root_id: int) -> Iterator[str]:
    """Yield the tree as one JSON object, a line per group, with the keys of the vendor's answer.

    Missing groups are left out, with everything below them. ``json.dumps`` would recurse, which
    fails after a thousand levels.
    """
    listed = [row for row in rows if row.missing_since is None or row.pk == root_id]
    line, depth_before = "", 0
    for depth, _is_last, group in _depth_first(listed, root_id):
        if line:
            # Close the brackets of the groups that end here.
            closing = "" if depth > depth_before else "]}" * (depth_before - depth + 1) + ","
            yield line + closing
        fields = {"id": group.pk, "name": group.name, "count": group.count}
        line = json.dumps(fields)[:-1] + ', "children": ['
        depth_before = depth
    if line:
        yield line + "]}" * (depth_before + 1)


def _describe(group: Group) -> str:
    contacts = ngettext("%(count)s contact", "%(count)s contacts", group.count) % {
        "count": group.count
    }
    text = f"{visible(group.name)} (id {group.pk}, {contacts})"
    if group.missing_since is None:
        return text
    since = group.missing_since
    local = timezone.localtime(since) if timezone.is_aware(since) else since
    return text + " " + _("missing since %s") % f"{local:%Y-%m-%d %H:%M}"


def _describe_hidden(number: int) -> str:
    text = ngettext("%(count)s group below", "%(count)s groups below", number)
    return text % {"count": number}


def _depth_first(rows: Iterable[Group], root_id: int) -> Iterator[tuple[int, bool, Group]]:
    """Yield each group once: its depth, whether it is the last of its siblings, and itself."""
    children: defaultdict[int | None, list[Group]] = defaultdict(list)
    roots = []
    for row in sorted(rows, key=lambda row: (row.sort_key, row.pk), reverse=True):
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
