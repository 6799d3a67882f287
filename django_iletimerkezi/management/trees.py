"""Renders mirrored trees as text or JSON, line by line. Handles loops."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from django.forms.utils import to_current_timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..display import visible
from ..models import Group, GroupQuerySet, chunked


class Place(NamedTuple):
    """A group and its position in a drawn tree. ``is_last`` is True if no sibling follows."""

    depth: int
    is_last: bool
    group: Group


def whole_tree(tops: GroupQuerySet, below: GroupQuerySet) -> Iterator[Place]:
    """Yield the groups in ``tops`` and everything below them, depth first.

    Keeps only group ids and parent ids in memory, because a tree may have a million groups.
    """
    links = chain(
        ((0, pk) for pk in tops.order_by("sort_key", "pk").values_list("pk", flat=True)),
        below.order_by("parent_id", "sort_key", "pk").values_list("parent_id", "pk").iterator(),
    )
    # Leave out groups that were deleted in the meantime, and everything below them.
    places = _read(_depth_first(links), Group.objects.using(below.db))
    return _pruned(places, lambda place: place.group.pk is not None)


def with_paths(places: Iterable[Place]) -> Iterator[tuple[tuple[Group, ...], Group]]:
    """Yield each group with its ancestors, root first."""
    above: list[Group] = []
    for depth, _is_last, group in places:
        del above[depth:]
        yield tuple(above), group
        above.append(group)


def _read(order: Iterable[tuple[int, bool, int]], groups: GroupQuerySet) -> Iterator[Place]:
    """Read the groups of a tree in chunks. A group that no longer exists gets no id."""
    # Load all columns for the output, because a deferred column would cost one query per group.
    columns = groups.only("name", "count", "total", "unexplored", "fetched_at", "missing_since")
    for chunk in chunked(order):
        found = columns.in_bulk([pk for _depth, _is_last, pk in chunk])
        for depth, is_last, pk in chunk:
            yield Place(depth, is_last, found.get(pk) or Group())


def arranged(rows: Iterable[Group], top_ids: Collection[int]) -> Iterator[Place]:
    """Arrange rows as trees, and yield them depth first."""
    by_id = {row.pk: row for row in rows}
    links = sorted(
        (parent_id, row.sort_key, pk)
        for pk, row in by_id.items()
        if (parent_id := 0 if pk in top_ids else row.parent_id) is not None
    )
    for depth, is_last, pk in _depth_first((parent_id, pk) for parent_id, _key, pk in links):
        yield Place(depth, is_last, by_id[pk])


def first_levels(tops: Sequence[Group], most: int) -> tuple[list[Group], dict[int, int]]:
    """Return as many first levels of the trees as fit into ``most`` groups.

    The second value maps ids on the last level to the number of omitted groups below.
    """
    rows, level = {top.pk: top for top in tops}, [top.pk for top in tops]
    while level:
        groups = Group.objects.using(tops[0]._state.db)
        below = groups.filter(parent__in=level)[: most - len(rows) + 1]
        new = {row.pk: row for row in below if row.pk not in rows}
        if len(rows) + len(new) > most:
            return list(rows.values()), groups.count_below(level)
        rows |= new
        level = list(new)
    return list(rows.values()), {}


def text_lines(places: Iterable[Place], hidden: Mapping[int, int] | None = None) -> Iterator[str]:
    """Draw a tree. Each line shows the name, the id and the number of contacts of a group.

    ``hidden`` maps group ids to the number of omitted groups below.
    """
    leads: list[str] = []
    for depth, is_last, group in places:
        del leads[depth:]
        branch = "" if depth == 0 else "└── " if is_last else "├── "
        line = "".join(leads[1:]) + branch + _describe(group)
        if hidden and (number := hidden.get(group.pk)):
            text = ngettext("%(count)s group below", "%(count)s groups below", number)
            line += " … " + text % {"count": number}
        yield line
        leads.append("    " if is_last else "│   ")


def json_lines(places: Iterable[Place]) -> Iterator[str]:
    """Yield a JSON array of trees, one line per group, with the same keys as the vendor's answer.

    Each group of depth 0 starts a new tree. Missing groups below the top are left out, with
    everything below them. Writes the brackets without ``json.dumps``, because ``json.dumps`` fails
    on a tree with a thousand levels.
    """
    yield "["
    line, depth_before = "", 0
    listed = _pruned(places, lambda place: not (place.depth and place.group.missing_since))
    for depth, _is_last, group in listed:
        if line:
            # Close the brackets of finished groups.
            closing = "" if depth > depth_before else "]}" * (depth_before - depth + 1) + ","
            yield line + closing
        fields = {"id": group.pk, "name": group.name, "count": group.count}
        line = json.dumps(fields)[:-1] + ', "children": ['
        depth_before = depth
    if line:
        yield line + "]}" * (depth_before + 1)
    yield "]"


def _pruned(places: Iterable[Place], is_kept: Callable[[Place], bool]) -> Iterator[Place]:
    """Drop the places that ``is_kept`` rejects, and everything below them."""
    cut: int | None = None
    for place in places:
        if cut is None or place.depth <= cut:
            cut = None if is_kept(place) else place.depth
            if cut is None:
                yield place


def _describe(group: Group) -> str:
    contacts = ngettext("%(count)s contact", "%(count)s contacts", group.count)
    numbers = contacts % {"count": group.count}
    if group.total > group.count:
        text = _("%(total)s including subgroups")
        if group.unexplored:
            text = _("at least %(total)s including subgroups")
        numbers += ", " + text % {"total": group.total}
    line = f"{visible(group.name)} (id {group.pk}, {numbers})"
    if group.missing_since:
        since = to_current_timezone(group.missing_since)
        line += " " + _("missing since %s") % f"{since:%Y-%m-%d %H:%M}"
    return line


def _depth_first(links: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bool, int]]:
    """Yield each id once, as a tuple ``(depth, is_last_sibling, id)``.

    ``links`` are pairs of a parent id (0 at the top) and an id, sorted by parent id.
    """
    parents, ids = array("q"), array("q")
    for parent_id, group_id in links:
        parents.append(parent_id)
        ids.append(group_id)
    # For each open level: the position of the next sibling, and the end of the siblings.
    nexts, ends = array("q"), array("q")
    group_id = 0
    while True:
        nexts.append(bisect_left(parents, group_id))
        ends.append(bisect_right(parents, group_id))
        while nexts and nexts[-1] == ends[-1]:
            nexts.pop()
            ends.pop()
        if not nexts:
            return
        group_id = ids[nexts[-1]]
        nexts[-1] += 1
        yield len(nexts) - 1, nexts[-1] == ends[-1], group_id
