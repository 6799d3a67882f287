"""Parses ids, reports errors, writes lines and shows progress for all commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django import db
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
    OutputWrapper,
)
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ..display import visible
from ..ids import MAX_ID, parse_id
from ..messages import describe_error
from ..services import Progress

_ASCII_LINES = str.maketrans("│├└─…", "||`-~")


def parse_ids(texts: Iterable[str]) -> list[int]:
    """Parse ids and drop duplicates. Raises a CommandError that lists all invalid ids."""
    ids = {text: parse_id(text) for text in texts}
    if invalid := [visible(text) for text, group_id in ids.items() if not group_id]:
        raise CommandError(
            _("Invalid group id %(ids)s: must be a whole number from 1 to %(most)s.")
            % {"ids": ", ".join(invalid), "most": MAX_ID}
        )
    return list(dict.fromkeys(filter(None, ids.values())))


class TerminalCommand(BaseCommand):
    """Base class of the commands. Collects errors, and continues if output cannot be written."""

    _flaw = ""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, formatter_class=_HelpFormatter, **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command. Raises one CommandError with all errors."""
        self.options = options
        self.errors: list[str] = []
        try:
            with self._collecting_errors():
                self.run()
        except KeyboardInterrupt:
            with self._collecting_errors():
                self.stop()
            raise CommandError("\n".join(self.errors), returncode=130) from None
        if self.errors:
            raise CommandError("\n".join(self.errors))
        if self._flaw:
            raise CommandError(_("The output could not be written: %s.") % self._flaw)

    def run(self) -> None:
        """Do the work of the command. Adds errors that do not stop the command to ``errors``."""

    def stop(self) -> None:
        """Clean up after Ctrl-C, and append the closing message (“Stopped.”) to ``errors``."""
        self.errors.append(_("Stopped."))

    @contextmanager
    def _collecting_errors(self) -> Iterator[None]:
        try:
            yield
        except (ImproperlyConfigured, db.Error) as error:
            self.errors.append(describe_error(error))

    def write(self, line: str, stream: OutputWrapper | None = None) -> None:
        """Write a line to ``stdout`` or the given stream. After a failure, drops further output."""
        stream = stream or self.stdout
        if getattr(stream, "_out", None) is None:  # The shell has closed the stream (">&-").
            return
        try:
            stream.write(_encodable(line, stream))
            stream.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # "| head" stops reading early.
                self._flaw = error.strerror or type(error).__name__
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _HelpFormatter(DjangoHelpFormatter):
    def format_help(self) -> str:
        return _encodable(super().format_help(), sys.stdout)


def _encodable(text: str, stream: Any) -> str:
    """Return a text that the stream can encode, with ASCII tree lines and escapes if necessary."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII_LINES).encode(encoding, "backslashreplace").decode(encoding)
    return text


class ProgressBar:
    """Shows the progress of fetches on stderr, with a new bar for each fetch."""

    _bar: Any = None

    def update(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415 - only a terminal needs tqdm

            # The delay hides the bar during short fetches.
            self._bar = tqdm(unit=pgettext("progress", "groups"), delay=0.5, leave=False)
        self._bar.total = progress.known
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
