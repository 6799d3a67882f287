"""Names that the character set of the table or database cannot hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError, Error, OperationalError, connection

from django_iletimerkezi.messages import TABLES, describe_error
from django_iletimerkezi.mirror import bulk
from django_iletimerkezi.mirror.store import store
from django_iletimerkezi.models import Change, Fetch, Group
from django_iletimerkezi.services import Progress, fetch_group
from django_iletimerkezi.testing import Sandbox

from .answers import answer, group
from .commands import run

# Character sets without the pager character. SQLite has only Unicode, so a wrapped driver refuses
# the character.
CHARSETS = {
    "mysql": ["utf8mb3", "latin5"],
    "postgresql": ["LATIN5"],
    "sqlite": ["latin5"],
}
ADVICE = {
    "mysql": " ".join(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4;" for table in TABLES),
    "postgresql": "Move the tables to a database with the encoding UTF8",
    "sqlite": "Move the tables to a database with the encoding UTF8",
}[connection.vendor]
REFUSED = 117

Widen = Callable[[], None]


@pytest.fixture(params=CHARSETS[connection.vendor])
def widen(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Widen]:
    """Start with a narrow character set. The returned function widens the character set."""
    yield from {
        "mysql": narrow_table,
        "postgresql": narrow_database,
        "sqlite": narrow_driver,
    }[connection.vendor](request.param)


def narrow_table(charset: str) -> Iterator[Widen]:
    def convert(charset: str) -> None:
        for statement in ADVICE.replace("utf8mb4", charset).split("; "):
            with connection.cursor() as cursor:
                cursor.execute(statement)

    convert(charset)
    yield lambda: convert("utf8mb4")
    convert("utf8mb4")


def narrow_database(encoding: str) -> Iterator[Widen]:
    wide = connection.settings_dict["NAME"]
    narrow = f"{wide}_narrow"

    def connect(name: str) -> None:
        connection.close()
        connection.settings_dict["NAME"] = name

    def move() -> None:
        rows = list(Group.objects.all())
        connect(wide)
        Group.objects.bulk_create(rows)

    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {narrow}")
        cursor.execute(
            f"CREATE DATABASE {narrow} ENCODING '{encoding}' TEMPLATE template0 "
            "LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    connect(narrow)
    call_command("migrate", verbosity=0)
    yield move
    connect(wide)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {narrow}")


def narrow_driver(charset: str) -> Iterator[Widen]:
    def refuse(execute: Any, sql: str, params: Any, *args: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE")) and "📟" in str(params):
            raise DataError(f"character has no equivalent in encoding {charset}")
        return execute(sql, params, *args)

    wrappers = connection.execute_wrappers
    query = f"SELECT '{charset}' WHERE %s <> ''"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bulk._DIALECTS, "sqlite", replace(bulk._DIALECTS["sqlite"], charset=query))
        wrappers.append(refuse)
        yield wrappers.clear
        wrappers.clear()


@pytest.fixture
def vendor(sandbox: Sandbox) -> Sandbox:
    """A vendor of 32 groups, one of which has a subgroup and a name with a pager."""
    serve(sandbox, "Nöbet 📟", 17)
    return sandbox


def serve(sandbox: Sandbox, name: str, count: int) -> None:
    leaf = {"id": 199, "name": "Yaprak", "count": 1}
    refused = {"id": REFUSED, "name": name, "count": count, "children": [leaf]}
    others = [
        {"id": pk, "name": f"Şube {pk}", "count": 0} for pk in range(102, 133) if pk != REFUSED
    ]
    sandbox.serve([{"id": 1, "name": "Müşteriler", "count": 0, "children": [*others, refused]}])


def places() -> dict[int, int | None]:
    return dict(Group.objects.values_list("pk", "parent_id"))


PLACES = dict.fromkeys(range(102, 133), 1) | {1: None, 199: REFUSED}


def test_a_new_group_with_an_unstorable_name_fails_and_other_groups_are_stored(
    widen: Widen, vendor: Sandbox
) -> None:
    result = fetch_group(1, recursive=True)
    assert result.failures.keys() == {REFUSED}
    assert (result.created, result.changed, result.unchanged, result.missing) == (32, 0, 0, 0)
    expected: dict[int, int | None] = {**PLACES, 199: None}
    del expected[REFUSED]
    assert places() == expected
    widen()
    again = fetch_group(1, recursive=True)
    assert (again.failures, again.created, again.changed, again.missing) == ({}, 1, 1, 0)
    assert places() == PLACES
    assert Group.objects.get(pk=REFUSED).name == "Nöbet 📟"


def test_a_group_with_an_unstorable_new_name_keeps_its_old_name(
    widen: Widen, vendor: Sandbox
) -> None:
    serve(vendor, "Nöbet", 1)
    fetch_group(1, recursive=True)
    serve(vendor, "Nöbet 📟", 5)
    result = fetch_group(1, recursive=True)
    assert result.failures.keys() == {REFUSED}
    assert (result.changed, result.missing) == (1, 0)
    row = Group.objects.get(pk=REFUSED)
    assert (row.name, row.search_key, row.count) == ("Nöbet", "nobet", 5)
    assert not Group.objects.missing().exists()
    assert places() == PLACES
    widen()
    fetch_group(1)
    assert Group.objects.get(pk=REFUSED).search_key == "nobet 📟"


def test_each_unstorable_name_in_a_batch_is_a_separate_failure(widen: Widen) -> None:
    refused: dict[int, Error] = {}
    names = {pk: "📟" if pk % 3 else "x" for pk in range(1, 40)}
    store([answer(1, group(pk, name=name)) for pk, name in names.items()], refused)
    assert refused.keys() == {pk for pk, name in names.items() if name == "📟"}
    assert places().keys() == names.keys() - refused.keys()


def test_the_fetch_group_command_prints_the_fix_for_an_unstorable_name(
    widen: Widen, vendor: Sandbox
) -> None:
    outcome = run("fetch_group", "1", "-r", "-v0")
    assert (outcome.status, outcome.out) == (1, "")
    assert re.fullmatch(rf"CommandError: Group {REFUSED}: Database error: .*\n", outcome.err)
    assert ADVICE in outcome.err


def test_a_requested_group_with_an_unstorable_name_is_reported_as_failed(
    widen: Widen, vendor: Sandbox
) -> None:
    outcome = run("fetch_group", str(REFUSED))
    assert outcome.status == 1
    assert f"Fetched “Nöbet 📟” (id {REFUSED})" in outcome.out
    assert f"Group {REFUSED}: Database error" in outcome.err
    assert places() == {199: None}


def test_check_and_doctor_report_a_narrow_character_set(widen: Widen, sandbox: Sandbox) -> None:
    output = StringIO()
    call_command("check", stderr=output)
    assert "W002" not in output.getvalue()
    call_command("check", databases=["default"], stderr=output)
    assert "(django_iletimerkezi.W002) The character set " in output.getvalue()
    assert ADVICE in output.getvalue()
    outcome = run("iletimerkezi_doctor", "-v0")
    assert outcome.out.startswith("FAIL       tables of the mirror: The character set ")
    assert ADVICE in outcome.out


@pytest.mark.django_db
def test_check_accepts_a_character_set_that_stores_all_text() -> None:
    output = StringIO()
    call_command("check", databases=["default"], stderr=output)
    assert "W002" not in output.getvalue()


@pytest.mark.django_db
def test_the_character_set_check_ignores_unsupported_databases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "vendor", "oracle")
    assert bulk.narrow_charset(connection, "x") == ""


@pytest.mark.django_db
def test_the_mysql_fix_for_a_narrow_character_set_is_an_sql_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "vendor", "mysql")
    message = describe_error(OperationalError(1366, "Incorrect string value: '\\xF0' for column"))
    assert message.endswith(
        "ALTER TABLE django_iletimerkezi_change CONVERT TO CHARACTER SET utf8mb4;"
    )
    assert message.count("ALTER TABLE ") == 3


@pytest.mark.django_db
@pytest.mark.parametrize("is_at_first", [True, False])
def test_database_errors_unrelated_to_names_are_raised(
    is_at_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error may also occur during the search for the unstorable names."""
    errors: list[Error] = [DataError("bad"), OperationalError("disk full")]
    upsert = bulk.upsert

    def fail_or_upsert(*args: Any) -> None:
        if errors and is_at_first:
            raise errors.pop()
        if errors:
            raise errors.pop(0)
        upsert(*args)

    monkeypatch.setattr(bulk, "upsert", fail_or_upsert)
    with pytest.raises(OperationalError, match="disk full"):
        store([answer(1, group(1, 2))])
    assert not Group.objects.exists()


@pytest.mark.django_db
def test_a_data_error_that_no_single_row_causes_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "numbers_sql", lambda connection: raise_data_error())
    with pytest.raises(DataError):
        store([answer(1, group(1))])


def raise_data_error() -> str:
    raise DataError("no row is the cause")


@pytest.mark.skipif(connection.vendor != "mysql", reason="only there tables have character sets")
@pytest.mark.django_db(transaction=True)
def test_a_group_fails_if_the_history_table_cannot_store_its_name(sandbox: Sandbox) -> None:
    table = Change._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb3")
        try:
            result = fetch_group(1240, recursive=True)
        finally:
            cursor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4")
    assert set(result.failures) == {1241}
    assert result.created == result.changes.count() == 1


def test_the_error_of_a_fetch_is_recorded_if_the_table_cannot_store_its_characters(
    widen: Widen, sandbox: Sandbox
) -> None:
    def fail(progress: Progress) -> None:
        raise ValueError("“Nöbet 📟”")

    with pytest.raises(ValueError, match="Nöbet"):
        fetch_group(1240, report=fail, started_by="📟")
    fetch = Fetch.objects.get()
    assert (fetch.state, fetch.is_finished) == (Fetch.State.FAILED, True)
    assert "bet" in fetch.error
