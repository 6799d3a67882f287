from __future__ import annotations

import sys
from datetime import timedelta

import pytest
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from django_iletimerkezi import finding
from django_iletimerkezi.admin import html, tree
from django_iletimerkezi.admin.tree import Node
from django_iletimerkezi.models import Group

from .visitors import drawn, plant, plant_tree

pytestmark = pytest.mark.django_db


def nodes(*ids: int) -> list[Node]:
    groups = Group.objects.order_by(*finding.ORDER)
    return tree.nodes(groups.filter(pk__in=ids) if ids else groups, groups)


# Order


def test_nodes_are_listed_below_their_parents_in_turkish_order() -> None:
    plant(
        {1: None, 2: 1, 3: 1, 4: 1, 5: 3, 6: None},
        {1: "Rehber", 2: "İzmir", 3: "Iğdır", 4: "Çorum", 5: "Tuzluca", 6: "Bayiler"},
    )
    assert drawn(tree.arrange(nodes())) == ["6", "1-", ".4", ".3-", "..5", ".2"]


def test_siblings_with_equal_names_are_sorted_by_id() -> None:
    plant({3: None, 1: None, 2: None}, dict.fromkeys((1, 2, 3), "aynı"))
    assert drawn(nodes()) == ["1", "2", "3"]


def test_a_node_whose_parent_is_not_in_the_result_is_listed_as_a_root() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 3})
    assert drawn(tree.arrange(nodes(1, 3, 4))) == ["1+", "3-", ".4"]


@pytest.mark.parametrize(
    ("links", "lines"),
    [
        ({1: 1}, ["1+"]),
        ({1: 2, 2: 1}, ["1-", ".2+"]),
        ({1: 3, 2: 1, 3: 2, 4: 2, 5: None}, ["5", "1-", ".2-", "..3+", "..4"]),
    ],
)
def test_a_loop_is_cut_at_its_first_node(links: dict[int, int | None], lines: list[str]) -> None:
    plant(links)
    assert drawn(tree.arrange(nodes())) == lines


def test_a_chain_of_groups_deeper_than_the_recursion_limit_is_arranged_as_a_tree() -> None:
    plant_tree(1500, 1)
    assert len(tree.arrange(nodes())) == 1500


def test_a_node_has_the_number_of_all_subgroups_and_of_matching_subgroups() -> None:
    plant({1: None, 2: 1, 3: 1, 4: 2})
    result = Group.objects.exclude(pk=3).order_by("pk")
    found = tree.nodes(result, Group.objects.all(), result)
    assert [(node.group.pk, node.subgroups, node.matching) for node in found] == [
        (1, 2, 1),
        (2, 1, 1),
        (4, 0, 0),
    ]


def test_roots_are_the_groups_whose_parent_is_not_in_the_result() -> None:
    plant({1: None, 2: 1, 3: 2, 4: 3, 5: None})
    filtered = tree.roots(Group.objects.exclude(pk__in=[1, 3]).order_by("pk"))
    assert [group.pk for group in tree.roots(Group.objects.all())] == [1, 5]
    assert [group.pk for group in filtered] == [2, 4, 5]


# Loading


def next_level(*ids: int) -> list[Node]:
    return tree.next_level(nodes(*ids), Group.objects.all(), Group.objects.all())


def test_a_short_next_level_of_a_tree_is_preloaded() -> None:
    plant({1: None, 2: None, 3: 1, 4: 2, 5: 4})
    assert drawn(next_level(1, 2)) == ["3", "4+"]
    assert next_level(3, 5) == []


def test_a_long_next_level_of_a_tree_is_preloaded_only_below_a_single_parent() -> None:
    plant({1: None, 2: None, 3: None} | {pk: 1 if pk < 200 else 2 for pk in range(10, 320)})
    assert next_level(1, 2, 3) == []
    assert len(next_level(1, 3)) == tree.PAGE
    arranged = tree.arrange([*nodes(1), *next_level(1)])
    assert drawn(arranged)[-2:] == [".109", ".more 1 100"]


def test_a_group_whose_subgroups_are_paged_has_no_link_to_more() -> None:
    plant({1: None} | dict.fromkeys(range(2, 200), 1))
    assert len(tree.arrange([*nodes(1), *next_level(1)], paged=1)) == 101


def subgroups(*parents: int, start: int = 0) -> list[str]:
    return drawn(tree.subgroups(parents, start, Group.objects.all(), Group.objects.all()))


def test_subgroups_are_loaded_a_hundred_at_a_time() -> None:
    plant({1: None} | dict.fromkeys(range(2, 222), 1))
    assert subgroups(1)[-2:] == ["101", "more 1 100"]
    assert subgroups(1, start=100)[-2:] == ["201", "more 1 200"]
    assert subgroups(1, start=200)[-1] == "221"
    assert subgroups(1, start=900) == subgroups(77) == []


