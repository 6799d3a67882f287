from __future__ import annotations

import socket

import pytest

from django_iletimerkezi.api.transport import _DeadlineReader


def test_what_is_there_in_time_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, _DeadlineReader(ours, 5) as reader:
        theirs.sendall(b"abc")
        assert reader.read(2) == b"ab"


def test_once_the_time_is_over_nothing_is_read_even_if_it_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, _DeadlineReader(ours, 0) as reader:
        theirs.sendall(b"abc")
        with pytest.raises(TimeoutError):
            reader.read(1)
