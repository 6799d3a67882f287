"""The tables of the mirror: the groups, and what each fetch changed."""

from .group import CHUNK, Group, GroupQuerySet, MirrorLock, Totals, chunked, climb, own_sums
from .history import Change, ChangeQuerySet, Fetch, FetchQuerySet

__all__ = [
    "CHUNK",
    "Change",
    "ChangeQuerySet",
    "Fetch",
    "FetchQuerySet",
    "Group",
    "GroupQuerySet",
    "MirrorLock",
    "Totals",
    "chunked",
    "climb",
    "own_sums",
]
