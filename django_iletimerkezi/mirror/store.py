"""Answers into the table. The only writer of the mirror."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from django.db import connections, router, transaction

from ..models import Group, MirrorLock
from .rules import Batch, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from ..api.parsing import Absence, Answer

__all__ = ["Outcome", "remove", "store"]

_SQLITE_PATIENCE = 60_000
"""Milliseconds."""


def store(answers: Iterable[Answer | Absence]) -> dict[int, Outcome]:
    """Write what answers say into the mirror, in one transaction and few statements.

    Returns what happened to each group that an answer mentions, and which others turned out to
    be missing. Raises DatabaseError; then nothing is written.
    """
    using = router.db_for_write(Group)
    _drop_if_dead(connections[using])
    with _put_off_interrupts(), _turn(using):
        batch = Batch(using, answers)
        batch.apply()
        return batch.save()


def remove(groups: QuerySet[Group]) -> None:
    """Delete rows from the mirror; their subgroups become roots. The vendor is not told."""
    using = router.db_for_write(Group)
    with _turn(using):
        groups.using(using).delete()


def _drop_if_dead(connection: BaseDatabaseWrapper) -> None:
    """Let a connection be made anew that the server has closed, as while a vendor was slow."""
    is_idle = connection.connection is not None and not connection.in_atomic_block
    if is_idle and not connection.is_usable():
        connection.close()


@contextmanager
def _put_off_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait for the end: on the edge of a transaction Django does not recover from it.

    A second one does not wait.
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


@contextmanager
def _turn(using: str) -> Iterator[None]:
    """Open a transaction in which no other writer of the mirror is at work."""
    connection = connections[using]
    patience = _sqlite_patience(connection) if connection.vendor == "sqlite" else nullcontext()
    with patience, transaction.atomic(using):
        # One statement: two, for a row that may not be there yet, end in a deadlock on MariaDB.
        features = connection.features
        MirrorLock.objects.using(using).bulk_create(
            [MirrorLock()],
            update_conflicts=True,
            update_fields=["taken"],
            unique_fields=["pk"] if features.supports_update_conflicts_with_target else None,
        )
        yield


@contextmanager
def _sqlite_patience(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let SQLite wait for other writers longer than the five seconds that it is given else."""
    connection.ensure_connection()
    sqlite = connection.connection
    (usual,) = sqlite.execute("PRAGMA busy_timeout").fetchone()
    sqlite.execute(f"PRAGMA busy_timeout = {max(usual, _SQLITE_PATIENCE)}")
    try:
        yield
    finally:
        sqlite.execute(f"PRAGMA busy_timeout = {usual}")
