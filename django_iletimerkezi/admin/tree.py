"""The nodes of a tree on one page. Reads a bounded number of groups at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from django.db.models import Count, Exists, OuterRef, Window
from django.db.models.functions import RowNumber

from ..display import LABEL_LENGTH, WHOLE_TREE, label
from ..models import Group, GroupQuerySet

ORDER = ("sort_key", "pk")

PAGE = 100
"""Siblings per page, as in any list of Django's admin."""

MAX_ROWS = 900
"""Most rows on a page and groups per action: Django accepts 1,000 fields in a form."""


class Part(NamedTuple):
    """One group of a path, and its text."""

    group: Group
    text: str


@dataclass(slots=True)
class Node:
    """A group on a page. ``subgroups`` counts all subgroups, ``matching`` those in the result."""

    group: Group
    subgroups: int
    matching: int
    level: int = 0
    is_open: bool = False
    is_match: bool = True
    """False if the group is shown but is not in the result."""
    path: tuple[Part, ...] = ()


class More(NamedTuple):
    """Stands for the remaining subgroups of a group, from number ``start`` on."""

    parent_id: int
    start: int
    level: int = 0

    @property
    def page(self) -> int:
        """The number of the page that starts with these subgroups."""
        return self.start // PAGE + 1


def nodes(
    groups: Iterable[Group], everything: GroupQuerySet, result: GroupQuerySet | None = None
) -> list[Node]:
    """Return a node per group, with its subgroups counted in ``everything`` and ``result``."""
    found = list(groups)
    ids = [group.pk for group in found]
    subgroups = _count_subgroups(everything, ids)
    matching = subgroups
    if result is not None and result.query.where:
        matching = _count_subgroups(result, ids)
    return [Node(group, subgroups.get(group.pk, 0), matching.get(group.pk, 0)) for group in found]


def _count_subgroups(groups: GroupQuerySet, parent_ids: Collection[int]) -> dict[int, int]:
    found = groups.filter(parent__in=parent_ids).order_by()
    if found.query.annotations or found.query.distinct:
        # Annotations of a host would change what is grouped. A subquery is slower.
        found = Group.objects.using(groups.db).filter(pk__in=found.values("pk")).order_by()
    return dict(found.values_list("parent").annotate(Count("pk")))


def roots(groups: GroupQuerySet) -> GroupQuerySet:
    """Return the groups whose parent is not among them."""
    if not groups.query.where:
        # PostgreSQL uses the index of siblings only if the order names all its columns.
        return groups.filter(parent=None).order_by("parent_id", *ORDER)
    has_parent = Exists(groups.order_by().filter(pk=OuterRef("parent")))
    return groups.filter(~has_parent).order_by(*ORDER)


def next_level(
    top: Collection[Node], everything: GroupQuerySet, result: GroupQuerySet
) -> list[Node]:
    """Return the level below some nodes, if it fits on a page or has a single parent."""
    parents = [node.group.pk for node in top if node.matching]
    if len(parents) != 1 and sum(node.matching for node in top) > PAGE:
        return []
    return nodes(result.filter(parent__in=parents).order_by(*ORDER)[:PAGE], everything, result)


def subgroups(
    parent_ids: Collection[int], start: int, everything: GroupQuerySet, result: GroupQuerySet
) -> list[Node | More]:
    """Return a page of subgroups of each group, from number ``start`` on.

    Returns about ``WHOLE_TREE`` in total, parent by parent, and leaves out parents beyond that.
    """
    siblings = result.filter(parent__in=parent_ids).order_by(*ORDER)
    if len(parent_ids) == 1:
        # Much cheaper than a window over all siblings, of which there may be many thousands.
        siblings = siblings[start : start + PAGE + 1]
    else:
        place = Window(RowNumber(), partition_by="parent_id", order_by=ORDER)
        first = siblings.alias(place=place).filter(place__gt=start, place__lte=start + PAGE + 1)
        siblings = siblings.filter(pk__in=first.order_by().values("pk"))
    levels: defaultdict[int | None, list[Node]] = defaultdict(list)
    for node in nodes(siblings, everything, result):
        levels[node.group.parent_id].append(node)
    shown: list[Node | More] = []
    for parent_id, level in levels.items():
        if not shown or len(shown) + len(level) <= WHOLE_TREE:
            shown += level[:PAGE]
            if len(level) > PAGE:
                shown.append(More(parent_id or 0, start + PAGE))
    return shown


def arrange(found: Collection[Node], paged: int | None = None) -> list[Node | More]:
    """Order nodes for a page, each below its parent. Nodes with children are open.

    A loop is cut at its first node. The remaining subgroups of the group ``paged`` are on other
    pages.
    """
    waiting = {node.group.pk: node for node in found}
    children: defaultdict[int | None, list[Node]] = defaultdict(list)
    for node in found:
        parent_id = node.group.parent_id
        children[parent_id if parent_id in waiting else None].append(node)
    arranged: list[Node | More] = []
    for top in (*children[None], *found):
        stack: list[Node | More] = [top]
        while stack:
            item = stack.pop()
            if isinstance(item, Node):
                group_id = item.group.pk
                if not waiting.pop(group_id, None):
                    continue
                below = [child for child in children[group_id] if child.group.pk in waiting]
                item.is_open = bool(below)
                for child in below:
                    child.level = item.level + 1
                if len(below) == PAGE < item.matching and group_id != paged:
                    stack.append(More(group_id, PAGE, item.level + 1))
                stack += reversed(below)
            arranged.append(item)
    return arranged


def uppermost(groups: GroupQuerySet, ids: Collection[int]) -> list[int]:
    """Drop the ids of groups that are listed below other given groups, with one query.

    Fetching the remaining ids recursively covers all of them.
    """
    kept: set[int] = set()
    for path in sorted(groups.paths(ids).values(), key=len):
        listed = takewhile(lambda group: not group.missing_since, reversed(path))
        if kept.isdisjoint(group.pk for group in listed):
            kept.add(path[-1].pk)
    return [pk for pk in ids if pk in kept]


def add_paths(found: Collection[Node], groups: GroupQuerySet) -> None:
    """Set the path of each node within ``groups``, with one query for all nodes."""
    paths = groups.paths([node.group.pk for node in found])
    for node in found:
        node.path = shortened(paths.get(node.group.pk, [])[:-1])


def shortened(path: Sequence[Group]) -> tuple[Part, ...]:
    """Return a path of at most six parts, which fill a line or two.

    An ellipsis replaces the groups left out and links to the last of them.
    """
    if len(path) <= 6:
        return tuple(map(part, path))
    return (part(path[0]), Part(path[-5], "…"), *map(part, path[-4:]))


def part(group: Group) -> Part:
    # Shorter than elsewhere, so that a path of six stays readable.
    return Part(group, label(group.name, LABEL_LENGTH // 2) or str(group.pk))
