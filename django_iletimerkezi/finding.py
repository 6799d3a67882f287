"""Finds groups by their names, and reads their paths."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from django.db.models import Case, Q, QuerySet, When

from .display import LABEL_LENGTH, label
from .ids import parse_id
from .models import Group, GroupQuerySet, climb
from .turkish import search_key

ORDER = ("sort_key", "pk")


class Part(NamedTuple):
    """A group in a path. An ellipsis stands for omitted groups and links to their last group."""

    group: Group
    is_ellipsis: bool = False

    @property
    def text(self) -> str:
        if self.is_ellipsis:
            return "…"
        # Use shorter labels than elsewhere, so that a path with six parts stays readable.
        return label(self.group.name, LABEL_LENGTH // 2) or str(self.group.pk)


def search(groups: QuerySet[Group], term: str) -> QuerySet[Group]:
    """Find the groups whose name or id matches each word. Groups found by id come first."""
    words = dict.fromkeys(search_key(term).split())
    if not words or "\0" in term:
        return groups.none()
    ids = []
    for word in words:
        match = Q(search_key__contains=word)
        if group_id := parse_id(word):
            ids.append(group_id)
            match |= Q(pk=group_id)
        groups = groups.filter(match)
    ids_first = [Case(When(pk__in=ids, then=0), default=1)] if ids else []
    return groups.order_by(*ids_first, *ORDER)


def read_paths(
    ids: Collection[int], groups: GroupQuerySet, *, inclusive: bool = False
) -> dict[int, tuple[Part, ...]]:
    """Return the shortened path to each group. Uses two queries for all groups.

    The first query reads only the parent ids, because a group may have thousands of ancestors with
    long names, but a page shows only a few ancestors.
    """
    groups = groups.prefetch_related(None)  # A path shows names only.
    paths = {
        pk: shortened(path if inclusive else path[:-1])
        for pk, path in groups.only("parent").paths(ids).items()
    }
    named = groups.in_bulk({part.group.pk for path in paths.values() for part in path})
    return {
        pk: tuple(
            Part(named[part.group.pk], part.is_ellipsis) for part in path if part.group.pk in named
        )
        for pk, path in paths.items()
    }


def shortened(path: Sequence[Group]) -> tuple[Part, ...]:
    """Shorten a path to at most six parts, which fill one or two lines."""
    if len(path) <= 6:
        return tuple(map(Part, path))
    top, last_omitted, rest = path[0], path[-5], path[-4:]
    return (Part(top), Part(last_omitted, is_ellipsis=True), *map(Part, rest))


def path_texts(ids: Collection[int], groups: GroupQuerySet) -> dict[int, str]:
    """Return the paths to several groups as text, by id. Each path ends with the group itself.

    Leaves out ids that are not in ``groups``. Uses two queries.
    """
    paths = read_paths(ids, groups, inclusive=True)
    # A group may be deleted between the queries.
    return {pk: _path_text(path) for pk, path in paths.items() if path and path[-1].group.pk == pk}


def tree_texts(groups: GroupQuerySet, most: int) -> dict[int, str] | None:
    """Return the paths to all groups as text, in the order of the tree. Uses one query.

    Returns None for more than ``most`` groups.
    """
    rows = groups.select_related(None).prefetch_related(None).order_by()
    found = list(rows.only("name", "parent", "sort_key")[: most + 1])
    if len(found) > most:
        return None
    by_id = {group.pk: group for group in found}
    paths = [climb(pk, by_id) for pk in by_id]
    paths.sort(key=lambda path: [(group.sort_key, group.pk) for group in path])
    return {path[-1].pk: _path_text(shortened(path)) for path in paths}


def _path_text(path: Sequence[Part]) -> str:
    # True if the parent of the first group is hidden, or if the path has a loop.
    is_cut = path[0].group.parent_id is not None
    return " › ".join([*(["…"] if is_cut else []), *(each.text for each in path)])