def test_exactly_a_hundred_subgroups_are_shown_without_a_link_to_more() -> None:
    plant({1: None} | dict.fromkeys(range(2, 102), 1))
    assert subgroups(1)[-1] == "101"


def test_subgroups_of_several_groups_take_two_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant({1: None, 2: None} | {pk: 1 if pk % 2 else 2 for pk in range(3, 9)})
    with django_assert_num_queries(2):
        assert subgroups(2, 1) == ["3", "5", "7", "4", "6", "8"]


def test_subgroups_of_later_parents_are_left_out_at_the_row_limit() -> None:
    plant(dict.fromkeys(range(1, 9)) | {pk: pk % 8 + 1 for pk in range(9, 9 + 8 * 99)})
    loaded = Group.objects.filter(pk__in=subgroups(*range(1, 9))).values_list("parent")
    assert len(loaded) == 2 * 99
    assert len(set(loaded)) == 2


def test_a_group_with_hundreds_of_subgroups_does_not_displace_subgroups_of_other_groups() -> None:
    plant(dict.fromkeys((1, 2, 3)) | {4: 1, 5: 3} | dict.fromkeys(range(10, 900), 2))
    loaded = subgroups(1, 2, 3)
    assert {"4", "5", "10", "109", "more 2 100"} <= set(loaded)
    assert len(loaded) == 2 + tree.PAGE + 1
    assert subgroups(1, 2, 3, start=100)[-1] == "more 2 200"


def test_an_empty_result_has_no_nodes() -> None:
    plant({1: None})
    nothing = Group.objects.none()
    assert tree.nodes(nothing, Group.objects.all()) == []
    assert tree.nodes(nothing, Group.objects.all(), Group.objects.filter(pk__in=[])) == []


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
def test_selected_groups_below_other_selected_groups_are_omitted(
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


def test_shared_ancestors_of_selected_groups_are_visited_once(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant({pk: pk - 1 or None for pk in range(1, 301)} | dict.fromkeys(range(301, 501), 300))
    ids = list(range(301, 501))
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    with django_assert_num_queries(1) as queries:
        sys.setprofile(count)
        try:
            kept = tree.uppermost(Group.objects.all(), ids)
        finally:
            sys.setprofile(None)
    assert kept == ids
    # 500 groups, not 200 paths of 300 groups.
    assert calls < 500 * 30
    assert "search_key" not in queries[0]["sql"]


def test_only_the_names_that_a_shortened_path_shows_are_loaded(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant_tree(300, 1)
    with django_assert_num_queries(2) as queries:
        (path,) = finding.read_paths([300], Group.objects.all()).values()
    assert [part.text for part in path[:2]] == ["g000001", "…"]
    assert path[-1].group.name == "g000299"
    links, names = (query["sql"] for query in queries)
    assert "search_key" not in links
    assert names.count(", ") < 30


# Texts


def test_paths_of_several_groups_take_two_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    plant_tree(9, 1)
    with django_assert_num_queries(2):
        paths = finding.read_paths([1, 3, 9], Group.objects.all())
    assert [[(part.group.pk, part.text) for part in paths[pk]] for pk in (1, 3, 9)] == [
        [],
        [(1, "g000001"), (2, "g000002")],
        [(1, "g000001"), (4, "…"), *((pk, f"g{pk:06}") for pk in range(5, 9))],
    ]


def test_a_path_of_more_than_six_groups_is_shortened_to_six() -> None:
    path = [Group(pk=pk) for pk in range(1, 21)]
    shortened = {
        length: [(part.group.pk, part.text) for part in finding.shortened(path[:length])]
        for length in (6, 7, 20)
    }
    assert shortened == {
        6: [(pk, str(pk)) for pk in range(1, 7)],
        7: [(1, "1"), (3, "…"), *((pk, str(pk)) for pk in range(4, 8))],
        20: [(1, "1"), (16, "…"), *((pk, str(pk)) for pk in range(17, 21))],
    }


@pytest.mark.parametrize(
    ("name", "shown"), [("x" * 40, "x" * 40), ("x" * 41, "x" * 39 + "…"), ("\t", "7")]
)
def test_a_name_in_a_path_has_at_most_forty_characters(name: str, shown: str) -> None:
    assert finding.Part(Group(pk=7, name=name)).text == shown


@pytest.mark.parametrize(
    ("seconds", "english", "turkish"),
    [
        (-5, "just now", "az önce"),
        (59, "just now", "az önce"),
        (60, "1 minute ago", "1 dakika önce"),
        (3 * 3600 + 700, "3 hours ago", "3 saat önce"),
        (40 * 86400, "1 month ago", "1 ay önce"),
    ],
)
def test_times_are_shown_relative_to_now(seconds: int, english: str, turkish: str) -> None:
    moment = timezone.now() - timedelta(seconds=seconds)
    shown = []
    for language in ("en", "tr"):
        with translation.override(language):
            shown.append(html.ago(moment).replace("\xa0", " "))
    assert shown == [english, turkish]
