"""CSV for spreadsheets."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import pytest
from django.utils import timezone, translation

from django_iletimerkezi.export import csv_lines
from django_iletimerkezi.models import Group

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def read(*groups: Group, above: tuple[Group, ...] = ()) -> list[list[str]]:
    """Read the lines as Excel does in Turkish."""
    text = "".join(csv_lines((above, group) for group in groups))
    assert text.startswith("\ufeff")
    return list(csv.reader(text.removeprefix("\ufeff").splitlines(keepends=True), delimiter=";"))


def test_csv_has_one_line_per_group_below_the_header() -> None:
    top = Group(id=1, name="Rehber")
    group = Group(id=2, name="Şişli", count=5, total=9, unexplored=1, fetched_at=MOMENT)
    with timezone.override("Europe/Istanbul"):
        lines = read(group, above=(top,))
    assert lines == [
        [
            "id",
            "path",
            "name",
            "number of contacts",
            "contacts, including subgroups",
            "groups never fetched",
            "last fetched",
            "missing since",
        ],
        ["2", "Rehber › Şişli", "Şişli", "5", "9", "1", "2026-01-02 06:04:05", ""],
    ]


def test_the_csv_header_is_in_the_active_language() -> None:
    with translation.override("tr"):
        (header,) = read()
    assert header[:2] == ["id", "yol"]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+90", "'+90"),
        ("-a", "'-a"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "'=1+1"),
        ("＝1+1", "'＝1+1"),
        ("\t=1+1", "'=1+1"),
        ("a=1", "a=1"),
        ('a;"b"\nc', 'a;"b"\\nc'),
        ("", "2"),
        ("x" * 500, "x" * 500),
    ],
)
def test_names_are_neither_run_as_formulas_nor_split_into_lines(name: str, cell: str) -> None:
    (_header, line) = read(Group(id=2, name=name, count=0))
    assert line[1:3] == [cell, cell]


def test_a_path_that_starts_like_a_formula_is_exported_as_text() -> None:
    (_header, line) = read(Group(id=2, name="b", count=0), above=(Group(id=1, name="=a"),))
    assert line[1] == "'=a › b"
