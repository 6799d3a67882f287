"""People who come to the admin, and the groups that they find there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_iletimerkezi.admin.tree import More, Row
from django_iletimerkezi.models import Group

SEEN = datetime(2026, 5, 1, tzinfo=UTC)
MAY: Mapping[str, Iterable[str]] = {
    "superuser": (),
    "viewer": ("view_group",),
    "fetcher": ("view_group", "fetch_group"),
    "deleter": ("view_group", "delete_group"),
    "blind fetcher": ("fetch_group",),
    "staff": (),
    "user": ("view_group", "fetch_group", "delete_group"),
}


def visit(person: str, *, checks_csrf: bool = False) -> Client:
    """Return the browser of a person."""
    client = Client(enforce_csrf_checks=checks_csrf)
    if person != "anonymous":
        user = User.objects.create(
            username=person, is_staff=person != "user", is_superuser=person == "superuser"
        )
        user.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="django_iletimerkezi", codename__in=MAY[person]
            )
        )
        client.force_login(user)
    return client


def url(page: str, *args: object) -> str:
    return reverse(f"admin:django_iletimerkezi_group_{page}", args=args)


def plant(links: Mapping[int, int | None], names: Mapping[int, str] | None = None) -> None:
    """Store groups by the ids of their parents."""
    names = names or {}
    Group.objects.bulk_create(
        Group(pk=pk, name=names.get(pk, f"g{pk:06}"), count=pk % 7, seen_at=SEEN) for pk in links
    )
    moved = [Group(pk=pk, parent_id=parent) for pk, parent in links.items() if parent]
    Group.objects.bulk_update(moved, ["parent"], batch_size=5000)


def drawn(items: Iterable[Row | More]) -> list[str]:
    """Return a line an item: dots for the level, the id, and a mark if it is open or closed."""
    return [
        f"{'.' * item.level}more {item.parent_id} {item.start}"
        if isinstance(item, More)
        else f"{'.' * item.level}{item.group.pk}"
        + ("-" if item.is_open else "+" if item.inside else "")
        for item in items
    ]


def plant_tree(total: int, fanout: int) -> None:
    """Store a tree at whose top is 1, in rows whose parents come first."""
    Group.objects.bulk_create(
        Group(
            pk=pk,
            name=f"g{pk:06}",
            count=pk % 7,
            seen_at=SEEN,
            parent_id=(pk - 2) // fanout + 1 if pk > 1 else None,
        )
        for pk in range(1, total + 1)
    )
