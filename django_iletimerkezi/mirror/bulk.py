"""Inserts or updates any number of model rows with one constant SQL statement.

The only parameter of the statement is a JSON array with the rows. ``bulk_create`` would write a
placeholder for each value. On SQLite, ``bulk_create`` would split the rows into many different
statements, and the driver would cache each statement.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from django.db import NotSupportedError, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T", bound=models.Model)

PACKET = 2**22
"""Most characters per packet. In UTF-8, a packet takes at most 16 MiB, which MariaDB and MySQL
accept by default."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """SQL fragments that read JSON and resolve conflicts."""

    numbers: str
    """Query for the numbers in a JSON array."""
    value: str
    """Expression for one value of a row, with the placeholders ``index`` and ``type``."""
    rows: str
    """FROM clause for the rows in a JSON array of arrays. MariaDB and MySQL require declared
    ``columns``."""
    conflict: str
    new: str
    """Expression for the new value of ``column`` in an update after a conflict."""
    charset: str = ""
    """Query for a table's character set. The result is empty if the character set can store all
    text. The only parameter is the table name."""
    text: str = ""
    """Suffix for the type of a text column."""


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
        charset="SELECT current_setting('server_encoding') WHERE to_regclass(%s) IS NOT NULL "
        "AND current_setting('server_encoding') NOT IN ('UTF8', 'SQL_ASCII')",
    ),
    "mysql": _Dialect(
        numbers="SELECT value FROM JSON_TABLE(%s, '$[*]' COLUMNS (value bigint PATH '$')) numbers",
        value="v{index}",
        rows="JSON_TABLE(%s, '$[*]' COLUMNS ({columns})) given",
        conflict="ON DUPLICATE KEY UPDATE",
        new="VALUES({column})",
        # UTF-8 needs up to four bytes per character.
        charset="SELECT character_set_name FROM information_schema.columns "
        "JOIN information_schema.character_sets USING (character_set_name) "
        "WHERE table_schema = DATABASE() AND table_name = %s AND maxlen < 4",
        # Without this suffix, JSON_TABLE converts text to the database's default character set.
        text=" CHARACTER SET utf8mb4",
    ),
}


def numbers_sql(connection: BaseDatabaseWrapper) -> str:
    """Return a query for the numbers in a JSON array. The only parameter is the array."""
    return _dialect(connection).numbers


def narrow_charset(connection: BaseDatabaseWrapper, table: str) -> str:
    """Return a table's character set, or an empty string if the set can store all text."""
    dialect = _DIALECTS.get(connection.vendor)
    if not dialect or not dialect.charset:
        return ""
    with connection.cursor() as cursor:
        cursor.execute(dialect.charset, [table])
        row = cursor.fetchone()
    return row[0] if row else ""


def insert(using: str, model: type[T], rows: Iterable[T]) -> None:
    """Insert rows. The database assigns ids, but the objects stay without ids."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    _write(using, fields, rows, update=())


def upsert(using: str, model: type[T], rows: Iterable[T], update: Collection[str]) -> None:
    """Insert new rows. In existing rows, update the fields ``update``.

    The values must be numbers, text, times or None. Parents must come before their children,
    because MariaDB and MySQL check the foreign keys of each row immediately.
    """
    _write(using, model._meta.concrete_fields, rows, update)


def _write(
    using: str, fields: Sequence[Any], rows: Iterable[models.Model], update: Collection[str]
) -> None:
    connection = connections[using]
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
    columns = {field.attname: quote(field.column) for field in fields}
    changes = [f"{columns[name]} = {dialect.new.format(column=columns[name])}" for name in update]
    conflict = dialect.conflict.format(key=quote(fields[0].model._meta.pk.column))
    on_conflict = f"{conflict} {', '.join(changes)}" if changes else ""
    return (
        f"INSERT INTO {quote(fields[0].model._meta.db_table)} ({', '.join(columns.values())}) "  # noqa: S608 - only table and column names
        f"SELECT {values} FROM {dialect.rows.format(columns=declared)} "
        f"{on_conflict}"
    )


def _type(field: Any, connection: BaseDatabaseWrapper) -> str:
    is_text = isinstance(field, models.CharField | models.TextField)
    return f"{field.db_type(connection)}{_dialect(connection).text if is_text else ''}"


def _packets(
    rows: Iterable[models.Model], fields: Sequence[Any], connection: BaseDatabaseWrapper
) -> Iterator[str]:
    """Encode rows as JSON arrays of up to ``PACKET`` characters, but do not split a longer row."""
    values = attrgetter(*(field.attname for field in fields))
    # Cache the results, because many rows share a time, and adapting a time is slow.
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
    if packet:
        yield f"[{','.join(packet)}]"
