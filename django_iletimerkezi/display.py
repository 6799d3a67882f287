"""How groups are shown to people, in the admin and by the commands: pure."""

from __future__ import annotations

import unicodedata

LABEL_LENGTH = 80
"""Characters of a name on a page or in a message: as many as fit on a line."""

WHOLE_TREE = 200
"""Largest tree that is shown whole, in groups: people scroll through as many lines."""

_UNSEEN = {"Mn", "Me", "Cf"}
"""Unicode categories of combining marks and format characters."""
_BLANKS = " \u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that look blank."""
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Escape control and other invisible characters."""
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else character.encode("unicode_escape").decode()
        for character in text
    )


def label(name: str, length: int = LABEL_LENGTH) -> str:
    """Return a short, printable form of a name; empty if nothing would be visible."""
    text = visible(name.strip()[: length + 1])
    if not any(map(_can_be_seen, text)):
        return ""
    return text if len(text) <= length else text[: length - 1] + "…"


def _can_be_seen(character: str) -> bool:
    return character not in _BLANKS and unicodedata.category(character) not in _UNSEEN
