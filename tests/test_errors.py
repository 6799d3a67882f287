"""How errors of requests become exceptions of this package."""

from __future__ import annotations

import pytest
import requests
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from django_iletimerkezi.api.errors import explain
from django_iletimerkezi.exceptions import ServiceUnavailable, Step

HOST = "api.example.test"


def wrapped(reason: Exception, cause: Exception) -> requests.ConnectionError:
    """Wrap an error of the system as requests does."""
    reason.__cause__ = cause
    return requests.ConnectionError(MaxRetryError(HTTPConnectionPool(HOST), "/", reason))


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (ConnectionRefusedError(), "ConnectionRefusedError"),
    ],
)
def test_a_failed_connection_is_fatal(cause: Exception, reason: str) -> None:
    error = explain(
        wrapped(NewConnectionError(HTTPConnection(HOST), ""), cause), HOST, 30, "connection"
    )
    assert isinstance(error, ServiceUnavailable)
    assert str(error) == (
        f"No connection to api.example.test ({reason}). "
        "Check ILETIMERKEZI_BASE_URL, the proxy if there is one, and the firewall."
    )
    assert (error.is_fatal, error.temporary, error.step) == (True, True, "connection")


def test_a_timeout_is_not_fatal() -> None:
    error = explain(ReadTimeoutError(HTTPConnectionPool(HOST), "/", ""), HOST, 30, "answer")
    assert str(error) == (
        "api.example.test did not answer within 30 seconds. "
        "Try again later, or raise ILETIMERKEZI_TIMEOUT."
    )
    assert (error.is_fatal, error.step) == (False, "answer")


@pytest.mark.parametrize("step", ["connection", "tls", "answer"])
def test_a_broken_connection_is_reported_with_the_last_reached_step(step: Step) -> None:
    error = explain(requests.ConnectionError(ConnectionResetError()), HOST, 30, step)
    assert error.step == step


def test_errors_with_cyclic_contexts_are_explained() -> None:
    one, other = OSError(), ConnectionError()
    one.__context__, other.__context__ = other, one
    assert str(explain(other, HOST, 30, "answer")).startswith(f"The connection to {HOST} broke (")
