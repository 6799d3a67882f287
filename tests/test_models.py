from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Sum
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from django_iletimerkezi.models import Group, Totals
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox
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


def save(group: Group) -> None:
    group.save()


def save_the_name(group: Group) -> None:
    group.save(update_fields=["name"])


def update(group: Group) -> None:
    Group.objects.update(name=group.name)


def bulk_update(group: Group) -> None:
    Group.objects.bulk_update((group for group in [group]), (name for name in ["name"]))


def bulk_create_over(group: Group) -> None:
    targets = ["pk"] if connection.features.supports_update_conflicts_with_target else None
    Group.objects.bulk_create(
        [group], update_conflicts=True, update_fields=["name"], unique_fields=targets
    )


def load_data(group: Group) -> None:
    fields = {"name": group.name, "count": 0, "seen_at": NOW.isoformat()}
    text = json.dumps([{"model": "django_iletimerkezi.group", "pk": 5, "fields": fields}])
    for loaded in serializers.deserialize("json", text):
        loaded.save()


@pytest.mark.parametrize(
    "write", [save, save_the_name, update, bulk_update, bulk_create_over, load_data]
)
def test_saving_a_name_updates_the_sort_and_search_keys(write: Callable[[Group], None]) -> None:
    group = Group.objects.create(pk=5, name="Şişli", count=0)
    assert (group.search_key, group.sort_key) == ("sisli", sort_key("Şişli"))
    group.name = "Çankaya"
    write(group)
    group = Group.objects.get()
    assert (group.search_key, group.sort_key) == ("cankaya", sort_key("Çankaya"))


def test_saving_another_field_does_not_change_the_keys() -> None:
    group = Group.objects.create(pk=5, name="Şişli", count=0)
    group.name = "Çankaya"
    group.save(update_fields=["count"])
    Group.objects.bulk_update([group], ["count"])
    Group.objects.update(count=3)
    assert Group.objects.get().search_key == "sisli"


def test_a_group_can_be_created_with_only_an_id_and_a_count() -> None:
    assert Group.objects.create(id=5, count=1).seen_at <= timezone.now()


def test_an_id_below_1_is_invalid() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Group(id=0, count=1).full_clean()


def test_parents_and_children_are_linked() -> None:
    plant({1: None, 2: 1, 3: 1})
    assert sorted_pks(Group.objects.get(pk=1).children.all()) == [2, 3]
    assert pks(Group.objects.filter(children=3)) == [1]


def test_missing_groups_are_not_listed() -> None:
    plant({1: None, 2: 1})
    Group.objects.filter(pk=2).update(missing_since=NOW)
    assert (pks(Group.objects.listed()), pks(Group.objects.missing())) == ([1], [2])


def test_a_subtree_contains_the_group_and_all_its_descendants() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 2, 5: 1, 6: None})
    assert sorted_pks(Group.objects.subtree(2)) == [2, 3, 4]
    assert pks(Group.objects.filter(name="g000004").subtree(2)) == [4]
    assert sorted_pks(Group.objects.subtree(Group.objects.get(pk=2))) == [2, 3, 4]


def test_a_subtree_can_be_filtered_and_counted_like_any_queryset() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 2, 5: 1, 6: None})
    two, five = Group.objects.subtree(2), Group.objects.subtree(5)
    assert (two.count(), two.exists(), two.contains(Group(pk=3))) == (3, True, True)
    assert pks(two.order_by("-pk")[:2]) == [4, 3]
    assert sorted_pks(two.exclude(pk=3)) == [2, 4]
    assert sorted_pks(two | five) == [2, 3, 4, 5]
    assert sorted_pks(Group.objects.subtree(1) & two) == [2, 3, 4]
    assert sorted_pks(two.union(five)) == [2, 3, 4, 5]
    assert sorted_pks(Group.objects.filter(parent__in=two)) == [3, 4]
    assert sorted_pks(Group.objects.exclude(pk__in=two)) == [1, 5, 6]
    assert two.aggregate(total=Sum("count")) == {"total": 9}
    with transaction.atomic():
        assert sorted_pks(two.select_for_update()) == [2, 3, 4]
    assert two.update(count=7) == 3
    assert Group.objects.filter(count=7).count() == 3
    assert two.delete()[0] == 3
    assert sorted_pks(Group.objects.all()) == [1, 5, 6]


def test_subtree_uses_distinct_on_where_the_database_supports_it() -> None:
    sql = str(Group.objects.subtree(1).query)
    assert ("DISTINCT ON (id)" in sql) == connection.features.can_distinct_on_fields


@pytest.mark.parametrize("wrong", [None, "2", 2.0, True, [2]])
def test_subtree_and_path_accept_only_a_group_or_an_id(wrong: Any) -> None:
    for read in (Group.objects.subtree, Group.objects.path):
        with pytest.raises(TypeError, match="expected a group or its id, not "):
            read(wrong)


def test_a_path_leads_from_the_root_down_to_a_group() -> None:
    plant({7: None, 2: 7, 5: 2, 4: 2})
    assert pks(Group.objects.path(5)) == pks(Group.objects.path(Group(pk=5))) == [7, 2, 5]


def test_paths_of_several_groups_need_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant({7: None, 2: 7, 5: 2, 4: 2, 6: None})
    with django_assert_num_queries(1):
        paths = Group.objects.paths([5, 7, 4, 99])
    assert {pk: pks(path) for pk, path in paths.items()} == {5: [7, 2, 5], 7: [7], 4: [7, 2, 4]}
    with django_assert_num_queries(0):
        assert Group.objects.paths([]) == {}


def test_an_unknown_group_has_an_empty_subtree_and_path() -> None:
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


def test_count_below_counts_all_groups_below_each_given_group() -> None:
    plant({1: None, 2: 1, 3: 1, 4: 2, 5: 4, 6: None, 7: 8, 8: 7})
    assert Group.objects.count_below([2, 3, 4, 6, 7]) == {2: 2, 4: 1, 7: 1}
    assert Group.objects.count_below([]) == {}


def test_subgroups_of_a_deleted_group_become_roots() -> None:
    plant({1: None, 2: 1, 3: 2})
    Group.objects.get(pk=1).delete()
    assert dict(Group.objects.values_list("pk", "parent_id")) == {2: None, 3: 2}


@pytest.mark.parametrize("pk", [0, -1])
def test_an_id_below_1_is_refused_by_the_database(pk: int) -> None:
    # MariaDB checks the type of the column first.
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        plant({pk: None})


# Totals


def test_subtree_totals_count_only_listed_groups(sandbox: Sandbox) -> None:
    fetch_group(1000, recursive=True)
    Group.objects.filter(pk=1110).update(missing_since=timezone.now())
    Group.objects.filter(pk=1121).update(listed_at=None)
    assert Group.objects.subtree(1100).totals() == Totals(contacts=888, groups=13, unexplored=1)
    assert Group.objects.none().totals() == Totals(0, 0, 0)


def test_the_total_of_a_group_created_by_hand_is_its_own_count() -> None:
    Group.objects.create(id=1, name="a", count=3)
    Group.objects.bulk_create([Group(id=2, name="b", count=4, listed_at=timezone.now())])
    sums = Group.objects.order_by("pk").values_list("total", "unexplored")
    assert list(sums) == [(3, 1), (4, 0)]
