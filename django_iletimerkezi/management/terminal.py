"""Terminal input and output of the commands."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError, OutputWrapper
from django.utils.translation import gettext as _

from ..display import visible
from ..ids import MAX_ID, parse_id
from ..services import Progress

_ASCII_LINES = str.maketrans("│├└─…", "||`-~")


def parse_ids(texts: Iterable[str]) -> list[int]:
    """Return the ids in order, each once. Raises a CommandError that names all invalid ids."""
    ids: dict[int, None] = {}
    invalid: dict[str, None] = {}
    for text in texts:
        if group_id := parse_id(text):
            ids[group_id] = None
        else:
            invalid[text] = None
    if invalid:
        raise CommandError(
            _("Invalid group id %(ids)s: must be a whole number from 1 to %(most)s.")
            % {"ids": ", ".join(map(visible, invalid)), "most": MAX_ID}
        )
    return list(ids)


def write_line(stream: OutputWrapper, line: str) -> None:
    """Write a line, in ASCII if the terminal supports only that. Ignores a closed pipe."""
    try:
        try:
            stream.write(line)
        except UnicodeEncodeError:
            stream.write(_in_ascii(line))
        stream.flush()
    except BrokenPipeError:
        # "| head" has read enough. The groups must be fetched all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _in_ascii(line: str) -> str:
    return line.translate(_ASCII_LINES).encode("ascii", "backslashreplace").decode()


class ProgressBar:
    """Shows the progress of one fetch after another on stderr."""

    _bar: Any = None

    def update(self, progress: Progress) -> None:
        if self._bar is None:
            # Not at the top, because only a terminal needs it.
            from tqdm import tqdm  # noqa: PLC0415 - see above

            # Short fetches show no bar.
            self._bar = tqdm(unit=_("groups"), delay=0.5, leave=False)
        self._bar.total = progress.known
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
