from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest

from django_iletimerkezi.api.parsing import Answer, GroupData, read_answer
from django_iletimerkezi.exceptions import (
    ApiError,
    AuthenticationFailed,
    BadRequest,
    GroupNotFound,
    MethodNotFound,
    ServiceUnavailable,
    UnexpectedResponse,
)

GROUP = {"id": 5, "name": "Müşteriler", "count": 1}
CHILD = {"id": 6, "name": "Ankara", "count": 2}

SAMPLE = """{"response": {"status": {"code": 200, "message": "İşlem başarılı"},
    "group": {"id": 97101, "name": "Test 1", "count": 1,
        "children": [{"id": 97489, "name": "Test 2", "count": 2}]}}}""".encode()


def envelope(group: Any = GROUP, **status: Any) -> bytes:
    return json.dumps({"response": {"status": status, "group": group}}).encode()


def answer(**fields: Any) -> bytes:
    return envelope(GROUP | fields, code=200, message="İşlem başarılı")


def written(group: str) -> bytes:
    """Return an answer with a group that json.dumps would not write this way."""
    return f'{{"response": {{"status": {{"code": 200}}, "group": {group}}}}}'.encode()


def flaw(body: bytes, http_status: int = 200) -> str:
    """Return what is said to be wrong with a body."""
    with pytest.raises(UnexpectedResponse) as caught:
        read_answer(http_status, body)
    start, end = "The answer from iletimerkezi makes no sense: ", "."
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    return str(caught.value).removeprefix(start).removesuffix(end)


def error(body: bytes, http_status: int = 200) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_answer(http_status, body)
    return caught.value


def nested(levels: int) -> dict[str, Any]:
    group: dict[str, Any] = {"id": levels, "name": "", "count": 0}
    for group_id in reversed(range(1, levels)):
        group = {"id": group_id, "name": "", "count": 0, "children": [group]}
    return group


def test_the_documented_sample_is_read() -> None:
    child = GroupData(97489, "Test 2", 2)
    assert read_answer(200, SAMPLE) == GroupData(97101, "Test 1", 1, (child,))


def test_a_group_cannot_be_changed() -> None:
    group = GroupData(5, "Müşteriler", 1)
    with pytest.raises(FrozenInstanceError):
        group.count = 2  # type: ignore[misc]  # it is frozen: that is tested


def test_an_answer_cannot_be_changed() -> None:
    read = Answer(5, datetime.now(UTC), GroupData(97101, "Test 1", 1))
    with pytest.raises(FrozenInstanceError):
        read.asked_for = 6  # type: ignore[misc]  # it is frozen: that is tested


def test_a_group_can_be_a_key() -> None:
    assert {GroupData(5, "a", 1): "found"}[GroupData(5, "a", 1)] == "found"


# Numbers


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5),
        ("5", 5),
        ("05", 5),
        ("5".zfill(60), 5),
        (2**63 - 1, 2**63 - 1),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
@pytest.mark.parametrize("field", ["id", "count"])
def test_a_number_may_be_an_integer_or_ascii_digits(
    field: str, value: int | str, number: int
) -> None:
    assert getattr(read_answer(200, answer(**{field: value})), field) == number


@pytest.mark.parametrize("value", [0, "0", "000"])
def test_a_group_may_have_no_contacts(value: int | str) -> None:
    assert read_answer(200, answer(count=value)).count == 0


NO_NUMBERS = [
    True,
    False,
    None,
    5.0,
    5.5,
    "",
    " 5",
    "5\n",
    "+5",
    "-5",
    "5.0",
    "1_000",
    "0x5",
    "five",
    "٥",
    "５",
    "²",
    [5],
    {"id": 5},
]


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("field", ["id", "count"])
def test_anything_else_is_not_a_number(field: str, value: Any) -> None:
    assert flaw(answer(**{field: value})) == f"response.group.{field} is not a whole number"


@pytest.mark.parametrize(
    "value",
    [-1, 2**63, str(2**63), "9" * 5000, 10**4000],
    ids=["negative", "2**63", "'2**63'", "5000 digits as text", "4001 digits"],
)
@pytest.mark.parametrize("field", ["id", "count"])
def test_a_number_that_no_database_holds_is_refused(field: str, value: int | str) -> None:
    assert flaw(answer(**{field: value})) == f"response.group.{field} is out of range"


def test_a_negative_count_is_refused_with_its_path() -> None:
    child = CHILD | {"children": [{"id": 7, "name": "", "count": -1}]}
    body = answer(children=[CHILD | {"id": 8}, child])
    assert flaw(body) == "response.group.children[1].children[0].count is out of range"


@pytest.mark.parametrize("value", [0, "0", "000", -0])
def test_no_group_has_the_id_zero(value: int | str) -> None:
    assert flaw(answer(id=value)) == "response.group.id is 0"


