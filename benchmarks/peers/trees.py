"""A phone book of any size, and its groups as each package stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import vendor

from . import models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from typing import Any

TREES = 5
"""So that two levels are on the first page: these, and all that is directly below them."""


@dataclass
class Place:
    """Where a group is, in the terms of every package. ``path`` has a number for each level."""

    id: int
    parent_id: int | None
    tree: int
    path: tuple[int, ...]
    left: int
    right: int = 0
    children: int = 0

    @property
    def name(self) -> str:
        return vendor.name(self.id)

    @property
    def count(self) -> int:
        return self.id % 500


def phone_book(size: int) -> list[Place]:
    """Return the places of so many groups, those above before those below."""
    places: list[Place] = []
    each = size // TREES

    def grow(number: int, place: Place) -> int:
        """Add a place and all below it; return where it ends."""
        places.append(place)
        below = vendor.children(each, number)
        place.children = len(below)
        end = place.left
        for position, child in enumerate(below, start=1):
            child_id = (place.tree - 1) * each + child
            path = (*place.path, position)
            end = grow(child, Place(child_id, place.id, place.tree, path, end + 1))
        place.right = end + 1
        return place.right

    for tree in range(1, TREES + 1):
        grow(1, Place((tree - 1) * each + 1, None, tree, (tree,), 1))
    return places


def rows(places: Sequence[Place], seen_at: datetime) -> Iterator[tuple[type[Any], list[Any]]]:
    """Return the rows of each peer's model."""
    for model, extra in EXTRA.items():
        yield (
            model,
            [
                model(id=at.id, name=at.name, count=at.count, seen_at=seen_at, **extra(at))
                for at in places
            ],
        )


def _materialized_path(place: Place) -> dict[str, object]:
    node = models.Treebeard
    steps = map(node.numconv_obj().int2str, place.path)
    path = "".join(step.rjust(node.steplen, node.alphabet[0]) for step in steps)
    return {"path": path, "depth": len(place.path), "numchild": place.children}


def _nested_set(place: Place) -> dict[str, object]:
    return {
        "parent_id": place.parent_id,
        "tree_id": place.tree,
        "level": len(place.path) - 1,
        "lft": place.left,
        "rght": place.right,
    }


def _parent(place: Place) -> dict[str, object]:
    return {"parent_id": place.parent_id}


EXTRA = {
    models.Treebeard: _materialized_path,
    models.Mptt: _nested_set,
    models.TreeQueries: _parent,
    models.Plain: _parent,
}
