"""The outcome of a fetch in words."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import (
    DatabaseError,
    DataError,
    Error,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from django_iletimerkezi.exceptions import GroupNotFound
from django_iletimerkezi.messages import (
    describe_alias,
    describe_error,
    describe_failure,
    describe_loss,
    describe_results,
)
from django_iletimerkezi.models import Fetch, Group
from django_iletimerkezi.services import GroupResult, PhoneBookResult

MIGRATE = " Has “manage.py migrate” been run?"
REACH = " Check DATABASES, and whether the database server is running."


def counts(factor: int = 1) -> dict[str, Any]:
    return {
        "fetch": Fetch(),
        "created": factor,
        "changed": 2 * factor,
        "unchanged": 3 * factor,
        "missing": 4 * factor,
    }


def result(pk: int, name: str, *, factor: int = 1) -> GroupResult:
    return GroupResult(group=Group(pk, name=name), **counts(factor))


def test_the_message_about_one_result_names_the_group() -> None:
    assert describe_results([result(5, "Müşteriler")]) == (
        "Fetched “Müşteriler” (id 5): 1 created, 2 changed, 3 unchanged, 4 missing."
    )


@pytest.mark.parametrize(("number", "groups"), [(0, "0 main groups"), (1, "1 main group")])
def test_the_message_about_a_phone_book_counts_the_main_groups(number: int, groups: str) -> None:
    assert describe_results([PhoneBookResult(main_groups=number, **counts())]) == (
        f"Fetched the phone book with {groups}: 1 created, 2 changed, 3 unchanged, 4 missing."
    )


def test_the_message_about_several_results_adds_up_their_counts() -> None:
    results = [result(5, ""), result(6, "", factor=10)]
    assert describe_results(results) == (
        "Fetched 2 contact groups: 11 created, 22 changed, 33 unchanged, 44 missing."
    )


def test_the_message_about_an_alias_names_both_ids() -> None:
    assert describe_alias(5, 97101) == "Asked for group 5, but the vendor returned group 97101."


def test_the_message_about_a_failure_names_the_group_and_the_error() -> None:
    message = describe_failure(5, GroupNotFound(463, "Yok."))
    assert message.startswith("Group 5: iletimerkezi answered 463 (Yok.).")


def test_the_message_about_a_database_failure_names_the_next_step() -> None:
    message = describe_failure(5, OperationalError("no such table: x"))
    assert message == f"Group 5: Database error: no such table: x.{MIGRATE}"


@pytest.mark.parametrize(("number", "noun"), [(1, "1 answer "), (2, "2 answers ")])
def test_lost_answers_are_counted_in_the_message(number: int, noun: str) -> None:
    assert describe_loss(number) == f"{noun}could not be stored: fetch again."


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (OperationalError("no such table: django_iletimerkezi_group"), MIGRATE),
        (OperationalError("no such column: django_iletimerkezi_group.sort_key"), MIGRATE),
        (OperationalError("table django_iletimerkezi_group has no column named x"), MIGRATE),
        (ProgrammingError('relation "django_iletimerkezi_group" does not exist'), MIGRATE),
        (ProgrammingError("column django_iletimerkezi_group.x does not exist"), MIGRATE),
        (ProgrammingError(1146, "Table 'mysite.django_iletimerkezi_group' doesn't exist"), MIGRATE),
        (OperationalError(1054, "Unknown column 'x' in 'SELECT'"), MIGRATE),
        (OperationalError("unable to open database file"), REACH),
        (OperationalError("connection failed: connection to server at … refused"), REACH),
        (OperationalError('connection to server failed: database "x" does not exist'), REACH),
        (InterfaceError("the connection is closed"), REACH),
        (OperationalError(2002, "Can't connect to server on '127.0.0.1' (115)"), REACH),
        (OperationalError(2006, "Server has gone away"), REACH),
        (OperationalError(1045, "Access denied for user 'x'@'localhost'"), REACH),
        (OperationalError(1049, "Unknown database 'x'"), REACH),
        (InterfaceError(0, ""), REACH),
        (OperationalError("database is locked"), ""),
        (OperationalError(1213, "Deadlock found when trying to get lock"), ""),
        (ProgrammingError("permission denied for table django_iletimerkezi_group"), ""),
        (DataError("value too long for type"), ""),
        (DatabaseError("a column x does not exist, and no connection"), ""),
    ],
)
def test_the_message_about_a_database_error_names_a_next_step_only_if_a_fix_is_known(
    error: Error, next_step: str
) -> None:
    assert describe_error(error) == f"Database error: {error}.{next_step}"


def test_a_long_database_error_is_truncated_to_one_line() -> None:
    error = ProgrammingError(f"relation “{'x' * 999}” does not exist\nLINE 1: SELECT …")
    message = describe_error(error)
    assert "\n" not in message
    assert message.endswith(f"x.{MIGRATE}")
    assert len(message) < 400
