"""The models: the mirrored groups, the fetches, and the changes that each fetch made."""

from .group import Group, GroupQuerySet, MirrorLock, Totals, climb, own_sums
from .history import CHUNK, Change, ChangeQuerySet, Fetch, FetchQuerySet, chunked

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
