from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from django_iletimerkezi.models import Group
from django_iletimerkezi.turkish import sort_key

from .visitors import plant, plant_tree

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pks(groups: Iterable[Group]) -> list[int]:
    return [group.pk for group in groups]


def sorted_pks(groups: Iterable[Group]) -> list[int]:
    return sorted(pks(groups))


def test_a_group_is_shown_by_its_name_or_its_id() -> None:
    assert [str(Group(pk=5, name="Müşteriler")), str(Group(pk=5))] == ["Müşteriler", "5"]


def test_saving_fills_the_keys() -> None:
    group = Group(pk=5, name="Şişli", count=0, seen_at=NOW)
    group.save()
    assert group.search_key == "sisli"
    group.name = "Çankaya"
    group.save()
    group.refresh_from_db()
    assert (group.search_key, group.sort_key) == ("cankaya", sort_key("Çankaya"))


def test_parents_and_children_are_linked() -> None:
    plant({1: None, 2: 1, 3: 1})
    assert sorted_pks(Group.objects.get(pk=1).children.all()) == [2, 3]
    assert pks(Group.objects.filter(children=3)) == [1]


def test_missing_groups_are_not_listed() -> None:
    plant({1: None, 2: 1})
    Group.objects.filter(pk=2).update(missing_since=NOW)
    assert (pks(Group.objects.listed()), pks(Group.objects.missing())) == ([1], [2])


def test_a_subtree_is_a_group_and_everything_below_it() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 2, 5: 1, 6: None})
    assert sorted_pks(Group.objects.subtree(2)) == [2, 3, 4]
    assert pks(Group.objects.filter(name="g000004").subtree(2)) == [4]


def test_a_path_leads_from_the_root_down_to_a_group() -> None:
    plant({7: None, 2: 7, 5: 2, 4: 2})
    assert pks(Group.objects.path(5)) == [7, 2, 5]


def test_paths_of_several_groups_need_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant({7: None, 2: 7, 5: 2, 4: 2, 6: None})
    with django_assert_num_queries(1):
        paths = Group.objects.paths([5, 7, 4, 99])
    assert {pk: pks(path) for pk, path in paths.items()} == {5: [7, 2, 5], 7: [7], 4: [7, 2, 4]}
    with django_assert_num_queries(0):
        assert Group.objects.paths([]) == {}


def test_an_unknown_group_has_neither_subtree_nor_path() -> None:
    assert pks(Group.objects.subtree(1)) == pks(Group.objects.path(1)) == []


@pytest.mark.parametrize("links", [{1: 1}, {1: 2, 2: 1}, {1: 3, 2: 1, 3: 2}])
def test_a_loop_has_a_finite_subtree_and_path(links: dict[int, int | None]) -> None:
    plant(links)
    assert sorted_pks(Group.objects.subtree(1)) == sorted(links)
    path = pks(Group.objects.path(1))
    assert sorted(path) == sorted(links)
    assert path[-1] == 1


@pytest.mark.parametrize("method", ["subtree", "path"])
def test_a_chain_of_a_thousand_groups_is_read_in_one_query(
    method: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    plant_tree(1000, 1)
    start = {"subtree": 1, "path": 1000}[method]
    with django_assert_num_queries(1):
        assert len(getattr(Group.objects, method)(start)) == 1000


def test_groups_below_several_groups_are_counted() -> None:
    plant({1: None, 2: 1, 3: 1, 4: 2, 5: 4, 6: None, 7: 8, 8: 7})
    assert Group.objects.count_below([2, 3, 4, 6, 7]) == {2: 2, 4: 1, 7: 1}
    assert Group.objects.count_below([]) == {}


def test_subgroups_of_a_deleted_group_become_roots() -> None:
    plant({1: None, 2: 1, 3: 2})
    Group.objects.get(pk=1).delete()
    assert dict(Group.objects.values_list("pk", "parent_id")) == {2: None, 3: 2}


@pytest.mark.parametrize("pk", [0, -1])
def test_an_id_below_1_is_refused_by_the_database(pk: int) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        plant({pk: None})
