from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import (
    connection,
    connections,
)
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_iletimerkezi.exceptions import GroupNotFound, ServiceUnavailable, UnexpectedResponse
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import fetch_group, get_client
from django_iletimerkezi.testing import Sandbox

from . import vendor
from .vendor import Vendor, reply, well

pytestmark = pytest.mark.django_db


def test_fetch_group_mirrors_what_the_vendor_answers(sandbox: Sandbox) -> None:
    result = fetch_group(97101)
    assert (result.created, result.changed, result.unchanged, result.missing) == (2, 0, 0, 0)
    assert result.group == Group.objects.get(name="Test 1", count=1, parent=None)
    assert Group.objects.get(pk=97489).parent == result.group


def test_times_are_those_at_which_requests_were_sent(sandbox: Sandbox) -> None:
    before = datetime.now(UTC)
    group = fetch_group(97101).group
    assert group.fetched_at == group.seen_at == Group.objects.get(pk=97489).seen_at
    assert before <= group.seen_at <= datetime.now(UTC)
    assert Group.objects.get(pk=97489).fetched_at is None


def test_nothing_is_asked_within_a_transaction_of_ours() -> None:
    ours, open_blocks = connections["default"], []

    def look(connection: vendor.Connection) -> None:
        open_blocks.append(len(ours.atomic_blocks))
        well()(connection)

    outside = len(ours.atomic_blocks)
    with Vendor(look) as server, override_settings(**server.settings):
        fetch_group(5)
    assert open_blocks == [outside]


def test_an_unknown_group_that_is_mirrored_is_marked_missing(sandbox: Sandbox) -> None:
    fetch_group(97101)
    sandbox.serve([])
    with pytest.raises(GroupNotFound):
        fetch_group(97101)
    assert set(Group.objects.missing().values_list("pk", flat=True)) == {97101}
    sandbox.serve([{"id": 97101, "name": "Test 1", "count": 1}])
    assert fetch_group(97101).changed == 1
    assert set(Group.objects.missing().values_list("pk", flat=True)) == {97489}


def test_an_unknown_group_that_is_not_mirrored_stores_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(GroupNotFound):
        fetch_group(98)
    assert not Group.objects.exists()


def test_an_answer_that_makes_no_sense_leaves_the_mirror_as_it_was(sandbox: Sandbox) -> None:
    fetch_group(97101)
    before = list(Group.objects.values())
    with Vendor(well(id=97101, count="?")) as server, override_settings(**server.settings):
        with pytest.raises(UnexpectedResponse):
            fetch_group(97101)
    assert list(Group.objects.values()) == before


def test_an_answer_about_another_group_is_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    assert fetch_group(5).group.pk == 97101
    warning = "Asked for group 5, the vendor answered about group 97101."
    assert caplog.record_tuples == [("django_iletimerkezi", logging.WARNING, warning)]


def test_a_client_that_is_passed_in_stays_open(sandbox: Sandbox) -> None:
    with get_client() as client:
        fetch_group(5, client=client)
        fetch_group(97489, client=client)
    assert sandbox.asked == [5, 97489]


def test_missing_credentials_are_improper_configuration() -> None:
    with pytest.raises(ImproperlyConfigured, match="set ILETIMERKEZI_API_KEY and"):
        get_client()


@pytest.mark.parametrize(
    "wrong",
    [
        {"ILETIMERKEZI_API_KEY": ""},
        {"ILETIMERKEZI_API_HASH": None},
        {"ILETIMERKEZI_API_SECRET": "both"},
        {"ILETIMERKEZI_BASE_URL": "http://example.com/v1/"},
        {"ILETIMERKEZI_TIMEOUT": "30"},
        {"ILETIMERKEZI_RETRIES": -1},
        {"ILETIMERKEZI_MAX_CONNECTIONS": 0},
    ],
)
def test_wrong_settings_are_improper_configuration(
    sandbox: Sandbox, wrong: dict[str, object]
) -> None:
    with override_settings(**wrong), pytest.raises(ImproperlyConfigured):
        get_client()


# Each setting counts from the next call on.


def test_key_and_hash_of_the_moment_are_sent() -> None:
    with Vendor(well()) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_API_KEY="other-key", ILETIMERKEZI_API_HASH="other"):
            fetch_group(5)
    assert b'{"key": "other-key", "hash": "other"}' in server.received[0]


def test_a_secret_instead_of_a_hash_is_sent_as_the_hash_derived_from_it() -> None:
    with Vendor(well()) as server, override_settings(**server.settings):
        with override_settings(
            ILETIMERKEZI_API_KEY="key",
            ILETIMERKEZI_API_HASH="",
            ILETIMERKEZI_API_SECRET="The quick brown fox jumps over the lazy dog",
        ):
            fetch_group(5)
    derived = b"3c918ae30061e17a8230bc81421bddc09b0f07eea0334b6467855a928a216756"
    assert derived in server.received[0]


def test_the_base_url_of_the_moment_is_asked(sandbox: Sandbox) -> None:
    with Vendor(well()) as server, override_settings(ILETIMERKEZI_BASE_URL=server.url):
        fetch_group(5)
    assert (len(server.received), sandbox.asked) == (1, [])


def test_the_timeout_of_the_moment_counts() -> None:
    with Vendor(vendor.hang) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_TIMEOUT=0.2, ILETIMERKEZI_RETRIES=0):
            start = time.monotonic()
            with pytest.raises(ServiceUnavailable, match=r"within 0\.2 seconds"):
                fetch_group(5)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("retries", [0, 1])
def test_the_number_of_retries_of_the_moment_counts(retries: int) -> None:
    with Vendor(reply(503)) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_RETRIES=retries), pytest.raises(ServiceUnavailable):
            fetch_group(5)
    assert len(server.received) == retries + 1


@pytest.mark.parametrize("most", [1, 3])
def test_the_number_of_connections_of_the_moment_counts(most: int) -> None:
    busy = vendor.Busy()
    with Vendor(busy) as server, override_settings(**server.settings):
        with override_settings(ILETIMERKEZI_MAX_CONNECTIONS=most), get_client() as client:
            with ThreadPoolExecutor(6) as threads:
                list(threads.map(client.get_group, [5] * 6))
    assert busy.most == most


def test_a_fetch_asks_once_and_needs_few_statements(sandbox: Sandbox) -> None:
    with CaptureQueriesContext(connection) as queries:
        fetch_group(1000)
    assert (len(queries), sandbox.asked) == (7, [1000])
