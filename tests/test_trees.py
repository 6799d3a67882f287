"""A mirrored tree as text and as JSON."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_iletimerkezi.management.trees import arranged, json_lines, text_lines, whole_tree
from django_iletimerkezi.models import Group, GroupQuerySet
from django_iletimerkezi.turkish import sort_key

from .visitors import plant_tree

MISSING_SINCE = datetime(2026, 5, 1, 21, 30, tzinfo=UTC)


def group(pk: int, parent: int | None = None, name: str = "", **fields: Any) -> Group:
    name = name or f"g{pk}"
    return Group(
        pk=pk, parent_id=parent, name=name, sort_key=sort_key(name), **{"count": pk} | fields
    )


def text(rows: list[Group], root_id: int) -> list[str]:
    return list(text_lines(arranged(rows, [root_id])))


def load(rows: list[Group], root_id: int) -> Any:
    (tree,) = json.loads("\n".join(json_lines(arranged(rows, [root_id]))))
    return tree


def shape(tree: Any) -> Any:
    return {tree["id"]: [shape(child) for child in tree["children"]]}


TREE = [
    group(1),
    group(11, 1),
    group(111, 11),
    group(112, 11),
    group(12, 1),
    group(121, 12),
    group(1211, 121),
]
LOOP = [group(1, 3), group(2, 1), group(3, 2), group(4, 2)]


def test_a_tree_is_printed_with_branch_lines() -> None:
    assert text(TREE, 1) == [
        "g1 (id 1, 1 contact)",
        "├── g11 (id 11, 11 contacts)",
        "│   ├── g111 (id 111, 111 contacts)",
        "│   └── g112 (id 112, 112 contacts)",
        "└── g12 (id 12, 12 contacts)",
        "    └── g121 (id 121, 121 contacts)",
        "        └── g1211 (id 1211, 1211 contacts)",
    ]


def test_printed_siblings_are_sorted_in_turkish_alphabetical_order() -> None:
    names = ["Can", "çam", "ıtır", "İpek", "Sema", "şal"]
    rows = [group(1), *(group(9 - n, 1, name) for n, name in enumerate(names))]
    for given in (rows, rows[::-1]):
        assert [line[4:].split()[0] for line in text(given, 1)[1:]] == names
        assert [child["name"] for child in load(given, 1)["children"]] == names


def test_printed_siblings_with_equal_names_are_sorted_by_id() -> None:
    rows = [group(1), group(3, 1, "a"), group(2, 1, "a")]
    for given in (rows, rows[::-1]):
        assert shape(load(given, 1)) == {1: [{2: []}, {3: []}]}


def test_the_root_of_a_printed_tree_may_have_a_parent() -> None:
    assert text(TREE, 121) == [
        "g121 (id 121, 121 contacts)",
        "└── g1211 (id 1211, 1211 contacts)",
    ]


def test_groups_outside_the_tree_are_not_printed() -> None:
    rows = [group(1), group(2), group(3, 2), group(4, 99)]
    assert text(rows, 1) == ["g1 (id 1, 1 contact)"]
    assert shape(load(rows, 1)) == {1: []}


def test_a_tree_with_an_unknown_root_is_printed_as_an_empty_tree() -> None:
    assert list(json_lines(arranged(TREE, [5]))) == ["[", "]"]
    assert text(TREE, 5) == []


def test_missing_since_is_printed_in_local_time() -> None:
    with timezone.override("Europe/Istanbul"):
        assert text([group(1), group(2, 1, missing_since=MISSING_SINCE)], 1)[1] == (
            "└── g2 (id 2, 2 contacts) missing since 2026-05-02 00:30"
        )


@override_settings(USE_TZ=False)
def test_a_naive_time_is_printed_unchanged() -> None:
    row = group(2, missing_since=MISSING_SINCE.replace(tzinfo=None))
    assert text([row], 2) == ["g2 (id 2, 2 contacts) missing since 2026-05-01 21:30"]


def test_groups_below_a_missing_group_are_printed() -> None:
    rows = [group(1), group(2, 1, missing_since=MISSING_SINCE), group(3, 2)]
    assert text(rows, 1)[2] == "    └── g3 (id 3, 3 contacts)"


def test_control_characters_in_a_printed_name_are_escaped() -> None:
    row = group(1, name="a\nb\x1b[31m\u202e")
    assert text([row], 1) == [r"a\nb\x1b[31m\u202e (id 1, 1 contact)"]


def test_json_output_has_one_line_per_group() -> None:
    assert list(json_lines(arranged(TREE, [1]))) == [
        "[",
        '{"id": 1, "name": "g1", "count": 1, "children": [',
        '{"id": 11, "name": "g11", "count": 11, "children": [',
        '{"id": 111, "name": "g111", "count": 111, "children": []},',
        '{"id": 112, "name": "g112", "count": 112, "children": []}]},',
        '{"id": 12, "name": "g12", "count": 12, "children": [',
        '{"id": 121, "name": "g121", "count": 121, "children": [',
        '{"id": 1211, "name": "g1211", "count": 1211, "children": []}]}]}]}',
        "]",
    ]


def test_json_output_nests_subgroups_like_the_tree() -> None:
    tree = {1: [{11: [{111: []}, {112: []}]}, {12: [{121: [{1211: []}]}]}]}
    assert shape(load(TREE, 1)) == tree


@pytest.mark.parametrize("name", ['"]}', "a\nb\x1b", "Iğdır 📟", "\\", "]}],"])
def test_json_output_preserves_any_name(name: str) -> None:
    assert load([group(1), group(2, 1, name)], 1)["children"][0]["name"] == name


def test_json_output_omits_missing_groups_and_everything_below_them() -> None:
    rows = [group(1), group(2, 1, missing_since=MISSING_SINCE), group(3, 2), group(4, 1)]
    assert shape(load(rows, 1)) == {1: [{4: []}]}


def test_json_output_includes_a_root_that_is_marked_missing() -> None:
    assert shape(load([group(1, missing_since=MISSING_SINCE), group(2, 1)], 1)) == {1: [{2: []}]}


@pytest.mark.parametrize(
    ("root_id", "tree"),
    [(1, {1: [{2: [{3: []}, {4: []}]}]}), (2, {2: [{3: [{1: []}]}, {4: []}]}), (4, {4: []})],
)
def test_each_group_in_a_loop_is_printed_once(root_id: int, tree: Any) -> None:
    assert shape(load(LOOP, root_id)) == tree
    assert len(text(LOOP, root_id)) == str(tree).count("[")


def test_a_group_that_is_its_own_parent_is_printed_once() -> None:
    assert text([group(1, 1)], 1) == ["g1 (id 1, 1 contact)"]


def test_a_chain_of_two_thousand_groups_is_printed() -> None:
    rows = [group(1), *(group(pk, pk - 1) for pk in range(2, 2001))]
    assert text(rows, 1)[-1].endswith("    └── g2000 (id 2000, 2000 contacts)")
    assert list(json_lines(arranged(rows, [1])))[-2].endswith("]}" * 2000)


def tree(root_id: int) -> tuple[GroupQuerySet, GroupQuerySet]:
    """Return a root, and the groups below it."""
    below = Group.objects.subtree(root_id).exclude(pk=root_id)
    return Group.objects.filter(pk=root_id), below


@pytest.mark.django_db
def test_groups_of_a_tree_are_read_from_the_database_in_print_order() -> None:
    plant_tree(1200, 3)
    Group.objects.filter(pk=4).update(name="a")
    rows = list(Group.objects.all())
    assert list(whole_tree(*tree(2))) == list(arranged(rows, [2]))
    assert list(whole_tree(*tree(1))) == list(arranged(rows, [1]))


@pytest.mark.django_db
def test_a_group_deleted_during_printing_is_omitted() -> None:
    plant_tree(900, 1)
    places = whole_tree(*tree(1))
    assert next(places).group.pk == 1
    Group.objects.filter(pk=700).delete()
    assert [place.group.pk for place in places] == list(range(2, 700))


@pytest.mark.django_db
def test_a_deleted_group_has_an_empty_tree() -> None:
    assert list(whole_tree(*tree(1))) == []


@pytest.mark.django_db
@pytest.mark.no_cover
def test_printing_a_large_tree_does_not_load_all_names_into_memory() -> None:
    plant_tree(3000, 20)
    Group.objects.update(name="x" * 20_000)
    tracemalloc.start()
    try:
        lines = sum(1 for _line in json_lines(whole_tree(*tree(1))))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == 3002
    # Half of the text of all names.
    assert peak < 30_000_000
