"""Builds the tree nodes that a page shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.contrib.admin import ModelAdmin
from django.db.models import Count, Exists, OuterRef, Window
from django.db.models.functions import RowNumber

from ..display import WHOLE_TREE
from ..finding import ORDER, Part
from ..models import CHUNK, Group, GroupQuerySet, chunked
from .access import is_filtered

PAGE = ModelAdmin.list_per_page
"""Rows per page, as in Django's own lists."""

MAX_ROWS = 900
"""Most rows after “Expand all”, and most rows per action. Django accepts only 1,000 form fields."""


@dataclass(slots=True)
class Node:
    """A group on a page.

    ``subgroups`` counts all subgroups. ``matching`` counts the subgroups that match the filters.
    """

    group: Group
    subgroups: int
    matching: int
    level: int = 0
    is_open: bool = False
    is_match: bool = True
    """False if the group is shown but does not match the filters."""
    path: tuple[Part, ...] = ()


class More(NamedTuple):
    """A link to the subgroups of a group from index ``start`` on."""

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
    """Return a node for each group. Counts the subgroups in ``everything`` and in ``result``."""
    found = list(groups)
    ids = [group.pk for group in found]
    subgroups = _count_subgroups(everything, ids)
    matching = subgroups
    if result is not None and is_filtered(result):
        matching = _count_subgroups(result, ids)
    return [Node(group, subgroups.get(group.pk, 0), matching.get(group.pk, 0)) for group in found]


def _count_subgroups(groups: GroupQuerySet, parent_ids: Collection[int]) -> dict[int, int]:
    found = groups.filter(parent__in=parent_ids).order_by()
    if found.query.annotations or found.query.distinct:
        # Put the host's query into a subquery, because annotations or DISTINCT would change the
        # counts. Other queries are faster without a subquery.
        found = Group.objects.using(groups.db).filter(pk__in=found.values("pk")).order_by()
    return dict(found.values_list("parent").annotate(Count("pk")))


def roots(groups: GroupQuerySet) -> GroupQuerySet:
    """Return the groups whose parent is not in ``groups``."""
    if not is_filtered(groups):
        # PostgreSQL uses the sibling index only if the order contains all columns of the index.
        return groups.filter(parent=None).order_by("parent_id", *ORDER)
    has_parent = Exists(groups.order_by().filter(pk=OuterRef("parent")))
    return groups.filter(~has_parent).order_by(*ORDER)


def next_level(
    top: Collection[Node], everything: GroupQuerySet, result: GroupQuerySet
) -> list[Node]:
    """Return the level below the given nodes if this level fits on a page or has one parent."""
    parents = [node.group.pk for node in top if node.matching]
    if len(parents) != 1 and sum(node.matching for node in top) > PAGE:
        return []
    return nodes(result.filter(parent__in=parents).order_by(*ORDER)[:PAGE], everything, result)


def subgroups(
    parent_ids: Collection[int], start: int, everything: GroupQuerySet, result: GroupQuerySet
) -> list[Node | More]:
    """Return one page of subgroups for each parent, from index ``start`` on.

    Skips a parent if its subgroups would not fit into about ``WHOLE_TREE`` rows. The subgroups of
    the first parent are always returned.
    """
    siblings = result.filter(parent__in=parent_ids).order_by(*ORDER)
    if len(parent_ids) == 1:
        # A slice is much cheaper than a window over many thousands of siblings.
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
    """Put each node of a page below its parent, and open the nodes whose children are on the page.

    A loop is cut at its first node. The group ``paged`` does not get a link to more subgroups,
    because the paginator links to these subgroups.
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


def with_paths(
    groups: GroupQuerySet, everything: GroupQuerySet
) -> Iterator[tuple[Sequence[Group], Group]]:
    """Yield each group with its path in ``everything``, from the root to the parent."""
    groups, everything = groups.prefetch_related(None), everything.prefetch_related(None)
    rows = groups.order_by(*ORDER).iterator(chunk_size=CHUNK)
    for chunk in chunked(rows):
        paths = everything.paths([group.pk for group in chunk])
        for group in chunk:
            yield paths.get(group.pk, [])[:-1], group


def uppermost(groups: GroupQuerySet, ids: Collection[int]) -> list[int]:
    """Remove the ids of groups that are listed below other given groups. Uses one query.

    Fetching the remaining ids recursively covers all given groups that still exist.
    """
    found = groups.only("parent", "missing_since").with_ancestors(ids)
    rows = {row.pk: row for row in found}
    given = set(ids)
    covering: dict[int | None, int | None] = {}
    """Maps each visited group to the topmost given id on its path. The path includes the group."""
    for pk in ids:
        # Remember the visited groups, because a path may contain a loop.
        trail: dict[int, Group] = {}
        row = rows.get(pk)
        while row and not row.missing_since and row.pk not in trail and row.pk not in covering:
            trail[row.pk] = row
            row = rows.get(row.parent_id or 0)
        top = covering.get(row.pk) if row else None
        for below in reversed(trail):
            if top is None and below in given:
                top = below
            covering[below] = top
    return [pk for pk in ids if pk in rows and covering.get(pk, pk) == pk]
