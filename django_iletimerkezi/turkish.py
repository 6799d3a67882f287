"""Keys that sort and find names the Turkish way: pure."""

from __future__ import annotations

import re
import unicodedata

SORT_KEY_LENGTH = 200
"""Digits of a sort key: names differ within a hundred letters, and an index stays small."""
SEARCH_KEY_LENGTH = 1_000
"""Characters of a search key: far beyond any sensible name. One character may become eighteen."""

_UNSEEN = {"Mn", "Me", "Cf"}
"""Unicode categories of combining marks and format characters."""
_PUNCTUATION = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_LETTERS = "abcçdefgğhıijklmnoöpqrsştuüvwxyz"
_KNOWN = frozenset(_PUNCTUATION + "0123456789" + _LETTERS)
_NUMBER = re.compile("[0-9]+")
_TO_LOWER = str.maketrans("Iİ", "ıi")
_TO_PLAIN = str.maketrans("ıøłđəæ’‘ʼ–—", "ioldea'''--")
"""Letters that do not decompose, and punctuation that few keyboards have."""


class _Weights(dict[int, str]):
    """Two digits for a known character, else 9 and seven more: collations agree on digits."""

    def __missing__(self, code: int) -> str:
        return f"9{code:07}"


_WEIGHTS = _Weights(
    dict.fromkeys(range(ord(" ")), "00")
    | {ord(sign): f"{weight:02}" for weight, sign in enumerate(_PUNCTUATION)}
    | {ord(digit): f"4{digit}" for digit in "0123456789"}
    | {ord(letter): f"{weight}" for weight, letter in enumerate(_LETTERS, start=50)}
)


def sort_key(name: str) -> str:
    """Return a key that sorts names in Turkish alphabetical order, and numbers by their value."""
    text = unicodedata.normalize("NFC", name[:SORT_KEY_LENGTH]).translate(_TO_LOWER).lower()
    if not _KNOWN.issuperset(text):
        text = "".join(sign if sign in _KNOWN else search_key(sign) for sign in text)
    return _NUMBER.sub(_ranked, text).translate(_WEIGHTS)[:SORT_KEY_LENGTH]


def _ranked(number: re.Match[str]) -> str:
    """Put a number's length before it, so that 2 sorts before 10."""
    digits = number[0].lstrip("0") or "0"
    nines, rest = divmod(len(digits), 9)
    return f"{'9' * nines}{rest}{digits}"


def search_key(text: str) -> str:
    """Drop case, dots and accents: İstanbul, ISTANBUL and ıstanbul get the same key."""
    text = text[:SEARCH_KEY_LENGTH]
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_TO_PLAIN)
    seen = (sign for sign in plain if unicodedata.category(sign) not in _UNSEEN)
    return "".join(seen)[:SEARCH_KEY_LENGTH]
