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
    FetchPaused,
    FetchTakenOver,
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
    ServiceUnavailable("no answer", temporary=False, is_fatal=True, retry_after=30.0, step="tls"),
    UnexpectedResponse("invalid"),
    FetchPaused("running"),
    FetchTakenOver(),
]


def test_every_exception_class_is_tested() -> None:
    defined = {
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert defined == {type(error) for error in ALL}


@pytest.mark.parametrize("error", ALL)
def test_all_exceptions_share_one_base_class(error: IletimerkeziError) -> None:
    assert isinstance(error, IletimerkeziError)
    assert not isinstance(error, ImproperlyConfigured)


@pytest.mark.parametrize("error", ALL)
def test_exceptions_can_be_pickled_and_copied(error: IletimerkeziError) -> None:
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    for again in [*copies, copy.deepcopy(error)]:
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_pickling_an_error_keeps_the_time_of_the_request() -> None:
    error = GroupNotFound(463, "Böyle bir grup bulunamadı.")
    error.asked_at = datetime(2026, 5, 1, tzinfo=UTC)
    assert pickle.loads(pickle.dumps(error)).asked_at == error.asked_at


@pytest.mark.parametrize(
    ("code", "kind", "is_fatal"),
    [
        (400, BadRequest, False),
        (401, AuthenticationFailed, True),
        (404, MethodNotFound, True),
        (463, GroupNotFound, False),
        (402, ApiError, False),
        (422, ApiError, False),
        (462, GroupNotFound, False),
        (499, ApiError, False),
        (600, ApiError, False),
    ],
)
def test_error_codes_map_to_exceptions(code: int, kind: type[ApiError], is_fatal: bool) -> None:
    error = error_for(code, "Hata")
    assert isinstance(error, ApiError)
    assert (type(error), error.code, error.message) == (kind, code, "Hata")
    assert error.is_fatal == is_fatal


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
def test_only_429_502_503_and_504_are_temporary_errors(code: int, temporary: bool) -> None:
    error = error_for(code, "Hata")
    assert isinstance(error, ServiceUnavailable)
    assert (error.code, error.temporary, error.is_fatal) == (code, temporary, False)


@pytest.mark.parametrize(
    ("code", "message", "text"),
    [
        (400, "İstek çözümlenemedi", "400 (İstek çözümlenemedi). The vendor could not read"),
        (401, "Üyelik bilgileri hatalı", "401 (Üyelik bilgileri hatalı). Check the API key"),
        (404, "Yok", "404 (Yok). The API has no such method: check ILETIMERKEZI_BASE_URL."),
        (463, "Yok", "463 (Yok). The account has no group with this id"),
        (462, "Boş", "462 (Boş). The account has no group with this id"),
        (422, "Doğrulanamadı", "iletimerkezi answered 422 (Doğrulanamadı)."),
        (422, "", "iletimerkezi answered 422 (no message)."),
        (503, "Bakım", "iletimerkezi is not available: it answered 503 (Bakım)."),
        (503, "", "iletimerkezi is not available: it answered 503 (no message)."),
    ],
)
def test_errors_show_the_vendors_message_and_advice(code: int, message: str, text: str) -> None:
    assert text in str(error_for(code, message))


@pytest.mark.parametrize("place", ["key", "hash", "fixed IP", "Allow API access"])
def test_the_advice_for_401_names_each_possible_cause(place: str) -> None:
    assert place in str(AuthenticationFailed(401, "Üyelik bilgileri hatalı"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "No answer."),
        (1.0, "No answer. Try again in 1 second."),
        (90.4, "No answer. Try again in 90 seconds."),
        (7200, "No answer. Try again in 7200 seconds."),
    ],
)
def test_service_unavailable_says_when_to_try_again(seconds: float | None, text: str) -> None:
    assert str(ServiceUnavailable("No answer.", retry_after=seconds)) == text


def test_service_unavailable_is_temporary_by_default() -> None:
    error = ServiceUnavailable("No answer.")
    assert error.temporary
    assert not error.is_fatal


@pytest.mark.parametrize(("seconds", "is_short"), [(0, True), (120, True), (121, False)])
def test_an_error_with_a_retry_after_of_over_two_minutes_is_fatal(
    seconds: int, is_short: bool
) -> None:
    error = ServiceUnavailable("No answer.", retry_after=seconds)
    assert (error.temporary, error.is_throttled, error.is_fatal) == (
        is_short,
        is_short,
        not is_short,
    )


def test_permanent_errors_stay_permanent_with_a_retry_after() -> None:
    error = ServiceUnavailable("No answer.", temporary=False, retry_after=1)
    assert (error.temporary, error.is_throttled, error.is_fatal) == (False, False, False)


@pytest.mark.parametrize(("code", "is_throttled"), [(429, True), (503, False), (None, False)])
def test_only_429_counts_as_throttling_without_a_retry_after(
    code: int | None, is_throttled: bool
) -> None:
    assert ServiceUnavailable("No answer.", code=code).is_throttled == is_throttled


@pytest.mark.parametrize("error", ALL)
def test_errors_have_no_failures_of_other_groups_by_default(error: IletimerkeziError) -> None:
    assert dict(error.failures) == {}
