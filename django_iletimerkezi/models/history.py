"""The history of the mirror: one row per fetch, and one row per change that a fetch made."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, TypeVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..ids import MAX_ID, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from typing import Self


CHUNK = 500
"""Most rows in memory at a time, because the path of a row may contain many groups.

The limit also applies to the ids in a query, because Django splits lists of more than 999 ids on
SQLite.
"""

_Row = TypeVar("_Row")


def chunked(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Split rows into lists of up to ``CHUNK`` rows."""
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


class FetchQuerySet(models.QuerySet["Fetch"]):
    """Queries for recorded fetches."""

    def unfinished(self) -> Self:
        """Return the fetches that are queued, running or interrupted."""
        return self.filter(finished_at=None)

    def finished(self) -> Self:
        return self.exclude(finished_at=None)

    def interrupted(self) -> Self:
        """Return the running fetches that were silent for ``SILENCE``, as after a SIGKILL."""
        return self.silent().filter(state=Fetch.State.RUNNING)

    def silent(self) -> Self:
        """Return the queued and running fetches without a sign of life for ``SILENCE``.

        For a queued fetch, the last hand-over to the task queue counts as the sign of life. Omits
        parts that have not started: such a part waits for a worker, and its parent queues the part.
        """
        has_own_life = models.Q(parent=None) | models.Q(started_at__isnull=False)
        return self.unfinished().filter(has_own_life, _is_silent())

    def idle(self) -> Self:
        """Return the unfinished fetches that have no token or are silent.

        A process may claim such a fetch.
        """
        return self.unfinished().filter(models.Q(token=None) | _is_silent())

    def family(self, fetch: Fetch) -> Self:
        """Return a fetch with its parts. For a part, return the parent with all its parts."""
        top = fetch.parent_id or fetch.pk
        return self.filter(models.Q(pk=top) | models.Q(parent=top))


def _is_silent() -> models.Q:
    return models.Q(alive_at__lt=Fetch.silence_cutoff())


