"""Parses group ids from people, URLs and the vendor. Pure functions."""

from typing import Any

MAX_ID = 2**63 - 1
"""The largest id that fits into a big integer column."""


def check_id(number: Any) -> None:
    """Raise ValueError unless ``number`` is a valid group id."""
    is_number = isinstance(number, int) and not isinstance(number, bool)
    if not is_number or not 1 <= number <= MAX_ID:
        raise ValueError(f"a group id is a whole number from 1 to {MAX_ID}")


def parse_id(text: str) -> int | None:
    """Parse a group id from a person or a URL. Returns None for an invalid id."""
    number = parse_number(text)
    return number if number and number <= MAX_ID else None


def parse_number(text: str) -> int | None:
    """Parse ASCII digits. Returns None for a text with other characters, and for an empty text."""
    return parse_digits(text.lstrip("0") or "0") if text.isascii() and text.isdigit() else None


def parse_digits(digits: str) -> int:
    """Parse only the first 40 digits, because ``int`` rejects long texts. Ids are shorter."""
    return int(digits[:40])
