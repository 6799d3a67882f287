"""Admins that a host project derives from ours or registers instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.checks.registry import registry
from django.db import DatabaseError, connection, connections
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, modify_settings, override_settings
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import path, reverse

from django_iletimerkezi import services
from django_iletimerkezi.admin import GroupAdmin
from django_iletimerkezi.mirror import store
from django_iletimerkezi.models import Fetch, Group
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
    plant_tree,
    text,
    total_contacts,
    url,
)

pytestmark = pytest.mark.django_db

Register = Callable[..., None]
NOTE = "This deletes groups only from the mirror"


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


def test_an_action_that_fetches_no_group_does_not_start_a_fetch(
    sandbox: Sandbox, rf: RequestFactory
) -> None:
    request = rf.post("/")
    request.user = User.objects.create_superuser("demo")
    run = GroupAdmin(Group, admin.site).fetch(request, [])
    assert (run.groups, run.unfinished) == ([], [])
    assert not Fetch.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("groups")
def test_the_delete_action_runs_in_the_transaction_of_the_request(
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
def test_a_group_admin_subclass_may_select_related_parents(register: Register) -> None:
    register(SelectingParents)
    assert all("3" in "".join(lines(answer)) for answer in show(""))


class Counting(GroupAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(number=Count("children")).distinct()


@pytest.mark.usefixtures("groups")
def test_a_group_admin_subclass_may_annotate_groups(register: Register) -> None:
    register(Counting)
    assert all(map(lines, show("?presence=listed&_from=3")))


class WithDateHierarchy(GroupAdmin):
    date_hierarchy = "seen_at"


# In another zone MariaDB needs tables that its packages leave empty.
@override_settings(TIME_ZONE="UTC")
@pytest.mark.usefixtures("groups")
def test_a_group_admin_subclass_may_declare_a_date_hierarchy(register: Register) -> None:
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
def test_a_group_admin_subclass_may_declare_field_filters(register: Register) -> None:
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
def test_hidden_groups_do_not_appear_on_any_page(register: Register) -> None:
    register(Hiding)
    client = client_for("superuser")
    for page in ("", "?_from=3", "subgroups/?_from=1", "4/change/", *PAGES):
        answer = client.get(url("changelist") + page)
        assert answer.status_code == 200
        assert not any(name in answer.content.decode() for name in ("İstanbul", "Rehber")), page


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("query", ["", "?_from=3", "?_from=2"])
def test_hidden_groups_are_not_exported(register: Register, query: str) -> None:
    register(Hiding)
    answer: Any = client_for("superuser").get(url("csv") + query)
    content = b"".join(answer.streaming_content).decode()
    assert not any(name in content for name in ("İstanbul", "Rehber"))
    assert ";Kadıköy;" in content
    assert "contacts, including subgroups" not in content


class WithoutFilters(GroupAdmin):
    list_filter = ()


@pytest.mark.usefixtures("groups")
def test_the_summary_links_only_to_filters_that_the_group_admin_offers(register: Register) -> None:
    register(WithoutFilters)
    page = client_for("viewer").get(url("changelist")).content.decode()
    assert "never fetched" in page
    assert "?fetched=never" not in page


class HidingAll(GroupAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(name="x")


def test_a_group_admin_subclass_that_hides_all_groups_offers_the_first_fetch(
    register: Register,
) -> None:
    register(HidingAll)
    assert "No contact groups have been fetched yet." in text(
        client_for("fetcher").get(url("changelist"))
    )


@pytest.mark.usefixtures("groups")
def test_stored_totals_that_count_hidden_groups_are_not_shown(register: Register) -> None:
    Group.objects.update(total=987_654)
    assert "987,654" in client_for("viewer").get(url("changelist")).content.decode()
    register(Hiding)
    client = client_for("superuser")
    for page in ("", "?q=k", "subgroups/?_from=2", "2/change/"):
        assert "987,654" not in client.get(url("changelist") + page).content.decode(), page


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


def test_a_group_admin_subclass_that_allows_adding_groups_has_the_add_page_of_django(
    register: Register,
) -> None:
    register(Adding)
    assert client_for("superuser").get(url("add")).status_code == 200


# Columns


@admin.display(description="letters")
def count_letters(group: Group) -> int:
    return len(group.name)


class WithColumns(GroupAdmin):
    list_display = ("missing_since", "parent", "is_even", count_letters)
    list_display_links = ("parent",)
    list_select_related = ("parent",)
    empty_value_display = "nothing"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("children")

    @admin.display(description="<even>", boolean=True, ordering="id")
    def is_even(self, group: Group) -> bool:
        return len(group.children.all()) % 2 == 0


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", ["", "?o=3.-1", *PAGES])
def test_a_group_admin_subclass_may_add_columns(page: str, register: Register) -> None:
    register(WithColumns)
    shown = client_for("viewer").get(url("changelist") + page).content.decode()
    rows = {
        int(pk): re.findall(r'<td class="field-.*?">(.*?)</td>', row)
        for pk, row in re.findall(r'<tr data-id="(\d+)"(.*?)</tr>', shown, re.DOTALL)
    }
    icon = '<img src="/static/admin/img/icon-{}.svg" alt="{}">'
    assert rows
    assert rows == {
        pk: [
            "nothing",
            NAMES[LINKS[pk] or 1] if pk > 1 else "nothing",
            icon.format("no", "False") if pk == 1 else icon.format("yes", "True"),
            str(len(NAMES[pk])),
        ]
        for pk in rows
    }
    if "subgroups" not in page:
        headings = re.findall(r'<th scope="col".*?<span>(.*?)</span>', shown)
        added = ["Missing since", "Parent group", "&lt;even&gt;", "Letters"]
        assert headings[-5:] == ["Last fetched", *added]


@pytest.mark.parametrize("page", ["", "?_from=2", "?q=g", "subgroups/?_from=2", "2/change/"])
def test_added_columns_add_at_most_three_queries(page: str, register: Register) -> None:
    plant_tree(300, 5)
    queries = []
    client = client_for("viewer")
    for admin_class in (GroupAdmin, WithColumns):
        register(admin_class)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url("changelist") + page).status_code == 200
        queries.append(len(captured))
    # A page reads at most three levels. Each has its own prefetch.
    assert queries[0] < queries[1] <= queries[0] + 3


class WithColumnsForSome(GroupAdmin):
    def get_list_display(self, request: HttpRequest) -> Any:
        return ("seen_at",) if request.user.is_superuser else ()


@pytest.mark.usefixtures("groups")
def test_a_group_admin_subclass_may_choose_columns_by_request(register: Register) -> None:
    register(WithColumnsForSome)
    shown = {
        role: client_for(role).get(url("changelist")).content.decode().count('class="field-seen_at')
        for role in ("superuser", "viewer")
    }
    assert shown == {"superuser": 6, "viewer": 0}


def test_a_row_with_a_link_to_more_groups_has_a_cell_for_each_column(register: Register) -> None:
    register(WithColumns)
    plant_tree(250, 249)
    page = client_for("superuser").get(url("changelist")).content.decode()
    rows = re.findall("<tr data-.*?</tr>", page, re.DOTALL)
    assert "data-more" in rows[-1]
    assert {len(re.findall("<t[dh][ >]", row)) for row in rows} == {11}


class WithFacts(GroupAdmin):
    fields = (*GroupAdmin.fields, "count_letters")

    @admin.display(description="letters")
    def count_letters(self, group: Group) -> int:
        return count_letters(group)


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_may_show_additional_fields(register: Register) -> None:
    register(WithFacts)
    assert "Letters: 8" in text(client_for("viewer").get(url("change", 3)))


# Templates and mixins


class Guardian(AppConfig):
    """Without ``ready``, which changes the user model for all later tests."""

    name = "guardian"


@pytest.fixture
def mixins(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Mixins whose templates replace those of an admin."""
    # Importing guardian registers a check.
    monkeypatch.setattr(registry, "registered_checks", set(registry.registered_checks))
    apps = {"append": [f"{__name__}.{Guardian.__name__}", "import_export"]}
    with modify_settings(INSTALLED_APPS=apps), override_settings(ANONYMOUS_USER_NAME=None):
        from guardian.admin import GuardedModelAdminMixin  # noqa: PLC0415 - needs its app
        from import_export.admin import (  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
            ExportMixin,
            ImportExportMixin,
        )

        yield SimpleNamespace(
            export=ExportMixin, import_export=ImportExportMixin, guarded=GuardedModelAdminMixin
        )


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("name", ["export", "import_export"])
def test_the_group_list_keeps_the_fetch_link_with_django_import_export(
    name: str, register: Register, mixins: SimpleNamespace
) -> None:
    register(type("Exporting", (getattr(mixins, name), GroupAdmin), {}))
    client = client_for("superuser")
    page = client.get(url("changelist"))
    assert len(lines(page)) == 6
    for target in ("fetch", "export"):
        assert f'<a href="{url(target)}' in page.content.decode()
    exported = client.post(url("export"), {"format": "0", "groupresource_name": "on"})
    assert "Kadıköy" in exported.content.decode()


