from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from django_iletimerkezi.api.parsing import (
    GroupData,
    read_answer,
    read_group,
)
from django_iletimerkezi.exceptions import (
    ApiError,
    AuthenticationFailed,
    BadRequest,
    GroupNotFound,
    MethodNotFound,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.ids import MAX_ID, check_id, parse_id

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
    """Return an answer with a group that json.dumps would write differently."""
    return f'{{"response": {{"status": {{"code": 200}}, "group": {group}}}}}'.encode()


def nested(levels: int) -> bytes:
    """Return an answer that may have more levels than json.dumps can write."""
    start = "".join(
        f'{{"id": {level}, "name": "", "count": 0, "children": [' for level in range(1, levels + 1)
    )
    return written(start + "]}" * levels)


def read(body: bytes, http_status: int = 200, redact: Callable[[str], str] = str) -> GroupData:
    return read_answer(http_status, body, read_group, redact)


def flaw(body: bytes, http_status: int = 200) -> str:
    """Return what the error says about an invalid body."""
    with pytest.raises(UnexpectedResponse) as caught:
        read(body, http_status)
    start = "Invalid answer from iletimerkezi: "
    end = ". Check ILETIMERKEZI_BASE_URL, or look for a newer release of django-iletimerkezi."
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    return str(caught.value).removeprefix(start).removesuffix(end)


def error(body: bytes, http_status: int = 200) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body, http_status)
    return caught.value


def test_the_documented_sample_is_parsed() -> None:
    child = GroupData(97489, "Test 2", 2)
    assert read(SAMPLE) == GroupData(97101, "Test 1", 1, (child,))


def test_group_data_is_hashable() -> None:
    assert {GroupData(5, "a", 1): "found"}[GroupData(5, "a", 1)] == "found"


# Numbers


@pytest.mark.parametrize("field", ["id", "count"])
@pytest.mark.parametrize("value", [5, "5", "05", "5".zfill(60)])
def test_a_number_may_be_an_integer_or_ascii_digits(value: int | str, field: str) -> None:
    assert getattr(read(answer(**{field: value})), field) == 5


