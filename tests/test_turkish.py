from __future__ import annotations

from itertools import pairwise

import pytest

from django_iletimerkezi.turkish import SEARCH_KEY_LENGTH, SORT_KEY_LENGTH, search_key, sort_key

SMALL = "abcçdefgğhıijklmnoöpqrsştuüvwxyz"
CAPITAL = "ABCÇDEFGĞHIİJKLMNOÖPQRSŞTUÜVWXYZ"


def is_in_order(names: list[str]) -> bool:
    """Whether each name sorts before the next one, without ties."""
    return all(sort_key(name) < sort_key(following) for name, following in pairwise(names))


# Sorting


def test_letters_sort_in_turkish_alphabetical_order() -> None:
    assert is_in_order(list(SMALL))


def test_the_turkish_order_ignores_case() -> None:
    assert list(map(sort_key, SMALL)) == list(map(sort_key, CAPITAL))


def test_characters_sort_in_the_order_blanks_punctuation_digits_letters_others() -> None:
    assert is_in_order(["", " ", "-", "0", "9", "a", "z", "α", "日", "😀"])


def test_a_name_sorts_before_longer_names_with_the_same_start() -> None:
    assert is_in_order(["2", "10", "a", "a b", "a’b", "ab", "ac"])


@pytest.mark.parametrize(
    ("foreign", "turkish"),
    [("Kâr", "kar"), ("Ⓐ", "a"), ("naïve", "naive"), ("ñ", "n"), ("Straße", "strasse")],
)
def test_foreign_letters_sort_like_their_base_letters(foreign: str, turkish: str) -> None:
    assert sort_key(foreign) == sort_key(turkish)


def test_a_foreign_letter_does_not_change_the_order_of_turkish_letters() -> None:
    assert sort_key("âşıçğöü") == sort_key("aşıçğöü")


def test_decomposed_letters_sort_like_composed_ones() -> None:
    assert sort_key("S\u0327\u0131k I\u0307") == sort_key("Şık İ")


@pytest.mark.parametrize("blank", ["\t", "\n", "\x00"])
def test_control_characters_sort_like_a_blank(blank: str) -> None:
    assert sort_key(f"a{blank}b") == sort_key("a b")


def test_numbers_in_names_sort_by_their_value() -> None:
    numbers = [0, 2, 9, 10, 99, 10**8 - 1, 10**8, 10**9, 10**17, 10**18 - 1, 10**18, 10**30]
    assert is_in_order(["Şube", *(f"Şube {number}" for number in numbers), "Şube x"])
    assert is_in_order(["2. kat", "10. kat", "10. kat 3", "10. kat 20"])
    assert sort_key("Şube 007") == sort_key("şube 7")


def test_a_sort_key_consists_of_digits_and_has_a_limited_length() -> None:
    key = sort_key("Şube 😀\x00\t" * 1000)
    assert key.isascii()
    assert key.isdigit()
    assert len(key) == SORT_KEY_LENGTH


# Searching


@pytest.mark.parametrize(
    "text", ["istanbul", "ISTANBUL", "İstanbul", "ıstanbul", "I\u0307STANBUL", "ıSTANBUL"]
)
def test_each_spelling_of_istanbul_has_the_same_search_key(text: str) -> None:
    assert search_key(text) == "istanbul"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Şişli Çağrı", "sisli cagri"),
        ("GÜNEYDOĞU", "guneydogu"),
        ("Köln ß", "koln ss"),
        ("Øə", "oe"),
        ("Ali’nin", "ali'nin"),
        ("1\u20e3", "1"),
        ("a\u200bb", "ab"),
        ("📟", "📟"),
    ],
)
def test_a_search_key_replaces_accented_letters_with_ascii_letters(text: str, key: str) -> None:
    assert search_key(text) == key


@pytest.mark.parametrize("character", ["x", "\ufdfa", "\u0130"])
def test_a_search_key_has_a_limited_length(character: str) -> None:
    assert len(search_key(character * 10**6)) == SEARCH_KEY_LENGTH
