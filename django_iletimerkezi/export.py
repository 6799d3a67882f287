"""Groups as CSV for spreadsheets.

Excel reads a file as UTF-8 if the file starts with a byte order mark. In Turkish, Excel expects
semicolons between the cells.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from types import SimpleNamespace

from django.forms.utils import to_current_timezone
from django.utils.translation import gettext as _

from .display import visible
from .models import Group

_FORMULA = tuple("=+-@＝＋－＠")
"""Spreadsheets treat a cell that starts with one of these characters as a formula."""


# ``writerow`` returns the result of the file's ``write``, and this ``write`` returns the line.
_write: Callable[[Iterable[object]], str] = csv.writer(
    SimpleNamespace(write=str), delimiter=";", lineterminator="\n"
).writerow


def csv_lines(
    rows: Iterable[tuple[Sequence[Group], Group]], *, has_totals: bool = True
) -> Iterator[str]:
    """Return the header and one line per group.

    Each row is a tuple of a group's ancestors and the group.
    """
    header = [
        _("id"),
        _("path"),
        _("name"),
        _("number of contacts"),
        *([_("contacts, including subgroups"), _("groups never fetched")] if has_totals else []),
        _("last fetched"),
        _("missing since"),
    ]
    # Translate the header now, because the language may change before the lines are sent.
    return chain(["\ufeff" + _write(header)], (_line(*row, has_totals=has_totals) for row in rows))


def _line(above: Sequence[Group], group: Group, *, has_totals: bool) -> str:
    return _write(
        [
            group.pk,
            _text(" › ".join(map(_name, (*above, group)))),
            _text(_name(group)),
            group.count,
            *([group.total, group.unexplored] if has_totals else []),
            _time(group.fetched_at),
            _time(group.missing_since),
        ]
    )


def _name(group: Group) -> str:
    return visible(group.name.strip()) or str(group.pk)


def _text(value: str) -> str:
    """Return a cell that spreadsheets do not run as a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def _time(moment: datetime | None) -> str:
    return f"{to_current_timezone(moment):%Y-%m-%d %H:%M:%S}" if moment else ""
