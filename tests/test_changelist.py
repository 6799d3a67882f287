"""The list of groups as the browser gets it: what it shows, for which query string."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_iletimerkezi.models import Group

from .visitors import SEEN, drawn, plant, plant_tree, url, visit

pytestmark = pytest.mark.django_db

ISTANBUL = {1: "Rehber", 2: "Müşteriler", 3: "İstanbul", 4: "Kadıköy", 5: "Isparta", 6: "Şişli"}
LINKS = {1: None, 2: 1, 3: 2, 4: 3, 5: 2, 6: 3}


@pytest.fixture
def client() -> Client:
    return visit("viewer")


def lines(answer: Any) -> list[str]:
    return drawn(answer.context["rows"])


def ask(client: Client, **query: Any) -> Any:
    answer = client.get(url("changelist"), query)
    assert answer.status_code == 200
    return answer


def text(answer: Any) -> str:
    """Return what can be read on a page, in one line."""
    return " ".join(re.sub(r"<[^>]*>", "", answer.content.decode()).split())


# The tree


def test_a_small_tree_comes_fully_open_with_roots_first(client: Client) -> None:
    plant(LINKS | {7: None}, ISTANBUL | {7: "Arşiv"})
    assert lines(ask(client)) == ["7", "1-", ".2-", "..5", "..3-", "...4", "...6"]


def test_two_hundred_groups_come_fully_open_and_more_do_not(client: Client) -> None:
    plant_tree(200, 3)
    assert len(lines(ask(client))) == 200
    Group.objects.create(pk=201, name="z", count=0, seen_at=SEEN, parent_id=1)
    assert lines(ask(client)) == ["1-", ".2+", ".3+", ".4+", ".201"]


def test_many_roots_come_a_hundred_a_page(client: Client) -> None:
    plant(dict.fromkeys(range(1, 302)))
    assert lines(ask(client)) == [str(pk) for pk in range(1, 101)]
    answer = ask(client, p=4)
    assert lines(answer) == ["301"]
    assert "301 contact groups" in text(answer)


def test_two_hundred_roots_are_on_one_page(client: Client) -> None:
    plant(dict.fromkeys(range(1, 201)))
    assert len(lines(ask(client, p=2))) == 200


def test_a_row_shows_name_id_contacts_subgroups_and_times(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk=3).update(
        count=480, fetched_at=timezone.now() - timedelta(hours=3), missing_since=SEEN
    )
    page = ask(client).content.decode()
    row = next(row for row in page.split("<tr") if 'data-id="3"' in row)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
    assert [re.sub(r"<[^>]*>", "", cell) for cell in cells] == [
        "İstanbul missing",
        "3",
        "480",
        "2",
        "3\xa0hours ago",
    ]
    assert re.search(r'class="iletimerkezi-missing" title="[^"]+2026 \d\d:00:00"', row)
    exact = timezone.localtime(Group.objects.get(pk=3).fetched_at)
    assert re.search(rf'<time datetime="[^"]+" title="[^"]+ {exact:%H:%M:%S}">3', row)
    other = next(row for row in page.split("<tr") if 'data-id="4"' in row)
    assert "<td>never</td>" in other
    assert "iletimerkezi-missing" not in other


def test_a_toggle_is_a_link_to_the_tree_below_with_the_path_above_it(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    page = ask(client).content.decode()
    assert re.search(r'class="iletimerkezi-toggle" href="[^"]+/group/\?parent=3"', page)
    below = ask(client, parent=3)
    assert lines(below) == ["3-", ".4", ".6"]
    assert "All contact groups › Rehber › Müşteriler › İstanbul" in text(below)
    path = re.search(r'<nav class="iletimerkezi-path".*?</nav>', below.content.decode(), re.DOTALL)
    assert path
    assert re.findall(r'<a href="\?parent=(\d+)"', path[0]) == ["1", "2", "3"]


def test_the_tree_below_a_group_comes_a_hundred_subgroups_a_page(client: Client) -> None:
    plant({1: None, 2: None} | dict.fromkeys(range(11, 251), 2))
    assert lines(ask(client, parent=2))[1:] == [f".{pk}" for pk in range(11, 111)]
    assert lines(ask(client, parent=2, p=3)) == ["2-", *(f".{pk}" for pk in range(211, 251))]


def test_one_long_level_is_cut_and_more_leads_to_its_next_page(client: Client) -> None:
    plant({1: None} | dict.fromkeys(range(11, 251), 1))
    answer = ask(client)
    assert lines(answer)[-1] == ".more 1 100"
    assert re.search(r'href="[^"]+\?parent=1&amp;p=2" data-more>More<', answer.content.decode())


def test_a_group_in_a_loop_is_shown_and_found(client: Client) -> None:
    plant({1: None, 2: 3, 3: 2})
    assert lines(ask(client)) == ["1", "2-", ".3+"]
    assert lines(ask(client, q="g000003")) == ["3+"]
    assert lines(ask(client, parent=3)) == ["3-", ".2+"]


def test_under_a_group_there_is_no_more_to_select_than_what_is_shown(client: Client) -> None:
    plant({1: None, 2: None} | dict.fromkeys(range(10, 250), 2) | dict.fromkeys(range(300, 330), 1))
    page = ask(visit("superuser"), parent=1)
    assert page.context["cl"].result_count == 31
    assert 'class="question' not in page.content.decode()


@pytest.mark.parametrize("page", [1, 3])
def test_under_a_group_it_and_its_subgroups_on_all_pages_are_counted(page: int) -> None:
    plant({1: None} | dict.fromkeys(range(10, 250), 1))
    answer = ask(visit("superuser"), parent=1, p=page)
    assert "241 contact groups" in text(answer)
    assert "Show all" not in text(answer)
    assert 'class="question' not in answer.content.decode()


def test_a_group_that_is_not_there_has_no_tree(client: Client) -> None:
    plant({1: None})
    answer = text(ask(client, parent=404))
    assert "All contact groups" in answer
    assert "Group 404 is not mirrored here." in answer


def test_a_large_mirror_of_loops_points_to_the_search(client: Client) -> None:
    plant({pk: pk % 250 + 1 for pk in range(1, 251)})
    assert "The search finds them all." in text(ask(client))
    assert "All contact groups" not in text(ask(client))


def test_links_keep_filters_and_the_window_for_choosing(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    page = ask(client, parent=3, parent__gt=0, presence="listed", _popup=1).content.decode()
    kept = "parent__gt=0&amp;presence=listed&amp;_popup=1"
    assert f'href="{url("changelist")}?{kept}"' in page
    assert f'data-rows-url="{url("rows")}?{kept}&amp;"' in page
    assert f'href="{url("changelist")}?{kept}&amp;parent=3"' in page


def test_without_groups_there_is_a_word_on_it_and_a_link_for_those_who_may_fetch() -> None:
    assert "No contact group is mirrored here yet." in text(ask(visit("viewer")))
    page = ask(visit("fetcher")).content.decode()
    assert page.count(f'href="{url("fetch")}"') == 2


# One level


def rows(client: Client, query: str) -> Any:
    return client.get(f"{url('rows')}?{query}")


def test_a_level_more_is_the_subgroups_of_a_group(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    answer = rows(client, "parent=2")
    assert lines(answer) == ["5", "3+"]
    assert re.findall(r'<tr data-id="(\d)" data-level="0" data-parent="2"', answer.content.decode())


def test_more_of_a_level_begins_where_the_former_ended(client: Client) -> None:
    plant({1: None} | dict.fromkeys(range(11, 251), 1))
    assert lines(rows(client, "parent=1"))[-2:] == ["110", "more 1 100"]
    assert lines(rows(client, "parent=1&start=200"))[-1] == "250"


def test_a_level_is_filtered_like_the_page(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    assert lines(rows(client, "parent=2&presence=missing")) == ["5"]


@pytest.mark.parametrize(
    "query",
    [
        *["", "parent=", "parent=abc", "parent=0", "parent=-1", "parent=99999999999999999999"],
        *["parent=1&start=x", "parent=1&start=-1", "parent=1&start=9999999999", "parent=1&x=y"],
        "&".join(f"parent={pk}" for pk in range(1, 102)),
    ],
)
def test_a_level_that_cannot_be_is_answered_as_django_does(client: Client, query: str) -> None:
    answer = rows(client, query)
    assert (answer.status_code, answer["Location"]) == (302, f"{url('changelist')}?e=1")


# Filters


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"presence": "listed"}, ["1-", ".2-", "..5", "6"]),
        ({"presence": "missing"}, ["3-", ".4"]),
        ({"presence": "nonsense"}, ["1-", ".2-", "..5", "..3-", "...4", "...6"]),
        ({"fetched": "yes"}, ["2-", ".3-", "..6"]),
        ({"fetched": "never"}, ["5", "4", "1"]),
        ({"fetched": "old"}, ["2", "6"]),
        ({"subgroups": "yes"}, ["1-", ".2-", "..3"]),
        ({"subgroups": "no"}, ["5", "4", "6"]),
        ({"presence": "missing", "subgroups": "no"}, ["4"]),
        ({"name__contains": "tan"}, ["3"]),
    ],
)
def test_filters_leave_a_tree_of_what_passes(
    client: Client, query: Mapping[str, str], found: list[str]
) -> None:
    plant(LINKS, ISTANBUL)
    now = timezone.now()
    Group.objects.filter(pk__in=[3, 4]).update(missing_since=SEEN)
    Group.objects.filter(pk__in=[2, 6]).update(fetched_at=now - timedelta(days=2))
    Group.objects.filter(pk=3).update(fetched_at=now - timedelta(hours=2))
    assert lines(ask(client, **query)) == found


@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_subgroups_are_looked_for_once_and_not_for_each_group(client: Client, wanted: str) -> None:
    plant(LINKS, ISTANBUL)
    with CaptureQueriesContext(connection) as queries:
        ask(client, subgroups=wanted)
    assert max(query["sql"].count("EXISTS") for query in queries) == 1


def test_under_a_filter_the_number_of_subgroups_is_still_that_of_all(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk__in=[3, 4]).update(missing_since=SEEN)
    (row, _below) = ask(client, presence="missing").context["rows"]
    assert (row.subgroups, row.inside) == (2, 1)


def test_a_large_filtered_tree_is_opened_level_by_level(client: Client) -> None:
    plant_tree(1000, 10)
    Group.objects.exclude(pk=1).update(missing_since=SEEN)
    found = lines(ask(client, presence="missing"))
    assert found[:3] == ["2-", ".12+", ".13+"]
    assert len(found) == 10 + 100
    assert re.search(
        r'data-rows-url="[^"]+/rows/\?presence=missing&amp;"',
        ask(client, presence="missing").content.decode(),
    )


def test_counts_of_the_filters_can_be_shown(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk__in=[3, 4]).update(missing_since=SEEN)
    page = text(ask(client, _facets="True"))
    assert "Listed by the vendor (4) Missing (2)" in page
    assert "With subgroups (3) Without subgroups (3)" in page


def test_a_group_that_does_not_pass_cannot_be_selected(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk__in=[3, 5]).update(missing_since=SEEN)
    superuser = visit("superuser")
    for parent, selectable in ((2, ["5", "3"]), (3, ["3"])):
        page = ask(superuser, presence="missing", parent=parent).content.decode()
        assert re.findall(r'name="_selected_action" value="(\d+)"', page) == selectable
        assert not re.search(r"<tr data-id[^>]*>\s*<th", page)
    page = ask(superuser, parent=2).content.decode()
    assert 'name="_selected_action" value="2"' in page


# Search


@pytest.mark.parametrize("words", ["istanbul", "ISTANBUL", "İstanbul", "ıstanbul", "tanbu", "3"])
def test_istanbul_is_found_however_it_is_written_with_its_path(client: Client, words: str) -> None:
    plant(LINKS, ISTANBUL)
    answer = ask(client, q=words)
    assert lines(answer) == ["3+"]
    assert "Rehber › Müşteriler › İstanbul" in text(answer)
    page = answer.content.decode()
    path = page[page.index('<div class="iletimerkezi-path">') :]
    assert re.findall(r"/group/(\d)/change/", path)[:2] == ["1", "2"]
    assert 'class="iletimerkezi-toggle"' not in page
    assert 'href="/admin/django_iletimerkezi/group/?parent=3">2</a>' in page


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ta", ["5", "3+"]),
        ("TA  is", ["5", "3+"]),
        ("kadikoy", ["4"]),
        ("ısp ARTA", ["5"]),
        ("i", ["5", "3+", "4", "2+", "6"]),
        ("%", []),
        ("_", []),
        ("\\", []),
        ("'\"<script>", []),
        ("9" * 2500, []),
        ("x" * 2500, []),
        ("😀", []),
        ("0", []),
        ("\u0307", []),
        ("istan\u200bbul", ["3+"]),
        ("ist " * 700, ["3+"]),
        ("1 " * 30, ["1+"]),
        (" ".join(map(str, range(1, 400))), []),
    ],
)
def test_search_finds_each_word_in_the_whole_mirror(
    client: Client, words: str, found: list[str]
) -> None:
    plant(LINKS, ISTANBUL)
    assert lines(ask(client, q=words)) == found


def test_what_is_left_out_of_a_long_path_is_a_link_to_the_last_of_it(client: Client) -> None:
    plant_tree(9, 1)
    for answer in (ask(client, q="g000009"), client.get(url("change", 9))):
        assert '/group/4/change/"><bdi>…</bdi></a>' in answer.content.decode()
    assert '<a href="?parent=5"><bdi>…</bdi></a>' in ask(client, parent=9).content.decode()


def test_search_within_a_tree_is_over_the_whole_mirror_and_obeys_filters(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    assert lines(ask(client, q="ta", parent="4")) == ["5", "3+"]
    assert lines(ask(client, q="ta", presence="missing")) == ["5"]


def test_a_group_of_the_id_that_was_searched_for_comes_first(client: Client) -> None:
    plant({1: None, 7: 1} | dict.fromkeys(range(100, 250), 1), dict.fromkeys(range(100, 250), "a7"))
    assert lines(ask(client, q="7"))[:2] == ["7", "100"]
    assert lines(ask(client, q="g 7"))[0] == "7"


def test_hits_come_a_hundred_a_page(client: Client) -> None:
    plant_tree(1000, 10)
    assert len(lines(ask(client, q="g"))) == 100
    assert lines(ask(client, q="g", p=10))[-1] == "1000"
    assert lines(ask(client, q="g", all="")) == lines(ask(client, q="g"))


# Strange query strings


@pytest.mark.parametrize(
    "query",
    [
        *["parent=abc", "parent=", "parent=0", "parent=-5", "parent=1.5", "parent=٣", "parent=%00"],
        *[f"parent={10**20}", "nonsense=1", "parent__nonsense=1", "id__exact=abc", "p=0", "p=-1"],
        *[
            "p=99",
            "count__gt=x",
            "seen_at__year=x",
            "seen_at__year=99999",
            "parent=2&p=99",
            f"parent__gt={2**63}",
        ],
        *[f"id__lt=-{2**63}", "name=%00", "name__contains=%00", "sort_key__gt=%00&presence=listed"],
        "missing_since__isnull=True&name__in=a,%00",
    ],
)
def test_a_query_that_makes_no_sense_leads_to_the_tree_as_django_does(
    client: Client, query: str
) -> None:
    plant({1: None, 2: None} | dict.fromkeys(range(3, 250), 2) | dict.fromkeys(range(300, 410)))
    answer = client.get(f"{url('changelist')}?{query}")
    assert (answer.status_code, answer["Location"]) == (302, f"{url('changelist')}?e=1")
    assert client.get(answer["Location"]).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *["e=1", "o=1.-2.99.x", "all=", "_facets=x", "p=abc", "q=%00", "q=%ff", "_popup=1", "q=+"],
        *["parent=404", "presence=", "presence=missing&presence=listed", "_to_field=id", "p=2"],
        "start=5",
    ],
)
def test_other_queries_are_answered(client: Client, query: str) -> None:
    plant(LINKS, ISTANBUL)
    assert client.get(f"{url('changelist')}?{query}").status_code == 200


@pytest.mark.parametrize("query", [f"parent__gt={2**63}", "name=%00", "sort_key__gt=%00"])
def test_a_level_of_a_query_that_makes_no_sense_is_refused(client: Client, query: str) -> None:
    answer = rows(client, f"parent=1&{query}")
    assert (answer.status_code, answer["Location"]) == (302, f"{url('changelist')}?e=1")


def test_groups_for_a_foreign_key_can_be_limited_to_those_that_are_listed(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk=3).update(missing_since=SEEN)
    query = "missing_since__isnull=True&_to_field=id&_popup=1"
    assert lines(client.get(f"{url('changelist')}?{query}")) == ["4", "1-", ".2-", "..5", "6"]
    assert lines(rows(client, f"{query}&parent=2")) == ["5"]


@pytest.mark.parametrize(
    "query",
    [
        *["name__regex=(", "name__iregex=(", "parent__name__contains=x", "name__range=a,b"],
        *["count__range=1", "sort_key__gt=a&seen_at__year__range=1,2"],
    ],
)
@pytest.mark.parametrize("page", ["changelist", "rows"])
def test_a_lookup_that_is_not_allowed_is_refused_as_django_does(
    client: Client, page: str, query: str
) -> None:
    assert client.get(f"{url(page)}?{query}").status_code == 400


def test_a_sort_order_in_the_query_does_not_tear_the_tree(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    assert lines(ask(client, o="-2")) == lines(ask(client))
    assert lines(ask(client, o="-1", q="ta")) == ["5", "3+"]


def test_a_null_character_in_a_search_is_told(client: Client) -> None:
    assert "Null characters are not allowed." in text(ask(client, q="\0"))


def test_a_page_for_choosing_a_group_keeps_to_its_window(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    page = ask(client, _popup=1).content.decode()
    assert page.count("data-popup-opener=") == 6
    assert "/rows/?_popup=1&amp;" in page
    assert 'name="_selected_action"' not in page
    assert 'data-popup-opener="4"' in rows(client, "_popup=1&parent=3").content.decode()


def test_a_page_for_choosing_leaves_out_what_the_foreign_key_does(client: Client) -> None:
    plant(LINKS, ISTANBUL)
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    limits = url_params_from_lookup_dict({"missing_since__isnull": True})
    page = ask(client, **limits, _to_field="id", _popup=1).content.decode()
    assert re.findall(r'data-popup-opener="(\d)"', page) == ["1", "2", "3", "4", "6"]


# Names


def test_a_name_is_text_whatever_it_says(client: Client) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    plant({1: None, 2: 1}, {1: hostile, 2: hostile})
    for answer in (ask(client), ask(client, q="script"), rows(client, "parent=1")):
        page = answer.content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_a_name_of_which_nothing_can_be_seen_gives_way_to_the_id(client: Client) -> None:
    plant({1: None, 2: None}, {1: " \t ", 2: "\u202egnp.exe"})
    page = ask(client).content.decode()
    assert '<a id="g1" href="/admin/django_iletimerkezi/group/1/change/"><bdi>1</bdi></a>' in page
    assert r"<bdi>\u202egnp.exe</bdi>" in page


def test_more_is_not_written_with_separators(client: Client, settings: Any) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    plant({1: None} | dict.fromkeys(range(2, 1202), 1))
    page = rows(client, "parent=1&start=1000").content.decode()
    assert 'data-start="1100"' in page
    assert "p=12" in page


def test_numbers_in_links_are_not_written_with_separators(client: Client, settings: Any) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    plant({1000000: None, 2000000: 1000000})
    page = ask(client).content.decode()
    assert "1,000,000" not in page
    assert "parent=1000000" in page


# Bounds


def measure(client: Client) -> dict[str, int]:
    pages = {
        "tree": url("changelist"),
        "below": f"{url('changelist')}?parent=2",
        "level": f"{url('rows')}?parent=2",
        "search": f"{url('changelist')}?q=g",
        "filter": f"{url('changelist')}?presence=listed",
        "group": url("change", 1),
    }
    numbers = {}
    for name, address in pages.items():
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        assert answer.status_code == 200
        assert len(answer.content) < 500_000
        numbers[name] = len(queries)
    return numbers


BESIDE = {"superuser": 2, "viewer": 4}
"""Session and user, and of who is no superuser two sorts of permissions."""


@pytest.mark.parametrize("total", [3, 300, 30_000])
def test_each_page_takes_the_same_few_queries_for_any_number_of_groups(total: int) -> None:
    plant_tree(total, 20)
    ContentType.objects.get_for_model(Group)  # A process asks for it once.
    measured = {
        person: {name: number - beside for name, number in measure(visit(person)).items()}
        for person, beside in BESIDE.items()
    }
    assert measured["superuser"] == measured["viewer"]
    assert measured["viewer"] == {
        "tree": 3,
        "below": 4,
        "level": 1,
        "search": 3,
        "filter": 4,
        "group": 4,
    }


BIG = 9 * 10**18


def plant_the_worst(total: int, fanout: int) -> None:
    """Store a tree of the longest ids, and of names that are longest as HTML."""
    Group.objects.bulk_create(
        Group(
            pk=BIG + place,
            name="'" * 100,
            count=2**63 - 1,
            seen_at=SEEN,
            fetched_at=SEEN,
            missing_since=SEEN,
            parent_id=BIG + (place - 1) // fanout if place else None,
        )
        for place in range(total)
    )


ALL_FILTERS = "presence=missing&fetched=yes&_facets=True"
FIFTY = "&".join(f"parent={BIG + place}" for place in range(50))


@pytest.mark.parametrize(
    ("total", "fanout", "query"),
    [
        *[(200, 1, ""), (200, 10, ""), (200, 1, ALL_FILTERS), (600, 100, f"parent={BIG}")],
        *[(600, 100, ALL_FILTERS), (600, 600, f"parent={BIG}&p=2&{ALL_FILTERS}")],
        *[(600, 1, "q=%27&p=2"), (600, 1, f"q=%27&p=5&{ALL_FILTERS}")],
        (600, 1, "q=" + "%20" * 980 + "%27&p=2"),
        (600, 1, "q=%27&p=2&name__contains=" + "%27" * 90),
        (600, 100, "id__gt=0&" * 18 + "id__gt=0"),
        (600, 100, "id__gt=0&" * 300 + "id__gt=0"),
    ],
)
def test_lists_stay_below_half_a_megabyte_with_the_longest_names(
    total: int, fanout: int, query: str
) -> None:
    plant_the_worst(total, fanout)
    answer = visit("superuser").get(f"{url('changelist')}?{query}")
    assert answer.status_code == 200
    assert len(lines(answer)) >= 100
    assert len(answer.content) < 500_000


@pytest.mark.parametrize(
    ("page", "arguments", "query"),
    [
        ("rows", [], FIFTY),
        ("rows", [], f"{FIFTY}&{ALL_FILTERS}&" + "id__gt=0&" * 15 + "id__gt=0"),
        ("change", [BIG], ""),
        ("change", [BIG + 59], f"_changelist_filters={'x' * 150}"),
        ("delete", [BIG], ""),
        ("history", [BIG], ""),
    ],
)
def test_other_pages_stay_below_half_a_megabyte_with_the_longest_names(
    page: str, arguments: list[int], query: str
) -> None:
    plant_the_worst(600, 10)
    answer = visit("superuser").get(f"{url(page, *arguments)}?{query}")
    assert answer.status_code == 200
    assert len(answer.content) < 500_000


@pytest.mark.parametrize("name", ["q", "presence", "name__contains"])
def test_a_query_of_a_length_that_nobody_types_is_refused(client: Client, name: str) -> None:
    plant(LINKS, ISTANBUL)
    answer = client.get(url("changelist"), {name: "x" * 3001})
    assert (answer.status_code, answer["Location"]) == (302, f"{url('changelist')}?e=1")
    assert "That is too long to be searched for." in text(client.get(answer["Location"]))
