"""Keys that sort and find names the Turkish way: pure."""

from __future__ import annotations

import unicodedata

SORT_KEY_LENGTH = 200
SEARCH_KEY_LENGTH = 1000
"""Far beyond any sensible name. A sign may become eighteen in a search key."""

_UNSEEN = {"Mn", "Me", "Cf"}
"""Categories of marks on letters, and of signs that format."""
_PUNCTUATION = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_LETTERS = "abcçdefgğhıijklmnoöpqrsştuüvwxyz"
_KNOWN = frozenset(_PUNCTUATION + "0123456789" + _LETTERS)
_CAPITALS = str.maketrans("Iİ", "ıi")
_PLAIN = str.maketrans("ıøłđəæ’‘ʼ–—", "ioldea'''--")
"""Letters that are not made of another and a mark, and signs that few keyboards have."""


class _Weights(dict[int, str]):
    """Digits alone, which any collation puts in the same order: two, or eight after a 9."""

    def __missing__(self, code: int) -> str:
        return f"9{code:07}"


_WEIGHTS = _Weights(
    dict.fromkeys(range(ord(" ")), "00")
    | {ord(sign): f"{weight:02}" for weight, sign in enumerate(_PUNCTUATION)}
    | {ord(digit): f"4{digit}" for digit in "0123456789"}
    | {ord(letter): f"{weight}" for weight, letter in enumerate(_LETTERS, start=50)}
)


def sort_key(name: str) -> str:
    """Return a text by which names come in Turkish alphabetical order, whatever their case.

    It tells about a hundred letters of the name apart.
    """
    text = unicodedata.normalize("NFC", name[:SORT_KEY_LENGTH]).translate(_CAPITALS).lower()
    if not _KNOWN.issuperset(text):
        text = "".join(sign if sign in _KNOWN else search_key(sign) for sign in text)
    return text.translate(_WEIGHTS)[:SORT_KEY_LENGTH]


def search_key(text: str) -> str:
    """Return a text without case, dots and other marks: İstanbul, ISTANBUL and ıstanbul agree."""
    text = text[:SEARCH_KEY_LENGTH]
    if text.isascii():
        return text.casefold()
    decomposed = unicodedata.normalize("NFKD", text).casefold().translate(_PLAIN)
    seen = (sign for sign in decomposed if unicodedata.category(sign) not in _UNSEEN)
    return "".join(seen)[:SEARCH_KEY_LENGTH]
