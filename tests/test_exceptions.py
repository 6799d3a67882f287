from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_iletimerkezi import exceptions
from django_iletimerkezi.exceptions import (
    ApiError,
    AuthenticationFailed,
    BadRequest,
    GroupNotFound,
    IletimerkeziError,
    MethodNotFound,
    ServiceUnavailable,
    UnexpectedResponse,
    error_for,
)

ALL = [
    IletimerkeziError("failed"),
    ApiError(422, "Doğrulanamadı"),
    ApiError(462, "Grup id alanını boş bırakamazsınız."),
    BadRequest(400, "İstek çözümlenemedi"),
    AuthenticationFailed(401, "Üyelik bilgileri hatalı"),
    MethodNotFound(404, "API istek yapılan yönteme sahip değil"),
    GroupNotFound(463, "Böyle bir grup bulunamadı."),
    ServiceUnavailable("nobody there", temporary=False, retry_after=30.0),
    UnexpectedResponse("makes no sense"),
]


def test_every_kind_of_error_is_tried_here() -> None:
    kinds = {kind for kind in vars(exceptions).values() if isinstance(kind, type)}
    assert kinds == {type(error) for error in ALL}


@pytest.mark.parametrize("error", ALL)
def test_one_except_clause_catches_them_all(error: IletimerkeziError) -> None:
    assert isinstance(error, IletimerkeziError)
    assert not isinstance(error, ImproperlyConfigured)


@pytest.mark.parametrize("error", ALL)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(error: IletimerkeziError, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("error", ALL)
def test_an_error_survives_copying(error: IletimerkeziError) -> None:
    again = copy.deepcopy(error)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_time_of_the_request_survives_pickling() -> None:
    error = GroupNotFound(463, "Böyle bir grup bulunamadı.")
    error.asked_at = datetime(2026, 5, 1, tzinfo=UTC)
    assert pickle.loads(pickle.dumps(error)).asked_at == error.asked_at


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequest),
        (401, AuthenticationFailed),
        (404, MethodNotFound),
        (463, GroupNotFound),
        (402, ApiError),
        (422, ApiError),
        (462, ApiError),
        (499, ApiError),
        (600, ApiError),
    ],
)
def test_a_code_has_its_own_kind_of_error(code: int, kind: type[ApiError]) -> None:
    error = error_for(code, "Hata")
    assert isinstance(error, ApiError)
    assert (type(error), error.code, error.message) == (kind, code, "Hata")


@pytest.mark.parametrize(
    ("code", "temporary"),
    [
        (429, True),
        (500, False),
        (501, False),
        (502, True),
        (503, True),
        (504, True),
        (505, False),
        (599, False),
    ],
)
def test_a_server_error_says_whether_it_may_pass(code: int, temporary: bool) -> None:
    error = error_for(code, "Hata")
    assert isinstance(error, ServiceUnavailable)
    assert (error.temporary, error.retry_after) == (temporary, None)
    assert str(error) == f"iletimerkezi is not available: it answered {code} (Hata)."


def test_a_server_error_without_a_message_says_so() -> None:
    expected = "iletimerkezi is not available: it answered 503 (no message)."
    assert str(error_for(503, "")) == expected


@pytest.mark.parametrize(
    ("code", "message", "text"),
    [
        (
            400,
            "İstek çözümlenemedi",
            "iletimerkezi answered 400 (İstek çözümlenemedi). The vendor could not read the "
            "request: its API may have changed. Look for a newer release of django-iletimerkezi.",
        ),
        (
            401,
            "Üyelik bilgileri hatalı",
            "iletimerkezi answered 401 (Üyelik bilgileri hatalı). Check the API key, the hash, "
            "whether the account is tied to a fixed IP address other than this machine's, and "
            "whether “Allow API access” is on in the vendor's panel (Settings, Security, "
            "Access Permissions).",
        ),
        (
            404,
            "API istek yapılan yönteme sahip değil",
            "iletimerkezi answered 404 (API istek yapılan yönteme sahip değil). "
            "There is no such API method: check ILETIMERKEZI_BASE_URL.",
        ),
        (
            463,
            "Böyle bir grup bulunamadı.",
            "iletimerkezi answered 463 (Böyle bir grup bulunamadı.). "
            "The account has no group with this id: look the id up in the panel.",
        ),
        (
            462,
            "Grup id alanını boş bırakamazsınız.",
            "iletimerkezi answered 462 (Grup id alanını boş bırakamazsınız.). "
            "The account has no group with this id: look the id up in the panel.",
        ),
        (422, "Doğrulanamadı", "iletimerkezi answered 422 (Doğrulanamadı)."),
        (422, "", "iletimerkezi answered 422 (no message)."),
    ],
)
def test_an_error_says_what_the_vendor_said_and_what_to_do(
    code: int, message: str, text: str
) -> None:
    assert str(error_for(code, message)) == text


@pytest.mark.parametrize("place", ["key", "hash", "fixed IP", "Allow API access"])
def test_the_advice_for_401_names_each_place_to_look_at(place: str) -> None:
    assert place in str(AuthenticationFailed(401, "Üyelik bilgileri hatalı"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "nobody there."),
        (1.0, "nobody there. Try again in 1 second."),
        (90.4, "nobody there. Try again in 90 seconds."),
        (7200, "nobody there. Try again in 7200 seconds."),
    ],
)
def test_an_unavailable_service_says_when_to_try_again(seconds: float | None, text: str) -> None:
    assert str(ServiceUnavailable("nobody there.", retry_after=seconds)) == text


def test_an_unavailable_service_is_thought_to_come_back() -> None:
    assert ServiceUnavailable("nobody there.").temporary
