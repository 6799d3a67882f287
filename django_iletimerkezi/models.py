"""The mirror's tables, and how to read a tree from them. Knows no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.db import connections, models
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext_lazy as _

from . import display, turkish

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Self

    CharField = models.CharField[str, str]
    TextField = models.TextField[str, str]
else:
    CharField, TextField = models.CharField, models.TextField

DOWN = "child.parent_id = reached.id"
UP = "child.id = reached.parent_id"


def reached(table: str, ids: str, step: str) -> str:
    """Return the beginning of a statement that can select from ``reached``: some groups, and all
    below or above them. ``ids`` is what stands for theirs in it.
    """
    # UNION drops rows that were reached before, so that a loop comes to an end.
    return f"""
        WITH RECURSIVE reached (id, parent_id) AS (
            SELECT id, parent_id FROM {table} WHERE id IN ({ids})
            UNION
            SELECT child.id, child.parent_id FROM {table} child JOIN reached ON {step}
        )"""  # noqa: S608 - nothing from outside


class GroupQuerySet(models.QuerySet["Group"]):
    """What can be asked of the mirrored groups: which are listed, and what is below or above one.

    All of it is read from the mirror. The vendor is not asked.
    """

    def listed(self) -> Self:
        """Return the groups that the vendor lists, as far as is known."""
        return self.filter(missing_since=None)

    def missing(self) -> Self:
        """Return the groups that the vendor has ceased to list."""
        return self.exclude(missing_since=None)

    def subtree(self, group_id: int) -> Self:
        """Return a group and all below it, in one query, whatever loops are stored.

        MariaDB goes down 1,000 levels, unless its ``max_recursive_iterations`` is raised.
        """
        return self._reach([group_id], DOWN)

    def path(self, group_id: int) -> Self:
        """Return a group and all above it, in one query, whatever loops are stored.

        In no particular order: ``paths`` has them from the root down.
        """
        return self._reach([group_id], UP)

    def paths(self, group_ids: Collection[int]) -> dict[int, list[Group]]:
        """Return, by id, the groups from the root to each of some, in one query for them all."""
        above = {group.pk: group for group in self._reach(group_ids, UP)}
        return {group_id: _climb(group_id, above) for group_id in group_ids if group_id in above}

    def count_below(self, group_ids: Collection[int]) -> dict[int, int]:
        """Return how many groups are below each of some, in one query; without those with none."""
        if not group_ids:
            return {}
        table = connections[self.db].ops.quote_name(self.model._meta.db_table)
        places = ", ".join(["%s"] * len(group_ids))
        statement = f"""
            WITH RECURSIVE below (top, id) AS (
                SELECT parent_id, id FROM {table} WHERE parent_id IN ({places})
                UNION
                SELECT below.top, child.id
                FROM {table} child JOIN below ON child.parent_id = below.id
            ) SELECT top, COUNT(*) FROM below WHERE id <> top GROUP BY top"""  # noqa: S608 - only the table's own name is put in
        with connections[self.db].cursor() as cursor:
            cursor.execute(statement, list(group_ids))
            return dict(cursor.fetchall())

    def _reach(self, group_ids: Collection[int], step: str) -> Self:
        if not group_ids:
            return self.none()
        table = connections[self.db].ops.quote_name(self.model._meta.db_table)
        places = ", ".join(["%s"] * len(group_ids))
        statement = f"{reached(table, places, step)} SELECT id FROM reached"  # noqa: S608 - only the table's own name is put in
        return self.filter(pk__in=RawSQL(statement, list(group_ids)))  # noqa: S611 - as above


def _climb(group_id: int, groups: Mapping[int, Group]) -> list[Group]:
    path: dict[int, Group] = {}
    while (group := groups.get(group_id)) and group_id not in path:
        path[group_id] = group
        group_id = group.parent_id or 0
    return list(reversed(path.values()))


class _FromName:
    """A field that is filled from the name whenever a group is saved."""

    attname: str
    kind: str
    make: Callable[[str], str]

    def pre_save(self, model_instance: Any, add: bool) -> Any:  # noqa: FBT001 - Django's
        key = self.make(model_instance.name)
        setattr(model_instance, self.attname, key)
        return key

    def deconstruct(self) -> Any:
        """Keep this class out of migrations."""
        name, _path, args, kwargs = super().deconstruct()  # type: ignore[misc]  # a field's, which comes next
        return name, f"django.db.models.{self.kind}", args, kwargs


class _SortKey(_FromName, CharField):
    kind = "CharField"
    make = staticmethod(turkish.sort_key)


class _SearchKey(_FromName, TextField):
    kind = "TextField"
    make = staticmethod(turkish.search_key)


class Group(models.Model):
    """A contact group as the vendor's answers told of it.

    ``id`` is the vendor's. ``count`` is the number of contacts in the group itself (source: the
    vendor's page for get-group). Times are those at which requests
    were sent: what an answer says was true then or later. ``sort_key`` puts names in Turkish
    alphabetical order, and ``search_key`` is what ``turkish.search_key`` makes of a name; saving
    fills both.
    """

    id = models.BigIntegerField(_("id"), primary_key=True)
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,  # The index of Meta serves.
        related_name="children",
        verbose_name=_("parent group"),
    )
    name = models.TextField(_("name"), blank=True)
    sort_key = _SortKey(max_length=turkish.SORT_KEY_LENGTH, editable=False, default="")
    search_key = _SearchKey(editable=False, default="")
    count = models.PositiveBigIntegerField(_("number of contacts"))
    seen_at = models.DateTimeField(
        _("last seen"), help_text=_("Time of the last answer that mentioned this group.")
    )
    placed_at = models.DateTimeField(
        _("last placed"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Time of the last answer that listed this group under another."),
    )
    fetched_at = models.DateTimeField(
        _("last fetched"),
        null=True,
        blank=True,
        help_text=_("Time of the last answer to a request for this very group."),
    )
    listed_at = models.DateTimeField(
        _("subgroups last listed"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Time of the last answer that listed all its subgroups."),
    )
    missing_since = models.DateTimeField(
        _("missing since"),
        null=True,
        blank=True,
        help_text=_("Time of the answer that no longer listed this group."),
    )

    objects = GroupQuerySet.as_manager()

    class Meta:
        verbose_name = _("contact group")
        verbose_name_plural = _("contact groups")
        default_permissions = ("view", "delete")
        permissions: ClassVar = [("fetch_group", "Can fetch contact groups from iletimerkezi")]
        indexes: ClassVar = [
            models.Index(fields=["parent", "sort_key", "id"], name="%(app_label)s_siblings"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(id__gte=1), name="%(app_label)s_id_from_1"),
        ]

    def __str__(self) -> str:
        return display.label(self.name) or str(self.pk)


class MirrorLock(models.Model):  # noqa: DJ008 - nobody gets to see it
    """One row, updated first in each writing transaction, so that writers take turns.

    Without it two writers could each store one half of a loop.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    taken = models.BooleanField(default=True)

    class Meta:
        default_permissions = ()
