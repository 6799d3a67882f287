"""Group ids as people, URLs and the vendor write them: pure."""

MAX_ID = 2**63 - 1
"""The largest id that a big integer of a database holds."""


def parse_id(text: str) -> int:
    """Parse a group id from a person or a URL. Raises ValueError."""
    number = parse_number(text)
    if number is None or not 1 <= number <= MAX_ID:
        raise ValueError("not a group id")
    return number


def parse_number(text: str) -> int | None:
    """Return the number that ASCII digits stand for; None for any other text."""
    return parse_digits(text.lstrip("0") or "0") if text.isascii() and text.isdigit() else None


def parse_digits(digits: str) -> int:
    """Parse a number. Python refuses to parse thousands of digits; 40 are out of range as well."""
    return int(digits[:40])