@pytest.mark.parametrize("write", [int, str])
@pytest.mark.parametrize(("field", "most"), [("id", MAX_ID), ("count", 2**31 - 1)])
def test_the_largest_allowed_number_is_accepted(field: str, most: int, write: Any) -> None:
    assert getattr(read(answer(**{field: write(most)})), field) == most


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", -1),
        ("id", 2**63),
        ("id", str(2**63)),
        ("count", -1),
        ("count", 2**31),
        ("count", str(2**31)),
        ("count", "9" * 5000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_number_outside_of_its_range_is_refused(field: str, value: int | str) -> None:
    assert flaw(answer(**{field: value})) == f"response.group.{field} is out of range"


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("field", ["id", "count"])
def test_a_number_of_five_thousand_digits_is_refused(field: str, sign: str) -> None:
    body = answer(**{field: 0}).replace(b": 0", f": {sign}{'9' * 5000}".encode())
    assert flaw(body) == f"response.group.{field} is out of range"


def test_the_error_for_a_number_out_of_range_names_the_path_of_the_field() -> None:
    child = CHILD | {"children": [{"id": 7, "name": "", "count": -1}]}
    body = answer(children=[CHILD | {"id": 8}, child])
    assert flaw(body) == "response.group.children[1].children[0].count is out of range"


NOT_NUMBERS = [
    True,
    False,
    None,
    5.0,
    "",
    " 5",
    "5\n",
    "+5",
    "-5",
    "5.0",
    "1_000",
    "0x5",
    "٥",
    "²",
    [5],
    {"id": 5},
]


@pytest.mark.parametrize("field", ["id", "count"])
@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_values_other_than_integers_and_digits_are_refused(value: Any, field: str) -> None:
    assert flaw(answer(**{field: value})) == f"response.group.{field} is not a whole number"


@pytest.mark.parametrize("value", [0, "0", "000"])
def test_zero_is_a_count_but_not_an_id(value: int | str) -> None:
    assert read(answer(count=value)).count == 0
    assert flaw(answer(id=value)) == "response.group.id is 0"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_refused(number: str) -> None:
    body = written(f'{{"id": 5, "name": "a", "count": {number}}}')
    assert flaw(body) == "it is not JSON in UTF-8"


@pytest.mark.parametrize("number", ["1e2", "5.0", "1e999"])
def test_a_number_with_a_point_or_an_exponent_is_refused(number: str) -> None:
    body = written(f'{{"id": 5, "name": "a", "count": {number}}}')
    assert flaw(body) == "response.group.count is not a whole number"


@pytest.mark.parametrize(
    ("text", "group_id"), [("1", 1), ("007", 7), (str(2**63 - 1), 2**63 - 1), ("5".zfill(60), 5)]
)
def test_parse_id_accepts_digits_with_or_without_leading_zeros(text: str, group_id: int) -> None:
    assert parse_id(text) == group_id


@pytest.mark.parametrize("value", [0, -1, 2**63, True, 1.0, "5", None])
def test_check_id_rejects_everything_but_whole_numbers_in_range(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^a group id is a whole number from 1 to "):
        check_id(value)


@pytest.mark.parametrize("group_id", [1, MAX_ID])
def test_check_id_accepts_the_smallest_and_the_largest_id(group_id: int) -> None:
    check_id(group_id)


@pytest.mark.parametrize("text", ["", "0", "-1", "+1", " 1", "1\n", "1.0", "a", "٥", str(2**63)])
def test_parse_id_returns_none_for_invalid_texts(text: str) -> None:
    assert parse_id(text) is None


# Names


@pytest.mark.parametrize(
    "name", ["", " ", "0", "Iğdır 📟", "a\nb\x1b[31m", "\u202eters", "x" * 9999]
)
def test_a_name_may_be_any_text(name: str) -> None:
    assert read(answer(name=name)).name == name


@pytest.mark.parametrize("name", [None, 5, True, ["a"], {}])
def test_a_name_of_the_wrong_type_is_refused(name: Any) -> None:
    assert flaw(answer(name=name)) == "response.group.name is not a string"


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800", r"\udc00\ud800", r"a\udfffb"])
def test_a_name_that_databases_cannot_store_is_refused(escape: str) -> None:
    body = written(f'{{"id": 5, "name": "{escape}", "count": 1}}')
    assert flaw(body) == "response.group.name contains characters that no database can store"


def test_a_surrogate_pair_is_read_as_one_character() -> None:
    body = written(r'{"id": 5, "name": "\ud83d\udcdf", "count": 1}')
    assert read(body).name == "📟"


# Fields


@pytest.mark.parametrize("field", ["id", "name", "count"])
def test_the_error_for_a_missing_field_names_the_field(field: str) -> None:
    group = {key: value for key, value in GROUP.items() if key != field}
    assert flaw(envelope(group, code=200)) == f"response.group.{field} is missing"


def test_the_error_for_a_missing_field_of_a_child_names_the_path_of_the_field() -> None:
    child = {"id": 6, "count": 2}
    assert flaw(answer(children={"3": child})) == "response.group.children[3].name is missing"


def test_unknown_fields_are_ignored() -> None:
    body = answer(color="red", children=[CHILD | {"parent": {"id": [None]}}])
    assert read(body).children == (GroupData(6, "Ankara", 2),)


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
        (b'"response"', "the answer is not an object"),
        (b"[]", "the answer is not an object"),
        (b"{}", "response is missing"),
        (b'{"Response": {}}', "response is missing"),
        (b'{"response": null}', "response is not an object"),
        (b'{"response": []}', "response is not an object"),
        (b'{"response": {}}', "response.group is missing"),
        (b'{"response": {"status": null}}', "response.group is missing"),
        (b'{"response": {"status": []}}', "response.status is not an object"),
        (b'{"response": {"status": "ok"}}', "response.status is not an object"),
        (b'{"response": {"group": null}}', "response.group is not an object"),
        (b'{"response": {"group": [{"id": 5}]}}', "response.group is not an object"),
        (b'{"response": {"group": {}}}', "response.group.id is missing"),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(body: bytes, what: str) -> None:
    assert flaw(body) == what


def test_a_byte_order_mark_is_ignored() -> None:
    assert read(b"\xef\xbb\xbf" + SAMPLE).id == 97101


# Children


@pytest.mark.parametrize("fields", [{}, {"children": None}, {"children": []}, {"children": {}}])
def test_children_may_be_absent_or_null_or_empty(fields: dict[str, Any]) -> None:
    assert read(answer(**fields)).children == ()


def test_children_may_be_an_object_keyed_by_index() -> None:
    body = answer(children={"0": CHILD, "2": CHILD | {"id": 7}, "10": CHILD | {"id": 8}})
    assert [child.id for child in read(body).children] == [6, 7, 8]


@pytest.mark.parametrize("key", ["-1", "01", "a", "", " 0", "0\n", "+1", "1.0", "٠", "²"])
def test_children_with_a_key_that_is_not_an_index_are_refused(key: str) -> None:
    body = answer(children={"0": CHILD, key: CHILD | {"id": 7}})
    assert flaw(body) == "response.group.children has a key that is not an index"


@pytest.mark.parametrize("children", ["", "[]", 0, 5, False, True, 1.5])
def test_children_of_the_wrong_type_are_refused(children: Any) -> None:
    assert flaw(answer(children=children)) == "response.group.children is not a list"


@pytest.mark.parametrize("child", [None, 6, "6", [], True])
def test_the_error_about_a_child_of_the_wrong_type_names_its_index(child: Any) -> None:
    body = answer(children=[CHILD, child])
    assert flaw(body) == "response.group.children[1] is not an object"


def test_children_may_be_nested() -> None:
    body = answer(children=[CHILD | {"children": {"0": {"id": "7", "name": "", "count": "3"}}}])
    assert read(body).children[0].children == (GroupData(7, "", 3),)


def test_a_group_listed_inside_itself_is_refused() -> None:
    body = answer(children=[CHILD | {"id": "5"}])
    assert flaw(body) == "response.group.children[0] is listed inside itself"


def test_a_group_listed_inside_its_own_child_is_refused() -> None:
    body = answer(children=[CHILD, CHILD | {"id": 7, "children": [CHILD, GROUP]}])
    assert flaw(body) == "response.group.children[1].children[1] is listed inside itself"


def test_a_child_that_is_listed_twice_is_kept_twice() -> None:
    body = answer(children=[CHILD, CHILD | {"name": "İzmir"}])
    assert [child.name for child in read(body).children] == ["Ankara", "İzmir"]


def test_ten_thousand_children_are_parsed() -> None:
    body = answer(children=[CHILD | {"id": number} for number in range(6, 10_006)])
    assert [child.id for child in read(body).children] == list(range(6, 10_006))


# Nesting


def test_an_answer_with_a_hundred_levels_is_parsed() -> None:
    group, levels = read(nested(100)), 1
    while group.children:
        group, levels = group.children[0], levels + 1
    assert levels == group.id == 100


def test_an_answer_with_five_thousand_levels_is_refused() -> None:
    assert flaw(nested(5000)) == "it is nested too deeply"


def test_an_answer_is_refused_if_the_parser_recurses_too_deeply() -> None:
    def recurse(response: dict[str, Any]) -> GroupData:
        return recurse(response)

    with pytest.raises(UnexpectedResponse, match="it is nested too deeply"):
        read_answer(200, SAMPLE, recurse)


BRACKETS = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        BRACKETS[:100_000].encode(),
        BRACKETS.encode(),
        written(f'{{"id": 5, "name": "a", "count": 1, "x": {BRACKETS}}}'),
    ],
    ids=["open", "closed", "in an unknown field"],
)
def test_an_answer_with_a_hundred_thousand_nested_brackets_is_refused(body: bytes) -> None:
    assert flaw(body) == "it is nested too deeply"


