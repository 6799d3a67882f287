"""Writes answers into the mirror: locks, loads rows, applies the rules and saves."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from operator import attrgetter
from types import FrameType

from django.conf import settings
from django.db import Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from ..api.parsing import Absence, Answer
from ..models import Group, MirrorLock
from . import bulk, rules

_FIELDS = [field for field in Group._meta.concrete_fields if not field.primary_key]
_COLUMNS = tuple(field.attname for field in _FIELDS)
_TIMES = tuple(field.attname for field in _FIELDS if isinstance(field, DateTimeField))
_columns = attrgetter(*_COLUMNS)

CLOCK_SKEW = timedelta(minutes=5)
"""How far clocks of machines may differ: as much as Kerberos and many signed requests accept."""
_EPOCH = datetime.fromtimestamp(0, UTC)

_PAUSES = (0.1, 1, 3, 10)
"""Seconds before new attempts: conflicts are over at once, the restart of a server takes longer."""
_CONFLICTS = {(1020,), (1205,), (1213,)}
"""MariaDB and MySQL: record changed, lock wait timeout, deadlock."""

# Named parents, or the stored parent if the vendor named none. Where the two differ, the stored one
# is NULL: the named parent was deleted, or the link was cut.
_WITH_ANCESTORS = """
    WITH RECURSIVE loaded (id, parent_id) AS (
        SELECT id, COALESCE(named_parent_id, parent_id) FROM {table} WHERE id IN ({numbers})
        UNION
        SELECT id, COALESCE(named_parent_id, parent_id) FROM {table} WHERE parent_id IN ({numbers})
        UNION
        SELECT id, named_parent_id FROM {table}
        WHERE parent_id IS NULL AND named_parent_id IN ({numbers})
        UNION
        SELECT above.id, COALESCE(above.named_parent_id, above.parent_id)
        FROM {table} above JOIN loaded ON above.id = loaded.parent_id
    )
    SELECT id FROM loaded"""


def store(answers: Collection[Answer | Absence]) -> list[rules.Difference]:
    """Apply answers to the mirror in one transaction, and return what changed.

    Repeats a transaction that a deadlock, a conflict or a lost connection ended, unless it is part
    of a larger one. Writes nothing if it raises ``django.db.Error``.
    """
    using = router.db_for_write(Group)
    connection = connections[using]
    opened, was_lost = None, False
    with _interrupts_deferred():
        for pause in _PAUSES:
            _drop_if_dead(connection)
            try:
                connection.ensure_connection()
                opened = connection.connection
                return _store(using, answers)
            except Error as error:
                # Django may have connected again already, at the end of the transaction.
                is_same = connection.connection is opened and _is_alive(connection)
                was_lost = was_lost or (opened is not None and not is_same)
                if connection.in_atomic_block or not (was_lost or _is_conflict(error)):
                    raise
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
        _drop_if_dead(connection)
        return _store(using, answers)


def _store(using: str, answers: Collection[Answer | Absence]) -> list[rules.Difference]:
    with _locked(using):
        rows = _load(using, answers)
        before = {pk: _columns(row) for pk, row in rows.items()}
        changes = rules.apply(rows, answers)
        for row in rows.values():
            row.fill_keys()
        _save(using, [row for row in rows.values() if _columns(row) != before.get(row.id)])
    return changes


def remove(groups: QuerySet[Group]) -> None:
    """Delete groups from the mirror only. Their subgroups move to the top."""
    using = router.db_for_write(Group)
    with _locked(using):
        groups.using(using).delete()


def _load(using: str, answers: Iterable[Answer | Absence]) -> dict[int, Group]:
    """Return every row that the rules need to apply the answers, by id."""
    asked = {answer.asked_for for answer in answers}
    mentioned = (rules.mentions(answer.group) for answer in answers if isinstance(answer, Answer))
    ids: set[int | None] = set(asked.union(*mentioned))
    rows: dict[int, Group] = {}
    looked_up: set[int | None] = {None}
    # One round is enough, except on MariaDB, which climbs at most 1,000 levels.
    while ids:
        rows |= {row.id: row for row in _with_ancestors(using, ids, asked)}
        looked_up |= ids
        parents = {row.named_parent_id or row.parent_id for row in rows.values()}
        ids = parents - rows.keys() - looked_up
    _convert_times(rows.values(), timezone.make_aware)
    _forget_future(rows.values(), datetime.now(UTC) + CLOCK_SKEW)
    return rows


def _with_ancestors(
    using: str, ids: Collection[int | None], parents: Collection[int]
) -> QuerySet[Group]:
    """Return the groups ``ids``, the known children of ``parents``, and all their ancestors.

    Groups whose named parent, one of ``ids``, was deleted or cut off come too.
    """
    connection = connections[using]
    statement = _WITH_ANCESTORS.format(
        table=connection.ops.quote_name(Group._meta.db_table),
        numbers=bulk.numbers_sql(connection),
    )
    numbers = [json.dumps(list(given)) for given in (ids, parents, ids)]
    return Group.objects.using(using).filter(pk__in=RawSQL(statement, numbers))  # noqa: S611 - constant text


def _save(using: str, rows: list[Group]) -> None:
    _convert_times(rows, timezone.make_naive)
    if not connections[using].features.can_defer_constraint_checks:
        rows = _parents_first(rows)
    bulk.upsert(using, rows, _COLUMNS)


def _parents_first(rows: Iterable[Group]) -> list[Group]:
    by_id = {row.id: row for row in rows}
    order = TopologicalSorter({pk: (row.parent_id,) for pk, row in by_id.items()}).static_order()
    return [by_id[pk] for pk in order if pk in by_id]


def _convert_times(rows: Iterable[Group], convert: Callable[..., datetime]) -> None:
    """Convert between the aware times of the rules and the local times of USE_TZ = False."""
    if settings.USE_TZ:
        return
    for row in rows:
        for name in _TIMES:
            if moment := getattr(row, name):
                setattr(row, name, convert(moment, timezone.get_default_timezone()))


def _forget_future(rows: Iterable[Group], latest: datetime) -> None:
    """Drop times that a machine whose clock was ahead has stored: no answer would be newer."""
    for row in rows:
        for name in _TIMES:
            if (moment := getattr(row, name)) and moment > latest:
                setattr(row, name, _EPOCH if name == "seen_at" else None)


def _is_conflict(error: Error) -> bool:
    """Did the database end the transaction because of another transaction?"""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
    return state.startswith("40") or (cause is not None and cause.args[:1] in _CONFLICTS)


def _is_alive(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and bool(connection.is_usable())


def _drop_if_dead(connection: BaseDatabaseWrapper) -> None:
    """Drop a connection that the server closed while we waited, so that Django reconnects."""
    if not connection.in_atomic_block and not _is_alive(connection):
        connection.close()


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Delay Ctrl-C until the block ends: Django cannot recover if it interrupts a COMMIT.

    A second Ctrl-C is not delayed.
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
def _locked(using: str) -> Iterator[None]:
    """Open a transaction that locks out other writers of the mirror."""
    with transaction.atomic(using):
        # One statement: a SELECT and an INSERT of the missing row deadlock on MariaDB.
        features = connections[using].features
        MirrorLock.objects.using(using).bulk_create(
            [MirrorLock()],
            update_conflicts=True,
            update_fields=["taken"],
            unique_fields=["pk"] if features.supports_update_conflicts_with_target else None,
        )
        yield
