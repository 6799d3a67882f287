"""What a page shows of a tree, node by node. Reads a bounded number of groups at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import NamedTuple

from django.db.models import Count, Exists, OuterRef, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from ..display import LABEL_LENGTH, WHOLE_TREE, label
from ..models import Group, GroupQuerySet

ORDER = ("sort_key", "pk")

PAGE = 100
"""Siblings that are shown at a time, as many as on a page of any list in Django's admin."""

MAX_ROWS = 900
"""Rows of one page, and groups of one action: Django accepts 1,000 fields in a form."""


class Part(NamedTuple):
    """One group of a path, and its text."""

    group: Group
    text: str


@dataclass(slots=True)
class Node:
    """A group on a page. ``subgroups`` are all that it has, ``matching`` those in the result."""

    group: Group
    subgroups: int
    matching: int
    level: int = 0
    is_open: bool = False
    is_match: bool = True
    """Whether it is in the result itself, and not only on the way to it."""
    path: tuple[Part, ...] = ()


class More(NamedTuple):
    """Stands for the remaining subgroups of a group, from number ``start`` on."""

    parent_id: int
    start: int
    level: int = 0

    @property
    def page(self) -> int:
        """The page of the list of subgroups that starts with them."""
        return self.start // PAGE + 1


def ago(moment: datetime) -> str:
    """Say how long ago a moment was, in its largest unit."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}


def nodes(
    groups: Iterable[Group], everything: GroupQuerySet, result: GroupQuerySet | None = None
) -> list[Node]:
    """Return a node for each group. Counts its subgroups among everything and in a result."""
    found = list(groups)
    ids = [group.pk for group in found]
    subgroups = _count_subgroups(everything, ids)
    matching = subgroups
    if result is not None and result.query.where:
        matching = _count_subgroups(result, ids)
    return [Node(group, subgroups.get(group.pk, 0), matching.get(group.pk, 0)) for group in found]


def _count_subgroups(groups: GroupQuerySet, parent_ids: Collection[int]) -> dict[int, int]:
    # A query of its own, because that of a host may be annotated or grouped.
    found = groups.filter(parent__in=parent_ids).order_by().values("pk")
    counted = Group.objects.using(groups.db).filter(pk__in=found).order_by()
    return dict(counted.values_list("parent").annotate(Count("pk")))


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
    """Return the level below some nodes, if one of them has all of it or if it fits on a page."""
    parents = [node.group.pk for node in top if node.matching]
    if len(parents) != 1 and sum(node.matching for node in top) > PAGE:
        return []
    return nodes(result.filter(parent__in=parents).order_by(*ORDER)[:PAGE], everything, result)


def subgroups(
    parent_ids: Collection[int], start: int, everything: GroupQuerySet, result: GroupQuerySet
) -> list[Node | More]:
    """Return the subgroups of some groups, from number ``start`` on, a page of each at most.

    They come parent by parent, about ``WHOLE_TREE`` in all: the last parents may have to wait.
    """
    siblings = result.filter(parent__in=parent_ids).order_by(*ORDER)
    if len(parent_ids) == 1:
        siblings = siblings[start : start + PAGE + 1]
    else:
        place = Window(RowNumber(), partition_by="parent_id", order_by=ORDER)
        first = siblings.alias(place=place).filter(place__gt=start, place__lte=start + PAGE + 1)
        siblings = siblings.filter(pk__in=first.order_by().values("pk"))
    levels: defaultdict[int | None, list[Node]] = defaultdict(list)
    for node in nodes(siblings, everything, result):
        levels[node.group.parent_id].append(node)
    answer: list[Node | More] = []
    for parent_id, level in levels.items():
        if not answer or len(answer) + len(level) <= WHOLE_TREE:
            answer += level[:PAGE]
            if len(level) > PAGE:
                answer.append(More(parent_id or 0, start + PAGE))
    return answer


def arrange(found: Collection[Node], paged: int | None = None) -> list[Node | More]:
    """Put nodes in the order of a page, each below its parent. Parents of others are open.

    A loop is cut at the first of its nodes. The remaining subgroups of the group ``paged`` are on
    other pages.
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
    """Return the ids without those that are listed below others of them, with one query.

    Fetching the remaining ids recursively covers all of them.
    """
    kept: set[int] = set()
    for path in sorted(groups.paths(ids).values(), key=len):
        listed = takewhile(lambda group: not group.missing_since, reversed(path))
        if kept.isdisjoint(group.pk for group in listed):
            kept.add(path[-1].pk)
    return [pk for pk in ids if pk in kept]


def add_paths(found: Collection[Node], groups: GroupQuerySet) -> None:
    """Give each node the path to it among some groups, with one query for all."""
    paths = groups.paths([node.group.pk for node in found])
    for node in found:
        node.path = shortened(paths.get(node.group.pk, [])[:-1])


def shortened(path: Sequence[Group]) -> tuple[Part, ...]:
    """Return a path of at most six parts, which fill a line or two.

    An ellipsis stands for the groups left out, and leads to the last of them.
    """
    if len(path) <= 6:
        return tuple(map(part, path))
    return (part(path[0]), Part(path[-5], "…"), *map(part, path[-4:]))


def part(group: Group) -> Part:
    # Shorter than elsewhere, so that a path of six stays readable.
    return Part(group, label(group.name, LABEL_LENGTH // 2) or str(group.pk))