@pytest.mark.usefixtures("groups")
def test_a_group_page_keeps_its_path_its_buttons_and_its_subgroups_with_guardian(
    register: Register, mixins: SimpleNamespace
) -> None:
    register(type("Guarded", (mixins.guarded, GroupAdmin), {}))
    page = client_for("superuser").get(url("change", 3))
    shown = page.content.decode()
    assert lines(page) == ["4", "6"]
    assert [part.text for part in page.context["path"]] == ["Rehber", "Müşteriler"]
    for part in (
        url("permissions", 3),
        'class="iletimerkezi-path"',
        f'formaction="{url("fetch")}"',
    ):
        assert part in shown


class WithTemplate(GroupAdmin):
    change_list_template = "own.html"


@pytest.mark.usefixtures("groups")
def test_custom_templates_of_a_project_show_the_additions_of_this_package(
    register: Register, settings: Any, tmp_path: Path
) -> None:
    own = '{{% extends "admin/{}.html" %}}{{% block {} %}}Own{{{{ block.super }}}}{{% endblock %}}'
    by_name = tmp_path / "admin/django_iletimerkezi/group/change_form.html"
    by_name.parent.mkdir(parents=True)
    by_name.write_text(own.format("change_form", "form_top"))
    (tmp_path / "own.html").write_text(own.format("change_list", "search"))
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [tmp_path]}]
    register(WithTemplate)
    client = client_for("superuser")
    for page, ours in ((url("changelist"), "addlink"), (url("change", 3), "iletimerkezi-path")):
        shown = client.get(page).content.decode()
        assert "Own" in shown
        assert ours in shown


# Other admins and models


@pytest.mark.usefixtures("groups")
def test_groups_registered_with_a_plain_model_admin_have_working_pages(register: Register) -> None:
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
def test_a_proxy_model_has_the_same_admin_pages_as_the_group_model(
    register: Register, proxy: type[Group]
) -> None:
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
    assert "iletimerkezi-tree" in pages["changelist"]
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
