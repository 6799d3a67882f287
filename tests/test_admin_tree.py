from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from django_iletimerkezi.admin import tree
from django_iletimerkezi.admin.tree import Row
from django_iletimerkezi.models import Group

from .visitors import drawn, plant, plant_tree

pytestmark = pytest.mark.django_db


def found(*ids: int) -> list[Row]:
    groups = Group.objects.filter(pk__in=ids) if ids else Group.objects.all()
    return tree.rows(groups, groups)


def test_rows_stand_below_their_parents_in_turkish_order() -> None:
    plant(
        {1: None, 2: 1, 3: 1, 4: 1, 5: 3, 6: None},
        {1: "Rehber", 2: "İzmir", 3: "Iğdır", 4: "Çorum", 5: "Tuzluca", 6: "Bayiler"},
    )
    assert drawn(tree.arrange(found())) == ["6", "1-", ".4", ".3-", "..5", ".2"]


def test_siblings_of_one_name_come_in_the_order_of_their_ids() -> None:
    plant({3: None, 1: None, 2: None}, dict.fromkeys((1, 2, 3), "aynı"))
    assert drawn(tree.arrange(found())) == ["1", "2", "3"]


def test_a_row_whose_parent_is_not_there_stands_at_the_top() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 3})
    assert drawn(tree.arrange(found(1, 3, 4))) == ["1", "3-", ".4"]


@pytest.mark.parametrize(
    ("links", "lines"),
    [
        ({1: 1}, ["1+"]),
        ({1: 2, 2: 1}, ["1-", ".2+"]),
        ({1: 3, 2: 1, 3: 2, 4: 2, 5: None}, ["5", "1-", ".2-", "..3+", "..4"]),
    ],
)
def test_a_loop_is_cut_at_its_first_row(links: dict[int, int | None], lines: list[str]) -> None:
    plant(links)
    assert drawn(tree.arrange(found())) == lines


def test_a_deep_chain_is_arranged() -> None:
    plant_tree(5000, 1)
    assert len(tree.arrange(found())) == 5000


def test_numbers_of_subgroups_are_those_of_all_and_those_in_a_result() -> None:
    plant({1: None, 2: 1, 3: 1, 4: 2})
    groups = Group.objects.exclude(pk=3)
    rows = tree.rows(groups, groups)
    assert [(row.group.pk, row.subgroups, row.inside) for row in rows] == [
        (1, 2, 1),
        (2, 1, 1),
        (4, 0, 0),
    ]


def test_the_roots_of_a_result_are_those_whose_parents_are_not_in_it() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 3, 5: None})
    assert [row.pk for row in tree.roots(Group.objects.order_by("pk"))] == [1, 5]
    assert [row.pk for row in tree.roots(Group.objects.exclude(pk__in=[1, 3]).order_by("pk"))] == [
        2,
        4,
        5,
    ]


def test_the_roots_of_all_are_asked_for_in_the_order_of_the_index() -> None:
    (siblings,) = Group._meta.indexes
    assert tree.roots(Group.objects.all()).query.order_by == ("parent_id", *tree.ORDER)
    assert siblings.fields == ["parent", "sort_key", "id"]


def of_all(*ids: int) -> list[Row]:
    return tree.rows(Group.objects.filter(pk__in=ids))


def below(*ids: int) -> list[str]:
    return drawn(list(tree.next_level(Group.objects.all(), of_all(*ids))))


def test_the_next_level_is_shown_if_it_is_short() -> None:
    plant({1: None, 2: None, 3: 1, 4: 2, 5: 4})
    assert below(1, 2) == ["3", "4+"]
    assert below(3, 5) == []


def test_of_several_long_levels_none_is_shown_and_of_one_the_beginning() -> None:
    plant({1: None, 2: None, 3: None} | {pk: 1 if pk < 200 else 2 for pk in range(10, 320)})
    assert below(1, 2, 3) == []
    assert len(below(1, 3)) == tree.LEVEL
    rows = [*of_all(1), *tree.next_level(Group.objects.all(), of_all(1))]
    assert drawn(tree.arrange(rows))[-2:] == [".109", ".more 1 100"]


def test_what_is_on_other_pages_is_not_called_more() -> None:
    plant({1: None} | dict.fromkeys(range(2, 200), 1))
    rows = [*of_all(1), *tree.next_level(Group.objects.all(), of_all(1))]
    assert len(tree.arrange(rows, paged=[1])) == 101


def subgroups(*parents: int, start: int = 0) -> list[str]:
    return drawn(tree.subgroups(Group.objects.all(), parents, start))


def test_subgroups_come_a_hundred_at_a_time() -> None:
    plant({1: None} | dict.fromkeys(range(2, 222), 1))
    assert subgroups(1)[-2:] == ["101", "more 1 100"]
    assert subgroups(1, start=100)[-2:] == ["201", "more 1 200"]
    assert subgroups(1, start=200)[-1] == "221"
    assert subgroups(1, start=900) == subgroups(77) == []


