"""Fetching from the admin: the form, and messages about the outcome."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext

from ..ids import MAX_ID
from ..messages import (
    describe_alias,
    describe_clock,
    describe_failure,
    describe_loss,
    describe_results,
)
from ..models import Group
from ..services import FetchResult, fetch_each


class FetchForm(forms.Form):
    group_id = forms.IntegerField(
        label=gettext_lazy("Group id"),
        help_text=gettext_lazy("As shown in the vendor's panel."),
        min_value=1,
        max_value=MAX_ID,
    )
    recursive = forms.BooleanField(
        label=gettext_lazy("With everything below it"),
        help_text=gettext_lazy(
            "Large trees can outlast the web server's timeout. Groups fetched until then are kept, "
            "except those of the last few seconds. For large trees use "
            "“manage.py fetch_group ID --recursive”."
        ),
        required=False,
    )


def fetch_and_report(
    request: HttpRequest,
    group_ids: Collection[int],
    groups: QuerySet[Group],
    *,
    recursive: bool,
    log: Callable[[Group, str], object],
) -> list[Group]:
    """Fetch groups one by one, leave messages about the outcome, and return the fetched groups.

    The messages show the names of only those groups that are among ``groups``.
    ``log`` is called with each fetched group and a summary.
    """
    results: list[FetchResult] = []
    errors: list[str] = []
    try:
        for fetched in fetch_each(group_ids, recursive=recursive):
            failures = fetched.progress.failures.items()
            errors += [describe_failure(pk, error) for pk, error in failures]
            if fetched.progress.unstored:
                errors.append(describe_loss(fetched.progress.unstored))
            if isinstance(fetched.outcome, FetchResult):
                results.append(_without_hidden_name(fetched.outcome, groups))
                log(fetched.outcome.group, describe_results([fetched.outcome]))
            else:
                errors.append(describe_failure(fetched.group_id, fetched.outcome))
    except ImproperlyConfigured as error:
        errors.append(str(error))
    aliases = [describe_alias(*ids) for result in results for ids in result.aliases.items()]
    clocks = {describe_clock(result.clock_ahead) for result in results}
    _add_messages(request, messages.WARNING, [*aliases, *filter(None, clocks)])
    if results:
        messages.success(request, describe_results(results))
    _add_messages(request, messages.ERROR, errors)
    return [result.group for result in results]


def _without_hidden_name(result: FetchResult, groups: QuerySet[Group]) -> FetchResult:
    group = result.group
    return result if groups.contains(group) else replace(result, group=Group(pk=group.pk))


def _add_messages(request: HttpRequest, level: int, texts: Collection[str], most: int = 10) -> None:
    """Add up to ``most`` messages, about a screenful, and count the others."""
    for text in list(texts)[:most]:
        messages.add_message(request, level, text)
    if (left := len(texts) - most) > 0:
        text = ngettext("… and %s more like this.", "… and %s more like these.", left) % left
        messages.add_message(request, level, text)
