"""Replays recorded changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FACTS = {"created": "name", "renamed": "name", "recounted": "count", "moved": "parent"}

Changes = Iterable[tuple[int, str, str | None, str | None]]
"""Group id, kind, before and after of each change, oldest first."""


def replay(changes: Changes) -> dict[int, dict[str, Any]]:
    """Return the facts of each group after its changes: only those that have changed.

    Fails if a change does not start where the change before it ended.
    """
    groups: dict[int, dict[str, Any]] = {}
    for group_id, kind, before, after in changes:
        if kind == "created":
            assert group_id not in groups
            groups[group_id] = {"missing": False, "name": after}
        elif kind in FACTS:
            assert groups[group_id].get(FACTS[kind], before) == before
            groups[group_id][FACTS[kind]] = after
        else:
            assert groups[group_id]["missing"] == (kind == "returned")
            groups[group_id]["missing"] = kind == "missing"
    return groups


def assert_changes_end_in_rows(changes: Changes, rows: dict[int, dict[str, Any]]) -> None:
    """``rows`` has the name, the count, the parent id and the absence of each group."""
    groups = replay(changes)
    assert groups.keys() == rows.keys()
    for group_id, facts in groups.items():
        row = {**rows[group_id], "count": str(rows[group_id]["count"])}
        row["parent"] = row["parent"] and str(row["parent"])
        assert facts == {fact: row[fact] for fact in facts}