def test_exactly_a_hundred_subgroups_are_all() -> None:
    plant({1: None} | dict.fromkeys(range(2, 102), 1))
    assert subgroups(1)[-1] == "101"


def test_subgroups_of_several_are_asked_for_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant({1: None, 2: None} | {pk: 1 if pk % 2 else 2 for pk in range(3, 9)})
    with django_assert_num_queries(1):
        assert subgroups(2, 1) == ["3", "5", "7", "4", "6", "8"]


def test_of_several_with_many_subgroups_some_have_to_wait() -> None:
    plant(dict.fromkeys(range(1, 9)) | {pk: pk % 8 + 1 for pk in range(9, 9 + 8 * 99)})
    answered = Group.objects.filter(pk__in=subgroups(*range(1, 9))).values_list("parent")
    assert len(answered) == 2 * 99
    assert len(set(answered)) == 2


def test_one_with_very_many_subgroups_does_not_crowd_out_others() -> None:
    plant(dict.fromkeys((1, 2, 3)) | {4: 1, 5: 3} | dict.fromkeys(range(10, 900), 2))
    lines = subgroups(1, 2, 3)
    assert {"4", "5", "10", "109", "more 2 100"} <= set(lines)
    assert len(lines) == 2 + tree.LEVEL + 1
    assert subgroups(1, 2, 3, start=100)[-1] == "more 2 200"


def test_numbers_are_counted_for_what_is_shown_and_not_for_what_is_skipped() -> None:
    plant({1: None} | dict.fromkeys(range(2, 300), 1))
    with CaptureQueriesContext(connection) as queries:
        tree.subgroups(Group.objects.all(), [1], 200)
    (statement,) = (query["sql"] for query in queries)
    assert statement.startswith("WITH page AS (")
    assert "parent_id IN (SELECT id FROM page)" in statement


def test_without_any_group_there_is_no_row() -> None:
    plant({1: None})
    assert tree.rows(Group.objects.none()) == []
    assert tree.rows(Group.objects.all(), Group.objects.filter(pk__in=[])) == []


@pytest.mark.parametrize(
    ("links", "missing", "ids", "kept"),
    [
        ({1: None, 2: 1, 3: 2, 4: None}, [], [1, 2, 3, 4], [1, 4]),
        ({1: None, 2: 1, 3: 2}, [], [3, 1], [1]),
        ({1: None, 2: 1, 3: 2}, [2], [1, 2, 3], [1, 2, 3]),
        ({1: None, 2: 1, 3: 2}, [1], [1, 2, 3], [1, 2]),
        ({1: 2, 2: 1, 3: 1}, [], [3, 2, 1], [2]),
        ({1: 2, 2: 1, 3: 1}, [], [3, 2], [2]),
        ({1: None}, [], [1, 77], [1]),
    ],
)
def test_below_the_uppermost_groups_are_all_others_that_are_listed(
    links: dict[int, int | None],
    missing: list[int],
    ids: list[int],
    kept: list[int],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant(links)
    Group.objects.filter(pk__in=missing).update(missing_since=timezone.now())
    with django_assert_num_queries(1):
        assert tree.uppermost(Group.objects.all(), ids) == kept


def test_paths_are_found_with_one_query_and_long_ones_cut_in_the_middle(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant_tree(20, 1)
    rows = found(1, 3, 9, 20)
    with django_assert_num_queries(1):
        tree.add_paths(rows, Group.objects.all())
    assert [[(part.group.pk, part.text) for part in row.path] for row in rows] == [
        [],
        [(1, "g000001"), (2, "g000002"), (3, "g000003")],
        [(1, "g000001"), (4, "…"), *((pk, f"g{pk:06}") for pk in range(5, 10))],
        [(1, "g000001"), (15, "…"), *((pk, f"g{pk:06}") for pk in range(16, 21))],
    ]


def test_a_part_of_a_path_is_shorter_than_a_name_elsewhere() -> None:
    plant(dict.fromkeys((1, 2, 3)), {1: "x" * 40, 2: "x" * 41, 3: "\t"})
    texts = [tree.part(group).text for group in Group.objects.order_by("pk")]
    assert texts == ["x" * 40, "x" * 39 + "…", "3"]


@pytest.mark.parametrize(
    ("seconds", "english", "turkish"),
    [
        (0, "just now", "az önce"),
        (59, "just now", "az önce"),
        (-5, "just now", "az önce"),
        (60, "1 minute ago", "1 dakika önce"),
        (3 * 3600 + 700, "3 hours ago", "3 saat önce"),
        (40 * 86400, "1 month ago", "1 ay önce"),
    ],
)
def test_times_are_told_as_how_long_ago(seconds: int, english: str, turkish: str) -> None:
    moment = timezone.now() - timedelta(seconds=seconds)
    said = []
    for language in ("en", "tr"):
        with translation.override(language):
            said.append(tree.ago(moment).replace("\xa0", " "))
    assert said == [english, turkish]
