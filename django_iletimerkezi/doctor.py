"""Checks everything that a fetch needs, step by step.

One request covers most checks. If the request fails, the error names the failed step, and all
earlier steps have succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from django import db
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .checks import check_settings, check_tables
from .clock import monotonic
from .conf import conf
from .exceptions import ApiError, GroupNotFound, IletimerkeziError, MethodNotFound, Step
from .messages import describe_clock, describe_error
from .mirror.repair import count_wrong_keys, count_wrong_sums
from .models import Change, Fetch, Group, MirrorLock
from .services import get_client

if TYPE_CHECKING:
    from .api import IletimerkeziClient

Verdict = Literal["ok", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``text`` gives the reason and never contains a credential.

    The text of a failed check ends with advice if a fix is known.
    """

    name: str
    verdict: Verdict
    text: str = ""


def examine(group_id: int | None = None) -> Iterator[Finding]:
    """Run all checks and yield a finding for each check. Does not write to the database.

    One check requests the group ``group_id``. Without an id, this check requests the main groups,
    or group 1 if get-groups is not available. All requests and retries together take at most
    ``ILETIMERKEZI_TIMEOUT`` seconds, not counting the DNS lookup of the system.
    """
    flaws = [f"{flaw.msg} {flaw.hint}" for flaw in check_settings()]
    yield from (Finding(_("settings"), "failed", flaw) for flaw in flaws)
    if flaws:
        yield from (Finding(_name(step), "not tried") for step in get_args(Step))
    else:
        yield Finding(_("settings"), "ok")
        yield from _examine_request(group_id)
    yield from _examine_database()


def repair() -> Iterator[Finding]:
    """Recompute the mirror's computed columns. Does not send a request to the vendor."""
    yield from _examine_database(repairs=True)


def _examine_database(*, repairs: bool = False) -> Iterator[Finding]:
    tables = _finding(_("tables of the mirror"), _examine_tables)
    yield tables
    checks = {_("sort and search keys"): _examine_keys, _("totals"): _examine_sums}
    for name, check in checks.items():
        if tables.verdict == "failed":
            yield Finding(name, "not tried")
        else:
            yield _finding(name, partial(check, repairs=repairs))


def _finding(name: str, examine_database: Callable[[], tuple[Verdict, str]]) -> Finding:
    try:
        return Finding(name, *examine_database())
    except db.Error as error:
        return Finding(name, "failed", describe_error(error))
    except ImproperlyConfigured:
        return Finding(name, "failed", _("No database is configured: check DATABASES."))


def _name(step: Step) -> str:
    names = {
        "environment": _("environment"),
        "name": _("host name"),
        "connection": _("connection"),
        "tls": _("TLS"),
        "answer": _("key and hash"),
    }
    return names[step]


def _examine_request(group_id: int | None) -> Iterator[Finding]:
    with get_client() as client:
        uses_proxy = client.uses_proxy
        *refusals, failure = _ask(client, group_id)
    is_unknown = isinstance(failure, GroupNotFound)
    if is_unknown:  # A 463 proves that the key and the hash are valid.
        failure = None
    steps = get_args(Step)
    passed = steps.index(failure.step) if failure else len(steps)
    for step in steps[:passed]:
        # Without an id, we only test with group 1. Do not report that this group does not exist.
        yield _passed(step, uses_proxy=uses_proxy, is_unknown=is_unknown and bool(group_id))
    if failure:
        yield Finding(_failed_name(failure), "failed", str(failure))
    yield from (Finding(_name(step), "not tried") for step in steps[passed + 1 :])
    if refusals and not failure:
        text = _(
            "The vendor has not enabled get-groups for this account. ILETIMERKEZI_BASE_URL is "
            "right, because get-group works. Ask your customer representative to enable get-groups."
        )
        yield Finding("get-groups", "failed", text)
    if client.clock_ahead is not None:
        flaw = describe_clock(client.clock_ahead)
        yield Finding(_("clock"), "failed" if flaw else "ok", flaw)


def _ask(client: IletimerkeziClient, group_id: int | None) -> list[IletimerkeziError | None]:
    """Return an error or None for each request. Tries get-group if get-groups is not available."""
    end = monotonic() + conf.timeout
    # Group 1 need not exist, because a 463 also proves that the key and the hash are valid.
    ask = partial(client.ask_group, group_id or 1)
    requests: list[Callable[..., object]] = [ask] if group_id else [client.ask_groups, ask]
    refusals: list[IletimerkeziError | None] = []
    for request in requests:
        try:
            request(within=end - monotonic())
        except MethodNotFound as error:
            refusals.append(error)
        except IletimerkeziError as error:
            return [*refusals, error]
        else:
            return [*refusals, None]
    return refusals


def _failed_name(failure: IletimerkeziError) -> str:
    """Return the failed step's name.

    The step “answer” is named “key and hash” only if the vendor judged them.
    """
    is_judged = isinstance(failure, ApiError) and not isinstance(failure, MethodNotFound)
    return _("answer") if failure.step == "answer" and not is_judged else _name(failure.step)


def _passed(step: Step, *, uses_proxy: bool, is_unknown: bool) -> Finding:
    url = urlsplit(conf.base_url)
    if step == "name" and uses_proxy:
        return Finding(_name(step), "not tried", _("resolved by the proxy"))
    if step == "tls" and url.scheme == "http":
        return Finding(_name(step), "not tried", _("not used for http URLs"))
    texts = {
        "environment": _("with a proxy") if uses_proxy else _("no proxy"),
        "name": url.hostname or "",
        "connection": url.netloc,
        "answer": _("accepted (this group does not exist, which is fine)") if is_unknown else "",
    }
    return Finding(_name(step), "ok", texts.get(step, ""))


def _examine_tables() -> tuple[Verdict, str]:
    using = db.router.db_for_write(Group)
    # Read all columns, so that a missing migration raises an error.
    for rows in (Group.objects, MirrorLock.objects, Fetch.objects, Change.objects):
        rows.using(using).order_by().first()
    flaws = check_tables([using])
    return "failed" if flaws else "ok", " ".join(f"{flaw.msg} {flaw.hint}" for flaw in flaws)


def _examine_keys(*, repairs: bool) -> tuple[Verdict, str]:
    wrong = count_wrong_keys(repair=repairs)
    flaw = ngettext(
        "%s group has keys that do not match its name.",
        "%s groups have keys that do not match their names.",
        wrong,
    )
    return _judge(wrong, flaw, repairs=repairs)


def _examine_sums(*, repairs: bool) -> tuple[Verdict, str]:
    wrong = count_wrong_sums(repair=repairs)
    flaw = ngettext(
        "%s group has wrong totals.",
        "%s groups have wrong totals.",
        wrong,
    )
    return _judge(wrong, flaw, repairs=repairs)


def _judge(wrong: int, flaw: str, *, repairs: bool) -> tuple[Verdict, str]:
    """Return the verdict on the groups of the mirror, and the text to print after the verdict.

    With ``repairs``, the wrong groups have already been corrected.
    """
    if repairs:
        return "ok", ngettext("%s group repaired", "%s groups repaired", wrong) % wrong
    if not wrong:
        return "ok", ""
    advice = _("Run “manage.py iletimerkezi_doctor --repair”.")
    return "failed", f"{flaw % wrong} {advice}"
