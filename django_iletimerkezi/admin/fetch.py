"""Fetching from the admin: the form, and the messages that say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseRefusal
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..api.parsing import BIGGEST
from ..exceptions import IletimerkeziError
from ..messages import describe_counts, describe_failure, describe_other
from ..services import fetch_group, get_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.http import HttpRequest

    from ..models import Group
    from ..services import FetchResult

_MOST_TOLD = 10


class FetchForm(forms.Form):
    group_id = forms.IntegerField(
        label=gettext_lazy("Group id"),
        help_text=gettext_lazy("id of a group, as in the vendor's panel"),
        min_value=1,
        max_value=BIGGEST,
    )
    recursive = forms.BooleanField(
        label=gettext_lazy("With everything below it"),
        help_text=gettext_lazy(
            "A large tree takes a while, and a web server may not wait so long. What was answered "
            "until then is kept, but for the last seconds; “manage.py fetch_group ID --recursive” "
            "has the time."
        ),
        required=False,
    )


def fetch_and_tell(
    request: HttpRequest,
    ids: Iterable[int],
    *,
    recursive: bool,
    log: Callable[[Group, str], object],
) -> list[Group]:
    """Fetch one group after the other, and leave messages for the person who asked for it.

    Returns the groups that were answered; ``log`` is called with each and with what was done.
    """
    results: list[FetchResult] = []
    others: dict[int, int] = {}
    failures: dict[int, Exception] = {}
    try:
        with get_client() as client:
            for group_id in list(ids):
                try:
                    result = fetch_group(group_id, recursive=recursive, client=client)
                except (IletimerkeziError, DatabaseRefusal) as error:
                    failures |= getattr(error, "failures", {})
                    failures[group_id] = error
                    if getattr(error, "hits_every_request", True):
                        break
                    continue
                results.append(result)
                failures |= result.failures
                others |= result.others
                log(result.group, _summary([result]))
    except ImproperlyConfigured as error:
        messages.error(request, str(error))
    _tell_of_others(request, others)
    if results:
        messages.success(request, _summary(results))
    _tell_of_failures(request, failures)
    return [result.group for result in results]


def _tell_of_others(request: HttpRequest, others: Mapping[int, int]) -> None:
    for group_id, answered in list(others.items())[:_MOST_TOLD]:
        messages.warning(request, describe_other(group_id, answered))
    left = len(others) - _MOST_TOLD
    if left > 0:
        said = ngettext(
            "And %s more answer was about another group.",
            "And %s more answers were about other groups.",
            left,
        )
        messages.warning(request, said % left)


def _tell_of_failures(request: HttpRequest, failures: Mapping[int, Exception]) -> None:
    for group_id, error in list(failures.items())[:_MOST_TOLD]:
        messages.error(request, describe_failure(group_id, error))
    left = len(failures) - _MOST_TOLD
    if left > 0:
        said = ngettext("And %s more group failed.", "And %s more groups failed.", left)
        messages.error(request, said % left)


def _summary(results: Sequence[FetchResult]) -> str:
    if len(results) == 1:
        group = results[0].group
        what = _("“%(group)s” (id %(id)s) is fetched") % {"group": group, "id": group.pk}
    else:
        what = _("%(number)s contact groups are fetched") % {"number": len(results)}
    return describe_counts(what, results)