# Codes


@pytest.mark.parametrize("write", [int, "0{}".format])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequest),
        (401, AuthenticationFailed),
        (404, MethodNotFound),
        (422, ApiError),
        (462, GroupNotFound),
        (463, GroupNotFound),
    ],
)
def test_the_code_in_the_body_wins_over_http_200(
    code: int, kind: type[ApiError], write: Any
) -> None:
    caught = error(envelope(code=write(code), message="Hata"))
    assert (type(caught), caught.code, caught.message) == (kind, code, "Hata")


@pytest.mark.parametrize("http_status", [204, 302, 401, 404, 429, 463, 500])
@pytest.mark.parametrize("code", [200, "201"])
def test_a_success_code_in_the_body_wins_over_any_http_status(
    code: int | str, http_status: int
) -> None:
    assert read(envelope(code=code), http_status).id == 5


def test_an_error_code_in_the_body_wins_over_an_http_error() -> None:
    assert error(envelope(code=463), http_status=401).code == 463


@pytest.mark.parametrize("body", [envelope(message="Yok"), envelope(code=None, message="Yok")])
def test_the_http_status_is_used_if_the_body_has_no_code(body: bytes) -> None:
    caught = error(body, http_status=463)
    assert (type(caught), caught.message) == (GroupNotFound, "Yok")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"response": {"status": 463}}'])
