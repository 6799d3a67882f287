"""Released migrations never change, and a database of the oldest release upgrades with its data."""

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
from tools.migration_hashes import Entries, Refused, freeze, frozen, hashes, versions

APP = "django_iletimerkezi"
OLDEST = next(iter(hashes()))
RELEASED = {"1.0.0": "2026-01-02"}
THEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

Migrate = Callable[..., None]


# Frozen migrations


def test_each_version_in_the_changelog_has_frozen_migrations() -> None:
    assert list(frozen()) == list(versions()) != []


def test_each_migration_is_frozen_once_and_unchanged() -> None:
    pairs = [pair for names in frozen().values() for pair in names.items()]
    assert pairs == list(hashes().items()) != []


def test_migrations_are_numbered_without_gaps() -> None:
    names = list(hashes())
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


@pytest.mark.django_db
def test_the_models_match_the_migrations() -> None:
    call_command("makemigrations", APP, check_changes=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("entries", [{}, {"1.0.0": {"0001": "a"}}, {"0.9.0": {"0001": "b"}}])
def test_a_migration_may_be_frozen_again_until_its_release(entries: Entries) -> None:
    assert freeze({"1.0.0": "unreleased"}, entries, {"0001": "b"}) == {"1.0.0": {"0001": "b"}}


@pytest.mark.parametrize("found", [{"0001": "a"}, {"0001": "a", "0002": "b"}])
def test_new_migrations_belong_to_the_next_version(found: dict[str, str]) -> None:
    entries = freeze(RELEASED | {"1.1.0": "unreleased"}, {"1.0.0": {"0001": "a"}}, found)
    new = {name: content for name, content in found.items() if name != "0001"}
    assert list(entries.items()) == [("1.0.0", {"0001": "a"}), ("1.1.0", new)]


@pytest.mark.parametrize("following", [{}, {"1.1.0": "unreleased"}])
@pytest.mark.parametrize(
    ("entries", "found", "reason"),
    [
        ({"1.0.0": {"0001": "a"}}, {"0001": "b"}, "0001 was released in 1.0.0"),
        ({"1.0.0": {"0001": "a"}}, {}, "0001 was released in 1.0.0"),
        ({}, {"0001": "a"}, "The entry of release 1.0.0 is missing"),
    ],
    ids=["edited", "deleted", "forgotten"],
)
def test_a_released_migration_cannot_be_frozen_again(
    entries: Entries, found: dict[str, str], reason: str, following: dict[str, str]
) -> None:
    with pytest.raises(Refused, match=reason):
        freeze(RELEASED | following, entries, found)


def test_a_migration_cannot_be_added_to_a_released_version() -> None:
    with pytest.raises(Refused, match=r"1\.0\.0 is released without 0002"):
        freeze(RELEASED, {"1.0.0": {"0001": "a"}}, {"0001": "a", "0002": "b"})


# Upgrades


@pytest.fixture
def migrate(transactional_db: None) -> Iterator[Migrate]:
    """Start without the tables of the app, and end with the newest ones."""

    def migrate(*target: str) -> None:
        call_command("migrate", APP, *target, verbosity=0)

    with connection.schema_editor() as editor:
        # A table goes before the tables that its foreign keys need.
        for model in reversed(list(apps.get_app_config(APP).get_models())):
            editor.delete_model(model)
    MigrationRecorder(connection).migration_qs.filter(app=APP).delete()
    Permission.objects.filter(content_type__app_label=APP).delete()
    yield migrate
    migrate()


def create_old(*rows: dict[str, Any]) -> None:
    """Store rows in the table of the oldest migration."""
    state = MigrationExecutor(connection).loader.project_state((APP, OLDEST))
    group: type[models.Model] = state.apps.get_model(APP, "Group")
    group._default_manager.bulk_create(group(**row) for row in rows)


def old_row(pk: int, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"id": pk, "name": "", "count": 0, "parent_id": None}
    row |= {"sort_key": "", "search_key": "", "seen_at": THEN}
    row |= dict.fromkeys(["placed_at", "fetched_at", "listed_at", "missing_since"])
    return row | fields


def test_an_upgrade_keeps_the_rows_of_the_oldest_release(
    migrate: Migrate, sandbox: Sandbox
) -> None:
    # The keys as that release computed them.
    keys = {"sort_key": "61727450665175640090128223", "search_key": "istanbul 📟"}
    parent = old_row(97101, name="İstanbul 📟", fetched_at=THEN, listed_at=THEN, **keys)
    child = old_row(2**63 - 1, count=2**62, parent_id=97101, placed_at=THEN, missing_since=THEN)
    migrate(OLDEST)
    create_old(parent, child)

    migrate()

    assert list(Group.objects.order_by("id").values(*parent)) == [parent, child]
    assert Permission.objects.filter(content_type__app_label=APP, codename="fetch_group").exists()
    assert fetch_group(5).group.name == "Test 1"
