"""No error, log line, error page or repr shows a credential."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import traceback

import pytest
from django.views.debug import ExceptionReporter

from django_iletimerkezi.api import Credentials
from django_iletimerkezi.exceptions import IletimerkeziError

from . import vendor
from .clients import make_client, set_backoff
from .vendor import HASH, KEY, Vendor, envelope, reply, well


def everything_in(error: BaseException) -> str:
    """Return all that an error may show: texts, attributes, and Django's error page."""
    page = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    texts: list[str] = [page]
    inner: BaseException | None = error
    while inner is not None:
        texts.append(f"{inner} {inner!r} {inner.args} {vars(inner)}")
        inner = inner.__cause__ or inner.__context__
    return " ".join(texts)


@pytest.mark.parametrize(
    "script",
    [
        reply(401, envelope(401, f"key {KEY}, hash {HASH}")),
        reply(503, envelope(503, f"key {KEY}, hash {HASH}")),
        reply(200, f"<html>{KEY} {HASH}".encode()),
        reply(200, b"no gzip", Content_Encoding="gzip"),
        well(count="x"),
        vendor.reset,
        vendor.hang,
        vendor.cut_off,
        vendor.flood,
        reply(307, Location="/"),
    ],
)
def test_errors_and_log_lines_show_no_credential(
    script: vendor.Script, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_backoff(monkeypatch, 0.02)
    caplog.set_level(logging.DEBUG)
    with Vendor(script) as server, make_client(server.url, timeout=0.3, retries=1) as client:
        with pytest.raises(IletimerkeziError) as caught:
            client.get_group(5)
    shown = everything_in(caught.value) + caplog.text + repr(client)
    assert KEY not in shown
    assert HASH not in shown
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def interrupt_then_hang(connection: vendor.Connection) -> None:
    # Repeated, because a signal just before the wait does not interrupt the wait.
    while not connection.stopping.wait(0.1):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)


class OutOfTimeError(Exception):
    """Raised by a signal in the middle of a request, as Celery's time limits are."""


def test_an_error_raised_by_a_signal_during_a_request_shows_no_credential() -> None:
    interrupts = []

    def interrupt(*args: object) -> None:
        interrupts.append(args)
        if len(interrupts) == 1:
            raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Vendor(interrupt_then_hang) as server, make_client(server.url) as client:
            with pytest.raises(OutOfTimeError) as caught:
                client.get_group(5)
    finally:
        signal.signal(signal.SIGALRM, before)
    shown = everything_in(caught.value)
    assert "_call" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert KEY not in shown
    assert HASH not in shown


def test_the_repr_of_credentials_shows_no_values() -> None:
    assert repr(Credentials(KEY, HASH)) == "Credentials()"


@pytest.mark.parametrize(("key", "hash_"), [("cdef", "abcdefgh"), ("abcdefgh", "cdef")])
def test_overlapping_key_and_hash_are_both_redacted(key: str, hash_: str) -> None:
    message = "hash abcdefgh, key cdef"
    assert Credentials(key, hash_).redact(message) == "hash ***, key ***"