def _is_id(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_ID


class Fetch(models.Model):
    """A fetch of one group or of the whole phone book.

    ``group_id`` is None for the phone book. ``group_id`` is not a foreign key, because the group
    may not exist. ``depth`` is the number of levels to fetch below the group, or None for all
    levels. For the phone book, ``depth`` is the number of levels to request with get-group.
    ``started_by`` is a user name and not a foreign key, because the user may be deleted or stored
    in another database.

    Of ``known`` groups, ``asked`` groups have been answered or have failed. ``created``,
    ``changed`` and ``missing`` count groups. A group with several changes counts once. ``failures``
    lists the first 100 failed groups, each as ``{"id": 5, "reason": "…"}``. ``error`` says why the
    fetch ended early. ``aliases`` maps a requested id to the returned id if both differ, as in
    ``{"5": 97101}``. ``aliases`` has at most 100 entries. ``clock_ahead`` and
    ``maybe_other_account`` mean the same as in ``FetchResult`` and ``Progress``. ``alive_at`` is
    when the running fetch or one of its parts last wrote, or when the fetch was last handed to the
    task queue.

    A background fetch of the phone book has one part for each main group. A part is a fetch whose
    ``parent`` is the fetch of the phone book. The counters of a parent include the counters of its
    parts. ``token`` identifies the process that works on the fetch, or is None. ``active_key`` is
    unique, so that the same fetch is not queued twice. ``active_key`` is None for a finished fetch,
    and for a fetch that was started in the foreground. The longest keys contain two numbers of 19
    digits.
    """

    class Kind(models.TextChoices):
        GROUP = "group", _("group")
        PHONE_BOOK = "phone_book", _("phone book")

    class Source(models.TextChoices):
        COMMAND = "command", _("command")
        ADMIN = "admin", _("admin")
        PYTHON = "python", _("Python")
        SCHEDULE = "schedule", _("schedule")

    class State(models.TextChoices):
        """The states of a fetch.

        ``QUEUED``: the fetch waits for a process, either before its start or during a pause.
        ``RUNNING``: a process works on the fetch, or parts of the fetch are unfinished.
        ``PARTIAL``: some groups failed. ``FAILED``: an error ended the fetch early.
        """

        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        PARTIAL = "partial", _("partly succeeded")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    SILENCE = timedelta(minutes=3)
    """A running fetch that has not written for this long counts as interrupted. A fetch writes
    every few seconds, so three minutes are long enough for a busy machine and a restart of the
    database."""

    MAX_INTERRUPTION = timedelta(days=1)
    """A fetch that was silent for longer than this is marked as failed. A day is enough to repair a
    broken deployment. After a day, the first answers are too old for the fetch to continue."""

    MAX_FAILURES = 100
    """Most failures and most aliases that a fetch records. Nobody reads more than 100 entries, and
    100 failures take 10 to 20 kB."""

    parent = models.ForeignKey(
        "self",
        models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        related_name="parts",
        verbose_name=_("phone book"),
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    group_id = models.PositiveBigIntegerField(_("group id"), null=True, blank=True)
    depth = models.PositiveBigIntegerField(_("depth"), null=True, blank=True)
    source = models.CharField(_("source"), max_length=10, choices=Source.choices)
    started_by = models.TextField(_("started by"), blank=True)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    alive_at = models.DateTimeField(_("last activity"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    asked = models.PositiveIntegerField(_("groups asked for"), default=0)
    known = models.PositiveIntegerField(_("known groups"), default=0)
    created = models.PositiveIntegerField(_("created"), default=0)
    changed = models.PositiveIntegerField(_("changed"), default=0)
    missing = models.PositiveIntegerField(_("missing"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    failures = models.JSONField(_("failures"), default=list, blank=True)
    error = models.TextField(_("error"), blank=True)
    aliases = models.JSONField(
        _("requested ids that returned another id"), default=dict, blank=True
    )
    clock_ahead = models.DurationField(_("clock difference"), null=True, blank=True)
    maybe_other_account = models.BooleanField(_("maybe another account"), default=False)
    token = models.UUIDField(null=True, editable=False)
    active_key = models.CharField(max_length=60, null=True, unique=True, editable=False)  # noqa: DJ001 - NULLs are not equal

    objects = FetchQuerySet.as_manager()

    class Meta:
        verbose_name = _("fetch")
        verbose_name_plural = _("fetches")
        default_permissions = ("view", "delete")
        indexes: ClassVar = [
            # ``ChangeQuerySet.since`` filters fetches by this column.
            models.Index(fields=["alive_at"], name="%(app_label)s_alive"),
        ]

    def __str__(self) -> str:
        if self.kind == self.Kind.PHONE_BOOK:
            return str(_("phone book"))
        return _("group %s") % self.group_id

    @classmethod
    def silence_cutoff(cls) -> datetime:
        """Return the cutoff. An unfinished fetch is silent if it last wrote before this time."""
        return timezone.now() - cls.SILENCE

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def is_interrupted(self) -> bool:
        """Has the fetch probably stopped without recording its end, for example after kill -9?"""
        is_running = self.state == self.State.RUNNING
        return is_running and bool(self.alive_at and self.alive_at < self.silence_cutoff())

    @property
    def reasons(self) -> dict[int, str]:
        """The reasons in ``failures`` by id. Skips invalid entries, which a fetch never writes."""
        failures = self.failures if isinstance(self.failures, list) else []
        return {
            failure["id"]: str(failure.get("reason", ""))
            for failure in failures
            if isinstance(failure, dict) and _is_id(failure.get("id"))
        }

    @property
    def aliases_by_id(self) -> dict[int, int]:
        """The returned ids by requested id. Skips invalid entries, which a fetch never writes."""
        aliases = self.aliases if isinstance(self.aliases, dict) else {}
        pairs = ((parse_id(str(asked_for)), returned) for asked_for, returned in aliases.items())
        return {
            asked_for: returned for asked_for, returned in pairs if asked_for and _is_id(returned)
        }


class ChangeQuerySet(models.QuerySet["Change"]):
    """Queries for recorded changes."""

    def since(self, moment: datetime) -> Self:
        """Return the changes that were stored at ``moment`` or later.

        Queries the fetch ids immediately, not when the queryset is evaluated.
        """
        # ``at`` has no index, so limit the search to the changes of a few fetches. Name these
        # fetches by id, because a join with the fetches can mislead PostgreSQL: in a query for
        # groups that contains this queryset, PostgreSQL would compare each group with each change.
        fetches = Fetch.objects.using(self.db).filter(alive_at__gte=moment)
        ids = list(fetches.values_list("pk", flat=True)[: CHUNK + 1])
        if len(ids) > CHUNK:
            return self.filter(fetch__alive_at__gte=moment, at__gte=moment)
        return self.filter(fetch__in=ids, at__gte=moment)


class Change(models.Model):
    """A change that a fetch made to one fact of one group.

    ``group_id`` is not a foreign key, because the row of the group may be deleted. ``at`` is when
    the change was stored. ``before`` and ``after`` are names, numbers of contacts or parent ids, as
    text. For ``MOVED``, None means no parent. For a new group, ``before`` is None and ``after`` is
    the name. Both values are None for a group that went missing or returned.
    """

    class Kind(models.TextChoices):
        CREATED = "created", _("created")
        RENAMED = "renamed", _("renamed")
        RECOUNTED = "recounted", _("contacts changed")
        MOVED = "moved", _("moved")
        MISSING = "missing", _("missing")
        RETURNED = "returned", _("listed again")

    fetch = models.ForeignKey(
        Fetch,
        models.CASCADE,
        db_index=False,  # Meta.indexes already covers this column.
        related_name="changes",
        verbose_name=_("fetch"),
    )
    group_id = models.PositiveBigIntegerField(_("group id"))
    at = models.DateTimeField(_("time"))
    kind = models.CharField(_("change"), max_length=10, choices=Kind.choices)
    before = models.TextField(_("before"), null=True)  # noqa: DJ001 - None is not an empty name
    after = models.TextField(_("after"), null=True)  # noqa: DJ001 - None is not an empty name

    objects = ChangeQuerySet.as_manager()

    class Meta:
        verbose_name = _("change")
        verbose_name_plural = _("changes")
        default_permissions = ()
        indexes: ClassVar = [
            models.Index(fields=["fetch", "kind", "id"], name="%(app_label)s_by_fetch"),
            models.Index(fields=["group_id", "id"], name="%(app_label)s_by_group"),
        ]

    def __str__(self) -> str:
        return f"{self.group_id}: {self.get_kind_display()}"
