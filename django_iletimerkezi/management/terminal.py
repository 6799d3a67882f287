"""What the commands take from a terminal and give to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.core.management.base import CommandError, OutputWrapper
from django.utils.translation import gettext as _

from ..api.parsing import BIGGEST, read_id
from ..display import visible
from .tree import in_ascii

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_ids(texts: Iterable[str]) -> list[int]:
    """Return the ids in order, each once; raise CommandError that names all that cannot be one."""
    ids: dict[int, None] = {}
    wrong: dict[str, None] = {}
    for text in texts:
        try:
            ids[read_id(text)] = None
        except ValueError:
            wrong[text] = None
    if wrong:
        raise CommandError(
            _("Not a group id: %(ids)s. An id is a whole number from 1 to %(biggest)s.")
            % {"ids": ", ".join(visible(text) for text in wrong), "biggest": BIGGEST}
        )
    return list(ids)


def write_line(stream: OutputWrapper, line: str) -> None:
    """Write a line, in ASCII where the terminal knows no more, and nowhere when nobody reads on."""
    try:
        try:
            stream.write(line)
        except UnicodeEncodeError:
            stream.write(in_ascii(line))
        stream.flush()
    except BrokenPipeError:
        # As from "| head": what is still to be fetched must not suffer from it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
