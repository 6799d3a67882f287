"""Converts errors of the HTTP libraries into our exceptions, with messages for users."""

from __future__ import annotations

import re
import ssl
import traceback
from dataclasses import dataclass
from http.client import BadStatusLine, RemoteDisconnected
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from django.utils.translation import gettext_lazy as _
from urllib3 import exceptions as urllib3_errors

from ..exceptions import IletimerkeziError, ServiceUnavailable, Step, UnexpectedResponse

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class _Meaning:
    """The message for some error types. ``step`` is None for errors that can occur in any step.

    An error with a step is fatal, because all other requests would fail too.
    """

    message: _StrPromise
    types: tuple[type[BaseException], ...] = ()
    step: Step | None = None


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
    # These subclasses of BadStatusLine and SSLError mean only that the connection broke.
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
    ),
    _Meaning(
        _("The name %(host)s cannot be resolved: check ILETIMERKEZI_BASE_URL and DNS."),
        (urllib3_errors.NameResolutionError,),
        step="name",
    ),
    _Meaning(
        _("No connection to %(host)s (%(reason)s). %(advice)s"),
        (urllib3_errors.NewConnectionError,),
        step="connection",
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
    ),
)
_FILE = _Meaning(
    _(
        "Cannot open %(file)s: check REQUESTS_CA_BUNDLE and SSLKEYLOGFILE in the environment, and "
        "the permissions of the file."
    ),
    step="environment",
)
_NOT_SENT = _Meaning(
    _(
        "Cannot send requests to %(host)s (%(reason)s): check ILETIMERKEZI_BASE_URL, and the proxy "
        "and certificate variables in the environment."
    ),
    step="environment",
)
_ADVICE: dict[Step, _StrPromise] = {
    "connection": _("Check ILETIMERKEZI_BASE_URL, the proxy if there is one, and the firewall."),
    "tls": _("Check ILETIMERKEZI_BASE_URL: the server at this address may not support TLS."),
    "answer": _("Try again later, or raise ILETIMERKEZI_TIMEOUT."),
}

BUGS = (AttributeError, LookupError, NameError, TypeError)
"""Errors caused by a bug in our code, in a library, or in a tool that patches a library."""

_BUG = _(
    "This is a bug: %(error)s in %(file)s, line %(line)s, during a request to %(host)s. Report it "
    "with the versions of django-iletimerkezi, requests and urllib3."
)

# Extract only the status. The proxy wrote the text after the status, so users must not see this
# text.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")


def explain(error: Exception, host: str, seconds: float, step: Step) -> IletimerkeziError:
    """Convert a library's ``error`` into our exception, whose message never quotes the request.

    ``seconds`` is the timeout of the exchange. ``step`` is the step in which the error occurred.
    """
    # In the first step, requests raises TypeError for some values of environment variables.
    if isinstance(error, BUGS) and step != "environment":
        return _bug(error, host, step)
    causes = causes_of(error)
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
    # requests raises a plain OSError if a certificate bundle is missing.
    is_unsent = isinstance(error, (ValueError, *BUGS)) or type(error) is OSError
    otherwise = _FILE if values["file"] else _NOT_SENT if is_unsent else _BROKEN
    meaning = _find(_NO_ANSWER, causes) or otherwise
    step = meaning.step or step
    return ServiceUnavailable(
        meaning.message % {**values, "advice": _ADVICE.get(step, "")},
        # DNS and the network may recover. Environment and certificate errors must be corrected.
        temporary=meaning.step not in ("environment", "tls"),
        is_fatal=meaning.step is not None,
        step=step,
    )


def _bug(error: Exception, host: str, step: Step) -> IletimerkeziError:
    """Report only a bug's type and place, because the message could contain a credential."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    file, name = Path(frame.filename).name, type(error).__name__
    values = {"error": name, "file": file, "line": frame.lineno, "host": host}
    bug = IletimerkeziError(_BUG % values)
    bug.is_fatal, bug.step = True, step
    return bug


def causes_of(error: BaseException) -> list[BaseException]:
    """Return an error and all errors that it wraps, outermost first."""
    causes = [error]
    for outer in causes:
        wrapped = (*outer.args, getattr(outer, "reason", None), outer.__cause__, outer.__context__)
        for cause in wrapped:
            if isinstance(cause, BaseException) and cause not in causes:
                causes.append(cause)
    return causes


def _find(meanings: tuple[_Meaning, ...], causes: list[BaseException]) -> _Meaning | None:
    return next((m for m in meanings if any(isinstance(cause, m.types) for cause in causes)), None)


def _reason(causes: list[BaseException]) -> str:
    """Return the reason from OpenSSL, the system or requests, else the innermost error's type."""
    texts = (
        getattr(cause, name, None)
        for cause in reversed(causes)
        for name in ("verify_message", "reason", "strerror")
    )
    innermost = causes[-1]
    default = str(innermost) if type(innermost) is OSError else ""
    text = next((text for text in texts if isinstance(text, str)), default)
    return text.rstrip(".") or type(innermost).__name__
