"""The models: the mirrored groups, the fetches, and the changes that each fetch made."""

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
