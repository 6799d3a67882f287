from __future__ import annotations

import pytest

from django_iletimerkezi.display import LABEL_LENGTH, label, visible
from django_iletimerkezi.turkish import SEARCH_KEY_LENGTH, SORT_KEY_LENGTH, search_key, sort_key

SMALL = list("abcçdefgğhıijklmnoöprsştuüvyz")
CAPITAL = list("ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ")


def test_names_come_in_turkish_alphabetical_order() -> None:
    assert sorted(set(SMALL), key=sort_key) == SMALL


def test_case_does_not_matter_to_the_order() -> None:
    assert list(map(sort_key, SMALL)) == list(map(sort_key, CAPITAL))


def test_foreign_letters_and_marks_stand_with_those_they_are_made_of() -> None:
    names = [
        "",
        "-",
        "10",
        "2",
        "a b",
        "a’b",
        "Ⓐb",
        "ac",
        "Kâr",
        "kas",
        "p",
        "q",
        "r",
        "v",
        "w",
        "x",
    ]
    names += ["😀"]
    assert sorted(set(names), key=sort_key) == names
    assert sort_key("Kâr") == sort_key("kar")


def test_letters_that_are_written_in_two_signs_stand_with_those_in_one() -> None:
    assert sort_key("S\u0327\u0131k I\u0307") == sort_key("Şık İ")


def test_the_order_needs_no_more_than_digits_of_a_bounded_number() -> None:
    key = sort_key("Şube 😀\x00\t" * 1000)
    assert key.isascii()
    assert key.isdigit()
    assert len(key) == SORT_KEY_LENGTH


@pytest.mark.parametrize(
    "text", ["istanbul", "ISTANBUL", "İstanbul", "ıstanbul", "I\u0307STANBUL", "ıSTANBUL"]
)
def test_a_search_finds_istanbul_however_it_is_written(text: str) -> None:
    assert search_key(text) == search_key("İstanbul") == "istanbul"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Şişli Çağrı", "sisli cagri"),
        ("GÜNEYDOĞU", "guneydogu"),
        ("Köln ß", "koln ss"),
        ("📟", "📟"),
        ("Ali’nin", "ali'nin"),
        ("Øə", "oe"),
    ],
)
def test_a_search_needs_no_turkish_keyboard(text: str, key: str) -> None:
    assert search_key(text) == key


@pytest.mark.parametrize("sign", ["x", "\ufdfa", "\u0130"])
def test_what_a_search_looks_through_is_of_a_bounded_length(sign: str) -> None:
    assert len(search_key(sign * 10**6)) == SEARCH_KEY_LENGTH


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
def test_control_characters_are_made_visible(name: str, shown: str) -> None:
    assert visible(name) == shown


def test_a_label_is_one_short_line() -> None:
    assert label("  İstanbul\u202e ") == r"İstanbul\u202e"
    assert label(" \t") == ""
    assert label("x" * LABEL_LENGTH) == "x" * LABEL_LENGTH
    assert label("\n" * 10**6) == ""
    assert len(label("x" + "\x00" * 10**6)) == LABEL_LENGTH


@pytest.mark.parametrize(
    "name", ["\u3164", "\u115f\u1160 \uffa0", "\u2800", "\u200d", "\u200c \u200d", "\ufe0f\u0301"]
)
def test_of_a_name_of_which_nothing_can_be_seen_there_is_no_label(name: str) -> None:
    assert label(name) == ""
    assert label(f"{name}a") == f"{name}a"
