"""Released migrations stay as they are, and what they made upgrades with its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from django_iletimerkezi.models import Group
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox

from .migration_hashes import Entries, Refused, freeze, frozen, hashes, versions

APP = "django_iletimerkezi"
OLDEST = next(iter(hashes()))
RELEASED = {"1.0.0": "2026-01-02"}


def test_each_version_of_the_changelog_has_its_migrations_frozen() -> None:
    assert list(frozen()) == list(versions()) != []


def test_each_migration_is_frozen_once_and_as_it_is() -> None:
    pairs = [pair for names in frozen().values() for pair in names.items()]
    assert pairs == list(hashes().items()) != []


def test_migrations_are_numbered_without_a_gap() -> None:
    names = list(hashes())
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


def test_what_is_frozen_now_is_frozen_again() -> None:
    assert freeze(versions(), frozen(), hashes()) == frozen()


@pytest.mark.parametrize("entries", [{}, {"1.0.0": {"0001": "a"}}, {"0.9.0": {"0001": "b"}}])
def test_until_its_release_a_migration_may_be_frozen_again(entries: Entries) -> None:
    assert freeze({"1.0.0": "unreleased"}, entries, {"0001": "b"}) == {"1.0.0": {"0001": "b"}}


@pytest.mark.parametrize("found", [{"0001": "a"}, {"0001": "a", "0002": "b"}])
def test_what_is_new_belongs_to_the_next_version(found: dict[str, str]) -> None:
    entries = freeze(RELEASED | {"1.1.0": "unreleased"}, {"1.0.0": {"0001": "a"}}, found)
    new = {name: content for name, content in found.items() if name != "0001"}
    assert list(entries.items()) == [("1.0.0", {"0001": "a"}), ("1.1.0", new)]


@pytest.mark.parametrize("following", [{}, {"1.1.0": "unreleased"}])
@pytest.mark.parametrize(
    ("entries", "found", "reason"),
    [
        ({"1.0.0": {"0001": "a"}}, {"0001": "b"}, "0001 was released in 1.0.0"),
        ({"1.0.0": {"0001": "a"}}, {}, "0001 was released in 1.0.0"),
        ({}, {"0001": "a"}, "1.0.0 is released, and its entry is missing"),
    ],
    ids=["edited", "deleted", "forgotten"],
)
def test_a_released_migration_is_not_frozen_again(
    entries: Entries, found: dict[str, str], reason: str, following: dict[str, str]
) -> None:
    with pytest.raises(Refused, match=reason):
        freeze(RELEASED | following, entries, found)


def test_a_released_version_gets_no_further_migration() -> None:
    with pytest.raises(Refused, match=r"1\.0\.0 is released without 0002: open the next"):
        freeze(RELEASED, {"1.0.0": {"0001": "a"}}, {"0001": "a", "0002": "b"})


@pytest.fixture
def migrate(transactional_db: None) -> Iterator[Callable[..., None]]:
    """Start without the app's tables, and leave with the newest ones."""

    def migrate(*target: str) -> None:
        call_command("migrate", APP, *target, verbosity=0)

    with connection.schema_editor() as editor:
        for model in apps.get_app_config(APP).get_models():
            editor.delete_model(model)
    MigrationRecorder(connection).migration_qs.filter(app=APP).delete()
    Permission.objects.filter(content_type__app_label=APP).delete()
    yield migrate
    migrate()


def historical_group(migration: str) -> type[models.Model]:
    state = MigrationExecutor(connection).loader.project_state((APP, migration))
    return state.apps.get_model(APP, "Group")


def test_a_database_of_the_oldest_release_upgrades_with_its_data(
    migrate: Callable[..., None], sandbox: Sandbox
) -> None:
    """Today the oldest migration is the newest: this starts to matter with the second one."""
    migrate(OLDEST)
    time = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    parent: dict[str, Any] = {"id": 97101, "name": "İstanbul 📟", "count": 0, "parent_id": None}
    # As names.py made them of the name then.
    parent |= {"sort_key": "61727450665175640090128223", "search_key": "istanbul 📟"}
    parent |= {"seen_at": time, "fetched_at": time, "listed_at": time}
    parent |= {"placed_at": None, "missing_since": None}
    child: dict[str, Any] = {"id": 2**63 - 1, "name": "", "count": 2**62, "parent_id": 97101}
    child |= {"sort_key": "", "search_key": ""}
    child |= {"seen_at": time, "fetched_at": None, "listed_at": None}
    child |= {"placed_at": time, "missing_since": time}
    old = historical_group(OLDEST)
    old._default_manager.bulk_create([old(**parent), old(**child)])

    migrate()

    assert list(Group.objects.order_by("id").values(*parent)) == [parent, child]
    assert set(Group.objects.subtree(97101).values_list("id", flat=True)) == {97101, 2**63 - 1}
    assert Permission.objects.filter(content_type__app_label=APP, codename="fetch_group").exists()
    assert fetch_group(5).group.name == "Test 1"
