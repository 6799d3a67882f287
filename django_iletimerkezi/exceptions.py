"""What can go wrong between this app and the vendor.

Wrong settings are not in this tree: they raise Django's ``ImproperlyConfigured``.
No exception here holds a request, a response or a credential, and each can be pickled.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from django.utils.functional import _StrPromise

Step = Literal["environment", "name", "connection", "tls", "answer"]
"""The steps of a request, in order."""


_NO_SUCH_GROUP = gettext_lazy("The account has no group with this id: look the id up in the panel.")


class IletimerkeziError(Exception):
    """Anything that went wrong between this app and the vendor.

    ``asked_at`` is when the request was sent (aware, UTC); the client sets it.
    ``hits_every_request`` tells that asking for any other group would end in the same way;
    ``is_throttled`` that the vendor asked to come back later. ``failures`` has, by id, what had
    gone wrong with single groups before this error ended a recursive fetch. ``step`` is the step
    of the request that failed; the ones before it went well.
    """

    asked_at: datetime | None = None
    hits_every_request = False
    is_throttled = False
    failures: Mapping[int, IletimerkeziError] = types.MappingProxyType({})
    step: Step = "answer"


class ApiError(IletimerkeziError):
    """The vendor answered with an error ``code`` (an int) and its own ``message`` for it.

    Branch on ``code``: the vendor calls its codes stable and its messages not. Source: its
    error-code page. The codes of the subclasses are those of its page for get-group.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def advice(self) -> str | _StrPromise:
        # 462: the id is empty, or not one of the account's. Source: the vendor's error-code page.
        return _NO_SUCH_GROUP if self.code == 462 else ""

    def __str__(self) -> str:
        said = _("iletimerkezi answered %(code)s (%(message)s).") % {
            "code": self.code,
            "message": self.message or _("no message"),
        }
        return f"{said} {self.advice}".rstrip()


class BadRequest(ApiError):
    """400: the vendor could not read the request. Source: the vendor's page for get-group."""

    advice = gettext_lazy(
        "The vendor could not read the request: its API may have changed. "
        "Look for a newer release of django-iletimerkezi."
    )


class AuthenticationFailed(ApiError):
    """401: key or hash is wrong, or the account does not admit this machine.

    By far the most common cause is that “Allow API access” is off in the panel. Source: the
    vendor's other public pages.
    """

    hits_every_request = True
    advice = gettext_lazy(
        "Check the API key, the hash, whether the account is tied to a fixed IP address other "
        "than this machine's, and whether “Allow API access” is on in the vendor's panel "
        "(Settings, Security, Access Permissions)."
    )


class MethodNotFound(ApiError):
    """404: the address has no such API method. It does not mean that a group is unknown.

    Source: the vendor's page for get-group.
    """

    hits_every_request = True
    advice = gettext_lazy("There is no such API method: check ILETIMERKEZI_BASE_URL.")


class GroupNotFound(ApiError):
    """463: the account has no group with this id. Source: the vendor's page for get-group."""

    advice = _NO_SUCH_GROUP


class ServiceUnavailable(IletimerkeziError):
    """Nobody was reached, no answer came in time, or the vendor answered 429 or 5xx.

    ``code`` is what the vendor answered, None where it did not; ``temporary`` tells whether the
    same request may succeed a little later; ``retry_after`` is how many seconds the vendor asked
    to wait, None if it did not. The vendor documents 503 alone of these; the others are what
    servers and proxies commonly answer.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        temporary: bool = True,
        hits_every_request: bool = False,
        retry_after: float | None = None,
        step: Step = "answer",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.temporary = temporary
        self.hits_every_request = hits_every_request
        self.retry_after = retry_after
        self.step = step

    @property
    def is_throttled(self) -> bool:  # type: ignore[override]  # here it follows from the rest
        """Whether the vendor asked to come back later."""
        return self.temporary and (self.code == 429 or self.retry_after is not None)

    def __str__(self) -> str:
        said = str(self.args[0])
        if self.retry_after is None:
            return said
        seconds = round(self.retry_after)
        wait = ngettext(
            "Try again in %(seconds)s second.", "Try again in %(seconds)s seconds.", seconds
        ) % {"seconds": seconds}
        return f"{said} {wait}"


class UnexpectedResponse(IletimerkeziError):
    """An answer that makes no sense. The message names the field and the path to it.

    Source: none; the vendor documents no such answers. What makes sense is what its page for
    get-group shows, and what servers in PHP make of the same.
    """


_BY_CODE: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    404: MethodNotFound,
    463: GroupNotFound,
}
_TEMPORARY = {429, 502, 503, 504}


def error_for(code: int, message: str) -> IletimerkeziError:
    """Return the exception for an error ``code``, from the answer's body or the HTTP status.

    ``message`` is the vendor's own, and may be empty.
    """
    if code == 429 or 500 <= code < 600:
        said = _("iletimerkezi is not available: it answered %(code)s (%(message)s).") % {
            "code": code,
            "message": message or _("no message"),
        }
        return ServiceUnavailable(said, code=code, temporary=code in _TEMPORARY)
    return _BY_CODE.get(code, ApiError)(code, message)
