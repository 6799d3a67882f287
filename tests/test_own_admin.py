"""Admins that a project derives from ours, and what else it sets up around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection, connections
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.test.utils import isolate_apps
from django.urls import path, reverse

from django_iletimerkezi.admin import GroupAdmin
from django_iletimerkezi.admin import fetch as fetching
from django_iletimerkezi.mirror import store as mirror
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import get_client
from django_iletimerkezi.testing import Sandbox

from .test_admin import act, contacts_below, fetch
from .test_changelist import ISTANBUL, LINKS, lines, text
from .visitors import plant, url, visit

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


# What an admin may set

BELOW = ["?parent=2", "?q=i", "?presence=listed", "rows/?parent=2", "2/change/"]


class WithParents(GroupAdmin):
    list_select_related = ("parent",)


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", ["", *BELOW])
def test_parents_may_be_selected_together_with_groups(register: Register, page: str) -> None:
    register(WithParents)
    answer = visit("superuser").get(url("changelist") + page)
    assert answer.status_code == 200
    assert "3" in "".join(lines(answer))


class Discreet(GroupAdmin):
    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        return [name for name in super().get_fields(request, obj) if name != "parent"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).exclude(name__in=["İstanbul", "Rehber"])


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", ["", "?parent=3", "rows/?parent=1", "4/change/", *BELOW])
def test_groups_that_are_not_for_all_are_nowhere(register: Register, page: str) -> None:
    register(Discreet)
    answer = visit("superuser").get(url("changelist") + page)
    assert answer.status_code == 200
    for name in ("İstanbul", "Rehber"):
        assert name not in answer.content.decode()


@pytest.mark.usefixtures("groups")
def test_groups_that_are_not_for_all_are_not_counted(register: Register) -> None:
    register(Discreet)
    page = visit("superuser").get(url("change", 2))
    assert contacts_below(page) == 2 + 4 + 5 + 6
    assert lines(page) == ["5"]


class Counted(GroupAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(number=Count("children")).distinct()


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", ["", "?presence=listed&parent=3", *BELOW])
def test_groups_may_be_annotated(register: Register, page: str) -> None:
    register(Counted)
    answer = visit("superuser").get(url("changelist") + page)
    assert answer.status_code == 200
    assert lines(answer)


@pytest.fixture
def proxy() -> Iterator[type[Group]]:
    """A model of the project's that has our table."""
    with isolate_apps("tests"):

        class Proxy(Group):
            class Meta:
                proxy = True
                app_label = "auth"

        yield Proxy


@pytest.mark.usefixtures("groups")
def test_a_proxy_model_has_the_same_pages(register: Register, proxy: type[Group]) -> None:
    register(GroupAdmin, proxy)
    client = visit("superuser")
    pages = {
        name: client.get(reverse(f"admin:auth_proxy_{name}", args=args)).content.decode()
        for name, args in {
            "changelist": (),
            "change": (2,),
            "delete": (2,),
            "history": (2,),
        }.items()
    }
    assert "tree.css" in pages["history"]
    assert 'class="iletimerkezi-tree"' in pages["changelist"]
    assert 'href="/admin/auth/proxy/fetch/"' in pages["changelist"]
    assert 'formaction="/admin/auth/proxy/fetch/"' in pages["change"]
    assert "This removes from the mirror only." in pages["delete"]
    chosen = {"action": "delete_selected", "_selected_action": "2", "index": "0"}
    asked = client.post(reverse("admin:auth_proxy_changelist"), chosen)
    assert "This removes from the mirror only." in text(asked)


@pytest.mark.usefixtures("groups")
def test_the_permission_to_fetch_is_the_same_for_a_proxy_model(
    register: Register, proxy: type[Group]
) -> None:
    class Open(GroupAdmin):
        def has_view_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
            return True

    register(Open, proxy)
    address = reverse("admin:auth_proxy_fetch")
    assert visit("fetcher").get(address).status_code == 200
    assert visit("viewer").get(address).status_code == 403


class Adding(GroupAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return True


def test_who_allows_to_add_gets_django_s_page_for_it(register: Register) -> None:
    register(Adding)
    assert visit("superuser").get(url("add")).status_code == 200
