"""What an error of requests means for the person who reads it."""

from __future__ import annotations

import re
import socket
import ssl
from http.client import BadStatusLine, RemoteDisconnected
from typing import TYPE_CHECKING, TypeVar

import requests
import urllib3.exceptions
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..exceptions import IletimerkeziError, ServiceUnavailable, UnexpectedResponse
from .transport import CONNECTION_NOTE, TLS_NOTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..exceptions import Step

_E = TypeVar("_E", bound=BaseException)

_TIMEOUTS = (TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout)
_NO_CONNECTION = (urllib3.exceptions.NewConnectionError, requests.ConnectTimeout)
_UNPACKING = (urllib3.exceptions.DecodeError, requests.exceptions.ContentDecodingError)
_HEADERS = (urllib3.exceptions.InvalidHeader, requests.exceptions.InvalidHeader)
_BROKEN_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)

# What http.client says of a proxy's answer, and nothing of what the proxy itself does.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")

_STEPS: dict[str, Step] = {CONNECTION_NOTE: "connection", TLS_NOTE: "tls"}

_EXPIRED = gettext_lazy("the certificate has expired: check this machine's clock")
_TOO_EARLY = gettext_lazy("the certificate is not valid yet: check this machine's clock")
_STRANGER = gettext_lazy(
    "the certificate is not from an authority that is trusted here: check REQUESTS_CA_BUNDLE"
)
_OTHER_HOST = gettext_lazy("the certificate is for another host: check ILETIMERKEZI_BASE_URL")
_NO_TLS = gettext_lazy("what answers there speaks no TLS: check ILETIMERKEZI_BASE_URL")
_NO_BUNDLE = gettext_lazy(
    "the file that REQUESTS_CA_BUNDLE names has no certificate that can be read"
)

_VERDICTS = {
    # OpenSSL's X509_V_ERR_... of the same numbers.
    9: _TOO_EARLY,
    10: _EXPIRED,
    18: _STRANGER,
    19: _STRANGER,
    20: _STRANGER,
    21: _STRANGER,
    62: _OTHER_HOST,
    64: _OTHER_HOST,
}
_REASONS = {"WRONG_VERSION_NUMBER": _NO_TLS}
# The parts of OpenSSL that read files; what is wrong with a handshake is from the part SSL.
_LIBRARIES = {"X509": _NO_BUNDLE, "PEM": _NO_BUNDLE}


def explain(error: Exception, host: str, seconds: float) -> IletimerkeziError:
    """Return what to raise for an ``error`` of requests. It names the host, and holds no request.

    ``seconds`` is the timeout that the request had.
    """
    causes = tuple(_causes(error))
    if nonsense := _nonsense(causes):
        return UnexpectedResponse(nonsense % host)
    if _first(causes, (urllib3.exceptions.ProxyError,)):
        return ServiceUnavailable(
            _no_tunnel(host, causes), hits_every_request=True, step="connection"
        )
    if _first(causes, (socket.gaierror,)):
        return ServiceUnavailable(
            _("The name %s cannot be resolved: check ILETIMERKEZI_BASE_URL and DNS.") % host,
            hits_every_request=True,
            step="name",
        )
    if _first(causes, (ConnectionRefusedError,)):
        return ServiceUnavailable(
            _("%s refused the connection.") % host, hits_every_request=True, step="connection"
        )
    if any(_is_timeout(cause) for cause in causes):
        return ServiceUnavailable(
            _("%(host)s did not answer within %(seconds)g seconds.")
            % {"host": host, "seconds": seconds},
            step=_step(causes),
        )
    if _first(causes, (urllib3.exceptions.NewConnectionError,)):
        return ServiceUnavailable(
            _("No connection to %(host)s: %(error)s.")
            % {"host": host, "error": type(causes[-1]).__name__},
            hits_every_request=True,
            step="connection",
        )
    if _first(causes, (ssl.SSLError,)) and not _first(causes, _BROKEN_OFF):
        return _untrusted(host, causes)
    if isinstance(error, ValueError) or type(error) is OSError:
        return _impossible(host, error)
    return ServiceUnavailable(
        _("The connection to %(host)s broke (%(error)s).")
        % {"host": host, "error": type(causes[-1]).__name__},
        step=_step(causes),
    )


def _nonsense(causes: tuple[BaseException, ...]) -> str:
    """Return what is wrong with an answer from the host, for its name; empty if none came."""
    if _first(causes, _UNPACKING):
        return _("The answer from %s cannot be decompressed.")
    if _first(causes, _HEADERS):
        return _("The answer from %s has headers that make no sense.")
    if any(_is_no_http(cause) for cause in causes) and _step(causes) == "answer":
        return _("What answers at %s speaks no HTTP: check ILETIMERKEZI_BASE_URL.")
    return ""


def _no_tunnel(host: str, causes: tuple[BaseException, ...]) -> str:
    answers = filter(None, (_TUNNEL.match(str(cause)) for cause in causes))
    if answer := next(answers, None):
        return _(
            "The proxy did not connect to %(host)s, it answered %(status)s: "
            "check HTTPS_PROXY in the environment."
        ) % {"host": host, "status": answer[1]}
    return _("The proxy did not connect to %s: check HTTPS_PROXY in the environment.") % host


def _untrusted(host: str, causes: tuple[BaseException, ...]) -> ServiceUnavailable:
    error = _first(causes, (ssl.SSLError,))
    said = getattr(error, "verify_message", None) or getattr(error, "reason", None) or "TLS"
    verdict = _VERDICTS.get(getattr(error, "verify_code", 0))
    unread = _LIBRARIES.get(getattr(error, "library", ""))
    reason = verdict or unread or _REASONS.get(said) or said
    return ServiceUnavailable(
        _("No secure connection to %(host)s: %(reason)s.") % {"host": host, "reason": reason},
        temporary=False,
        hits_every_request=True,
        step="tls",
    )


def _impossible(host: str, error: Exception) -> ServiceUnavailable:
    """The request was not even tried: a bad address, or no file of certificates."""
    return ServiceUnavailable(
        _(
            "No request to %(host)s is possible (%(error)s): check ILETIMERKEZI_BASE_URL, "
            "and in the environment the proxy and the certificate bundle."
        )
        % {"host": host, "error": type(error).__name__},
        temporary=False,
        hits_every_request=True,
        step="environment",
    )


def _step(causes: tuple[BaseException, ...]) -> Step:
    notes = (note for cause in causes for note in getattr(cause, "__notes__", ()))
    return next((_STEPS[note] for note in notes if note in _STEPS), "answer")


def _is_timeout(cause: BaseException) -> bool:
    # urllib3 derives the error for any connection that fails from that for one that takes too long.
    return isinstance(cause, _TIMEOUTS) and not isinstance(cause, _NO_CONNECTION)


def _is_no_http(cause: BaseException) -> bool:
    # http.client derives the error for a connection that ends without a byte from that for others.
    return isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected)


def _first(causes: tuple[BaseException, ...], types: tuple[type[_E], ...]) -> _E | None:
    return next((cause for cause in causes if isinstance(cause, types)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it wraps, outermost first."""
    waiting, seen = [error], set()
    while waiting:
        error = waiting.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        wrapped = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
        waiting += [cause for cause in wrapped if isinstance(cause, BaseException)]
