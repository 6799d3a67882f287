"""What may stand between a project and its first fetched group, looked at step by step.

One request tells most of it: the step at which it fails is known from the client's error, and
those before it went well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, router
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .checks import check_settings
from .conf import conf
from .exceptions import (
    ApiError,
    IletimerkeziError,
    MethodNotFound,
    ServiceUnavailable,
    Step,
)
from .messages import describe_refusal
from .models import Group, MirrorLock
from .services import get_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.utils.functional import _StrPromise

Verdict = Literal["ok", "no", "not tried"]

STEPS: tuple[Step, ...] = get_args(Step)

_NAMES: dict[Step, str | _StrPromise] = {
    "environment": gettext_lazy("environment"),
    "name": gettext_lazy("host name"),
    "connection": gettext_lazy("connection"),
    "tls": gettext_lazy("TLS"),
    "answer": gettext_lazy("key and hash"),
}

_ADVICE: dict[Step, str | _StrPromise] = {
    "connection": gettext_lazy(
        "Check host and port in ILETIMERKEZI_BASE_URL, and whether a firewall lets this machine "
        "out to them."
    ),
    "tls": gettext_lazy(
        "If something in between opens secure connections, such as a company's proxy, "
        "put its authority into the file that REQUESTS_CA_BUNDLE names."
    ),
    "answer": gettext_lazy("Try again later, or with a longer ILETIMERKEZI_TIMEOUT."),
}

# What is not named a second time, in advice on an error that names it.
_BLAMED = ("ILETIMERKEZI_BASE_URL", "HTTPS_PROXY")


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one check: its ``name``, its ``verdict``, and in ``said`` why.

    Where the verdict is no, ``said`` ends in what to try next. It never holds a credential.
    """

    name: str
    verdict: Verdict
    said: str = ""


def examine(group_id: int) -> Iterator[Finding]:
    """Yield a finding for each check in turn, asking the vendor for one group on the way.

    The request, with the repetitions that the settings allow, takes ``ILETIMERKEZI_TIMEOUT``
    seconds at most, and what the system's resolver takes. Nothing is written.
    """
    flaws = [f"{flaw.msg} {flaw.hint}" for flaw in check_settings()]
    for flaw in flaws:
        yield Finding(_("settings"), "no", flaw)
    if flaws:
        yield from (Finding(str(_NAMES[step]), "not tried") for step in STEPS)
    else:
        yield Finding(_("settings"), "ok")
        yield from _examine_request(group_id)
    yield _examine_tables()


def _examine_request(group_id: int) -> Iterator[Finding]:
    with get_client() as client:
        uses_proxy = client.uses_proxy
        failure = None
        try:
            client.ask(group_id, within=conf.timeout)
        except IletimerkeziError as error:
            failure = error
    failed = None if failure is None or _is_unknown_group(failure) else failure
    reached = STEPS.index(failed.step) if failed else len(STEPS)
    for number, step in enumerate(STEPS):
        if failed and number == reached:
            yield Finding(_name(failed), "no", _describe(failed, uses_proxy=uses_proxy))
        elif number > reached:
            yield Finding(str(_NAMES[step]), "not tried")
        else:
            yield _passed(step, uses_proxy=uses_proxy, is_known=failure is None)


def _is_unknown_group(failure: IletimerkeziError) -> bool:
    """Tell whether only the group is not there, which proves key and hash as one that is does."""
    return isinstance(failure, ApiError) and failure.code in (462, 463)


def _name(failure: IletimerkeziError) -> str:
    """Return what failed: of key and hash only an answer about the request tells."""
    is_told = isinstance(failure, ApiError) and not isinstance(failure, MethodNotFound)
    return _("answer") if failure.step == "answer" and not is_told else str(_NAMES[failure.step])


def _passed(step: Step, *, uses_proxy: bool, is_known: bool) -> Finding:
    name, url = str(_NAMES[step]), urlsplit(conf.base_url)
    if step == "environment":
        return Finding(name, "ok", _("with a proxy") if uses_proxy else _("no proxy"))
    if step == "name" and uses_proxy:
        return Finding(name, "not tried", _("the proxy looks it up"))
    if step == "tls" and url.scheme == "http":
        return Finding(name, "not tried", _("http to this machine has none"))
    if step == "answer":
        said = "" if is_known else _("there is no such group, which proves them just as well")
        return Finding(name, "ok", said)
    return Finding(name, "ok", url.netloc if step == "connection" else url.hostname or "")


def _describe(failure: IletimerkeziError, *, uses_proxy: bool) -> str:
    """Return what failed and what to try next, most of which the client's errors say themselves."""
    said, advice = str(failure), _advice(failure, uses_proxy=uses_proxy)
    is_said = any(name in advice and name in said for name in _BLAMED)
    return said if is_said else f"{said} {advice}".rstrip()


def _advice(failure: IletimerkeziError, *, uses_proxy: bool) -> str:
    if isinstance(failure, ServiceUnavailable):
        if failure.code is not None:
            return _("If it is so again later, ask the vendor's support.")
        if failure.step == "connection" and uses_proxy:
            return _("Check HTTPS_PROXY in the environment.")
        if failure.step == "tls" and failure.temporary:
            # It hung up or said nothing. What is wrong with a certificate does not mend itself.
            return _(
                "Check host and port in ILETIMERKEZI_BASE_URL: what listens there may speak no TLS."
            )
        return str(_ADVICE.get(failure.step, ""))
    if not isinstance(failure, ApiError):
        return _("Check ILETIMERKEZI_BASE_URL, and whether another answers in the vendor's place.")
    if failure.advice:
        return ""
    return _(
        "Look this code up in the vendor's documentation, or ask its support. If neither knows it, "
        "another may answer in the vendor's place: check ILETIMERKEZI_BASE_URL."
    )


def _examine_tables() -> Finding:
    name = _("tables of the mirror")
    try:
        using = router.db_for_write(Group)
        # All columns of one row, so that it fails too where a later migration is missing.
        Group.objects.using(using).order_by().first()
        MirrorLock.objects.using(using).order_by().first()
    except Error as error:
        return Finding(name, "no", describe_refusal(error))
    except ImproperlyConfigured:
        return Finding(name, "no", _("There is no database: check DATABASES in the settings."))
    return Finding(name, "ok")
