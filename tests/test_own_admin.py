"""Admins that a project derives from ours, and what else it sets up around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection, connections
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_iletimerkezi import fetching, mirror
from django_iletimerkezi.admin import GroupAdmin
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import get_client
from django_iletimerkezi.testing import Sandbox

from .test_admin import act, fetch
from .test_changelist import ISTANBUL, LINKS
from .visitors import plant, visit

pytestmark = pytest.mark.django_db

Register = Callable[..., None]


@pytest.fixture
def register(settings: Any) -> Register:
    """Put an admin in the place of ours."""

    def register(admin_class: type[GroupAdmin], model: type[Group] = Group) -> None:
        site = AdminSite()
        site.register(model, admin_class)
        settings.ROOT_URLCONF = (path("admin/", site.urls),)

    return register


@pytest.fixture
def groups() -> None:
    plant(LINKS, ISTANBUL)


# Transactions


class OwnChangelistView(GroupAdmin):
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, extra_context)


@pytest.fixture
def other() -> Iterator[str]:
    """The name of another database."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    connections.settings["other"] = connections.configure_settings(
        {"default": {}, "other": settings}
    )["other"]
    yield "other"
    connections["other"].close()
    del connections["other"], connections.settings["other"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", ["default", "other"])
def test_a_fetch_is_outside_of_the_transactions_of_any_database(
    register: Register, sandbox: Sandbox, other: str, atomic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[bool] = []

    def watched() -> Any:
        within.append(connections[atomic].in_atomic_block)
        return get_client()

    monkeypatch.setattr(fetching, "get_client", watched)
    monkeypatch.setitem(connections[atomic].settings_dict, "ATOMIC_REQUESTS", True)
    register(OwnChangelistView)
    plant({1000: None})
    client = visit("fetcher")
    fetch(client, group_id=1000)
    act(client, "fetch_selected", 1000)
    assert within == [False, False]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("groups")
def test_other_actions_are_in_the_transaction_of_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(groups: object) -> None:
        assert connection.in_atomic_block
        raise DatabaseError("database is locked")

    monkeypatch.setattr(mirror, "remove", refuse)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = visit("superuser")
    with pytest.raises(DatabaseError, match="locked"):
        act(client, "delete_selected", 1, post="yes")
    assert not LogEntry.objects.exists()
