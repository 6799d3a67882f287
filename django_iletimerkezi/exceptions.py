"""The exceptions of fetches and of requests to the vendor.

Invalid settings raise Django's ``ImproperlyConfigured`` instead. The exceptions in this module
never contain a request, a response or credentials, and can be pickled.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Step = Literal["environment", "name", "connection", "tls", "answer"]
"""The steps of a request, in order."""

PATIENCE = 120
"""Longest ``Retry-After`` that we accept, in seconds. A crawl also stops retrying throttled groups
after this time without an answer. Most pauses are shorter, and people do not wait longer."""


class IletimerkeziError(Exception):
    """Base class of all exceptions in this module.

    ``asked_at`` is the time of the request (aware, UTC). ``step`` is the step that failed.
    ``is_fatal`` means that a request for any other group would fail too. ``is_throttled`` means
    that the vendor asked us to retry later. If the error ended a recursive fetch, ``failures`` maps
    group ids to the earlier errors of single groups. The error of a group is a ``django.db.Error``
    if the database cannot store the group's name. ``fetch`` is the ``Fetch`` that the exception
    ended or paused.
    """

    asked_at: datetime | None = None
    step: Step = "answer"
    is_fatal = False
    is_throttled = False
    failures: Mapping[int, Exception] = types.MappingProxyType({})
    fetch: Any = None


class ApiError(IletimerkeziError):
    """The vendor answered with an error. ``code`` is an int, and ``message`` is the vendor's text.

    Branch on ``code``, because the vendor promises stable codes, but not stable messages. Source:
    the vendor's error-code page.
    """

    advice: str | _StrPromise = gettext_lazy(
        "Look up the code in the vendor's documentation, or contact the vendor's support."
    )

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        text = _("iletimerkezi answered %(code)s (%(message)s).") % {
            "code": self.code,
            "message": self.message or _("no message"),
        }
        return f"{text} {self.advice}"


class BadRequest(ApiError):
    """400: the vendor could not read the request. Source: the vendor's page for get-group."""

    advice = gettext_lazy(
        "The vendor could not read the request: the API may have changed. "
        "Look for a newer release of django-iletimerkezi."
    )


class AuthenticationFailed(ApiError):
    """401: the key or the hash is wrong, or the account does not allow this machine or method.

    By far the most common cause is that “Allow API access” is off in the panel. Sources: the
    vendor's page for get-group (phone book methods), and other public pages of the vendor.
    """

    is_fatal = True
    advice = gettext_lazy(
        "Check the API key and the hash. In the vendor's panel (Settings, Security, Access "
        "Permissions), “Allow API access” must be on. If a fixed IP address is set there, it must "
        "be the address of this machine. Ask your customer representative whether the phone book "
        "methods are enabled for the account."
    )


class MethodNotFound(ApiError):
    """404: the API has no such method, or the method is not enabled for this account.

    The group may still exist. Source: the vendor's page for get-group.
    """

    is_fatal = True
    advice = gettext_lazy(
        "The API has no such method: check ILETIMERKEZI_BASE_URL. If other methods work, ask your "
        "customer representative to enable the phone book methods for the account."
    )


class GroupNotFound(ApiError):
    """463 or 462: the account has no group with this id.

    Sources: the vendor's page for get-group (463) and its error-code page (462).
    """

    advice = gettext_lazy("The account has no group with this id: look it up in the panel.")


class ServiceUnavailable(IletimerkeziError):
    """The vendor could not be reached, did not answer in time, or answered 429 or 5xx.

    ``code`` is the code of the answer, or None. ``retry_after`` is the time in seconds after which
    the vendor accepts requests again, or None. The vendor documents only 503. The other codes are
    common answers of servers and proxies. The causes and their attributes:

    - 429, and 502 to 504 with a ``Retry-After`` up to ``PATIENCE``: ``temporary`` and
      ``is_throttled``, because the same request may succeed soon;
    - 502 to 504 without ``Retry-After``, timeouts and broken connections: ``temporary``;
    - 429, or 502 to 504, with a longer ``Retry-After``: ``is_fatal``;
    - other codes from 500 to 599: all three attributes are False;
    - failures that are the same for every group, such as an unknown host: ``is_fatal``, and
      ``temporary`` if DNS or the network may recover.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        temporary: bool = True,
        is_fatal: bool = False,
        retry_after: float | None = None,
        step: Step = "answer",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.step = step
        self._may_pass = temporary
        self._is_fatal = is_fatal

    @property
    def temporary(self) -> bool:
        return self._may_pass and not self._is_far

    @property
    def is_fatal(self) -> bool:  # type: ignore[override]  # a property here
        return self._is_fatal or (self._may_pass and self._is_far)

    @property
    def _is_far(self) -> bool:
        return (self.retry_after or 0) > PATIENCE

    @property
    def is_throttled(self) -> bool:  # type: ignore[override]  # a property here
        return self.temporary and (self.code == 429 or self.retry_after is not None)

    def __str__(self) -> str:
        text = str(self.args[0])
        if self.retry_after is None:
            return text
        seconds = round(self.retry_after)
        wait = ngettext(
            "Try again in %(seconds)s second.", "Try again in %(seconds)s seconds.", seconds
        ) % {"seconds": seconds}
        return f"{text} {wait}"


class UnexpectedResponse(IletimerkeziError):
    """The vendor's answer is invalid.

    The message explains the error, and names the field if a field is invalid. Valid answers
    follow the vendor's pages for get-group and get-groups, but numbers may be strings, and lists
    may be objects with indices as keys. The vendor does not document invalid answers.
    """


class FetchPaused(IletimerkeziError):
    """The fetch has stored its answers and can be continued.

    ``state`` is ``queued``, or ``running`` for a phone book that waits for its parts. A pause
    is not an error, but ends a series of fetches like a fatal error.
    """

    is_fatal = True

    def __init__(self, state: str = "queued") -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return _("The fetch is not finished. All answers so far are stored.")


class FetchTakenOver(IletimerkeziError):
    """The fetch was cancelled, or another process took the fetch over. Nothing more was stored."""

    def __str__(self) -> str:
        return _("Stopped: the fetch was cancelled or taken over by another process.")


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    404: MethodNotFound,
    462: GroupNotFound,
    463: GroupNotFound,
}


def error_for(code: int, message: str) -> IletimerkeziError:
    """Return the exception for a code from the body or from the HTTP status of an answer."""
    if code == 429 or 500 <= code < 600:
        text = _(
            "iletimerkezi is not available: it answered %(code)s (%(message)s). "
            "If this persists, contact the vendor's support."
        ) % {"code": code, "message": message or _("no message")}
        return ServiceUnavailable(text, code=code, temporary=code in {429, 502, 503, 504})
    return _BY_CODE.get(code, ApiError)(code, message)
