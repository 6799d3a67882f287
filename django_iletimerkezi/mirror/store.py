"""Stores answers in the mirror: takes the lock, loads rows, applies the rules and saves."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from operator import attrgetter

from django.conf import settings
from django.db import Error, connections, router, transaction
from django.db.models import DateTimeField, Q, QuerySet
from django.db.models.query import RawQuerySet
from django.utils import timezone

from ..api.parsing import Absence, Listing, Reply
from ..models import Group, MirrorLock
from . import bulk, rules
from .journal import Journal
from .retry import is_unstorable, persistently

_FIELDS = [field for field in Group._meta.concrete_fields if not field.primary_key]
_COLUMNS = tuple(field.attname for field in _FIELDS)
_TIMES = tuple(field.attname for field in _FIELDS if isinstance(field, DateTimeField))
_ANSWERED = tuple(name for name in _TIMES if name != "missing_since")
_values = attrgetter(*_COLUMNS)

CLOCK_SKEW = timedelta(minutes=5)
"""Accepted difference between machine clocks. Kerberos accepts the same difference."""
_EPOCH = datetime.fromtimestamp(0, UTC)

# The parameters are (ids, parents, ids). The first three queries load, in this order:
# 1. the groups ``ids``;
# 2. the stored children of ``parents``;
# 3. groups without a parent whose named parent is in ``ids``. If the named parent has come back,
#    the rules restore the parent of these groups.
# The fourth query climbs to the named parent, or to the stored parent if the named parent is NULL.
# The stored parent differs from the named parent if a host moved the group. The stored parent is
# NULL if the named parent was deleted, or if a loop was cut at this group. UNION drops duplicates,
# so that the recursion ends in a loop. Without the hint, MySQL refuses more than 1,000 levels.
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
    SELECT /*+ SET_VAR(cte_max_recursion_depth = 4294967295) */ found.*
    FROM {table} found JOIN loaded ON found.id = loaded.id"""


def store(
    answers: Collection[Reply],
    unstorable: dict[int, Error] | None = None,
    journal: Journal | None = None,
) -> list[rules.Difference]:
    """Apply answers to the mirror in one transaction, and return the differences.

    Records the differences in the ``journal``, in the same transaction. Call ``journal.confirm``
    afterwards. If the database cannot store a group's name, stores the other groups, and adds the
    error to ``unstorable``. If the write fails for a different reason, raises ``django.db.Error``
    and writes nothing.
    """
    unstorable = {} if unstorable is None else unstorable
    return persistently(lambda using: _store(using, answers, unstorable, journal))


def _store(
    using: str,
    answers: Collection[Reply],
    unstorable: dict[int, Error],
    journal: Journal | None,
) -> list[rules.Difference]:
    changed: list[Group] = []
    try:
        with locked(using):
            rows = _load(using, answers)
            before = {pk: _values(row) for pk, row in rows.items()}
            differences = rules.apply(rows, answers, unstorable)
            for row in rows.values():
                if row.id not in unstorable:
                    row.fill_keys()
            changed = [row for row in rows.values() if _values(row) != before.get(row.id)]
            _save(using, changed)
            if journal:
                journal.record(using, differences)
    except Error as error:
        if not is_unstorable(error):
            raise
        for row in changed:
            row.parent_id = None  # _find_unstorable tests rows without their parents.
        found = dict(_find_unstorable(using, changed, journal))
        # Without a new unstorable name, the next attempt would fail too, and recurse forever.
        if found.keys() <= unstorable.keys():
            raise
        unstorable |= found
        return _store(using, answers, unstorable, journal)
    return differences


def _find_unstorable(
    using: str, rows: Sequence[Group], journal: Journal | None
) -> Iterator[tuple[int, Error]]:
    """Yield the ids and errors of rows whose names the database cannot store.

    Bisects the rows, and rolls all writes back.
    """
    try:
        with transaction.atomic(using):
            bulk.upsert(using, Group, rows, _COLUMNS)
            if journal:  # The table of changes may have a different character set.
                journal.try_names(using, rows)
            transaction.set_rollback(rollback=True, using=using)
    except Error as error:
        if not is_unstorable(error):
            raise
        if len(rows) > 1:
            half = len(rows) // 2
            yield from _find_unstorable(using, rows[:half], journal)
            yield from _find_unstorable(using, rows[half:], journal)
        else:
            # Copy the error, because its traceback would keep all rows in memory.
            yield rows[0].id, type(error)(*error.args)


def remove(groups: QuerySet[Group]) -> None:
    """Delete groups from the mirror, but not at the vendor. The subgroups lose their parent."""
    using = router.db_for_write(Group)
    with locked(using):
        ids = set(groups.using(using).values_list("pk", flat=True))
        rows = _load_with_ancestors(using, ids, [])
        # Read the sums again, because the query above may have used an older snapshot.
        for row in for_update(using, rows):
            rows[row.id].total, rows[row.id].unexplored = row.total, row.unexplored
        before = {pk: (row.total, row.unexplored) for pk, row in rows.items()}
        rules.remove(rows, ids)
        changed = [row for pk, row in rows.items() if (row.total, row.unexplored) != before[pk]]
        bulk.upsert(using, Group, changed, ("total", "unexplored"))
        groups.using(using).delete()


