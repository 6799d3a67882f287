from __future__ import annotations

import pytest
from django.db import (
    DatabaseError,
    DataError,
    Error,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from django_iletimerkezi.messages import describe_refusal

MIGRATE = " Has “manage.py migrate” been run?"
REACH = " Check DATABASES, and that the server runs."


@pytest.mark.parametrize(
    ("error", "hint"),
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
        (
            OperationalError('connection to server failed: FATAL: database "x" does not exist'),
            REACH,
        ),
        (InterfaceError("the connection is closed"), REACH),
        (OperationalError(2002, "Can't connect to server on '127.0.0.1' (115)"), REACH),
        (OperationalError(2006, "Server has gone away"), REACH),
        (OperationalError(1045, "Access denied for user 'x'@'localhost'"), REACH),
        (OperationalError(1049, "Unknown database 'x'"), REACH),
        (InterfaceError(0, ""), REACH),
        (OperationalError("database is locked"), ""),
        (OperationalError("attempt to write a readonly database"), ""),
        (OperationalError("canceling statement due to lock timeout"), ""),
        (OperationalError(1213, "Deadlock found when trying to get lock"), ""),
        (ProgrammingError("permission denied for table django_iletimerkezi_group"), ""),
        (DataError("value too long for type"), ""),
        (DatabaseError("a column x does not exist, and no connection"), ""),
    ],
)
def test_a_refusal_ends_in_advice_only_where_it_fits(error: Error, hint: str) -> None:
    assert describe_refusal(error) == f"The database refused ({error}).{hint}"


def test_a_refusal_is_one_line() -> None:
    error = ProgrammingError(f"relation “{'x' * 999}” does not exist\nLINE 1: SELECT …")
    said = describe_refusal(error)
    assert (said.count("\n"), said.endswith(f"x).{MIGRATE}")) == (0, True)
    assert len(said) < 400
