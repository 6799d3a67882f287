"""Terminal input and output of the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
    OutputWrapper,
)
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


class TerminalCommand(BaseCommand):
    """A command whose work goes on if its output cannot be written."""

    _flaw = ""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, formatter_class=_HelpFormatter, **kwargs)

    def execute(self, *args: Any, **options: Any) -> str | None:
        output = super().execute(*args, **options)
        if self._flaw:
            raise CommandError(_("The output could not be written: %s.") % self._flaw)
        return output

    def write(self, line: str, stream: OutputWrapper | None = None) -> None:
        """Write a line to ``stdout`` or another stream, which is closed if that fails."""
        stream = stream or self.stdout
        if getattr(stream, "_out", None) is None:  # As in a shell after ">&-".
            return
        try:
            stream.write(_encodable(line, stream))
            stream.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # "| head" has read enough.
                self._flaw = error.strerror or type(error).__name__
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _HelpFormatter(DjangoHelpFormatter):
    def format_help(self) -> str:
        return _encodable(super().format_help(), sys.stdout)


def _encodable(text: str, stream: Any) -> str:
    """Replace what the encoding of a stream lacks: the lines of trees first."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII_LINES).encode(encoding, "backslashreplace").decode(encoding)
    return text


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
