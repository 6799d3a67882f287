"""A vendor that serves a table of groups, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from django_iletimerkezi.testing import GroupDict

from ..forest import Forest
from .console import Console

ROOT = Path(__file__).parent.parent.parent


class Row(NamedTuple):
    """A group, at the vendor or in the mirror."""

    parent: int | None
    name: str
    contacts: int


Rows = dict[int, Row]


class TableForest(Forest):
    """Serves rows, each with the id of its parent."""

    def __init__(self) -> None:
        super().__init__({})
        self.rows: Rows = {}

    def show(self, rows: dict[str, tuple[int | None, str, int]]) -> None:
        """Serve these rows from now on. The keys are ids as strings, as in JSON."""
        self.rows = {int(pk): Row(*values) for pk, values in rows.items()}
        children: dict[int, list[int]] = {pk: [] for pk in self.rows}
        for pk, row in self.rows.items():
            if row.parent:
                children[row.parent].append(pk)
        self.list_of = children.get
        self.main_ids = [pk for pk, row in self.rows.items() if row.parent is None]
        self.asked.clear()

    def find(self, group_id: int) -> GroupDict | None:
        children = self.list_of(group_id)
        if children is None:
            return None
        return self._describe(group_id) | {"children": [self._describe(pk) for pk in children]}

    def _describe(self, group_id: int) -> dict[str, int | str]:
        row = self.rows[group_id]
        return {"id": group_id, "name": row.name, "count": row.contacts}


class Vendor:
    """A ``TableForest`` in a process of its own."""

    def __init__(self) -> None:
        self._console = Console(ROOT, {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)})
        self.settings: dict[str, str] = self._console.run(
            """
            from tests.engines.vendor import TableForest
            server = TableForest().start()
            result = server.settings
            """
        )

    def show(self, rows: Rows, latency: float = 0) -> None:
        """Serve these rows from now on, each answer after ``latency`` seconds."""
        self.rows = rows
        self.set_latency(latency)
        self._console.run(f"server.show({ {pk: tuple(row) for pk, row in rows.items()} })")

    def set_latency(self, seconds: float) -> None:
        self._console.run(f"server._latency = {seconds}")

    @property
    def asked(self) -> list[int]:
        found: list[int] = self._console.run("result = server.asked")
        return found

    @property
    def answered(self) -> int:
        """The number of get-group requests so far."""
        number: int = self._console.run("result = len(server.asked)")
        return number

    def close(self) -> None:
        self._console.close()


def phone_book(size: int, main_groups: int = 8, fanout: int = 6) -> Rows:
    """Return the rows of a phone book with the ids 1 to ``size``."""
    rows = {}
    for pk in range(1, size + 1):
        parent = None if pk <= main_groups else (pk - main_groups - 1) // fanout + 1
        rows[pk] = Row(parent, f"Grup {pk}", pk % 7)
    return rows


def changed(rows: Rows) -> Rows:
    """Return the rows of the same phone book some days later, with every kind of change."""
    size = len(rows)
    leaves = sorted(rows.keys() - {row.parent for row in rows.values()})
    later = dict(rows)
    for pk in range(5, size, 40):
        later[pk] = later[pk]._replace(name=f"Yeni ad {pk}")
    for pk in range(7, size, 30):
        later[pk] = later[pk]._replace(contacts=later[pk].contacts + 10)
    for number, pk in enumerate(leaves[::25]):  # They move below another main group.
        later[pk] = later[pk]._replace(parent=1 + number % 7)
    for pk in leaves[7::25]:
        del later[pk]
    for pk in range(size + 1, size + 41):
        later[pk] = Row(1 + pk % 300, f"Grup {pk}", pk % 7)
    removed = {8}  # A main group, with everything below it.
    for pk, row in later.items():
        if row.parent in removed:
            removed.add(pk)
    return {pk: row for pk, row in later.items() if pk not in removed}
