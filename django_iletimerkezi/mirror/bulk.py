"""Statements whose text is the same for any number of rows: the rows travel as one JSON array.

The ORM writes a placeholder for each value. On SQLite that splits a batch into many statements
of ever new length, whose texts the driver keeps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError, connections
from django.db.models.expressions import RawSQL

from ..models import UP, Group, reached
from ..turkish import search_key, sort_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

COLUMNS = (
    "id",
    "parent_id",
    "name",
    "count",
    "seen_at",
    "placed_at",
    "fetched_at",
    "listed_at",
    "missing_since",
)
"""The columns of ``Group`` in the order in which rows are read and written here."""

_TIMES_FROM = COLUMNS.index("seen_at")
_NAME = COLUMNS.index("name")
_KEYS = ("sort_key", "search_key")
_WRITTEN = (*COLUMNS[:_TIMES_FROM], *_KEYS, *COLUMNS[_TIMES_FROM:])
_TEXTS = {"name", *_KEYS}
_ROWS_AT_ONCE = 2000
_CHARACTERS_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a database reads JSON and settles a conflict."""

    ids: str
    """Selects the numbers of an array."""
    value: str
    """The value of one column in a row; takes its ``index`` and ``type``."""
    rows: str
    """The rows of an array of arrays; takes the ``values``, where it reads them itself."""
    conflict: str
    new: str
    """The value that a ``column`` would have had without the conflict."""
    charset: str = ""
    """That of a text on its way in, where it would go through the database's default."""


_DIALECTS = {
    "sqlite": _Dialect(
        ids="SELECT value FROM json_each(%s)",
        value="json_extract(value, '$[{index}]')",
        # Without WHERE SQLite takes ON for the condition of a join.
        rows="json_each(%s) WHERE true",
        conflict="ON CONFLICT (id) DO UPDATE SET",
        new="excluded.{column}",
    ),
    "postgresql": _Dialect(
        ids="SELECT value::bigint FROM json_array_elements_text(%s::json)",
        value="(value->>{index})::{type}",
        rows="json_array_elements(%s::json)",
        conflict="ON CONFLICT (id) DO UPDATE SET",
        new="excluded.{column}",
    ),
    "mysql": _Dialect(
        ids="SELECT value FROM JSON_TABLE(%s, '$[*]' COLUMNS (value bigint PATH '$')) ids",
        value="v{index}",
        rows="JSON_TABLE(%s, '$[*]' COLUMNS ({columns})) given",
        conflict="ON DUPLICATE KEY UPDATE",
        new="VALUES({column})",
        charset=" CHARACTER SET utf8mb4",
    ),
}


def select(using: str, column: str, ids: Iterable[int]) -> list[tuple[Any, ...]]:
    """Return the rows whose ``column`` is one of the ids, as tuples of ``COLUMNS``."""
    ids = list(ids)
    if not ids:
        return []
    wanted = RawSQL(_dialect(connections[using]).ids, [json.dumps(ids)])  # noqa: S611 - constant
    found = Group.objects.using(using).filter(**{f"{column}__in": wanted})
    return list(found.values_list(*COLUMNS))


def ancestors(using: str, ids: Iterable[int]) -> dict[int, int | None]:
    """Return the parent's id of each group among the ids and above, whatever loops are stored."""
    connection = connections[using]
    table = connection.ops.quote_name(Group._meta.db_table)
    chain = reached(table, _dialect(connection).ids, UP)
    statement = f"{chain} SELECT id, parent_id FROM reached"  # noqa: S608 - nothing from outside
    with connection.cursor() as cursor:
        cursor.execute(statement, [json.dumps(list(ids))])
        return dict(cursor.fetchall())


def upsert(using: str, rows: Iterable[tuple[Any, ...]], update: Collection[str]) -> None:
    """Insert rows, tuples of ``COLUMNS``; of one whose id is there already, ``update`` columns.

    The keys of a name go with it. A parent must come before its children: MariaDB checks foreign
    keys row by row.
    """
    connection = connections[using]
    statement = _upsert_statement(connection, update)
    with connection.cursor() as cursor:
        for part in _parts(rows):
            cursor.execute(statement, [_as_json(connection, part)])


def _parts(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Cut rows into parts that MariaDB takes in one packet, 16 MB unless it is told otherwise."""
    part: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        size += len(row[_NAME])
        if part and (size > _CHARACTERS_AT_ONCE or len(part) == _ROWS_AT_ONCE):
            yield part
            part, size = [], len(row[_NAME])
        part.append(row)
    yield part


def _dialect(connection: BaseDatabaseWrapper) -> _Dialect:
    try:
        return _DIALECTS[connection.vendor]
    except KeyError:
        raise NotSupportedError(
            f"django-iletimerkezi does not know how to write to {connection.display_name}."
        ) from None


def _upsert_statement(connection: BaseDatabaseWrapper, update: Collection[str]) -> str:
    dialect, quote = _dialect(connection), connection.ops.quote_name
    if "name" in update:
        update = (*update, *_KEYS)
    types = [
        f"{Group._meta.get_field(name).db_type(connection)}"
        f"{dialect.charset if name in _TEXTS else ''}"
        for name in _WRITTEN
    ]
    numbered = list(enumerate(types))
    given = ", ".join(f"v{index} {kind} PATH '$[{index}]'" for index, kind in numbered)
    values = ", ".join(dialect.value.format(index=index, type=kind) for index, kind in numbered)
    news = (f"{quote(name)} = {dialect.new.format(column=quote(name))}" for name in update)
    return (
        f"INSERT INTO {quote(Group._meta.db_table)} ({', '.join(map(quote, _WRITTEN))}) "  # noqa: S608 - names of ours alone
        f"SELECT {values} FROM {dialect.rows.format(columns=given)} "
        f"{dialect.conflict} {', '.join(news)}"
    )


def _as_json(connection: BaseDatabaseWrapper, rows: Iterable[tuple[Any, ...]]) -> str:
    adapted: dict[Any, Any] = {}

    def adapt(moment: Any) -> Any:
        if moment not in adapted:
            adapted[moment] = connection.ops.adapt_datetimefield_value(moment)
        return adapted[moment]

    return json.dumps(
        [
            (
                *row[:_TIMES_FROM],
                sort_key(row[_NAME]),
                search_key(row[_NAME]),
                *map(adapt, row[_TIMES_FROM:]),
            )
            for row in rows
        ],
        ensure_ascii=False,
        default=str,
    )
