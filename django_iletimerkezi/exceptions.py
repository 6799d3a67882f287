"""What can go wrong between this app and the vendor.

Invalid settings raise Django's ``ImproperlyConfigured`` instead. No exception here holds a
request, a response or a credential, and each can be pickled.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Step = Literal["environment", "name", "connection", "tls", "answer"]
"""The steps of a request, in order."""

PATIENCE = 120
"""Seconds to wait for a vendor that asks us to come back later: most such pauses are shorter, and
nobody watches a command for longer."""


class IletimerkeziError(Exception):
    """Anything that went wrong between this app and the vendor.

    ``asked_at`` is when the request was sent (aware, UTC). ``step`` is the step that failed.
    ``is_fatal`` means that a request for any other group would fail as well, ``is_throttled``
    that the vendor asked us to come back later. If the error ended a recursive fetch,
    ``failures`` has the earlier errors of single groups, by id.
    """

    asked_at: datetime | None = None
    step: Step = "answer"
    is_fatal = False
    is_throttled = False
    failures: Mapping[int, IletimerkeziError] = types.MappingProxyType({})


class ApiError(IletimerkeziError):
    """The vendor answered with an error: an int ``code`` and the vendor's own ``message``.

    Branch on ``code``: the vendor promises stable codes, but not stable messages. Source: its
    error-code page. The codes of the subclasses come from its page for get-group.
    """

    advice: str | _StrPromise = gettext_lazy(
        "Look the code up in the vendor's documentation, or contact its support."
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
        "The vendor could not read the request: its API may have changed. "
        "Look for a newer release of django-iletimerkezi."
    )


class AuthenticationFailed(ApiError):
    """401: the key or the hash is wrong, or the account does not admit this machine.

    By far the most common cause is that “Allow API access” is off in the panel. Source: the
    vendor's other public pages.
    """

    is_fatal = True
    advice = gettext_lazy(
        "Check the API key, the hash, whether the account allows only a fixed IP address other "
        "than this machine's, and whether “Allow API access” is on in the vendor's panel "
        "(Settings, Security, Access Permissions)."
    )


class MethodNotFound(ApiError):
    """404: the API has no such method. It does not mean that a group is unknown.

    Source: the vendor's page for get-group.
    """

    is_fatal = True
    advice = gettext_lazy("The API has no such method: check ILETIMERKEZI_BASE_URL.")


class GroupNotFound(ApiError):
    """463 or 462: the account has no group with this id.

    Source: for 463 the vendor's page for get-group, for 462 its error-code page.
    """

    advice = gettext_lazy("The account has no group with this id: look it up in the panel.")


class ServiceUnavailable(IletimerkeziError):
    """The vendor could not be reached, did not answer in time, or answered 429 or 5xx.

    ``code`` is the vendor's, or None. ``retry_after`` is how many seconds the vendor asked us to
    wait, or None. ``temporary`` means that the same request may succeed within ``PATIENCE``. The
    vendor documents only 503; the other codes are common answers of servers and proxies.
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
    def is_fatal(self) -> bool:  # type: ignore[override]  # computed here
        """Whether a request for any other group would fail as well."""
        return self._is_fatal or (self._may_pass and self._is_far)

    @property
    def _is_far(self) -> bool:
        return (self.retry_after or 0) > PATIENCE

    @property
    def is_throttled(self) -> bool:  # type: ignore[override]  # computed here
        """Whether the vendor asked us to come back later."""
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
    """An invalid answer. The message names the field and the path to it.

    Source: none, the vendor documents no invalid answers. An answer is valid if it has the form
    on the vendor's page for get-group, or a variant that PHP writes.
    """


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    404: MethodNotFound,
    462: GroupNotFound,
    463: GroupNotFound,
}
_TEMPORARY = {429, 502, 503, 504}


def error_for(code: int, message: str) -> IletimerkeziError:
    """Return the exception for an error ``code``, from the answer's body or the HTTP status.

    ``message`` is the vendor's own, and may be empty.
    """
    if code == 429 or 500 <= code < 600:
        text = _(
            "iletimerkezi is not available: it answered %(code)s (%(message)s). "
            "If this persists, contact the vendor's support."
        ) % {"code": code, "message": message or _("no message")}
        return ServiceUnavailable(text, code=code, temporary=code in _TEMPORARY)
    return _BY_CODE.get(code, ApiError)(code, message)
