"""Insert or update any number of rows of a model with one statement of constant text.

The rows travel as one JSON array. ``bulk_create`` writes a placeholder for each value instead: on
SQLite that splits the rows into many statements of varying length, and the driver caches each.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from django.db import NotSupportedError, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

PACKET = 2**22
"""Characters per statement: as UTF-8 at most 16 MiB, which MariaDB accepts by default."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a database reads JSON and resolves a conflict."""

    numbers: str
    """A query for the numbers of a JSON array."""
    value: str
    """One column of a row, by its ``index`` and ``type``."""
    rows: str
    """The rows of a JSON array of arrays. MariaDB and MySQL want their ``columns`` declared."""
    conflict: str
    new: str
    """The value that the row would have inserted into ``column``."""
    text: str = ""
    """Added to the type of a text column."""


_DIALECTS = {
    "sqlite": _Dialect(
        numbers="SELECT value FROM json_each(%s)",
        value="json_extract(value, '$[{index}]')",
        # Without WHERE, SQLite reads ON CONFLICT as the condition of a join.
        rows="json_each(%s) WHERE true",
        conflict="ON CONFLICT ({key}) DO UPDATE SET",
        new="excluded.{column}",
    ),
    "postgresql": _Dialect(
        numbers="SELECT value::bigint FROM json_array_elements_text(%s::json)",
        value="(value->>{index})::{type}",
        rows="json_array_elements(%s::json)",
        conflict="ON CONFLICT ({key}) DO UPDATE SET",
        new="excluded.{column}",
    ),
    "mysql": _Dialect(
        numbers="SELECT value FROM JSON_TABLE(%s, '$[*]' COLUMNS (value bigint PATH '$')) numbers",
        value="v{index}",
        rows="JSON_TABLE(%s, '$[*]' COLUMNS ({columns})) given",
        conflict="ON DUPLICATE KEY UPDATE",
        new="VALUES({column})",
        # Otherwise JSON_TABLE converts text to the default charset of the database.
        text=" CHARACTER SET utf8mb4",
    ),
}


def numbers_sql(connection: BaseDatabaseWrapper) -> str:
    """Return a query for the numbers of a JSON array, its only parameter."""
    return _dialect(connection).numbers


def upsert(using: str, rows: Sequence[models.Model], update: Collection[str]) -> None:
    """Insert rows of one model, or update the fields ``update`` of rows that already exist.

    The values must be numbers, text, times or None. Rows must come after the rows that their
    foreign keys name: MariaDB checks each row immediately.
    """
    if not rows:
        return
    connection = connections[using]
    fields = rows[0]._meta.concrete_fields
    statement = _statement(connection, fields, update)
    with connection.cursor() as cursor:
        for packet in _packets(rows, fields, connection):
            cursor.execute(statement, [packet])


def _dialect(connection: BaseDatabaseWrapper) -> _Dialect:
    try:
        return _DIALECTS[connection.vendor]
    except KeyError:
        raise NotSupportedError(
            f"django-iletimerkezi cannot write to {connection.display_name}."
        ) from None


def _statement(
    connection: BaseDatabaseWrapper, fields: Sequence[Any], update: Collection[str]
) -> str:
    dialect, quote = _dialect(connection), connection.ops.quote_name
    types = list(enumerate(_type(field, connection) for field in fields))
    declared = ", ".join(f"v{index} {type_} PATH '$[{index}]'" for index, type_ in types)
    values = ", ".join(dialect.value.format(index=index, type=type_) for index, type_ in types)
    conflict = dialect.conflict.format(key=quote(fields[0].model._meta.pk.column))
    columns = {field.attname: quote(field.column) for field in fields}
    changes = (f"{columns[name]} = {dialect.new.format(column=columns[name])}" for name in update)
    return (
        f"INSERT INTO {quote(fields[0].model._meta.db_table)} ({', '.join(columns.values())}) "  # noqa: S608 - names of tables and columns
        f"SELECT {values} FROM {dialect.rows.format(columns=declared)} "
        f"{conflict} {', '.join(changes)}"
    )


def _type(field: Any, connection: BaseDatabaseWrapper) -> str:
    is_text = isinstance(field, models.CharField | models.TextField)
    return f"{field.db_type(connection)}{_dialect(connection).text if is_text else ''}"


def _packets(
    rows: Iterable[models.Model], fields: Sequence[Any], connection: BaseDatabaseWrapper
) -> Iterator[str]:
    """Encode rows as JSON arrays of at most ``PACKET`` characters."""
    values = attrgetter(*(field.attname for field in fields))
    # Many rows share a time, and adapting is slow.
    adapt = cache(lambda moment: str(connection.ops.adapt_datetimefield_value(moment)))
    encode = json.JSONEncoder(ensure_ascii=False, default=adapt).encode
    packet: list[str] = []
    length = 0
    for row in map(encode, map(values, rows)):
        length += len(row)
        if packet and length > PACKET:
            yield f"[{','.join(packet)}]"
            packet, length = [], len(row)
        packet.append(row)
    yield f"[{','.join(packet)}]"
