"""Computes keys that sort and find names by Turkish rules. Pure functions."""

from __future__ import annotations

import re
import unicodedata

SORT_KEY_LENGTH = 200
"""Most digits in a sort key. A hundred letters are enough to sort names, with a small index."""
SEARCH_KEY_LENGTH = 1_000
"""Most characters in a search key. Names fit, although one character can become 18 characters."""

_PUNCTUATION = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_LETTERS = "abcçdefgğhıijklmnoöpqrsştuüvwxyz"
_KNOWN = frozenset(_PUNCTUATION + "0123456789" + _LETTERS)
_NUMBER = re.compile("[0-9]+")
_TO_LOWER = str.maketrans("Iİ", "ıi")


class _Plain(dict[int, str]):
    """Keeps characters without an entry, but drops combining marks and format characters."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        return "" if unicodedata.category(sign) in {"Mn", "Me", "Cf"} else sign


_TO_PLAIN = _Plain(
    {code: chr(code) for code in range(128)}
    # Letters that do not decompose, and punctuation that most keyboards lack.
    | dict(zip(map(ord, "ıøłđəæ’‘ʼ–—"), "ioldea'''--", strict=True))
)


class _Weights(dict[int, str]):
    """Maps a known character to two digits.

    Any other character becomes a 9 followed by its code point in seven digits. The values are
    digits, because every collation sorts digits the same way.
    """

    def __missing__(self, code: int) -> str:
        return f"9{code:07}"


_WEIGHTS = _Weights(
    dict.fromkeys(range(ord(" ")), "00")
    | {ord(sign): f"{weight:02}" for weight, sign in enumerate(_PUNCTUATION)}
    | {ord(digit): f"4{digit}" for digit in "0123456789"}
    | {ord(letter): f"{weight}" for weight, letter in enumerate(_LETTERS, start=50)}
)


def keys(name: str) -> tuple[str, str]:
    """Return the sort key and the search key of a name."""
    return sort_key(name), search_key(name)


def sort_key(name: str) -> str:
    """Return a key that sorts names in Turkish alphabetical order, and numbers by value."""
    text = unicodedata.normalize("NFC", name[:SORT_KEY_LENGTH]).translate(_TO_LOWER).lower()
    if not _KNOWN.issuperset(text):
        text = "".join(sign if sign in _KNOWN else search_key(sign) for sign in text)
    return _NUMBER.sub(_ranked, text).translate(_WEIGHTS)[:SORT_KEY_LENGTH]


def _ranked(number: re.Match[str]) -> str:
    """Prefix a number with its length, so that 2 sorts before 10."""
    digits = number[0].lstrip("0") or "0"
    nines, rest = divmod(len(digits), 9)
    return f"{'9' * nines}{rest}{digits}"


def search_key(text: str) -> str:
    """Return a key without case, dots and accents. İstanbul and ISTANBUL get the same key."""
    text = text[:SEARCH_KEY_LENGTH]
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_TO_PLAIN)
    return plain[:SEARCH_KEY_LENGTH]
