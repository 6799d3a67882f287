"""How a name is shown to people: pure."""

from __future__ import annotations

import unicodedata

LABEL_LENGTH = 80

_UNSEEN = {"Mn", "Me", "Cf"}
"""Categories of marks on letters, and of signs that format."""
_BLANKS = " \u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that are drawn as nothing."""
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Return a text with its control characters and other invisible ones written as escapes."""
    return "".join(
        character
        if character.isprintable() or character in _JOINERS
        else character.encode("unicode_escape").decode()
        for character in text
    )


def _can_be_seen(sign: str) -> bool:
    return sign not in _BLANKS and unicodedata.category(sign) not in _UNSEEN


def label(name: str, length: int = LABEL_LENGTH) -> str:
    """Return what stands for a name on a page: one short line in which all can be seen.

    Empty if there is nothing to see.
    """
    text = visible(name[: length + 1].strip())
    if not any(map(_can_be_seen, text)):
        return ""
    return text if len(text) <= length else text[: length - 1] + "…"
