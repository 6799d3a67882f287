"""Decides which groups and changes a user may see, based on ``get_queryset`` of the admins."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from ..models import Change, ChangeQuerySet, Fetch, Group, GroupQuerySet


def is_filtered(rows: QuerySet[Any]) -> bool:
    """Does a query have a condition? A host's ``get_queryset`` may use one to hide rows.

    If groups are hidden, pages do not show the stored totals, which include hidden groups.
    """
    return bool(rows.query.where)


def find_admin(request: HttpRequest, site: AdminSite, model: type[Model]) -> ModelAdmin[Any] | None:
    """Return the admin of a model or of its proxy. Prefers an admin that the user may view."""
    registry = site._registry  # noqa: SLF001 - Django has no public way to list registered models
    found = (own for each, own in registry.items() if each._meta.concrete_model is model)
    admins = sorted(found, key=lambda own: own.model is not model)
    viewed = (own for own in admins if own.has_view_permission(request))
    return next(viewed, next(iter(admins), None))


def find_fetch_admin(request: HttpRequest, site: AdminSite) -> ModelAdmin[Fetch] | None:
    """Return the admin of fetches, or None if the user may not view fetches."""
    found = find_admin(request, site, Fetch)
    return found if found and found.has_view_permission(request) else None


def visible_groups(request: HttpRequest, site: AdminSite) -> GroupQuerySet:
    """Return the groups that the admin of groups does not hide from the user."""
    found = find_admin(request, site, Group)
    return plain(found.get_queryset(request) if found else Group.objects.all())


def plain(groups: Any) -> GroupQuerySet:
    """Keep a host's ``get_queryset`` from loading related objects. We need only names."""
    found: GroupQuerySet = groups.select_related(None).prefetch_related(None)
    return found


def visible_changes(request: HttpRequest, site: AdminSite) -> ChangeQuerySet | None:
    """Return the changes of all visible fetches, or None if the user may not view fetches.

    Includes the changes of hidden groups, which ``of_visible_groups`` leaves out.
    """
    fetch_admin = find_fetch_admin(request, site)
    if not fetch_admin:
        return None
    fetches = fetch_admin.get_queryset(request)
    changes = Change.objects.all()
    return changes.filter(fetch__in=_ids(fetches)) if is_filtered(fetches) else changes


def of_visible_groups(changes: ChangeQuerySet, groups: GroupQuerySet) -> ChangeQuerySet:
    """Leave out the changes of hidden groups.

    If the host hides groups, also leaves out the changes of groups that were deleted from the
    mirror, because the host might hide the deleted groups too.
    """
    return changes.filter(group_id__in=_ids(groups)) if is_filtered(groups) else changes


def _ids(rows: QuerySet[Any]) -> QuerySet[Any, Any]:
    # A subquery must use the database of the outer query, not a database that a host has chosen.
    return rows.using(None).order_by().values("pk")
