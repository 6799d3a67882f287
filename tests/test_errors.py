from __future__ import annotations

import pytest
import requests
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from django_iletimerkezi.api.errors import explain
from django_iletimerkezi.api.transport import CONNECTION_NOTE, TLS_NOTE
from django_iletimerkezi.exceptions import ServiceUnavailable

HOST = "api.example.test"


def wrapped(reason: Exception, cause: Exception) -> requests.ConnectionError:
    """Wrap an error of the system as requests does."""
    reason.__cause__ = cause
    return requests.ConnectionError(MaxRetryError(HTTPConnectionPool(HOST), "/", reason))


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (OSError(101, "Network is unreachable"), "No connection to api.example.test: OSError."),
        (ConnectionRefusedError(), "api.example.test refused the connection."),
    ],
)
def test_where_no_connection_comes_about_none_would_for_any_group(
    cause: Exception, line: str
) -> None:
    error = explain(wrapped(NewConnectionError(HTTPConnection(HOST), ""), cause), HOST, 30)
    assert isinstance(error, ServiceUnavailable)
    assert (str(error), error.hits_every_request, error.temporary) == (line, True, True)
    assert error.step == "connection"


def test_a_timeout_is_that_of_one_request() -> None:
    error = explain(ReadTimeoutError(HTTPConnectionPool(HOST), "/", ""), HOST, 30)
    assert str(error) == "api.example.test did not answer within 30 seconds."
    assert not error.hits_every_request
    assert error.step == "answer"


@pytest.mark.parametrize(
    ("notes", "step"),
    [
        ([TLS_NOTE], "tls"),
        ([CONNECTION_NOTE, TLS_NOTE], "connection"),
        (["Somebody else's."], "answer"),
    ],
)
def test_the_first_note_tells_at_which_step_an_error_came_up(notes: list[str], step: str) -> None:
    cause = ConnectionResetError()
    for note in notes:
        cause.add_note(note)
    assert explain(requests.ConnectionError(cause), HOST, 30).step == step


def test_errors_that_wrap_each_other_come_to_an_end() -> None:
    one, other = OSError(), ConnectionError()
    one.__context__, other.__context__ = other, one
    assert str(explain(other, HOST, 30)) == f"The connection to {HOST} broke (OSError)."
