from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from django_iletimerkezi.models import Group

from .visitors import plant

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pks(groups: QuerySet[Group]) -> list[int]:
    return sorted(group.pk for group in groups)


def test_a_group_is_called_by_its_name_and_without_one_by_its_id() -> None:
    assert [str(Group(pk=5, name="Müşteriler")), str(Group(pk=5))] == ["Müşteriler", "5"]


def test_people_read_contact_group() -> None:
    assert Group._meta.verbose_name == "contact group"
    assert Group._meta.verbose_name_plural == "contact groups"


def test_parent_and_children_lead_to_each_other() -> None:
    plant({1: None, 2: 1, 3: 1})
    assert pks(Group.objects.get(pk=1).children.all()) == [2, 3]
    assert pks(Group.objects.filter(children=3)) == [1]


def test_listed_and_missing_groups_are_told_apart() -> None:
    plant({1: None, 2: 1})
    Group.objects.filter(pk=2).update(missing_since=NOW)
    assert (pks(Group.objects.listed()), pks(Group.objects.missing())) == ([1], [2])


def test_a_subtree_is_a_group_and_all_below_it() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 2, 5: 1, 6: None})
    assert pks(Group.objects.subtree(2)) == [2, 3, 4]
    assert pks(Group.objects.filter(name="g000004").subtree(2)) == [4]


def test_a_path_is_a_group_and_all_above_it() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 2})
    assert pks(Group.objects.path(3)) == [1, 2, 3]


def test_an_unknown_group_has_neither_subtree_nor_path() -> None:
    assert pks(Group.objects.subtree(1)) == pks(Group.objects.path(1)) == []


@pytest.mark.parametrize("links", [{1: 1}, {1: 2, 2: 1}, {1: 3, 2: 1, 3: 2}])
def test_a_loop_comes_to_an_end(links: dict[int, int | None]) -> None:
    plant(links)
    assert pks(Group.objects.subtree(1)) == pks(Group.objects.path(1)) == sorted(links)


def test_a_chain_of_a_thousand_is_read_in_one_query() -> None:
    plant({pk: pk - 1 or None for pk in range(1, 1001)})
    assert len(Group.objects.subtree(1)) == len(Group.objects.path(1000)) == 1000


def test_the_groups_below_each_of_some_are_counted() -> None:
    plant({1: None, 2: 1, 3: 1, 4: 2, 5: 4, 6: None, 7: 8, 8: 7})
    assert Group.objects.count_below([2, 3, 4, 6, 7]) == {2: 2, 4: 1, 7: 1}
    assert Group.objects.count_below([]) == {}


def test_deleting_a_group_makes_roots_of_its_subgroups() -> None:
    plant({1: None, 2: 1, 3: 2})
    Group.objects.get(pk=1).delete()
    assert dict(Group.objects.values_list("pk", "parent_id")) == {2: None, 3: 2}


@pytest.mark.parametrize("pk", [0, -1])
def test_the_table_takes_no_id_below_1(pk: int) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        plant({pk: None})