@pytest.mark.parametrize("field", ["id", "count"])
def test_a_number_of_five_thousand_digits_is_refused(field: str) -> None:
    assert flaw(answer(**{field: 0}).replace(b": 0", b": " + b"9" * 5000))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    body = written(f'{{"id": 5, "name": "a", "count": {number}}}')
    assert flaw(body) == "it is not JSON in UTF-8"


@pytest.mark.parametrize("number", ["1e2", "5.0", "1e999"])
def test_a_number_with_a_point_or_an_exponent_is_not_a_whole_one(number: str) -> None:
    body = written(f'{{"id": 5, "name": "a", "count": {number}}}')
    assert flaw(body) == "response.group.count is not a whole number"


# Names


@pytest.mark.parametrize(
    "name", ["", " ", "0", "Iğdır 📟", "a\nb\x1b[31m", "\u202eters", "x" * 9999]
)
def test_any_text_is_a_name(name: str) -> None:
    assert read_answer(200, answer(name=name)).name == name


@pytest.mark.parametrize("name", [None, 5, True, ["a"], {}])
def test_anything_else_is_not_a_name(name: Any) -> None:
    assert flaw(answer(name=name)) == "response.group.name is not a string"


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800", r"\udc00", r"\udc00\ud800", r"a\udfffb"])
def test_text_that_no_database_holds_is_not_a_name(escape: str) -> None:
    body = written(f'{{"id": 5, "name": "{escape}", "count": 1}}')
    assert flaw(body) == "response.group.name has characters that no database can hold"


def test_a_pair_of_surrogates_is_one_character() -> None:
    body = written(r'{"id": 5, "name": "\ud83d\udcdf", "count": 1}')
    assert read_answer(200, body).name == "📟"


# Fields


@pytest.mark.parametrize("field", ["id", "name", "count"])
def test_a_missing_field_is_named(field: str) -> None:
    group = {key: value for key, value in GROUP.items() if key != field}
    assert flaw(envelope(group, code=200)) == f"response.group.{field} is missing"


@pytest.mark.parametrize("field", ["id", "name", "count"])
def test_a_missing_field_of_a_child_is_named_with_the_path_to_it(field: str) -> None:
    child = {key: value for key, value in CHILD.items() if key != field}
    assert flaw(answer(children={"3": child})) == f"response.group.children[3].{field} is missing"


def test_unknown_fields_are_ignored() -> None:
    body = answer(color="red", children=[CHILD | {"parent": {"id": [None]}}])
    assert read_answer(200, body).children == (GroupData(6, "Ankara", 2),)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "it is empty"),
        (b" ", "it is not JSON in UTF-8"),
        (b"\xef\xbb\xbf", "it is not JSON in UTF-8"),
        (b"<html>", "it is not JSON in UTF-8"),
        (SAMPLE[:-1], "it is not JSON in UTF-8"),
        (SAMPLE * 2, "it is not JSON in UTF-8"),
        (SAMPLE.decode().encode("iso-8859-9"), "it is not JSON in UTF-8"),
        (SAMPLE.decode().encode("utf-16"), "it is not JSON in UTF-8"),
        (b"null", "the answer is not an object"),
        (b"5", "the answer is not an object"),
        (b'"response"', "the answer is not an object"),
        (b"[]", "the answer is not an object"),
        (b"{}", "response is missing"),
        (b'{"Response": {}}', "response is missing"),
        (b'{"response": null}', "response is not an object"),
        (b'{"response": []}', "response is not an object"),
        (b'{"response": {}}', "response.group is missing"),
        (b'{"response": {"status": {"code": 200}}}', "response.group is missing"),
        (b'{"response": {"status": []}}', "response.group is missing"),
        (b'{"response": {"group": null}}', "response.group is not an object"),
        (b'{"response": {"group": []}}', "response.group is not an object"),
        (b'{"response": {"group": [{"id": 5}]}}', "response.group is not an object"),
        (b'{"response": {"group": {}}}', "response.group.id is missing"),
    ],
)
def test_a_body_of_another_shape_is_refused(body: bytes, what: str) -> None:
    assert flaw(body) == what


def test_a_byte_order_mark_does_not_matter() -> None:
    assert read_answer(200, b"\xef\xbb\xbf" + SAMPLE).id == 97101


# Children


@pytest.mark.parametrize("children", [None, [], {}])
def test_there_are_several_ways_to_have_no_children(children: Any) -> None:
    assert read_answer(200, answer(children=children)).children == ()


def test_the_field_for_children_may_be_absent() -> None:
    assert read_answer(200, answer()).children == ()


