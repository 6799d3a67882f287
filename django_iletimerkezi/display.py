"""Formats names for the admin and the commands. Pure functions."""

from __future__ import annotations

import unicodedata

LABEL_LENGTH = 80
"""Most characters of a name on a page or in a message, so that the name fits on a line."""

WHOLE_TREE = 200
"""Most groups in a tree that is shown as a whole. People still scroll through 200 lines."""

FEW = 10
"""Most details in a summary. Ten lines fill half of a terminal. More details are only counted."""

_BLANKS = " \u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that look blank."""
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Escape unprintable characters, but keep the joiners in words and emoji."""
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else character.encode("unicode_escape").decode()
        for character in text
    )


def label(name: str, length: int = LABEL_LENGTH) -> str:
    """Return a short, printable form of a name. Empty if nothing would be visible."""
    text = visible(name.strip()[: length + 1])
    # Mn and Me are combining marks, Cf are format characters.
    if all(sign in _BLANKS or unicodedata.category(sign) in {"Mn", "Me", "Cf"} for sign in text):
        return ""
    return text if len(text) <= length else text[: length - 1] + "…"
