from __future__ import annotations

import pytest

from django_iletimerkezi.display import LABEL_LENGTH, label, visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Müşteriler 📟", "Müşteriler 📟"),
        ("", ""),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\x00\x1b\x7f\x9b", r"\x00\x1b\x7f\x9b"),
        ("\u202e\u2066\u2028\ufeff", r"\u202e\u2066\u2028\ufeff"),
        ("a\u200db\u200cc", "a\u200db\u200cc"),
        ("\ue000\U000e0001", r"\ue000\U000e0001"),
    ],
)
def test_invisible_characters_are_escaped(name: str, shown: str) -> None:
    assert visible(name) == shown


def test_a_label_is_stripped_and_escaped() -> None:
    assert label("  İstanbul\u202e ") == r"İstanbul\u202e"


def test_a_long_name_is_cut_with_an_ellipsis() -> None:
    assert label("x" * LABEL_LENGTH) == "x" * LABEL_LENGTH
    assert label("x" * (LABEL_LENGTH + 1)) == "x" * (LABEL_LENGTH - 1) + "…"
    assert label("abcdef", 3) == "ab…"
    assert label("abc def", 3) == "ab…"


def test_escapes_count_towards_the_length_of_a_label() -> None:
    assert len(label("x" + "\x00" * 10**6)) == LABEL_LENGTH


@pytest.mark.parametrize(
    "name",
    [
        " \t",
        "\n" * 10**6,
        "\u3164",
        "\u115f\u1160 \uffa0",
        "\u2800",
        "\u200c \u200d",
        "\ufe0f\u0301",
    ],
    ids=["tab", "newlines", "filler", "fillers", "braille blank", "joiners", "marks"],
)
def test_a_name_without_a_visible_character_has_no_label(name: str) -> None:
    assert label(name) == ""


@pytest.mark.parametrize("name", ["\u3164", "\u200d", "\ufe0f\u0301"])
def test_one_visible_character_is_enough_for_a_label(name: str) -> None:
    assert label(f"{name}a") == f"{name}a"
