"""Explains HTTP library errors to people."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import BadStatusLine, RemoteDisconnected
from typing import TYPE_CHECKING, Any

import requests
from django.utils.translation import gettext_lazy as _
from urllib3 import exceptions as urllib3_errors

from ..exceptions import IletimerkeziError, ServiceUnavailable, Step, UnexpectedResponse

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What some error types mean. ``step`` is None if any step may raise them."""

    message: _StrPromise
    types: tuple[type[BaseException], ...] = ()
    step: Step | None = None
    temporary: bool = True
    is_fatal: bool = False


_INVALID_ANSWERS = (
    _Meaning(
        _("The answer from %(host)s cannot be decompressed."),
        (urllib3_errors.DecodeError, requests.exceptions.ContentDecodingError),
    ),
    _Meaning(
        _("The answer from %(host)s has invalid headers."),
        (urllib3_errors.InvalidHeader, requests.exceptions.InvalidHeader),
    ),
    _Meaning(_("%(host)s does not speak HTTP: check ILETIMERKEZI_BASE_URL."), (BadStatusLine,)),
)
_BROKEN = _Meaning(
    _("The connection to %(host)s broke (%(reason)s). %(advice)s"),
    # Subclasses of BadStatusLine and SSLError, but with another meaning.
    (RemoteDisconnected, ssl.SSLEOFError, ssl.SSLZeroReturnError),
)
_NO_ANSWER = (
    _Meaning(
        _(
            "The proxy did not connect to %(host)s%(status)s: check HTTPS_PROXY and ALL_PROXY in "
            "the environment."
        ),
        (urllib3_errors.ProxyError,),
        step="connection",
        is_fatal=True,
    ),
    _Meaning(
        _("The name %(host)s cannot be resolved: check ILETIMERKEZI_BASE_URL and DNS."),
        (urllib3_errors.NameResolutionError,),
        step="name",
        is_fatal=True,
    ),
    _Meaning(
        _("No connection to %(host)s (%(reason)s). %(advice)s"),
        (urllib3_errors.NewConnectionError,),
        step="connection",
        is_fatal=True,
    ),
    _Meaning(
        _("%(host)s did not answer within %(seconds)g seconds. %(advice)s"),
        (TimeoutError, urllib3_errors.TimeoutError, requests.Timeout),
    ),
    _BROKEN,
    _Meaning(
        _(
            "No secure connection to %(host)s (%(reason)s). Check ILETIMERKEZI_BASE_URL, "
            "REQUESTS_CA_BUNDLE and the clock of this machine."
        ),
        (ssl.SSLError, urllib3_errors.SSLError),
        step="tls",
        temporary=False,
        is_fatal=True,
    ),
)
_FILE = _Meaning(
    _(
        "Cannot open %(file)s: check REQUESTS_CA_BUNDLE and SSLKEYLOGFILE in the environment, and "
        "the permissions of the file."
    ),
    step="environment",
    temporary=False,
    is_fatal=True,
)
_NOT_SENT = _Meaning(
    _(
        "Cannot send requests to %(host)s (%(reason)s): check ILETIMERKEZI_BASE_URL, and the proxy "
        "and the certificate bundle in the environment."
    ),
    step="environment",
    temporary=False,
    is_fatal=True,
)
_ADVICE: dict[Step, _StrPromise] = {
    "connection": _("Check ILETIMERKEZI_BASE_URL, the proxy if there is one, and the firewall."),
    "tls": _("Check ILETIMERKEZI_BASE_URL: the server there may not speak TLS."),
    "answer": _("Try again later, or raise ILETIMERKEZI_TIMEOUT."),
}

# The message of http.client also has the proxy's own text, which must not be shown.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")


def explain(error: Exception, host: str, seconds: float, step: Step) -> IletimerkeziError:
    """Return our exception for a library's ``error``, with the host but no request.

    ``seconds`` is the timeout of the exchange, ``step`` the step that it had reached.
    """
    causes = list(iterate_causes(error))
    statuses = (_TUNNEL.match(str(cause)) for cause in causes)
    values: dict[str, Any] = {
        "host": host,
        "seconds": round(seconds, 2),
        "reason": _reason(causes),
        "file": next(filter(None, (getattr(cause, "filename", None) for cause in causes)), ""),
        "status": next((f" ({found[1]})" for found in statuses if found), ""),
    }
    invalid = _find(_INVALID_ANSWERS, causes)
    if invalid and step == "answer" and not _find((_BROKEN,), causes):
        return UnexpectedResponse(invalid.message % values)
    # requests raises a bare OSError if a certificate bundle is missing.
    is_unsent = isinstance(error, ValueError | TypeError) or type(error) is OSError
    otherwise = _FILE if values["file"] else _NOT_SENT if is_unsent else _BROKEN
    meaning = _find(_NO_ANSWER, causes) or otherwise
    step = meaning.step or step
    return ServiceUnavailable(
        meaning.message % {**values, "advice": _ADVICE.get(step, "")},
        temporary=meaning.temporary,
        is_fatal=meaning.is_fatal,
        step=step,
    )


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that it wraps, outermost first."""
    waiting, seen = [error], set()
    while waiting:
        error = waiting.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        wrapped = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
        waiting += [cause for cause in wrapped if isinstance(cause, BaseException)]


def _find(meanings: tuple[_Meaning, ...], causes: list[BaseException]) -> _Meaning | None:
    fitting = (
        meaning for meaning in meanings if any(isinstance(cause, meaning.types) for cause in causes)
    )
    return next(fitting, None)


def _reason(causes: list[BaseException]) -> str:
    """Return the reason given by OpenSSL, the system or requests, else the innermost type."""
    texts = (
        getattr(cause, name, None)
        for cause in reversed(causes)
        for name in ("verify_message", "reason", "strerror")
    )
    innermost = causes[-1]
    default = str(innermost) if type(innermost) is OSError else ""
    text = next((text for text in texts if isinstance(text, str)), default)
    return text.rstrip(".") or type(innermost).__name__
