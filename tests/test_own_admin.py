"""Admins that a host project derives from ours or puts in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection, connections
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.test.utils import isolate_apps
from django.urls import path, reverse

from django_iletimerkezi import services
from django_iletimerkezi.admin import GroupAdmin
from django_iletimerkezi.mirror import store
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import get_client
from django_iletimerkezi.testing import Sandbox

from .visitors import (
    LINKS,
    NAMES,
    act,
    client_for,
    fetch,
    lines,
    messages,
    plant,
    text,
    total_contacts,
    url,
)

pytestmark = pytest.mark.django_db

Register = Callable[..., None]
NOTE = "This deletes from the mirror only"


@pytest.fixture
def register(settings: Any) -> Register:
    """Replace our admin."""

    def register(admin_class: type[admin.ModelAdmin[Group]], model: type[Group] = Group) -> None:
        site = admin.AdminSite()
        site.register(model, admin_class)
        settings.ROOT_URLCONF = (path("admin/", site.urls),)

    return register


@pytest.fixture
def groups() -> None:
    plant(LINKS, NAMES)


# Transactions


class OwnChangelistView(GroupAdmin):
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, extra_context)


@pytest.fixture
def other_database(tmp_path: Path) -> Iterator[str]:
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "other.sqlite3"}
    connections.settings["other"] = connections.configure_settings(
        {"default": {}, "other": settings}
    )["other"]
    connections["other"].connect()
    yield "other"
    connections["other"].close()
    del connections["other"], connections.settings["other"]


@pytest.mark.django_db(transaction=True)
def test_a_fetch_runs_outside_the_transactions_of_all_databases(
    register: Register, sandbox: Sandbox, other_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_transaction: list[bool] = []

    def get_client_and_note() -> Any:
        in_transaction.extend(connections[alias].in_atomic_block for alias in connections)
        return get_client()

    monkeypatch.setattr(services, "get_client", get_client_and_note)
    for alias in ("default", other_database):
        monkeypatch.setitem(connections[alias].settings_dict, "ATOMIC_REQUESTS", True)
    register(OwnChangelistView)
    plant({1000: None})
    client = client_for("fetcher")
    fetch(client, group_id=1000)
    act(client, "fetch_selected", 1000)
    assert in_transaction == [False] * 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("groups")
def test_other_actions_run_in_the_transaction_of_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(groups: object) -> None:
        assert connection.in_atomic_block
        raise DatabaseError("database is locked")

    monkeypatch.setattr(store, "remove", refuse)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with pytest.raises(DatabaseError, match="locked"):
        act(client_for("superuser"), "delete_selected", 1, post="yes")
    assert not LogEntry.objects.exists()


# Options and querysets of a subclass

PAGES = ("?_from=2", "?q=i", "?presence=listed", "subgroups/?_from=2", "2/change/")


def show(query: str) -> list[Any]:
    """Return the pages of a query string."""
    client = client_for("superuser")
    answers = [client.get(url("changelist") + page) for page in (query, *PAGES)]
    assert {answer.status_code for answer in answers} == {200}
    return answers


class SelectingParents(GroupAdmin):
    list_select_related = ("parent",)


@pytest.mark.usefixtures("groups")
def test_an_admin_may_select_related_parents(register: Register) -> None:
    register(SelectingParents)
    assert all("3" in "".join(lines(answer)) for answer in show(""))


class Counting(GroupAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(number=Count("children")).distinct()


@pytest.mark.usefixtures("groups")
def test_an_admin_may_annotate_groups(register: Register) -> None:
    register(Counting)
    assert all(map(lines, show("?presence=listed&_from=3")))


class WithDateHierarchy(GroupAdmin):
    date_hierarchy = "seen_at"


# In another zone MariaDB needs tables that its packages leave empty.
@override_settings(TIME_ZONE="UTC")
@pytest.mark.usefixtures("groups")
def test_an_admin_may_declare_a_date_hierarchy(register: Register) -> None:
    register(WithDateHierarchy)
    client = client_for("superuser")
    Group.objects.update(seen_at=datetime(2026, 5, 15, tzinfo=UTC))
    for year in (0, 1, 9999, 10**19):
        answer = client.get(f"{url('changelist')}?seen_at__year={year}")
        assert answer["Location"].endswith("?e=1")
    for month, number in ((4, 0), (5, 6)):
        page = client.get(f"{url('changelist')}?seen_at__year=2026&seen_at__month={month}")
        assert len(page.context["nodes"]) == number


class WithFilters(GroupAdmin):
    def get_list_filter(self, request: HttpRequest) -> Any:
        return (*super().get_list_filter(request), "parent__name", "name")


@pytest.mark.usefixtures("groups")
def test_an_admin_may_declare_filters_by_fields(register: Register) -> None:
    register(WithFilters)
    client = client_for("superuser")
    for query, found in (("parent__name=Rehber", ["2"]), ("name=Rehber", ["1"])):
        assert lines(client.get(f"{url('changelist')}?{query}")) == found
    for query in ("name__regex=(", "parent__name__regex=(", "parent__count=2"):
        assert client.get(f"{url('changelist')}?{query}").status_code == 400, query


class Hiding(GroupAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).exclude(name__in=["İstanbul", "Rehber"])


@pytest.mark.usefixtures("groups")
def test_hidden_groups_are_on_no_page(register: Register) -> None:
    register(Hiding)
    client = client_for("superuser")
    for page in ("", "?_from=3", "subgroups/?_from=1", "4/change/", *PAGES):
        answer = client.get(url("changelist") + page)
        assert answer.status_code == 200
        assert not any(name in answer.content.decode() for name in ("İstanbul", "Rehber")), page


@pytest.mark.usefixtures("groups")
def test_hidden_groups_are_not_counted(register: Register) -> None:
    register(Hiding)
    page = client_for("superuser").get(url("change", 2))
    assert total_contacts(page) == 2 + 4 + 5 + 6
    assert lines(page) == ["5"]


def test_a_fetch_does_not_show_the_name_of_a_hidden_group(
    register: Register, sandbox: Sandbox
) -> None:
    register(Hiding)
    client = client_for("superuser")
    answer = client.post(url("fetch"), {"group_id": 1110}, follow=True)
    assert answer.redirect_chain == [(url("changelist"), 302)]
    assert messages(answer) == [
        ("success", "Fetched “1110” (id 1110): 5 created, 0 changed, 0 unchanged, 0 missing.")
    ]


class ViewingOnlySmallIds(GroupAdmin):
    def has_view_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return obj is None or obj.pk < 3


@pytest.mark.usefixtures("groups")
def test_a_group_that_a_user_may_not_view_cannot_be_fetched(
    register: Register, sandbox: Sandbox
) -> None:
    register(ViewingOnlySmallIds)
    answer = client_for("superuser").post(url("fetch"), {"group_id": 3})
    assert (answer.status_code, sandbox.asked) == (403, [])


class Adding(GroupAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return True


def test_an_admin_that_allows_adding_has_djangos_page_for_adding(register: Register) -> None:
    register(Adding)
    assert client_for("superuser").get(url("add")).status_code == 200


# Other admins and models


@pytest.mark.usefixtures("groups")
def test_a_plain_model_admin_has_working_pages(register: Register) -> None:
    register(admin.ModelAdmin)
    client = client_for("superuser")
    listed = client.get(url("changelist"))
    assert [group.pk for group in listed.context["cl"].result_list] == [6, 5, 4, 3, 2, 1]
    assert {client.get(url("add")).status_code, client.get(url("history", 3)).status_code} == {200}
    assert 'name="name"' in client.get(url("change", 3)).content.decode()
    client.post(url("delete", 3), {"post": "yes"})
    act(client, "delete_selected", 2, post="yes")
    assert set(Group.objects.values_list("pk", flat=True)) == {1, 4, 5, 6}


@pytest.fixture
def proxy() -> Iterator[type[Group]]:
    """A model of the host project with our table."""
    with isolate_apps("tests"):

        class Proxy(Group):
            class Meta:
                proxy = True
                app_label = "auth"

        yield Proxy


@pytest.mark.usefixtures("groups")
def test_a_proxy_model_has_the_same_pages(register: Register, proxy: type[Group]) -> None:
    register(GroupAdmin, proxy)
    client = client_for("superuser")
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
    assert NOTE in pages["delete"]
    selected = {"action": "delete_selected", "_selected_action": "2", "index": "0"}
    confirmation = client.post(reverse("admin:auth_proxy_changelist"), selected)
    assert NOTE in text(confirmation)


@pytest.mark.usefixtures("groups")
def test_selected_groups_of_a_proxy_model_are_fetched(
    register: Register, proxy: type[Group], sandbox: Sandbox
) -> None:
    register(GroupAdmin, proxy)
    address = reverse("admin:auth_proxy_changelist")
    selected = {"action": "fetch_selected", "_selected_action": "2", "index": "0"}
    answer: Any = client_for("superuser").post(address, selected, follow=True)
    assert answer.redirect_chain[-1] == (address, 302)
    assert sandbox.asked == [2]


@pytest.mark.usefixtures("groups")
def test_the_permission_to_fetch_is_the_same_for_a_proxy_model(
    register: Register, proxy: type[Group]
) -> None:
    class Open(GroupAdmin):
        def has_view_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
            return True

    register(Open, proxy)
    address = reverse("admin:auth_proxy_fetch")
    assert client_for("fetcher").get(address).status_code == 200
    assert client_for("viewer").get(address).status_code == 403
