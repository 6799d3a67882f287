"""Databases with the options of other projects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest
from django.test import override_settings
from django.urls import path

from django_iletimerkezi.admin import GroupAdmin
from django_iletimerkezi.mirror.store import remove, store
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import fetch_group

from .answers import answer, group
from .commands import run
from .databases import DISMISSALS, Router, alias, dismiss, reconfigured, session_id
from .forest import Forest, tree_of
from .visitors import act, client_for, fetch, messages, url

pytestmark = pytest.mark.django_db(transaction=True)

HEALTH_CHECKS = {"CONN_HEALTH_CHECKS": True, "CONN_MAX_AGE": None}
# The isolation levels of PostgreSQL are those of psycopg.IsolationLevel.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "sqlite": {
        "health checks": HEALTH_CHECKS,
        "immediate": {"OPTIONS": {"transaction_mode": "IMMEDIATE"}},
    },
    "postgresql": {
        "health checks": HEALTH_CHECKS,
        "repeatable read": {"OPTIONS": {"isolation_level": 3}},
        "serializable": {"OPTIONS": {"isolation_level": 4}},
        "server-side binding": {"OPTIONS": {"server_side_binding": True}},
        "pool": {"OPTIONS": {"pool": {"max_size": 10}}},
        "transaction pooling": {"DISABLE_SERVER_SIDE_CURSORS": True},
    },
    "mysql": {
        "health checks": HEALTH_CHECKS,
        **{
            level: {"OPTIONS": {"isolation_level": level}}
            for level in ("read uncommitted", "read committed", "repeatable read", "serializable")
        },
    },
}
has_server = pytest.mark.skipif(
    connection.vendor not in DISMISSALS, reason="SQLite has no server that closes connections"
)


@pytest.fixture
def variant(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """Use the tests' database with other options."""
    changes = dict(VARIANTS[connection.vendor][request.param])
    changes["OPTIONS"] = connection.settings_dict["OPTIONS"] | changes.get("OPTIONS", {})
    with reconfigured(**changes):
        yield


@pytest.mark.parametrize("variant", VARIANTS[connection.vendor], indirect=True)
def test_the_fetch_the_admin_and_the_doctor_work_with_other_database_options(variant: None) -> None:
    tree = tree_of(40, 3)
    with Forest(tree) as server, override_settings(**server.settings):
        assert fetch_group(1, recursive=True).created == 40
        assert fetch_group(1, recursive=True).unchanged == 40
        client = client_for("superuser")
        assert fetch(client, group_id=2).status_code == 302
        assert run("iletimerkezi_doctor", "1").status == 0
    groups = Group.objects.all()
    assert set(groups.subtree(2).values_list("pk", flat=True)) == {2, 5, 6, 7, *range(14, 23)}
    assert [group.pk for group in groups.path(14)] == [1, 2, 5, 14]
    assert groups.count_below([1, 5]) == {1: 39, 5: 3}
    for page in ("", "?q=grup", "?_from=2", "subgroups/?_from=2", "2/change/", "?presence=listed"):
        assert client.get(url("changelist") + page).status_code == 200
    act(client, "delete_selected", 2, post="yes")
    assert Group.objects.get(pk=5).parent_id is None
    assert LogEntry.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "mysql", reason="PostgreSQL refuses such a transaction")
@pytest.mark.parametrize("variant", ["repeatable read"], indirect=True)
def test_totals_after_a_removal_include_groups_stored_since_its_transaction_began(
    variant: None,
) -> None:
    def store_another() -> None:
        store([answer(2, group(2, group(4, count=4), count=2))])
        connection.close()

    store([answer(1, group(1, group(2, group(3, count=3), count=2), count=1))])
    with transaction.atomic():
        assert Group.objects.count() == 3  # The first snapshot.
        thread = threading.Thread(target=store_another)
        thread.start()
        thread.join()
        remove(Group.objects.filter(pk=3))
    assert Group.objects.get(pk=1).total == 1 + 2 + 4


@has_server
def test_the_admin_logs_a_fetch_after_the_server_closed_its_connections() -> None:
    """The admin log uses an alias with its own connection."""
    with (
        Forest({1: []}) as server,
        alias("log"),
        override_settings(**server.settings, DATABASE_ROUTERS=[Router("log", [LogEntry])]),
    ):
        client = client_for("fetcher")
        ids = [session_id(name) for name in ("default", "log")]
        server.before_sending = lambda number: dismiss(ids)
        assert [level for level, _text in messages(fetch(client, group_id=1))] == ["success"]
        assert LogEntry.objects.using("log").count() == 1


@has_server
def test_a_vendor_error_is_shown_after_the_server_closed_the_connection() -> None:
    with Forest({}) as server, override_settings(**server.settings):
        client = client_for("fetcher")
        ours = session_id("default")
        server.failing[1] = 500
        server.before_sending = lambda number: dismiss([ours])
        [(level, text)] = messages(fetch(client, group_id=1))
    assert (level, text.partition(":")[0]) == ("error", "Group 1")


class WithoutLog(GroupAdmin):
    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        raise DatabaseError("no log")


def test_a_fetch_is_reported_as_successful_if_its_admin_log_entry_cannot_be_saved(
    settings: Any,
) -> None:
    site = admin.AdminSite()
    site.register(Group, WithoutLog)
    settings.ROOT_URLCONF = (path("admin/", site.urls),)
    with Forest({1: [], 2: []}) as server, override_settings(**server.settings):
        answer = fetch(client_for("fetcher"), group_id=1)
    assert [level for level, _text in messages(answer)] == ["success", "error"]
    assert messages(answer)[1][1] == (
        "Group 1 was fetched, but the admin log entry could not be saved. Database error: no log."
    )


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only psycopg has a pool")
@pytest.mark.parametrize("variant", ["pool"], indirect=True)
def test_a_batch_is_stored_if_pooled_connections_are_dead(
    variant: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: 0)
    wrapper: Any = connection
    pool = wrapper.pool
    pool.open(wait=True)
    held = [pool.getconn() for _number in range(pool.max_size)]
    ids = [one.info.backend_pid for one in held]
    for one in held:
        pool.putconn(one)
    dismiss(ids)
    with Forest(tree_of(5, 4)) as server, override_settings(**server.settings):
        assert fetch_group(1, recursive=True).created == 5