def test_children_may_be_an_object_keyed_by_index() -> None:
    body = answer(children={"0": CHILD, "2": CHILD | {"id": 7}, "10": CHILD | {"id": 8}})
    assert [child.id for child in read_answer(200, body).children] == [6, 7, 8]


@pytest.mark.parametrize("key", ["-1", "01", "00", "a", "", " 0", "0\n", "+1", "1.0", "٠", "²"])
def test_a_key_that_is_not_an_index_is_refused(key: str) -> None:
    body = answer(children={"0": CHILD, key: CHILD | {"id": 7}})
    assert flaw(body) == "response.group.children has a key that is not an index"


@pytest.mark.parametrize("children", ["", "[]", 0, 5, False, True, 1.5])
def test_children_of_another_type_are_refused(children: Any) -> None:
    assert flaw(answer(children=children)) == "response.group.children is not a list"


@pytest.mark.parametrize("child", [None, 6, "6", [], True])
def test_a_child_of_another_type_is_refused_with_its_index(child: Any) -> None:
    body = answer(children=[CHILD, child])
    assert flaw(body) == "response.group.children[1] is not an object"


def test_children_may_carry_children() -> None:
    body = answer(children=[CHILD | {"children": {"0": {"id": "7", "name": "", "count": "3"}}}])
    assert read_answer(200, body).children[0].children == (GroupData(7, "", 3),)


def test_a_group_listed_inside_itself_is_refused() -> None:
    body = answer(children=[CHILD | {"id": "5"}])
    assert flaw(body) == "response.group.children[0] is listed inside itself"


def test_a_group_listed_inside_its_own_child_is_refused() -> None:
    body = answer(children=[CHILD, CHILD | {"id": 7, "children": [CHILD, GROUP]}])
    assert flaw(body) == "response.group.children[1].children[1] is listed inside itself"


def test_a_group_listed_twice_side_by_side_is_kept_twice() -> None:
    body = answer(children=[CHILD, CHILD | {"name": "İzmir"}])
    assert [child.name for child in read_answer(200, body).children] == ["Ankara", "İzmir"]


def test_ten_thousand_children_are_read() -> None:
    body = answer(children=[CHILD | {"id": number} for number in range(6, 10_006)])
    assert [child.id for child in read_answer(200, body).children] == list(range(6, 10_006))


def test_a_hundred_levels_are_read() -> None:
    group, levels = read_answer(200, envelope(nested(100), code=200)), 1
    while group.children:
        group, levels = group.children[0], levels + 1
    assert levels == group.id == 100


def test_a_hundred_and_one_levels_are_refused() -> None:
    path = "response.group" + ".children[0]" * 100
    assert flaw(envelope(nested(101), code=200)) == f"{path} is nested too deeply"


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_a_hundred_thousand_brackets_are_refused(body: bytes) -> None:
    assert flaw(body) == "it is nested too deeply"


def test_a_hundred_thousand_brackets_in_an_unknown_field_are_refused() -> None:
    brackets = "[" * 100_000 + "]" * 100_000
    body = written(f'{{"id": 5, "name": "a", "count": 1, "x": {brackets}}}')
    assert flaw(body) == "it is nested too deeply"


# Codes


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequest),
        (401, AuthenticationFailed),
        (404, MethodNotFound),
        (422, ApiError),
        (462, ApiError),
        (463, GroupNotFound),
    ],
)
@pytest.mark.parametrize("write", [int, str, "0{}".format])
def test_the_code_in_the_body_wins_over_http_200(
    write: Any, code: int, kind: type[ApiError]
) -> None:
    caught = error(envelope(code=write(code), message="Hata"), http_status=200)
    assert (type(caught), caught.code, caught.message) == (kind, code, "Hata")


@pytest.mark.parametrize("http_status", [204, 302, 400, 401, 404, 429, 463, 500, 503])
@pytest.mark.parametrize("code", [200, "200", 201])
def test_a_good_code_in_the_body_wins_over_any_http_status(
    code: int | str, http_status: int
) -> None:
    assert read_answer(http_status, envelope(code=code)).id == 5


def test_one_error_in_the_body_wins_over_another_in_the_http_status() -> None:
    assert error(envelope(code=463), http_status=401).code == 463


@pytest.mark.parametrize("body", [envelope(message="Yok"), envelope(code=None, message="Yok")])
def test_the_http_status_counts_where_the_body_has_no_code(body: bytes) -> None:
    caught = error(body, http_status=463)
    assert (type(caught), caught.message) == (GroupNotFound, "Yok")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"response": {"status": 463}}'])
def test_the_http_status_counts_where_there_is_no_envelope(body: bytes) -> None:
    caught = error(body, http_status=401)
    assert (type(caught), caught.message) == (AuthenticationFailed, "Unauthorized")


