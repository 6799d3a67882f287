"""Users and groups for the tests of the admin, and readers of its pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import unescape
from typing import Any

from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from django_iletimerkezi.admin.tree import More, Node
from django_iletimerkezi.mirror.repair import count_wrong_sums
from django_iletimerkezi.models import Group

SEEN = datetime(2026, 5, 1, tzinfo=UTC)
PERMISSIONS: Mapping[str, Iterable[str]] = {
    "superuser": (),
    "viewer": ("view_group",),
    "fetcher": ("view_group", "fetch_group"),
    "deleter": ("view_group", "delete_group"),
    "fetcher without view": ("fetch_group",),
    "staff": (),
    "user": ("view_group", "fetch_group", "delete_group"),
}
ROLES = [*PERMISSIONS, "anonymous"]

NAMES = {1: "Rehber", 2: "Müşteriler", 3: "İstanbul", 4: "Kadıköy", 5: "Isparta", 6: "Şişli"}
LINKS = {1: None, 2: 1, 3: 2, 4: 3, 5: 2, 6: 3}
"""The parents of the groups in ``NAMES``."""


def client_for(role: str, *, checks_csrf: bool = False) -> Client:
    """Return a test client; all roles but "anonymous" are logged in."""
    client = Client(enforce_csrf_checks=checks_csrf)
    if role != "anonymous":
        user = User.objects.create(
            username=role, is_staff=role != "user", is_superuser=role == "superuser"
        )
        user.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="django_iletimerkezi", codename__in=PERMISSIONS[role]
            )
        )
        client.force_login(user)
    return client


def url(page: str, *args: object) -> str:
    return reverse(f"admin:django_iletimerkezi_group_{page}", args=args)


def fetch(client: Client, **fields: Any) -> Any:
    return client.post(url("fetch"), fields)


def act(client: Client, action: str, *ids: int, **fields: Any) -> Any:
    """Run an action on the selected groups, and return the page to which the redirects lead."""
    selected = {"action": action, "_selected_action": list(ids), "index": "0"}
    return client.post(url("changelist"), selected | fields, follow=True)


def plant(links: Mapping[int, int | None], names: Mapping[int, str] | None = None) -> None:
    """Store groups by the ids of their parents."""
    names = names or {}
    planted: dict[int, Group] = {}
    for pk, parent in links.items():
        planted[pk] = Group(pk=pk, name=names.get(pk, f"g{pk:06}"), count=pk % 7, seen_at=SEEN)
        if parent in planted:
            planted[pk].parent_id = parent
    Group.objects.bulk_create(planted.values())
    # MariaDB accepts no parent that is inserted later.
    for pk, group in planted.items():
        if group.parent_id != links[pk]:
            Group.objects.filter(pk=pk).update(parent=links[pk])


def plant_tree(total: int, fanout: int) -> None:
    """Store a tree with the root 1, each group before its subgroups."""
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


def sum_up() -> None:
    """Store the totals of all groups, as a fetch would."""
    count_wrong_sums(repair=True)


def drawn(items: Iterable[Node | More]) -> list[str]:
    """Return a line per node: dots for its level, its id, "-" if it is open and "+" if closed."""
    return [
        f"{'.' * item.level}more {item.parent_id} {item.start}"
        if isinstance(item, More)
        else f"{'.' * item.level}{item.group.pk}"
        + ("-" if item.is_open else "+" if item.matching else "")
        for item in items
    ]


def lines(answer: Any) -> list[str]:
    """Return the nodes of a page, drawn."""
    return drawn(answer.context["nodes"])


def text(answer: Any) -> str:
    """Return the readable text of a page, on one line."""
    return " ".join(re.sub(r"<[^>]*>", "", answer.content.decode()).split())


def messages(answer: Any) -> list[tuple[str, str]]:
    """Return the messages of a page by their levels, without their links."""
    return [
        (message.level_tag, unescape(re.sub(" <a .*?</a>", "", message.message)))
        for message in get_messages(answer.wsgi_request)
    ]


def total_contacts(page: Any) -> int:
    """Return the total on the page of a group. Django 6.1 puts the help before the number."""
    shown = re.search(r"Contacts, including subgroups:\D*([\d,]+)", text(page))
    assert shown
    return int(shown[1].replace(",", ""))