def for_update(using: str, ids: Iterable[int]) -> list[Group]:
    """Return groups and lock their rows, because a host may write without our lock."""
    return list(Group.objects.using(using).select_for_update().in_bulk(list(ids)).values())


def without_listed_parent() -> Iterable[int]:
    """Return the ids of listed groups without a listed parent, least recently seen first.

    Only a request for such a group can show that the vendor has removed the group.
    """
    groups = Group.objects.using(router.db_for_write(Group)).listed()
    found = groups.filter(Q(parent=None) | Q(parent__missing_since__isnull=False))
    return found.order_by("seen_at", "pk").values_list("pk", flat=True)


def _load(using: str, answers: Iterable[Reply]) -> dict[int, Group]:
    """Load all rows that the rules need to apply the answers. Returns the rows by id."""
    asked = {answer.asked_for for answer in answers if not isinstance(answer, Listing)}
    mentioned = (rules.mentions(answer) for answer in answers if not isinstance(answer, Absence))
    rows = _load_with_ancestors(using, asked.union(*mentioned), asked)
    _convert_times(rows.values(), _aware)
    _forget_future(rows.values(), datetime.now(UTC) + CLOCK_SKEW)
    return rows


def _load_with_ancestors(
    using: str, group_ids: Collection[int], parents: Collection[int]
) -> dict[int, Group]:
    ids: set[int | None] = set(group_ids)
    rows: dict[int, Group] = {}
    looked_up: set[int | None] = {None}
    # One query is enough, except on MariaDB, which climbs at most 1,000 levels per query.
    while ids:
        rows |= {row.id: row for row in _with_ancestors(using, ids, parents)}
        looked_up |= ids
        above = {row.named_parent_id or row.parent_id for row in rows.values()}
        ids = above - rows.keys() - looked_up
    return rows


def _with_ancestors(
    using: str, ids: Collection[int | None], parents: Collection[int]
) -> RawQuerySet[Group]:
    """Return the groups ``ids``, the stored children of ``parents``, and all ancestors of both.

    Also returns groups without a parent whose named parent is in ``ids``.
    """
    connection = connections[using]
    statement = _WITH_ANCESTORS.format(
        table=connection.ops.quote_name(Group._meta.db_table),
        numbers=bulk.numbers_sql(connection),
    )
    numbers = [json.dumps(list(given)) for given in (ids, parents, ids)]
    return Group.objects.using(using).raw(statement, numbers)


def _save(using: str, rows: list[Group]) -> None:
    _convert_times(rows, _local)
    if not connections[using].features.can_defer_constraint_checks:
        rows = _parents_first(rows)
    bulk.upsert(using, Group, rows, _COLUMNS)


def _parents_first(rows: Iterable[Group]) -> list[Group]:
    by_id = {row.id: row for row in rows}
    order = TopologicalSorter({pk: (row.parent_id,) for pk, row in by_id.items()}).static_order()
    return [by_id[pk] for pk in order if pk in by_id]


def _convert_times(rows: Iterable[Group], convert: Callable[[datetime], datetime]) -> None:
    """If USE_TZ is False, convert all times.

    The rules need aware times, and the database needs local times.
    """
    if settings.USE_TZ:
        return
    for row in rows:
        for name in _TIMES:
            if moment := getattr(row, name):
                setattr(row, name, convert(moment))


def _local(moment: datetime) -> datetime:
    """Return the local time. An odd microsecond marks the repeated hour after the clocks go back.

    Without this mark, times in the repeated hour could not be sorted.
    """
    local = timezone.make_naive(moment, timezone.get_default_timezone())
    return local.replace(microsecond=local.microsecond & ~1 | local.fold)


def _aware(local: datetime) -> datetime:
    is_repeat = local.microsecond & 1
    moment = local.replace(microsecond=local.microsecond - is_repeat, fold=is_repeat)
    # Convert to UTC, because Python ignores ``fold`` when it compares times in one zone.
    return timezone.make_aware(moment, timezone.get_default_timezone()).astimezone(UTC)


def _forget_future(rows: Iterable[Group], latest: datetime) -> None:
    """Drop future times, because no answer would be newer. A fast clock has set these times."""
    for row in rows:
        for name in _ANSWERED:
            if (moment := getattr(row, name)) and moment > latest:
                setattr(row, name, _EPOCH if name == "seen_at" else None)


@contextmanager
def locked(using: str) -> Iterator[None]:
    """Open a transaction that locks out other writers of the mirror."""
    with transaction.atomic(using):
        # Use one statement, because a SELECT and an INSERT of a missing row could deadlock on
        # MariaDB.
        features = connections[using].features
        MirrorLock.objects.using(using).bulk_create(
            [MirrorLock()],
            update_conflicts=True,
            update_fields=["taken"],
            unique_fields=["pk"] if features.supports_update_conflicts_with_target else None,
        )
        yield