def test_an_http_status_that_nobody_knows_has_no_message() -> None:
    caught = error(b"", http_status=463)
    assert (type(caught), caught.message) == (GroupNotFound, "")


WITHOUT_STATUS = json.dumps({"response": {"group": GROUP}}).encode()


@pytest.mark.parametrize("body", [envelope(), envelope(code=None), WITHOUT_STATUS])
def test_http_200_alone_is_enough(body: bytes) -> None:
    assert read_answer(200, body).id == 5


@pytest.mark.parametrize("code", [True, False, 200.0, "", "OK", "-200", "٢٠٠", [200], {}])
def test_a_code_that_cannot_be_read_is_refused(code: Any) -> None:
    assert flaw(envelope(code=code)) == "response.status.code is not a whole number"


@pytest.mark.parametrize("code", [True, 463.0, "OK", [463]])
def test_an_http_error_counts_where_the_code_cannot_be_read(code: Any) -> None:
    assert type(error(envelope(code=code), http_status=463)) is GroupNotFound


@pytest.mark.parametrize("code", [0, 99, 100, 199, 418, 600, 999])
def test_a_code_without_a_meaning_is_an_api_error(code: int) -> None:
    caught = error(envelope(code=code))
    assert (type(caught), caught.code) == (ApiError, code)


@pytest.mark.parametrize("body", [b"<html>", b"", envelope(code=502)])
def test_a_server_error_is_not_an_api_error(body: bytes) -> None:
    with pytest.raises(ServiceUnavailable, match=r"^iletimerkezi is not available: .* 502 \("):
        read_answer(502, body)


@pytest.mark.parametrize("http_status", [300, 301, 302, 303, 304, 307, 308, 399])
@pytest.mark.parametrize("body", [b"", b"<html>", envelope()])
def test_a_redirect_is_refused_with_a_reason(body: bytes, http_status: int) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        read_answer(http_status, body)
    assert str(caught.value) == (
        f"iletimerkezi answered with a redirect ({http_status}), which is not followed because "
        "the credentials would go along: check ILETIMERKEZI_BASE_URL."
    )


def test_a_redirect_in_the_body_is_refused_too() -> None:
    with pytest.raises(UnexpectedResponse, match=r"a redirect \(302\)"):
        read_answer(200, envelope(code="302"))


@pytest.mark.parametrize("http_status", [200, 201, 204, 299])
def test_an_empty_success_makes_no_sense(http_status: int) -> None:
    assert flaw(b"", http_status) == "it is empty"


# The vendor's messages


@pytest.mark.parametrize("message", [None, 5, ["a"], {}, ""])
def test_a_message_that_is_no_text_is_none(message: Any) -> None:
    assert error(envelope(code=463, message=message)).message == ""


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Böyle bir grup bulunamadı.", "Böyle bir grup bulunamadı."),
        ("a\r\nb\tc\x00d\x1b[31me", "a b c d [31me"),
        ("a\u2028b\u202ec\u200bd\ufeffe\x85f", "a b c d e f"),
        ("\ud800a\udfff", "a"),
        ("  a   b  ", "a b"),
        ("\n", ""),
    ],
)
def test_a_message_is_shown_on_one_line_without_control_characters(
    message: str, shown: str
) -> None:
    assert error(envelope(code=463, message=message)).message == shown


def test_an_over_long_message_is_cut() -> None:
    assert error(envelope(code=463, message="\n" + "ı" * 100_000)).message == "ı" * 200


@pytest.mark.parametrize("code", [400, 401, 463, 503])
def test_a_message_that_echoes_a_credential_is_redacted(code: int) -> None:
    body = envelope(code=code, message="no such key: kEy-6f1d2c")
    with pytest.raises(Exception, match=r"\(no such key: \*\*\*\)") as caught:
        read_answer(200, body, lambda text: text.replace("kEy-6f1d2c", "***"))
    assert "kEy-6f1d2c" not in repr(caught.value) + repr(vars(caught.value))


@pytest.mark.parametrize("code", [-5, 2**63, "9" * 50, 10**50])
def test_a_code_out_of_all_range_cannot_be_read(code: Any) -> None:
    assert flaw(envelope(code=code)) == "response.status.code is not a whole number"


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000])
def test_a_number_of_five_thousand_digits_is_named(number: str) -> None:
    group = f'{{"id": 5, "name": "", "count": {number}}}'
    assert flaw(written(group)) == "response.group.count is out of range"


def test_a_credential_at_the_end_of_a_long_message_is_not_cut_before_it_is_redacted() -> None:
    body = envelope(code=463, message="x" * 195 + "secret")
    with pytest.raises(GroupNotFound) as caught:
        read_answer(200, body, lambda text: text.replace("secret", "***"))
    assert caught.value.message == "x" * 195 + "***"
