"""Repeats transactions after conflicts and lost connections, and calls functions after commits."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from django.db import DataError, Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import Group

T = TypeVar("T")

_CONFLICTS = {(1020,), (1205,), (1213,)}
"""Error codes of MariaDB and MySQL: record changed, lock wait timeout, deadlock."""


def persistently(write: Callable[[str], T]) -> T:
    """Call ``write`` with the alias of the mirror's database, and return the result. Repeats the
    call after a deadlock, a conflict or a lost connection, unless the caller has opened a
    transaction.
    """
    using = router.db_for_write(Group)
    connection = connections[using]
    opened, was_lost = None, False
    with interrupts_deferred():
        # The pauses are in seconds. Conflicts end quickly, but a server restart takes longer.
        pauses = iter((0.1, 1, 3, 10))
        while True:
            _drop_if_dead(connection)
            try:
                connection.ensure_connection()
                opened = connection.connection
                return write(using)
            except Error as error:
                # Compare connections, because Django may already have reconnected.
                is_same = connection.connection is opened and _is_alive(connection)
                was_lost = was_lost or (opened is not None and not is_same)
                may_pass = was_lost or _is_conflict(error)
                pause = next(pauses, None)
                if pause is None or connection.in_atomic_block or not may_pass:
                    raise
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - not a secret
            # After a server restart, all connections in psycopg's pool are dead.
            if pool := getattr(connection, "pool", None):
                pool.check()


def _is_conflict(error: Error) -> bool:
    """Did the transaction fail because of another transaction?"""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
    is_locked = getattr(cause, "sqlite_errorname", "").startswith("SQLITE_BUSY")
    is_known = cause is not None and cause.args[:1] in _CONFLICTS
    return state.startswith("40") or is_locked or is_known


def after_commit(using: str | None, act: Callable[[], object]) -> None:
    """Call ``act`` after the host's transaction commits.

    Calls ``act`` immediately if there is no transaction, or if the host commits by hand.
    """
    connection = transaction.get_connection(using)
    is_atomic = connection.in_atomic_block and connection.commit_on_exit
    if is_atomic or connection.get_autocommit():
        transaction.on_commit(act, using=connection.alias)
    else:  # Here Django would refuse on_commit, or might never call ``act``.
        act()


def is_unstorable(error: Error) -> bool:
    # mysqlclient raises error 1366, not DataError, for a character that the column cannot store.
    return isinstance(error, DataError) or error.args[:1] == (1366,)


def _is_alive(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and bool(connection.is_usable())


def _drop_if_dead(connection: BaseDatabaseWrapper) -> None:
    """Drop a connection that the server closed while we waited, so that Django reconnects."""
    if not connection.in_atomic_block and not _is_alive(connection):
        connection.close()


def drop_dead_connections() -> None:
    """Drop all connections that servers have closed, so that Django reconnects.

    Checks every database, because a host may keep sessions or logs in another database.
    """
    for connection in connections.all(initialized_only=True):
        _drop_if_dead(connection)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Delay Ctrl-C until the block ends, because Django cannot recover from an interrupted COMMIT.

    A second Ctrl-C takes effect immediately.
    """
    usual = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if usual is not signal.default_int_handler or not is_main:
        yield
        return
    was_interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal was_interrupted
        was_interrupted = True
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if was_interrupted:
            raise KeyboardInterrupt
