"""Group ids as people, URLs and the vendor write them: pure."""

MAX_ID = 2**63 - 1
"""The largest id that a big integer of a database holds."""


def parse_id(text: str) -> int | None:
    """Parse a group id from a person or a URL; None if it is invalid."""
    number = parse_number(text)
    return number if number and number <= MAX_ID else None


def parse_number(text: str) -> int | None:
    """Parse ASCII digits; None for any other text."""
    return parse_digits(text.lstrip("0") or "0") if text.isascii() and text.isdigit() else None


def parse_digits(digits: str) -> int:
    """Parse a number. Python refuses thousands of digits, and 40 are already out of range."""
    return int(digits[:40])
