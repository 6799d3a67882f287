"""Checks everything that a fetch needs, step by step.

One request covers most checks: its error names the step that failed, so the earlier steps
succeeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from django import db
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from .checks import check_settings
from .conf import conf
from .exceptions import ApiError, GroupNotFound, IletimerkeziError, MethodNotFound, Step
from .messages import describe_clock, describe_refusal
from .models import Group, MirrorLock
from .services import get_client

Verdict = Literal["ok", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The ``name`` and the ``verdict`` of one check, and the reason in ``text``.

    The text of a failed check ends with the next step. It never holds a credential.
    """

    name: str
    verdict: Verdict
    text: str = ""


def examine(group_id: int) -> Iterator[Finding]:
    """Yield a finding for each check, asking the vendor for one group. Writes nothing.

    All attempts of the request together take at most ``ILETIMERKEZI_TIMEOUT`` seconds, not counting
    the system's resolver.
    """
    flaws = [f"{flaw.msg} {flaw.hint}" for flaw in check_settings()]
    yield from (Finding(_("settings"), "failed", flaw) for flaw in flaws)
    if flaws:
        yield from (Finding(_name(step), "not tried") for step in get_args(Step))
    else:
        yield Finding(_("settings"), "ok")
        yield from _examine_request(group_id)
    yield _examine_tables()


def _name(step: Step) -> str:
    names = {
        "environment": _("environment"),
        "name": _("host name"),
        "connection": _("connection"),
        "tls": _("TLS"),
        "answer": _("key and hash"),
    }
    return names[step]


def _examine_request(group_id: int) -> Iterator[Finding]:
    failure, is_known = None, True
    with get_client() as client:
        uses_proxy = client.uses_proxy
        try:
            client.ask(group_id, within=conf.timeout)
        except GroupNotFound:  # So key and hash are right.
            is_known = False
        except IletimerkeziError as error:
            failure = error
    has_failed = False
    for step in get_args(Step):
        if failure and step == failure.step:
            has_failed = True
            yield Finding(_failed_name(failure), "failed", str(failure))
        elif has_failed:
            yield Finding(_name(step), "not tried")
        else:
            yield _passed(step, uses_proxy=uses_proxy, is_known=is_known)
    if client.clock_ahead is not None:
        flaw = describe_clock(client.clock_ahead)
        yield Finding(_("clock"), "failed" if flaw else "ok", flaw)


def _failed_name(failure: IletimerkeziError) -> str:
    """Name the failed step: “answer” if the answer says nothing about key and hash."""
    is_judged = isinstance(failure, ApiError) and not isinstance(failure, MethodNotFound)
    return _("answer") if failure.step == "answer" and not is_judged else _name(failure.step)


def _passed(step: Step, *, uses_proxy: bool, is_known: bool) -> Finding:
    url = urlsplit(conf.base_url)
    if step == "name" and uses_proxy:
        return Finding(_name(step), "not tried", _("the proxy resolves it"))
    if step == "tls" and url.scheme == "http":
        return Finding(_name(step), "not tried", _("not used on this machine"))
    texts = {
        "environment": _("with a proxy") if uses_proxy else _("no proxy"),
        "name": url.hostname or "",
        "connection": url.netloc,
        "answer": "" if is_known else _("accepted (this group does not exist, which is fine)"),
    }
    return Finding(_name(step), "ok", texts.get(step, ""))


def _examine_tables() -> Finding:
    name = _("tables of the mirror")
    try:
        using = db.router.db_for_write(Group)
        # All columns, so that a missing migration is noticed.
        Group.objects.using(using).order_by().first()
        MirrorLock.objects.using(using).order_by().first()
    except db.Error as error:
        return Finding(name, "failed", describe_refusal(error))
    except ImproperlyConfigured:
        return Finding(name, "failed", _("No database: check DATABASES in the settings."))
    return Finding(name, "ok")
