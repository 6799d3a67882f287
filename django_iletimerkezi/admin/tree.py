"""What the admin shows of a tree, row by row. Reads a bounded number of groups at a time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Exists, F, OuterRef, Sum, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from .. import display
from ..models import Group

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from ..models import GroupQuerySet

ORDER = ("sort_key", "pk")
LEVEL = 100
"""How many subgroups of a group are shown at a time."""
WHOLE = 200
"""Up to so many groups a tree is shown fully open."""
ANSWER = 250
"""About how many rows one answer has at most when it opens several groups."""

_LONGEST_PATH = 6
_LONGEST_PART = 40
_HALF = 2**32


class Part(NamedTuple):
    """Of a path: a group, and the text that stands for it."""

    group: Group
    text: str


@dataclass(slots=True)
class Row:
    """A group on a page. ``inside`` is how many of its ``subgroups`` are in what is shown."""

    group: Group
    subgroups: int
    inside: int
    level: int = 0
    is_open: bool = False
    is_found: bool = True
    """Whether it is in the result, and not only what leads to it."""
    path: tuple[Part, ...] = ()


class More(NamedTuple):
    """Stands for the subgroups of a group that follow, the first of them number ``start``."""

    parent_id: int
    start: int
    level: int = 0

    @property
    def page(self) -> int:
        """The page of the tree below the group that begins with them."""
        return self.start // LEVEL + 1


def ago(moment: datetime) -> str:
    """Return how long ago that was, in its largest unit."""
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, depth=1)}


def rows(groups: GroupQuerySet, within: GroupQuerySet | None = None) -> list[Row]:
    """Return a row for each group, in their order on a page, with one query.

    Subgroups are counted of all, and of those ``within`` a result. They are counted after the
    groups were chosen: as an annotation they would be counted for each group that is skipped.
    """
    connection = connections[groups.db]
    table = connection.ops.quote_name(Group._meta.db_table)
    numbers: dict[str, tuple[str, Iterable[Any]]] = {"subgroups": (table, ())}
    try:
        alone = groups.select_related(None).query  # Else names of columns would come twice.
        chosen, params = alone.get_compiler(connection=connection).as_sql()
        if within is not None and within.query.where:
            result = within.order_by().values("id", "parent_id").query
            sql, result_params = result.get_compiler(connection=connection).as_sql()
            numbers["inside"] = f"({sql}) result", result_params
    except EmptyResultSet:
        return []
    counts = "".join(
        f", {name} AS (SELECT parent_id, COUNT(*) AS number FROM {source} "  # noqa: S608 - as below
        "WHERE parent_id IN (SELECT id FROM page) GROUP BY parent_id)"
        for name, (source, _params) in numbers.items()
    )
    columns = "".join(f", COALESCE({name}.number, 0) AS {name}" for name in numbers)
    joins = "".join(f" LEFT JOIN {name} ON {name}.parent_id = page.id" for name in numbers)
    found = Group.objects.using(groups.db).raw(
        f"WITH page AS ({chosen}){counts} SELECT page.*{columns} FROM page{joins}",  # noqa: S608 - Django's own statements
        [*params, *(param for _source, params in numbers.values() for param in params)],
    )
    return [
        Row(group, group.subgroups, getattr(group, "inside", group.subgroups))
        for group in sorted(cast("Iterable[Any]", found), key=_place)
    ]


def _place(group: Group) -> tuple[str, int]:
    return group.sort_key, group.pk


def roots(groups: GroupQuerySet) -> GroupQuerySet:
    """Return those whose parent is not among them."""
    if not groups.query.where:
        # PostgreSQL takes IS NULL for no order: the index has to be named as it is.
        return groups.filter(parent=None).order_by("parent_id", *ORDER)
    return groups.filter(~Exists(groups.order_by().filter(pk=OuterRef("parent"))))


def next_level(groups: GroupQuerySet, top: Collection[Row]) -> list[Row]:
    """Return the level below some rows if it is short, or is that of one alone; else nothing."""
    parents = [row.group.pk for row in top if row.inside]
    if len(parents) != 1 and sum(row.inside for row in top) > LEVEL:
        return []
    return rows(groups.filter(parent__in=parents).order_by(*ORDER)[:LEVEL], groups)


def subgroups(groups: GroupQuerySet, parent_ids: Collection[int], start: int) -> list[Row | More]:
    """Return the subgroups of some groups, from number ``start`` on, ``LEVEL`` of each at most.

    They come one parent after the other, about ``ANSWER`` in all: some parents may have to wait.
    """
    siblings = groups.filter(parent__in=parent_ids).order_by(*ORDER)
    if len(parent_ids) == 1:
        siblings = siblings[start : start + LEVEL + 1]
    else:
        place = Window(RowNumber(), partition_by="parent_id", order_by=ORDER)
        first = siblings.alias(place=place).filter(place__gt=start, place__lte=start + LEVEL + 1)
        siblings = siblings.filter(pk__in=first.order_by().values("pk"))
    levels: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows(siblings, groups):
        levels[cast("int", row.group.parent_id)].append(row)
    answer: list[Row | More] = []
    for parent_id, level in levels.items():
        if not answer or len(answer) + len(level) <= ANSWER:
            answer += level[:LEVEL]
            if len(level) > LEVEL:
                answer.append(More(parent_id, start + LEVEL))
    return answer


def arrange(found: Collection[Row], paged: Collection[int] = ()) -> list[Row | More]:
    """Put rows in the order of a page, each below its parent; who has any below is open.

    A loop is cut at the first of its rows. The other subgroups of those ``paged`` are on other
    pages.
    """
    waiting = {row.group.pk: row for row in found}
    children: defaultdict[int | None, list[Row]] = defaultdict(list)
    for row in found:
        parent_id = row.group.parent_id
        children[parent_id if parent_id in waiting else None].append(row)
    arranged: list[Row | More] = []
    for head in (*children[None], *found):
        stack: list[tuple[Row | More, int]] = [(head, 0)]
        while stack:
            item, level = stack.pop()
            if isinstance(item, More):
                arranged.append(item)
                continue
            if not waiting.pop(item.group.pk, None):
                continue
            item.level = level
            arranged.append(item)
            pk = item.group.pk
            inside = [row for row in children[pk] if row.group.pk in waiting]
            item.is_open = bool(inside)
            if len(inside) == LEVEL < item.inside and pk not in paged:
                stack.append((More(pk, LEVEL, level + 1), level))
            stack += [(row, level + 1) for row in reversed(inside)]
    return arranged


def uppermost(groups: GroupQuerySet, ids: Collection[int]) -> list[int]:
    """Return the ids without those that are listed below others of them, with one query.

    Who has the rest answered with everything below has them all.
    """
    kept: list[int] = []
    for path in sorted(groups.paths(ids).values(), key=len):
        listed = takewhile(lambda group: not group.missing_since, reversed(path))
        if not any(group.pk in kept for group in listed):
            kept.append(path[-1].pk)
    return kept


def contacts(groups: GroupQuerySet) -> int:
    """Add up the contacts in some groups, in halves: SQLite refuses a sum beyond 64 bits."""
    low = F("count") % _HALF
    sums = groups.aggregate(
        high=Sum((F("count") - low) / _HALF, default=0), low=Sum(low, default=0)
    )
    return int(sums["high"]) * _HALF + int(sums["low"])


def add_paths(found: Collection[Row], groups: GroupQuerySet) -> None:
    """Give each row its path among some groups, with one query for them all."""
    paths = groups.paths([row.group.pk for row in found])
    for row in found:
        if above := paths.get(row.group.pk, [])[:-1]:
            row.path = (*shortened(above), part(row.group))


def shortened(path: Sequence[Group]) -> tuple[Part, ...]:
    """Return a path of bearable length, in which the last that is left out stands for all such."""
    if len(path) <= _LONGEST_PATH:
        return tuple(map(part, path))
    *_left_out, last = path[1 : 2 - _LONGEST_PATH]
    return (part(path[0]), Part(last, "…"), *map(part, path[2 - _LONGEST_PATH :]))


def part(group: Group) -> Part:
    """Return a group with its name, which is shorter than elsewhere."""
    return Part(group, display.label(group.name, _LONGEST_PART) or str(group.pk))
