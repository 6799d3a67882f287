"""Each socket call and each SQL statement of a whole fetch fails once, in turn."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from django import db
from django.db import OperationalError, connection
from django.test import override_settings

from django_iletimerkezi import services
from django_iletimerkezi.exceptions import IletimerkeziError
from django_iletimerkezi.models import Group

from .clients import forest
from .databases import conflict
from .forest import Forest, describe, tree_of
from .vendor import HASH, KEY

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.no_cover]

GROUPS = 13
"""Three levels. More groups only repeat the same calls."""
TREE = tree_of(GROUPS, 3)
PARENTS = {child: parent for parent, children in TREE.items() for child in children}


class StopError(Exception):
    """Raised by a signal handler, as Celery's soft time limit is."""


class Stop(BaseException):
    """Raised by a signal handler, as SystemExit may be."""


def raising(make_error: Callable[[], BaseException]) -> Callable[..., Any]:
    def fail(*args: object) -> Any:
        raise make_error()

    return fail


def reset(sock: socket.socket, *args: Any) -> Any:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError(104, "Connection reset by peer")


def end_of_stream(sock: socket.socket, *args: Any) -> int:
    """End the stream: reading returns nothing, and writing fails."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    if args and isinstance(args[0], memoryview):
        return 0
    raise BrokenPipeError(32, "Broken pipe")


SOCKET_FAULTS = {
    "reset": reset,
    "timeout": raising(lambda: TimeoutError("timed out")),
    "end of stream": end_of_stream,
    "exception of a signal": raising(StopError),
    "base exception of a signal": raising(Stop),
}
DATABASE_FAULTS = {
    "passing error": raising(conflict),
    "lasting error": raising(lambda: OperationalError("disk I/O error")),
    "exception of a signal": raising(StopError),
    "base exception of a signal": raising(Stop),
}


class Fault:
    """Counts calls, and makes the call with one number fail."""

    def __init__(self, number: int, fail: Callable[..., Any]) -> None:
        self.calls = 0
        self._number = number
        self._fail = fail

    def __call__(self, usual: Callable[..., Any], *args: Any) -> Any:
        self.calls += 1
        return (self._fail if self.calls == self._number else usual)(*args)


@contextmanager
def faulty_sockets(fault: Fault, port: int) -> Iterator[None]:
    """Pass all socket calls for connections to a port through a fault."""

    def watch(name: str) -> Any:
        usual = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            if name == "connect":
                is_ours = args[0][1] == port
            else:
                is_ours = self.fileno() >= 0 and self.getpeername()[1] == port
            return fault(usual, self, *args) if is_ours else usual(self, *args)

        return mock.patch.object(socket.socket, name, call)

    with watch("connect"), watch("sendall"), watch("recv_into"):
        yield


@contextmanager
def faulty_database(fault: Fault) -> Iterator[None]:
    with connection.execute_wrapper(fault):
        yield


def fetch(server: Forest) -> BaseException | None:
    """Fetch the whole tree, and return the error that ended the fetch."""
    try:
        with override_settings(
            **server.settings,
            ILETIMERKEZI_RETRIES=0,
            ILETIMERKEZI_MAX_CONNECTIONS=1,
            ILETIMERKEZI_TIMEOUT=5,
        ):
            result = services.fetch_group(1, recursive=True)
    except (IletimerkeziError, db.Error, StopError, Stop) as error:
        return error
    assert len(result.failures) <= 1
    assert all(isinstance(error, IletimerkeziError) for error in result.failures.values())
    return None


def holds_credential(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray):
        text = value if isinstance(value, str) else bytes(value).decode(errors="replace")
        return KEY in text or HASH in text
    if isinstance(value, dict):
        return any(map(holds_credential, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_credential, value))
    try:
        return holds_credential(repr(value))
    except AttributeError:  # Django's compiler of raw queries has no working repr.
        return False


def assert_shows_no_credential(error: BaseException | None) -> None:
    while error is not None:
        assert not holds_credential(error.args)
        for frame, _line in traceback.walk_tb(error.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                for name, value in frame.f_locals.items():
                    assert not holds_credential(value), (frame.f_code, name)
        error = error.__cause__ or error.__context__


def assert_rows_are_true() -> None:
    for group in Group.objects.all():
        assert (group.name, group.count) == (
            describe(group.pk)["name"],
            describe(group.pk)["count"],
        )
        assert group.parent_id in {PARENTS.get(group.pk), None}
        assert group.missing_since is None


def assert_complete() -> None:
    assert dict(Group.objects.values_list("pk", "parent_id")) == {
        pk: PARENTS.get(pk) for pk in range(1, GROUPS + 1)
    }
    assert not Group.objects.filter(fetched_at=None).exists()


def check(
    server: Forest, watch: Callable[[Fault], Any], fail: Callable[..., Any], start: int, step: int
) -> None:
    """Make the calls of a fetch fail in turn, and fetch again after each failure."""
    count = Fault(0, fail)
    with watch(count):
        assert fetch(server) is None
    assert count.calls > 3
    for number in range(start, count.calls + 1, step):
        Group.objects.all().delete()
        fault = Fault(number, fail)
        with watch(fault):
            error = fetch(server)
        assert_shows_no_credential(error)
        assert_rows_are_true()
        assert fetch(server) is None
        assert_complete()


# urllib3 closes a socket after an OSError only.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("start", "name"), list(enumerate(SOCKET_FAULTS, start=1)))
def test_a_fault_in_any_socket_call_leaves_correct_rows(start: int, name: str) -> None:
    """Each kind of fault hits every fifth call, so that both sending and receiving fail."""
    with forest(TREE) as server:
        port = server._server.server_port
        step = len(SOCKET_FAULTS)
        check(server, lambda fault: faulty_sockets(fault, port), SOCKET_FAULTS[name], start, step)


@pytest.mark.parametrize("name", DATABASE_FAULTS)
def test_a_fault_in_any_sql_statement_leaves_correct_rows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: 0)
    with forest(TREE) as server:
        check(server, faulty_database, DATABASE_FAULTS[name], start=1, step=1)
