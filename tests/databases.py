"""Errors like those of database drivers, and databases with other options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection, connections

# SQLite has no server that could close a connection.
DISMISSALS = {
    "postgresql": [("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)")],
    "mysql": [("SELECT CONNECTION_ID()", "KILL %s")],
}


class SerializationFailure(Exception):
    sqlstate = "40001"


def conflict() -> OperationalError:
    error = OperationalError("could not serialize access")
    error.__cause__ = SerializationFailure()
    return error


def deadlock() -> OperationalError:
    error = OperationalError(1213, "Deadlock found")
    error.__cause__ = Exception(1213, "Deadlock found")
    return error


@contextmanager
def reconfigured(**changes: Any) -> Iterator[None]:
    """Reconnect to the tests' database with other settings."""
    usual: Any = connections["default"]
    usual.close()
    changed = type(usual)({**usual.settings_dict, **changes}, "default")
    connections["default"] = changed
    try:
        yield
    finally:
        close(changed)
        if getattr(changed, "pool", None):
            changed.close_pool()
        connections["default"] = usual


@contextmanager
def alias(name: str) -> Iterator[None]:
    """Give the tests' database a second alias with its own connection."""
    connections.settings[name] = connection.settings_dict
    # Django blocks connections of unknown aliases in tests.
    connections[name].alias = "default"
    try:
        yield
    finally:
        close(connections[name])
        del connections[name], connections.settings[name]


def close(wrapper: Any) -> None:
    """Close a connection, even to a database in memory, which Django keeps open."""
    wrapper.close()
    if wrapper.connection:
        wrapper.connection.close()


class Router:
    """A database router that sends some models to an alias."""

    def __init__(self, name: str, models: Iterable[type]) -> None:
        self._name = name
        self._models = models

    def db_for_read(self, model: type, **hints: Any) -> str | None:
        return self._name if model in self._models else None

    db_for_write = db_for_read

    def allow_relation(self, *args: Any, **hints: Any) -> bool:
        return True


def session_id(name: str) -> Any:
    """Return the server's id of the connection of an alias."""
    [(who, _kill)] = DISMISSALS[connection.vendor]
    with connections[name].cursor() as cursor:
        cursor.execute(who)
        return cursor.fetchone()[0]


def dismiss(ids: Iterable[Any]) -> None:
    """Make the server close connections."""
    [(_who, kill)] = DISMISSALS[connection.vendor]
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        for pk in ids:
            cursor.execute(kill, [pk])
    other.close()