def test_the_http_status_is_used_if_the_body_has_no_envelope(body: bytes) -> None:
    caught = error(body, http_status=401)
    assert (type(caught), caught.message) == (AuthenticationFailed, "Unauthorized")


def test_an_error_without_a_body_and_without_a_standard_status_phrase_has_an_empty_message() -> (
    None
):
    caught = error(b"", http_status=463)
    assert (type(caught), caught.message) == (GroupNotFound, "")


WITHOUT_STATUS = json.dumps({"response": {"group": GROUP}}).encode()


@pytest.mark.parametrize("body", [envelope(), envelope(code=None), WITHOUT_STATUS])
def test_http_200_is_a_success_if_the_body_has_no_code(body: bytes) -> None:
    assert read(body).id == 5


@pytest.mark.parametrize(
    "code",
    [True, False, 200.0, "", "OK", "-200", "٢٠٠", [200], {}, -5, 2**63, "9" * 50, 10**50],
)
def test_an_invalid_status_code_in_the_body_is_refused(code: Any) -> None:
    assert flaw(envelope(code=code)) == "response.status.code is not a whole number"


@pytest.mark.parametrize("code", [True, 463.0, "OK", [463]])
def test_the_http_status_is_used_if_the_code_in_the_body_is_invalid(code: Any) -> None:
    assert type(error(envelope(code=code), http_status=463)) is GroupNotFound


@pytest.mark.parametrize("code", [0, 99, 199, 418, 600])
def test_an_undocumented_code_in_the_body_raises_api_error(code: int) -> None:
    caught = error(envelope(code=code))
    assert (type(caught), caught.code) == (ApiError, code)


@pytest.mark.parametrize("body", [b"<html>", b"", envelope(code=502)])
def test_a_server_error_raises_service_unavailable(body: bytes) -> None:
    with pytest.raises(ServiceUnavailable, match=r"^iletimerkezi is not available: .* 502 \("):
        read(body, 502)


@pytest.mark.parametrize("body", [b"", b"<html>", envelope()])
@pytest.mark.parametrize("http_status", [300, 304, 307, 399])
def test_a_redirect_is_refused_with_advice_to_check_the_base_url(
    http_status: int, body: bytes
) -> None:
    reason = rf"a redirect \({http_status}\).*credentials elsewhere: check ILETIMERKEZI_BASE_URL"
    with pytest.raises(UnexpectedResponse, match=reason):
        read(body, http_status)


def test_a_redirect_code_in_the_body_is_refused() -> None:
    with pytest.raises(UnexpectedResponse, match=r"a redirect \(302\)"):
        read(envelope(code="302"))


@pytest.mark.parametrize("http_status", [200, 204, 299])
def test_a_successful_answer_without_a_body_is_refused(http_status: int) -> None:
    assert flaw(b"", http_status) == "it is empty"


# The vendor's messages


@pytest.mark.parametrize("message", [None, 5, ["a"], {}, ""])
def test_a_vendor_message_of_the_wrong_type_is_dropped(message: Any) -> None:
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
def test_a_vendor_message_becomes_one_line_without_control_characters(
    message: str, shown: str
) -> None:
    assert error(envelope(code=463, message=message)).message == shown


def test_a_long_vendor_message_is_truncated() -> None:
    assert error(envelope(code=463, message="\n" + "ı" * 100_000)).message == "ı" * 200


def hide_secret(text: str) -> str:
    return text.replace("secret", "***")


@pytest.mark.parametrize("code", [400, 401, 463, 503])
def test_a_credential_in_a_vendor_message_is_redacted(code: int) -> None:
    body = envelope(code=code, message="no such key: secret")
    with pytest.raises(Exception, match=r"\(no such key: \*\*\*\)") as caught:
        read(body, redact=hide_secret)
    assert "secret" not in repr(caught.value) + repr(vars(caught.value))


def test_a_long_vendor_message_is_redacted_before_being_truncated() -> None:
    body = envelope(code=463, message="x" * 195 + "secret")
    with pytest.raises(GroupNotFound) as caught:
        read(body, redact=hide_secret)
    assert caught.value.message == "x" * 195 + "***"
