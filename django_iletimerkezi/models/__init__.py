"""The models for mirrored groups, for fetches, and for the changes that fetches made."""

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
