"""The mirrored groups, and queries that read trees of groups. Does not depend on HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.core.validators import MinValueValidator
from django.db import connections, models
from django.db.models.expressions import RawSQL
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import display, turkish
from .history import Change, ChangeQuerySet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from typing import Self

# UNION drops rows that the query has already found, so that the recursion ends in a loop.
_SUBTREE = """
    WITH RECURSIVE subtree (id) AS (
        SELECT id FROM {table} WHERE id IN ({ids})
        UNION
        SELECT child.id FROM {table} child JOIN subtree ON child.parent_id = subtree.id
    )
    SELECT {distinct} id FROM subtree"""
_PATHS = """
    WITH RECURSIVE paths (id, parent_id) AS (
        SELECT id, parent_id FROM {table} WHERE id IN ({ids})
        UNION
        SELECT parent.id, parent.parent_id
        FROM {table} parent JOIN paths ON parent.id = paths.parent_id
    )
    SELECT {distinct} id FROM paths"""
_COUNT_BELOW = """
    WITH RECURSIVE below (top, id) AS (
        SELECT parent_id, id FROM {table} WHERE parent_id IN ({ids})
        UNION
        SELECT below.top, child.id FROM {table} child JOIN below ON child.parent_id = below.id
    )
    SELECT top, COUNT(*) FROM below WHERE id <> top GROUP BY top"""


class Totals(NamedTuple):
    """Contact and group counts of some groups. Missing groups are not counted.

    ``unexplored`` counts the groups whose subgroups were never listed. Such groups may have
    subgroups that the mirror does not know. So ``contacts`` and ``groups`` are lower bounds if
    ``unexplored`` is above 0.
    """

    contacts: int
    groups: int
    unexplored: int


class GroupQuerySet(models.QuerySet["Group"]):
    """Queries for mirrored groups. These queries never send requests to the vendor."""

    def bulk_create(self, objs: Iterable[Group], *args: Any, **kwargs: Any) -> list[Group]:
        groups = list(objs)
        for group in groups:
            _fill(group)
        if fields := kwargs.get("update_fields"):
            kwargs["update_fields"] = _with_keys(fields)
        return super().bulk_create(groups, *args, **kwargs)

    def bulk_update(
        self, objs: Iterable[Group], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        groups = list(objs)
        for group in groups:
            group.fill_keys()
        return super().bulk_update(groups, _with_keys(fields), *args, **kwargs)

    def update(self, **kwargs: Any) -> int:
        if isinstance(name := kwargs.get("name"), str):
            kwargs["sort_key"], kwargs["search_key"] = turkish.keys(name)
        return super().update(**kwargs)

    def listed(self) -> Self:
        """Return the groups that the vendor still lists, according to the mirror."""
        return self.filter(missing_since=None)

    def missing(self) -> Self:
        """Return the groups that the vendor no longer lists, according to the mirror."""
        return self.exclude(missing_since=None)

    def totals(self) -> Totals:
        """Count contacts, groups and unexplored groups in one query."""
        numbers = self.listed().aggregate(
            contacts=models.Sum("count", default=0),
            groups=models.Count("pk"),
            unexplored=models.Count("pk", filter=models.Q(listed_at=None)),
        )
        return Totals(**{name: int(number) for name, number in numbers.items()})

    def subtree(self, group: Group | int) -> Self:
        """Return a group and all groups below the group. Handles loops.

        ``group`` is a group or an id. Uses one query. MariaDB descends at most 1,000 levels, unless
        ``max_recursive_iterations`` is raised. MySQL refuses deeper trees, unless
        ``cte_max_recursion_depth`` is raised. Raises TypeError if ``group`` is neither a group nor
        an id.
        """
        return self._reached_by(_SUBTREE, [_id(group)])

    def path(self, group: Group | int) -> list[Group]:
        """Return the groups from the root down to a group, in one query. Handles loops.

        MariaDB and MySQL have the same limits as in ``subtree``.
        """
        group_id = _id(group)
        return self.paths([group_id]).get(group_id, [])

    def paths(self, group_ids: Collection[int]) -> dict[int, list[Group]]:
        """Return the paths of several groups by group id, in one query."""
        groups = {group.pk: group for group in self.with_ancestors(group_ids)}
        return {group_id: climb(group_id, groups) for group_id in group_ids if group_id in groups}

    def with_ancestors(self, group_ids: Collection[int]) -> Self:
        """Return some groups and all their ancestors. Handles loops."""
        return self._reached_by(_PATHS, group_ids)

    def count_below(self, group_ids: Collection[int]) -> dict[int, int]:
        """Count the groups below each group, in one query. Returns the counts by id, without zeros.

        MariaDB and MySQL have the same limits as in ``subtree``.
        """
        if not group_ids:
            return {}
        with connections[self.db].cursor() as cursor:
            cursor.execute(self._complete(_COUNT_BELOW, group_ids), list(group_ids))
            return dict(cursor.fetchall())

    def _reached_by(self, statement: str, group_ids: Collection[int]) -> Self:
        if not group_ids:
            return self.none()
        sql = self._complete(statement, group_ids)
        return self.filter(pk__in=RawSQL(sql, list(group_ids)))  # noqa: S611 - constant text

    def _complete(self, statement: str, group_ids: Collection[int]) -> str:
        connection = connections[self.db]
        return statement.format(
            table=connection.ops.quote_name(self.model._meta.db_table),
            ids=", ".join(["%s"] * len(group_ids)),
            # PostgreSQL underestimates the row count of a recursive query, and then reads the table
            # in hash order, which causes random access. DISTINCT ON makes PostgreSQL read the table
            # in id order.
            distinct="DISTINCT ON (id)" if connection.features.can_distinct_on_fields else "",
        )


def _with_keys(fields: Iterable[str]) -> list[str]:
    """Return the field names to write. Adds both keys if the names include ``name``."""
    names = list(fields)
    return list({*names, "sort_key", "search_key"}) if "name" in names else names


def _id(group: Any) -> int:
    group_id = group.pk if isinstance(group, Group) else group
    if isinstance(group_id, bool) or not isinstance(group_id, int):
        raise TypeError(f"expected a group or its id, not {type(group).__name__}")
    return group_id


def climb(group_id: int, groups: Mapping[int, Group]) -> list[Group]:
    """Return the path to a group. Handles loops.

    The path starts below the nearest ancestor that ``groups`` does not contain.
    """
    path: dict[int, Group] = {}
    while (group := groups.get(group_id)) and group_id not in path:
        path[group_id] = group
        group_id = group.parent_id or 0
    return list(reversed(path.values()))


class Group(models.Model):
    """A contact group, as described in the vendor's answers.

    ``id`` is the vendor's id. ``count`` is the number of contacts in the group itself (source: the
    vendor's page for get-group). Times are the send times of requests. The answer to a request was
    true at its send time or later. ``sort_key`` sorts names in Turkish alphabetical order.
    ``search_key`` ignores case, dots and accents. Saving a name fills both keys. ``total`` is the
    number of contacts in the group and in all listed groups below the group. ``unexplored`` is the
    number of these groups whose subgroups were never listed. The mirror may not know all subgroups
    of an unexplored group. Each fetch updates ``total`` and ``unexplored``.
    """

    # With BigIntegerField, tools such as model_bakery would generate negative ids.
    id = models.PositiveBigIntegerField(
        _("id"), primary_key=True, validators=[MinValueValidator(1)]
    )
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,  # Meta.indexes already covers this column.
        related_name="children",
        verbose_name=_("parent group"),
    )
    name = models.TextField(_("name"), blank=True)
    sort_key = models.CharField(max_length=turkish.SORT_KEY_LENGTH, editable=False, default="")
    search_key = models.TextField(editable=False, default="")
    count = models.PositiveBigIntegerField(_("number of contacts"))
    total = models.PositiveBigIntegerField(
        _("contacts, including subgroups"), default=0, editable=False
    )
    unexplored = models.PositiveIntegerField(default=0, editable=False)
    seen_at = models.DateTimeField(
        _("last seen"),
        default=timezone.now,
        help_text=_("When this group last appeared in an answer."),
    )
    # The id of the group that last listed this group as a subgroup. None for a main group, and for
    # a group that was never placed. This field is not a foreign key, because the row of the listing
    # group may have been deleted.
    named_parent_id = models.BigIntegerField(null=True, editable=False)
    placed_at = models.DateTimeField(
        _("parent last confirmed"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When this group was last listed below a parent or as a main group."),
    )
    fetched_at = models.DateTimeField(
        _("last fetched"),
        null=True,
        blank=True,
        help_text=_("When this group was last fetched."),
    )
    listed_at = models.DateTimeField(
        _("subgroups last listed"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When all subgroups of this group were last listed."),
    )
    # When the vendor last answered that this group does not exist (463 or 462).
    denied_at = models.DateTimeField(null=True, editable=False)
    missing_since = models.DateTimeField(
        _("missing since"),
        null=True,
        blank=True,
        help_text=_("When this group was first found to be missing."),
    )

    objects = GroupQuerySet.as_manager()

    class Meta:
        verbose_name = _("contact group")
        verbose_name_plural = _("contact groups")
        default_permissions = ("view", "delete")
        permissions: ClassVar = [("fetch_group", "Can fetch contact groups from iletimerkezi")]
        indexes: ClassVar = [
            models.Index(fields=["parent", "sort_key", "id"], name="%(app_label)s_siblings"),
            # The admin's summary counts the missing groups, and shows the oldest ``seen_at``.
            models.Index(fields=["missing_since", "seen_at"], name="%(app_label)s_presence"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(id__gte=1), name="%(app_label)s_id_from_1"),
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        fields = kwargs.get("update_fields")
        super().save(*args, **kwargs | {"update_fields": fields and _with_keys(fields)})

    def fill_keys(self) -> None:
        """Compute both keys from the name."""
        self.sort_key, self.search_key = turkish.keys(self.name)

    @property
    def changes(self) -> ChangeQuerySet:
        """The recorded changes of this group, oldest first."""
        return Change.objects.using(self._state.db).filter(group_id=self.pk).order_by("pk")

    @property
    def own_sums(self) -> tuple[int, int]:
        """The numbers that the group itself adds to ``total`` and ``unexplored``."""
        return own_sums(self.count, self.missing_since, self.listed_at)

    def __str__(self) -> str:
        return display.label(self.name) or str(self.pk)


def own_sums(
    count: int, missing_since: datetime | None, listed_at: datetime | None
) -> tuple[int, int]:
    """Return the numbers that a group with these values adds to ``total`` and ``unexplored``."""
    return (0, 0) if missing_since else (count, int(listed_at is None))


@receiver(pre_save, sender=Group)
def _fill(instance: Group, **kwargs: Any) -> None:
    """Fill the computed fields. Uses a signal, because ``loaddata`` bypasses ``save``."""
    instance.fill_keys()
    # Assume that a new group has no subgroups. The sums of its ancestors stay unchanged.
    if not instance.total and not instance.unexplored:
        instance.total, instance.unexplored = instance.own_sums


class MirrorLock(models.Model):  # noqa: DJ008 - never displayed
    """A single row that locks out other writers.

    Each transaction that writes groups updates this row first, so that only one writer runs at a
    time. Without this lock, two writers could each store one half of a loop.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    taken = models.BooleanField(default=True)

    class Meta:
        default_permissions = ()
