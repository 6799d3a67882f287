"""A module of a host project, with the types that mypy and django-stubs should see.

``tests/test_types.py`` checks the module in a project of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_type

from django import forms
from django.db import Error

from django_iletimerkezi.exceptions import IletimerkeziError
from django_iletimerkezi.forms import GroupChoiceField, GroupSelect
from django_iletimerkezi.models import (
    Change,
    ChangeQuerySet,
    Fetch,
    FetchQuerySet,
    Group,
    GroupQuerySet,
    Totals,
)
from django_iletimerkezi.services import (
    Fetched,
    GroupResult,
    PhoneBookResult,
    afetch_each,
    afetch_group,
    afetch_groups,
    fetch_each,
    fetch_group,
    fetch_groups,
    start_fetch,
)


def query_groups() -> None:
    assert_type(Group.objects.listed(), GroupQuerySet)
    assert_type(Group.objects.filter(name="Rehber").missing().subtree(5), GroupQuerySet)
    assert_type(Group.objects.order_by("name").totals(), Totals)
    assert_type(Group.objects.path(5), list[Group])
    assert_type(Group.objects.paths([5]), dict[int, list[Group]])
    assert_type(Group.objects.listed().first(), Group | None)
    Group.objects.paths(["5"])  # type: ignore[list-item]  # ids are numbers


def read_a_group(group: Group) -> None:
    assert_type(group.pk, int)
    assert_type(group.name, str)
    assert_type(group.total, int)
    assert_type(group.parent, Group | None)
    assert_type(group.parent_id, int | None)
    assert_type(group.missing_since, datetime | None)
    assert_type(group.children.listed(), GroupQuerySet)
    assert_type(group.changes, ChangeQuerySet)
    _ = group.title  # type: ignore[attr-defined]  # groups have a name


def read_the_history(moment: datetime) -> None:
    assert_type(Fetch.objects.unfinished().interrupted(), FetchQuerySet)
    assert_type(Change.objects.filter(group_id=5).since(moment), ChangeQuerySet)
    assert_type(Fetch.objects.get().changes.since(moment), ChangeQuerySet)
    assert_type(Change.objects.get().fetch, Fetch)


class BranchForm(forms.Form):
    branch = GroupChoiceField(Group.objects.listed().subtree(5), label="Branch", required=False)
    other = GroupChoiceField(widget=GroupSelect(attrs={"class": "wide"}))


def choose_a_group() -> None:
    assert_type(GroupChoiceField().to_python("5"), Group | None)
    GroupChoiceField(Fetch.objects.all())  # type: ignore[arg-type]  # chooses groups


def fetch() -> None:
    result = fetch_group(5, recursive=True)
    assert_type(result, GroupResult)
    assert_type(result.group, Group)
    assert_type(result.changes, ChangeQuerySet)
    assert_type(result.failures, Mapping[int, IletimerkeziError | Error])
    assert_type(fetch_groups(), PhoneBookResult)
    assert_type(start_fetch(5), Fetch)
    for fetched in fetch_each([5]):
        assert_type(fetched.outcome, GroupResult | IletimerkeziError | Error)


async def fetch_asynchronously() -> None:
    assert_type(await afetch_group(5, recursive=True), GroupResult)
    assert_type(await afetch_groups(depth=1), PhoneBookResult)
    async for fetched in afetch_each([5]):
        assert_type(fetched, Fetched)
    await afetch_group("5")  # type: ignore[arg-type]  # the parameters of fetch_group
    await afetch_groups(recursive=True)  # type: ignore[call-arg]  # not a parameter of fetch_groups
