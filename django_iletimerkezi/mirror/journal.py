"""Records fetches and their changes. Other modules only requeue silent fetches and delete rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import Error, transaction
from django.db.models import Case, DateTimeField, F, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from django.utils import timezone

from ..display import visible
from ..exceptions import FetchTakenOver
from ..models import Change, ChangeQuerySet, Fetch, FetchQuerySet, Group, chunked
from ..signals import fetch_finished, groups_changed
from . import bulk
from .retry import after_commit, is_unstorable, persistently
from .rules import Difference

_COUNTERS = "asked", "known", "created", "changed", "missing", "failed"
_SET_BY_RECORDER = "asked", "known", "failed", "aliases", "clock_ahead", "maybe_other_account"

T = TypeVar("T")


def changes_of(fetch: Fetch) -> ChangeQuerySet:
    """Return the changes of a fetch and its parts, oldest first.

    Reads the changes from the database that the fetch wrote to.
    """
    changes = Change.objects.using(fetch._state.db).order_by("pk")
    if fetch.kind == Fetch.Kind.GROUP:
        return changes.filter(fetch=fetch.pk)
    family = Fetch.objects.using(fetch._state.db).family(fetch)
    return changes.filter(fetch__in=family.values("pk"))


class Tally:
    """The groups that a fetch has created, changed or found missing. Each group counts once."""

    def __init__(self) -> None:
        self.missing: set[int] = set()
        self._created: set[int] = set()
        self._changed: set[int] = set()

    def add(self, changes: Iterable[tuple[int, str]]) -> None:
        """Add changes, oldest first. Each change is a pair of group id and kind."""
        for group_id, kind in changes:
            if kind == Change.Kind.CREATED:
                self._created.add(group_id)
            elif kind == Change.Kind.MISSING:
                self.missing.add(group_id)
            else:
                self._changed.add(group_id)
            if kind in {Change.Kind.CREATED, Change.Kind.RETURNED}:
                self.missing.discard(group_id)

    @property
    def created(self) -> set[int]:
        return self._created - self.missing

    @property
    def changed(self) -> set[int]:
        return self._changed - self.missing - self._created

    def counts(self) -> dict[str, int]:
        # Avoid len(self.created), because it would copy a large set for each batch.
        created = len(self._created) - len(self._created & self.missing)
        return {"created": created, "changed": len(self.changed), "missing": len(self.missing)}


class Journal:
    """Writes the row of one fetch and its changes.

    After the fetch is started or claimed, each write checks the token in the row. If the row has a
    different token, the write raises FetchTakenOver and changes nothing.
    """

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self.tally = Tally()
        self._token: UUID | None = None
        self._is_committed = True
        """False if the tally contains a batch whose commit is not confirmed yet."""

    def start(self) -> None:
        """Insert the row of a new fetch, or claim the row of an existing idle fetch."""
        if self.fetch.pk:
            self.claim(Fetch.objects.idle())
            return
        self.fetch.started_at = self.fetch.alive_at = timezone.now()
        self.fetch.state = Fetch.State.RUNNING
        self.fetch.token = self._token = uuid4()
        self._in_transaction(lambda using: self.fetch.save(using=using))

    def claim(self, claimable: FetchQuerySet) -> None:
        """Write a new token into the row, so that only this process can write the row.

        Raises FetchTakenOver if ``claimable`` does not contain the fetch.
        """
        token, now = uuid4(), timezone.now()

        def write(using: str) -> None:
            claimed = (
                claimable.using(using)
                .filter(pk=self.fetch.pk)
                .update(
                    token=token,
                    state=Fetch.State.RUNNING,
                    started_at=Coalesce("started_at", Value(now, DateTimeField())),
                    alive_at=now,
                )
            )
            if not claimed:
                raise FetchTakenOver
            self.fetch.refresh_from_db(using=using)

        self._in_transaction(write)
        self._token = token
        self._recount()  # An earlier process may have recorded changes.

    def insert_queued(self, active_key: str) -> bool:
        """Insert the row as queued, and return True.

        If an unfinished fetch has the same key, set ``self.fetch`` to that fetch and return False.
        """
        new = self.fetch
        new.alive_at = new.requested_at
        names = "kind", "group_id", "depth", "source", "started_by", "requested_at", "alive_at"

        def write(using: str) -> bool:
            fetches = Fetch.objects.using(using).select_for_update()
            values = {name: getattr(new, name) for name in names}
            self.fetch, is_new = fetches.get_or_create(values, active_key=active_key)
            return is_new

        return self._in_transaction(write)

    def release(self, state: str, failures: Mapping[int, Exception]) -> None:
        """Remove the token, so that another process can claim the row."""
        self._note_failures(failures)
        values = {"state": state, "alive_at": timezone.now(), "token": None}
        self._in_transaction(
            lambda using: self._save(using, failures=self.fetch.failures, **values)
        )

    def add_parts(self, parts: Sequence[Fetch]) -> None:
        """Insert the parts of a phone book, unless they already exist."""

        def write(using: str) -> None:
            self._save(using, alive_at=timezone.now())  # Checks the token.
            Fetch.objects.using(using).bulk_create(parts, ignore_conflicts=True)

        self._in_transaction(write)

    def _note_failures(self, failures: Mapping[int, Exception]) -> None:
        self.fetch.failures = [
            {"id": pk, "reason": reason(failure)}
            for pk, failure in list(failures.items())[: Fetch.MAX_FAILURES]
        ]

    def record(self, using: str, differences: Sequence[Difference]) -> None:
        """Write the differences of a batch and the new counters, in the batch's transaction.

        The transaction may still be rolled back. Call ``confirm`` after the commit.
        """
        self._recount_if_uncommitted()
        now = timezone.now()
        returned = {each.group_id for each in differences if each.kind == Change.Kind.RETURNED}
        if not self.fetch.parent_id:  # A part's tally lacks groups that other parts found missing.
            returned &= self.tally.missing
        dropped = self._drop_missing_changes(using, returned)
        kept = [
            each
            for each in differences
            if each.kind != Change.Kind.RETURNED or each.group_id not in dropped
        ]
        bulk.insert(using, Change, (_change(self.fetch, each, now) for each in kept))
        self._is_committed = False
        self.tally.missing -= dropped
        self.tally.add((each.group_id, each.kind) for each in kept)
        self._save(using, alive_at=now, **self.tally.counts())

    def confirm(self) -> None:
        self._is_committed = True

    def try_names(self, using: str, groups: Iterable[Group]) -> None:
        """Write a change with each group's name, to test whether the database can store the names.

        The caller must roll the transaction back.
        """
        now = timezone.now()
        renamings = (Difference(row.id, Change.Kind.RENAMED, after=row.name) for row in groups)
        bulk.insert(using, Change, (_change(self.fetch, each, now) for each in renamings))

    def show_life(self) -> None:
        """Write the counters and ``alive_at``, so that the fetch does not count as interrupted."""
        self._in_transaction(lambda using: self._save(using, alive_at=timezone.now()))

    def _recount_if_uncommitted(self) -> None:
        if not self._is_committed:
            self._recount()

    def _recount(self) -> None:
        """Rebuild the tally from the recorded changes, for example after a rollback."""
        self.tally = Tally()
        self.tally.add(changes_of(self.fetch).values_list("group_id", "kind").iterator())
        self._is_committed = True

    def _drop_missing_changes(self, using: str, returned: Iterable[int]) -> set[int]:
        """Delete this fetch's ``MISSING`` changes of groups that are listed again.

        A moved group is missing for a moment if an earlier batch contains the answer for the old
        parent, and a later batch contains the answer for the new parent. A parent and its parts
        count as one fetch. Keeps a change if a different fetch has recorded a later absence or
        return of the group. Returns the ids of the groups whose changes were deleted.
        """
        dropped: set[int] = set()
        family: set[int] = set()
        if returned:
            fetches = Fetch.objects.using(using).family(self.fetch)
            family.update(fetches.values_list("pk", flat=True))
        kinds = Change.Kind.MISSING, Change.Kind.RETURNED
        changes = Change.objects.using(using)
        for group_ids in chunked(returned):
            found = changes.filter(group_id__in=group_ids, kind__in=kinds).order_by("pk")
            # The last of these is normally ``MISSING``, because the group has just returned.
            last = {change.group_id: change for change in found}
            own = {pk: change.pk for pk, change in last.items() if change.fetch_id in family}
            changes.filter(pk__in=own.values()).delete()
            dropped |= own.keys()
        return dropped

    def finish(
        self,
        state: str,
        error: BaseException | None,
        failures: Mapping[int, Exception] | None = None,
    ) -> None:
        """Record the end of the fetch and its parts. Sends the signals, unless the fetch is a part.

        Without ``failures``, the row keeps its failures.
        """
        if failures is not None:
            self._note_failures(failures)
        self.fetch.error = reason(error) if error else ""
        kinds = self._in_transaction(lambda using: self._finish(using, state))
        if not self.fetch.parent_id:
            after_commit(self.fetch._state.db, partial(_send_signals, self.fetch, kinds))

    def _finish(self, using: str, state: str) -> set[Change.Kind]:
        self._recount_if_uncommitted()
        texts = {"failures": self.fetch.failures, "error": self.fetch.error}
        now = timezone.now()
        end = {"state": state, "finished_at": now, "token": None, "active_key": None}
        if self.fetch.kind == Fetch.Kind.PHONE_BOOK:
            # Update the parts first, because a part's worker also locks the part before the parent.
            parts = Fetch.objects.using(using).filter(parent=self.fetch)
            parts.unfinished().update(**end, error=self.fetch.error)
        self._save(using, **end, **texts, **self.tally.counts())
        kinds = changes_of(self.fetch).order_by().values_list("kind", flat=True).distinct()
        return {Change.Kind(kind) for kind in kinds}

    def _save(self, using: str, **values: Any) -> None:
        """Update the row, and add the growth of a part's counters to the parent's counters.

        Always writes the fields that the recorder sets on ``fetch``.
        """
        for name, value in values.items():
            setattr(self.fetch, name, value)
        values |= {name: getattr(self.fetch, name) for name in _SET_BY_RECORDER}
        own = Fetch.objects.using(using).filter(pk=self.fetch.pk, token=self._token)
        old = own.values(*_COUNTERS).first() if self.fetch.parent_id else None
        if not own.update(**values):
            raise FetchTakenOver
        if old:
            growth = {name: values.get(name, old[name]) - old[name] for name in old}
            self._add_to_parent(using, growth)

    def _add_to_parent(self, using: str, growth: Mapping[str, int]) -> None:
        parent = Fetch.objects.using(using).unfinished().filter(pk=self.fetch.parent_id or 0)
        sums = {name: _sum(name, number) for name, number in growth.items() if number}
        parent.update(alive_at=timezone.now(), **sums)

    def _in_transaction(self, write: Callable[[str], T]) -> T:
        """Call ``write`` in a transaction. Escapes texts that the database cannot store."""

        def attempt(using: str) -> T:
            with transaction.atomic(using):
                return write(using)

        fetch = self.fetch
        try:
            return persistently(attempt)
        except Error as error:
            if not is_unstorable(error):
                raise
        fetch.started_by, fetch.error = _ascii(fetch.started_by), _ascii(fetch.error)
        fetch.failures = [each | {"reason": _ascii(each["reason"])} for each in fetch.failures]
        return persistently(attempt)


def _sum(name: str, number: int) -> Combinable:
    """Return an SQL expression for a counter plus a number, with 0 instead of a negative sum.

    MySQL refuses negative counters.
    """
    if number > 0:
        return F(name) + number
    less = -number
    return Case(When(**{f"{name}__gte": less}, then=F(name) - less), default=Value(0))


def _send_signals(fetch: Fetch, kinds: Collection[Change.Kind]) -> None:
    if kinds:
        groups_changed.send_robust(Fetch, fetch=fetch, kinds=kinds, changes=changes_of(fetch))
    fetch_finished.send_robust(Fetch, fetch=fetch)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def reason(error: BaseException) -> str:
    """Return the first line of an error message, or the type of an error without a message."""
    try:
        # 1,000 characters are twice the length of our longest message.
        text = visible(str(error).partition("\n")[0][:1_000])
    except Exception:  # noqa: BLE001 - a host's exception may raise anything here
        text = ""
    return text or type(error).__name__


def _change(fetch: Fetch, difference: Difference, at: datetime) -> Change:
    before, after = (
        None if value is None else str(value) for value in (difference.before, difference.after)
    )
    return Change(
        fetch_id=fetch.pk,
        group_id=difference.group_id,
        at=at,
        kind=difference.kind,
        before=before,
        after=after,
    )
