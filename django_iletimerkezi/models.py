"""The mirror's tables, and how to read trees from them. Knows no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.validators import MinValueValidator
from django.db import connections, models
from django.db.models.expressions import RawSQL
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import display, turkish

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Self

# UNION drops rows that were reached before, so that loops terminate.
_SUBTREE = """
    WITH RECURSIVE subtree (id) AS (
        SELECT id FROM {table} WHERE id IN ({ids})
        UNION
        SELECT child.id FROM {table} child JOIN subtree ON child.parent_id = subtree.id
    )
    SELECT id FROM subtree"""
_PATHS = """
    WITH RECURSIVE paths (id, parent_id) AS (
        SELECT id, parent_id FROM {table} WHERE id IN ({ids})
        UNION
        SELECT parent.id, parent.parent_id
        FROM {table} parent JOIN paths ON parent.id = paths.parent_id
    )
    SELECT id FROM paths"""
_COUNT_BELOW = """
    WITH RECURSIVE below (top, id) AS (
        SELECT parent_id, id FROM {table} WHERE parent_id IN ({ids})
        UNION
        SELECT below.top, child.id FROM {table} child JOIN below ON child.parent_id = below.id
    )
    SELECT top, COUNT(*) FROM below WHERE id <> top GROUP BY top"""


class GroupQuerySet(models.QuerySet["Group"]):
    """The mirrored groups. Reads the mirror only, never the vendor."""

    def bulk_create(self, objs: Iterable[Group], *args: Any, **kwargs: Any) -> list[Group]:
        groups = list(objs)
        for group in groups:
            group.fill_keys()
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
            kwargs |= {"sort_key": turkish.sort_key(name), "search_key": turkish.search_key(name)}
        return super().update(**kwargs)

    def listed(self) -> Self:
        """Return the groups that the vendor lists, as far as the mirror knows."""
        return self.filter(missing_since=None)

    def missing(self) -> Self:
        """Return the groups that the vendor no longer lists."""
        return self.exclude(missing_since=None)

    def subtree(self, group: Group | int) -> Self:
        """Return a group, or the group of an id, and everything below it. Loops do no harm.

        One query. MariaDB descends 1,000 levels, unless its ``max_recursive_iterations`` is
        raised. Raises TypeError for anything other than a group or an id.
        """
        return self._reached_by(_SUBTREE, [_id(group)])

    def path(self, group: Group | int) -> list[Group]:
        """Return the groups from the root down to a group, in one query. Loops do no harm.

        MariaDB climbs 1,000 levels, unless its ``max_recursive_iterations`` is raised.
        """
        group_id = _id(group)
        return self.paths([group_id]).get(group_id, [])

    def paths(self, group_ids: Collection[int]) -> dict[int, list[Group]]:
        """Return the path of each group by its id, in one query for all."""
        groups = {group.pk: group for group in self._reached_by(_PATHS, group_ids)}
        return {group_id: _climb(group_id, groups) for group_id in group_ids if group_id in groups}

    def count_below(self, group_ids: Collection[int]) -> dict[int, int]:
        """Return the number of groups below each group, by id, without zeros. One query.

        MariaDB descends 1,000 levels, unless its ``max_recursive_iterations`` is raised.
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
        return statement.format(
            table=connections[self.db].ops.quote_name(self.model._meta.db_table),
            ids=", ".join(["%s"] * len(group_ids)),
        )


def _with_keys(fields: Iterable[str]) -> list[str]:
    """Add the keys to the fields to write, if the name is among them."""
    names = list(fields)
    return list({*names, "sort_key", "search_key"}) if "name" in names else names


def _id(group: Any) -> int:
    group_id = group.pk if isinstance(group, Group) else group
    if isinstance(group_id, bool) or not isinstance(group_id, int):
        raise TypeError(f"expected a group or its id, not {type(group).__name__}")
    return group_id


def _climb(group_id: int, groups: Mapping[int, Group]) -> list[Group]:
    path: dict[int, Group] = {}
    while (group := groups.get(group_id)) and group_id not in path:
        path[group_id] = group
        group_id = group.parent_id or 0
    return list(reversed(path.values()))


class Group(models.Model):
    """A contact group, as far as the vendor's answers described it.

    ``id`` is the vendor's. ``count`` is the number of contacts in the group itself (source: the
    vendor's page for get-group). Times are when requests were sent: what an answer says was true
    then or later. ``sort_key`` sorts names in Turkish alphabetical order, ``search_key`` ignores
    case, dots and accents; saving a name fills both.
    """

    id = models.BigIntegerField(_("id"), primary_key=True, validators=[MinValueValidator(1)])
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,  # Meta.indexes covers it.
        related_name="children",
        verbose_name=_("parent group"),
    )
    name = models.TextField(_("name"), blank=True)
    sort_key = models.CharField(max_length=turkish.SORT_KEY_LENGTH, editable=False, default="")
    search_key = models.TextField(editable=False, default="")
    count = models.PositiveBigIntegerField(_("number of contacts"))
    seen_at = models.DateTimeField(
        _("last seen"),
        default=timezone.now,
        help_text=_("When an answer last contained this group."),
    )
    # The group that listed this group last. Not a foreign key: its row may have been deleted.
    named_parent_id = models.BigIntegerField(null=True, editable=False)
    placed_at = models.DateTimeField(
        _("last placed"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When an answer last listed this group under another."),
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
        help_text=_("When an answer last listed all subgroups of this group."),
    )
    # When the vendor last answered that there is no such group (463).
    denied_at = models.DateTimeField(null=True, editable=False)
    missing_since = models.DateTimeField(
        _("missing since"),
        null=True,
        blank=True,
        help_text=_("When an answer first lacked this group."),
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

    def save(self, *args: Any, **kwargs: Any) -> None:
        fields = kwargs.get("update_fields")
        super().save(*args, **kwargs | {"update_fields": fields and _with_keys(fields)})

    def fill_keys(self) -> None:
        """Compute the keys that follow from the name."""
        self.sort_key, self.search_key = turkish.sort_key(self.name), turkish.search_key(self.name)

    def __str__(self) -> str:
        return display.label(self.name) or str(self.pk)


@receiver(pre_save, sender=Group)
def _fill_keys(instance: Group, **kwargs: Any) -> None:
    """Not in ``save``, because ``loaddata`` bypasses it."""
    instance.fill_keys()


class MirrorLock(models.Model):  # noqa: DJ008 - nobody sees it
    """One row that each writing transaction updates first, so that writers take turns.

    Without it, two writers could each store one half of a loop.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    taken = models.BooleanField(default=True)

    class Meta:
        default_permissions = ()
