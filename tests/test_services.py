"""What host projects call: fetch_group for one group, fetch_each for several, and get_client."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_iletimerkezi.exceptions import (
    AuthenticationFailed,
    GroupNotFound,
    ServiceUnavailable,
    UnexpectedResponse,
)
from django_iletimerkezi.mirror import recorder
from django_iletimerkezi.models import Fetch, Group
from django_iletimerkezi.services import GroupResult, Progress, fetch_each, fetch_group, get_client
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .forest import Forest
from .vendor import Vendor, reply, well

pytestmark = pytest.mark.django_db


def missing() -> set[int]:
    return set(Group.objects.missing().values_list("pk", flat=True))


def test_fetch_group_stores_the_answer_in_the_mirror(sandbox: Sandbox) -> None:
    result = fetch_group(97101)
    assert (result.created, result.changed, result.unchanged, result.missing) == (2, 0, 0, 0)
    assert result.group == Group.objects.get(name="Test 1", count=1, parent=None)
    assert Group.objects.get(pk=97489).parent == result.group


def test_the_stored_times_are_the_time_at_which_the_request_was_sent(sandbox: Sandbox) -> None:
    before = datetime.now(UTC)
    group = fetch_group(97101).group
    assert group.fetched_at == group.seen_at == Group.objects.get(pk=97489).seen_at
    assert before <= group.seen_at <= datetime.now(UTC)
    assert Group.objects.get(pk=97489).fetched_at is None


def test_no_transaction_is_open_during_a_request() -> None:
    ours, open_blocks = connections["default"], []

    def look(connection: vendor.Connection) -> None:
        open_blocks.append(len(ours.atomic_blocks))
        well()(connection)

    outside = len(ours.atomic_blocks)
    with Vendor(look) as server, override_settings(**server.settings):
        fetch_group(5)
    assert open_blocks == [outside]


def test_a_group_is_missing_after_a_463_and_returns_with_the_next_answer(sandbox: Sandbox) -> None:
    fetch_group(97101)
    sandbox.serve([])
    with pytest.raises(GroupNotFound):
        fetch_group(97101)
    assert missing() == {97101}
    sandbox.serve([{"id": 97101, "name": "Test 1", "count": 1}])
    assert fetch_group(97101).changed == 1
    assert missing() == {97489}


def test_a_463_for_a_group_that_is_not_in_the_mirror_stores_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(GroupNotFound):
        fetch_group(98)
    assert not Group.objects.exists()


def test_an_invalid_answer_leaves_the_mirror_unchanged(sandbox: Sandbox) -> None:
    fetch_group(97101)
    before = list(Group.objects.values())
    with Vendor(well(id=97101, count="?")) as server, override_settings(**server.settings):
        with pytest.raises(UnexpectedResponse):
            fetch_group(97101)
    assert list(Group.objects.values()) == before


def test_an_alias_is_logged_as_a_warning(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    result = fetch_group(5)
    assert (result.group.pk, result.aliases) == (97101, {5: 97101})
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("django_iletimerkezi", logging.WARNING)
    assert record.args == (5, 97101)


def test_warnings_are_recorded_with_the_fetch(sandbox: Sandbox) -> None:
    an_hour = timedelta(hours=1)
    sandbox.headers = {"Date": format_datetime(datetime.now(UTC) - an_hour, usegmt=True)}
    fetch_group(5)
    fetch = Fetch.objects.get()
    assert fetch.aliases == {"5": 97101}
    assert an_hour <= (fetch.clock_ahead or timedelta()) < 2 * an_hour
    assert not fetch.maybe_other_account


def test_a_client_passed_to_fetch_group_stays_open(sandbox: Sandbox) -> None:
    with get_client() as client:
        fetch_group(5, client=client)
        fetch_group(97489, client=client)
    assert sandbox.asked == [5, 97489]


def test_fetch_group_sends_one_request_and_at_most_15_sql_statements(sandbox: Sandbox) -> None:
    with CaptureQueriesContext(connection) as queries:
        fetch_group(1000)
    assert len(queries) <= 15
    assert sandbox.asked == [1000]


# Several groups


def test_fetch_each_yields_a_result_or_an_error_for_each_id(sandbox: Sandbox) -> None:
    fetched = list(fetch_each([97101, 98, 1410]))
    assert [(one.group_id, type(one.outcome)) for one in fetched] == [
        (97101, GroupResult),
        (98, GroupNotFound),
        (1410, GroupResult),
    ]


def test_fetch_each_stores_a_group_before_the_next_request(sandbox: Sandbox) -> None:
    fetches = fetch_each(iter([97101, 1410]))
    assert sandbox.asked == []
    next(fetches)
    assert sandbox.asked == [97101]
    assert set(Group.objects.values_list("pk", flat=True)) == {97101, 97489}
    assert [one.group_id for one in fetches] == [1410]


def test_fetch_each_fetches_whole_trees_with_one_client() -> None:
    reports: list[Progress] = []
    with Forest({1: [11, 12], 11: [], 2: [21], 21: []}) as server:
        with override_settings(**server.settings, ILETIMERKEZI_MAX_CONNECTIONS=1):
            first, second = fetch_each([1, 2], recursive=True, report=reports.append)
    assert (server.asked, server.connections) == ([1, 11, 12, 2, 21], 1)
    assert (set(first.progress.failures), set(second.progress.failures)) == ({12}, set())
    assert isinstance(first.outcome, GroupResult)
    assert set(first.outcome.failures) == {12}
    assert reports[0] is first.progress
    assert reports[-1] is second.progress


def test_fetch_each_continues_after_an_error_of_one_group() -> None:
    with Vendor(reply(503), well()) as server:
        with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
            first, second = fetch_each([4, 5])
    assert isinstance(first.outcome, ServiceUnavailable)
    assert isinstance(second.outcome, GroupResult)


def test_fetch_each_stops_after_a_fatal_error(sandbox: Sandbox) -> None:
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        (only,) = fetch_each([97101, 1410])
    assert (only.group_id, type(only.outcome)) == (97101, AuthenticationFailed)


def test_fetch_each_stops_after_a_database_error(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OperationalError("no")

    monkeypatch.setattr(recorder, "store", refuse)
    (only,) = fetch_each([97101, 1410])
    assert (sandbox.asked, type(only.outcome)) == ([97101], OperationalError)
    assert only.progress.unstored == 1


def test_fetch_each_refuses_a_negative_depth_before_any_request(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        list(fetch_each([97101], depth=-1))
    assert sandbox.asked == []


def test_fetch_each_without_credentials_raises_improperly_configured() -> None:
    with pytest.raises(ImproperlyConfigured):
        list(fetch_each([97101]))


# A changed setting takes effect at the next call.


def test_missing_credentials_raise_improperly_configured() -> None:
    with pytest.raises(ImproperlyConfigured, match="set ILETIMERKEZI_API_KEY and"):
        get_client()


@pytest.mark.parametrize(
    "wrong",
    [
        {"ILETIMERKEZI_API_HASH": None},
        {"ILETIMERKEZI_API_SECRET": "both"},
        {"ILETIMERKEZI_BASE_URL": "http://example.com/v1/"},
        {"ILETIMERKEZI_TIMEOUT": "30"},
        {"ILETIMERKEZI_RETRIES": -1},
        {"ILETIMERKEZI_MAX_CONNECTIONS": 0},
    ],
)
def test_an_invalid_setting_raises_improperly_configured(
    sandbox: Sandbox, wrong: dict[str, object]
) -> None:
    with override_settings(**wrong), pytest.raises(ImproperlyConfigured):
        get_client()


def test_a_changed_key_and_hash_are_sent_with_the_next_fetch() -> None:
    with Vendor(well()) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_API_KEY="other-key", ILETIMERKEZI_API_HASH="other"):
            fetch_group(5)
    assert b'{"key": "other-key", "hash": "other"}' in server.received[0]


def test_a_secret_is_sent_as_its_derived_hash() -> None:
    with Vendor(well()) as server, override_settings(**server.settings):
        with override_settings(
            ILETIMERKEZI_API_KEY="key",
            ILETIMERKEZI_API_HASH="",
            ILETIMERKEZI_API_SECRET="The quick brown fox jumps over the lazy dog",
        ):
            fetch_group(5)
    derived = b"3c918ae30061e17a8230bc81421bddc09b0f07eea0334b6467855a928a216756"
    assert derived in server.received[0]


def test_a_changed_base_url_takes_effect_at_the_next_fetch(sandbox: Sandbox) -> None:
    with Vendor(well()) as server, override_settings(ILETIMERKEZI_BASE_URL=server.url):
        fetch_group(5)
    assert (len(server.received), sandbox.asked) == (1, [])


def test_a_changed_timeout_takes_effect_at_the_next_fetch() -> None:
    with Vendor(vendor.hang) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_TIMEOUT=0.2, ILETIMERKEZI_RETRIES=0):
            with pytest.raises(ServiceUnavailable, match=r"within 0\.2 seconds"):
                fetch_group(5)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_changed_number_of_retries_takes_effect_at_the_next_fetch(retries: int) -> None:
    with Vendor(reply(503)) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_RETRIES=retries), pytest.raises(ServiceUnavailable):
            fetch_group(5)
    assert len(server.received) == retries + 1


@pytest.mark.parametrize("most", [1, 3])
def test_a_changed_number_of_connections_takes_effect_with_the_next_client(most: int) -> None:
    busy = vendor.Busy()
    with Vendor(busy) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_MAX_CONNECTIONS=most), get_client() as client:
            with ThreadPoolExecutor(6) as threads:
                list(threads.map(client.get_group, [5] * 6))
    assert busy.most == most
