"""What the list of groups shows for each query string."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.widgets import url_params_from_lookup_dict
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from django_iletimerkezi.finding import search
from django_iletimerkezi.models import Group

from .visitors import (
    LINKS,
    NAMES,
    ROLES,
    SEEN,
    client_for,
    lines,
    messages,
    plant,
    plant_tree,
    sum_up,
    text,
    url,
)

pytestmark = pytest.mark.django_db

ERROR_URL = "/admin/django_iletimerkezi/group/?e=1"


@pytest.fixture
def client() -> Client:
    return client_for("viewer")


@pytest.fixture
def groups() -> None:
    plant(LINKS, NAMES)


def show(client: Client, query: str = "", **fields: Any) -> Any:
    """Return the list for a query string or its fields."""
    answer = client.get(f"{url('changelist')}?{query}" if query else url("changelist"), fields)
    assert answer.status_code == 200
    return answer


def subgroups(client: Client, query: str) -> Any:
    return client.get(f"{url('subgroups')}?{query}")


def redirects_to_error(answer: Any) -> bool:
    return bool(answer.status_code == 302 and answer["Location"] == ERROR_URL)


# The tree


def test_a_small_tree_is_shown_expanded_and_in_alphabetical_order(client: Client) -> None:
    plant(LINKS | {7: None}, NAMES | {7: "Arşiv"})
    assert lines(show(client)) == ["7", "1-", ".2-", "..5", "..3-", "...4", "...6"]


def test_a_tree_of_at_most_two_hundred_groups_is_shown_expanded(client: Client) -> None:
    plant_tree(200, 3)
    assert len(lines(show(client))) == 200
    Group.objects.create(pk=201, name="z", count=0, seen_at=SEEN, parent_id=1)
    assert lines(show(client)) == ["1-", ".2+", ".3+", ".4+", ".201"]


def test_many_roots_are_shown_a_hundred_per_page(client: Client) -> None:
    plant(dict.fromkeys(range(1, 302)))
    assert lines(show(client)) == [str(pk) for pk in range(1, 101)]
    answer = show(client, p=4)
    assert lines(answer) == ["301"]
    assert "301 contact groups" in text(answer)


def test_two_hundred_roots_are_shown_on_one_page(client: Client) -> None:
    plant(dict.fromkeys(range(1, 201)))
    assert len(lines(show(client, p=2))) == 200


@pytest.mark.usefixtures("groups")
def test_a_row_shows_name_id_contacts_subgroups_and_times(client: Client) -> None:
    Group.objects.filter(pk=3).update(
        count=480, fetched_at=timezone.now() - timedelta(hours=3), missing_since=SEEN
    )
    page = show(client).content.decode()
    row = next(row for row in page.split("<tr") if 'data-id="3"' in row)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
    assert [re.sub(r"<[^>]*>", "", cell) for cell in cells] == [
        "İstanbul missing",
        "3",
        "480",
        "at least 3",
        "2",
        "3\xa0hours ago",
    ]
    assert re.search(r'class="iletimerkezi-missing" title="[^"]+2026 \d\d:00:00"', row)
    exact = timezone.localtime(Group.objects.get(pk=3).fetched_at)
    assert re.search(rf'<time datetime="[^"]+" title="[^"]+ {exact:%H:%M:%S}">3', row)
    other_row = next(row for row in page.split("<tr") if 'data-id="4"' in row)
    assert "<td>never</td>" in other_row
    assert "iletimerkezi-missing" not in other_row


@pytest.mark.usefixtures("groups")
def test_a_toggle_links_to_the_tree_below_its_group(client: Client) -> None:
    page = show(client).content.decode()
    assert re.search(r'class="iletimerkezi-toggle" href="[^"]+/group/\?_from=3"', page)


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_subtree_shows_the_path_from_the_root_to_its_first_group(
    client: Client,
) -> None:
    answer = show(client, _from=3)
    assert lines(answer) == ["3-", ".4", ".6"]
    assert "All contact groups › Rehber › Müşteriler › İstanbul" in text(answer)
    page = answer.content.decode()
    path = re.search(r'<nav class="iletimerkezi-path".*?</nav>', page, re.DOTALL)
    assert path
    assert re.findall(r'<a href="\?_from=(\d+)"', path[0]) == ["1", "2", "3"]


def test_the_tree_below_a_group_has_a_hundred_subgroups_per_page(client: Client) -> None:
    plant({1: None, 2: None} | dict.fromkeys(range(11, 251), 2))
    assert lines(show(client, _from=2))[1:] == [f".{pk}" for pk in range(11, 111)]
    assert lines(show(client, _from=2, p=3)) == ["2-", *(f".{pk}" for pk in range(211, 251))]


def test_a_long_level_ends_with_a_link_to_its_next_page(client: Client) -> None:
    plant({1: None} | dict.fromkeys(range(11, 251), 1))
    answer = show(client)
    assert lines(answer)[-1] == ".more 1 100"
    assert re.search(r'href="[^"]+\?_from=1&amp;p=2" data-more>More<', answer.content.decode())


def test_a_group_in_a_loop_is_shown_in_the_tree_and_found_by_a_search(client: Client) -> None:
    plant({1: None, 2: 3, 3: 2})
    assert lines(show(client)) == ["1", "2-", ".3+"]
    assert lines(show(client, q="g000003")) == ["3+"]
    assert lines(show(client, _from=3)) == ["3-", ".2+"]


def test_groups_on_other_pages_cannot_be_selected_in_the_tree_below_a_group() -> None:
    plant({1: None, 2: None} | dict.fromkeys(range(10, 250), 2) | dict.fromkeys(range(300, 330), 1))
    page = show(client_for("superuser"), _from=1)
    assert page.context["cl"].result_count == 31
    assert 'class="question' not in page.content.decode()


@pytest.mark.parametrize("page", [1, 3])
def test_the_tree_below_a_group_counts_the_subgroups_on_all_pages(page: int) -> None:
    plant({1: None} | dict.fromkeys(range(10, 250), 1))
    answer = show(client_for("superuser"), _from=1, p=page)
    assert "241 contact groups" in text(answer)
    assert "Show all" not in text(answer)
    assert 'class="question' not in answer.content.decode()


def test_the_page_of_an_unknown_subtree_says_that_the_group_is_not_in_the_mirror(
    client: Client,
) -> None:
    plant({1: None})
    answer = text(show(client, _from=404))
    assert "All contact groups" in answer
    assert "Group 404 is not in the mirror." in answer


def test_a_large_mirror_without_roots_shows_advice_to_use_the_search(client: Client) -> None:
    plant({pk: pk % 250 + 1 for pk in range(1, 251)})
    answer = text(show(client))
    assert "Use the search." in answer
    assert "All contact groups" not in answer


@pytest.mark.usefixtures("groups")
def test_links_keep_the_filters_and_the_popup_mode(client: Client) -> None:
    page = show(client, _from=3, parent__gt=0, presence="listed", _popup=1).content.decode()
    kept = "parent__gt=0&amp;presence=listed&amp;_popup=1"
    assert f'href="{url("changelist")}?{kept}"' in page
    assert f'data-subgroups-url="{url("subgroups")}?{kept}&amp;_from="' in page
    assert f'href="{url("changelist")}?{kept}&amp;_from=3"' in page


def test_an_empty_mirror_offers_a_fetch_to_users_with_the_permission() -> None:
    assert "No contact groups have been fetched yet." in text(show(client_for("viewer")))
    page = show(client_for("fetcher")).content.decode()
    assert 'form="iletimerkezi-phone-book"' in page


# The summary


def summary(page: Any) -> list[tuple[str, str]]:
    """Return the texts of the summary, and the query strings of its links."""
    found = re.search(
        '<ul class="iletimerkezi-summary">(.*?)</ul>', page.content.decode(), re.DOTALL
    )
    items = re.findall("<li>(.*?)</li>", found[1], re.DOTALL) if found else []
    return [
        (re.sub("<[^>]*>", "", item), "".join(re.findall(r'href="[^"?]*(.*?)"', item)))
        for item in items
    ]


@pytest.mark.usefixtures("groups")
def test_the_summary_counts_groups_and_contacts(client: Client) -> None:
    Group.objects.filter(pk__in=[1, 2]).update(listed_at=SEEN)
    Group.objects.filter(pk=6).update(missing_since=SEEN)
    Group.objects.filter(pk=5).update(seen_at=timezone.now() - timedelta(days=3))
    Group.objects.exclude(pk__in=[5, 6]).update(seen_at=timezone.now())
    sum_up()
    oldest = summary(show(client))[-1][1]
    assert summary(show(client)) == [
        ("6 groups", ""),
        ("at least 15 contacts", ""),
        ("1 missing", "?presence=missing"),
        ("3 never fetched", "?fetched=never"),
        ("oldest data: 3\xa0days ago", oldest),
    ]
    for query, ids in (("presence=missing", ["6"]), (html.unescape(oldest)[1:], ["5"])):
        assert lines(show(client, query)) == ids
    assert "3 contact groups" in text(show(client, "fetched=never"))


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("query", ["total__gte=11", "unexplored=1"])
def test_a_query_cannot_filter_by_stored_totals(client: Client, query: str) -> None:
    assert client.get(f"{url('changelist')}?{query}").status_code == 400


@pytest.mark.usefixtures("groups")
def test_the_summary_shows_a_complete_total_as_an_exact_number(client: Client) -> None:
    Group.objects.update(listed_at=SEEN, count=1000)
    sum_up()
    assert summary(show(client))[1] == ("6,000 contacts", "")


@pytest.mark.usefixtures("groups")
def test_the_summary_omits_the_time_of_the_oldest_data_if_all_groups_are_marked_missing(
    client: Client,
) -> None:
    Group.objects.update(missing_since=SEEN)
    sum_up()
    texts = [text for text, _query in summary(show(client))]
    assert texts == ["6 groups", "0 contacts", "6 missing", "0 never fetched"]


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("query", ["q=a", "presence=listed", "_from=1", "_popup=1"])
def test_lists_with_a_search_a_filter_a_subtree_or_a_popup_have_no_summary(
    client: Client, query: str
) -> None:
    assert summary(show(client, query)) == []


# The CSV file


def export(client: Client, query: str = "") -> list[list[str]]:
    answer: Any = client.get(f"{url('csv')}?{query}")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="contact-groups.csv"'
    lines = b"".join(answer.streaming_content).decode().removeprefix("\ufeff").splitlines()
    return [line.split(";") for line in lines][1:]


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["5", "3", "4", "2", "1", "6"]),
        ("q=s", ["5", "3", "2", "6"]),
        ("subgroups=no", ["5", "4", "6"]),
        ("_from=3", ["3", "4", "6"]),
        ("_from=2&subgroups=no", ["5", "4", "6"]),
        ("_from=99", []),
    ],
)
def test_the_csv_contains_the_listed_groups_with_their_paths(
    client: Client, query: str, ids: list[str]
) -> None:
    rows = export(client, query)
    assert [row[0] for row in rows] == ids
    paths = {row[0]: row[1] for row in rows}
    assert paths.get("4", "Rehber › Müşteriler › İstanbul › Kadıköy").endswith("› Kadıköy")


def test_a_list_larger_than_one_batch_is_exported_completely(client: Client) -> None:
    plant_tree(600, 1)  # A batch has 500 groups.
    rows = export(client)
    assert len(rows) == 600
    assert rows[-1][1].count(" › ") == 599


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("query", ["_from=1&_from=2", "_from=x", "nosuchfield=1"])
def test_an_export_with_an_invalid_query_redirects_to_the_error_page(
    client: Client, query: str
) -> None:
    answer = client.get(f"{url('csv')}?{query}")
    assert answer["Location"] == f"{url('changelist')}?e=1"


@pytest.mark.parametrize("role", [role for role in ROLES if role != "superuser"])
def test_only_users_with_view_permission_can_export(role: str) -> None:
    status = client_for(role).get(url("csv")).status_code
    denied = {"staff": 403, "fetcher without view": 403, "user": 302, "anonymous": 302}
    assert status == denied.get(role, 200)


def test_the_csv_export_rejects_post_requests(client: Client) -> None:
    assert client.post(url("csv")).status_code == 405


# Subgroups


@pytest.mark.usefixtures("groups")
def test_the_subgroups_of_a_group_are_returned_as_rows(client: Client) -> None:
    answer = subgroups(client, "_from=2")
    assert lines(answer) == ["5", "3+"]
    page = answer.content.decode()
    assert re.findall(r'<tr data-id="(\d)" data-level="0" data-parent="2"', page) == ["5", "3"]


def test_the_next_page_of_subgroups_starts_after_the_previous_page(client: Client) -> None:
    plant({1: None} | dict.fromkeys(range(11, 251), 1))
    assert lines(subgroups(client, "_from=1"))[-2:] == ["110", "more 1 100"]
    assert lines(subgroups(client, "_from=1&_start=200"))[-1] == "250"


@pytest.mark.usefixtures("groups")
def test_subgroups_are_filtered_like_the_list(client: Client) -> None:
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    assert lines(subgroups(client, "_from=2&presence=missing")) == ["5"]


def test_an_invalid_query_for_subgroups_redirects_to_the_error_page(client: Client) -> None:
    for query in (
        *["", "_from=", "_from=abc", "_from=0", "_from=-1", "_from=99999999999999999999"],
        *["_from=1&_start=x", "_from=1&_start=-1", f"_from=1&_start={2**63 - 101}", "_from=1&x=y"],
        *[f"_from=1&parent__gt={2**63}", "_from=1&name=%00", "_from=1&sort_key__gt=%00"],
        "&".join(f"_from={pk}" for pk in range(1, 102)),
        "_from=1" + "&id__gt=0" * 100,
    ):
        assert redirects_to_error(subgroups(client, query)), query


# Filters


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("presence=listed", ["1-", ".2-", "..5", "6"]),
        ("presence=missing", ["3-", ".4"]),
        ("presence=nonsense", ["1-", ".2-", "..5", "..3-", "...4", "...6"]),
        ("fetched=yes", ["2-", ".3-", "..6"]),
        ("fetched=never", ["1-", ".2-", "..5", "6"]),
        ("fetched=old", ["2", "6"]),
        ("subgroups=yes", ["1-", ".2-", "..3"]),
        ("subgroups=no", ["5", "4", "6"]),
        ("presence=missing&subgroups=no", ["4"]),
        ("name__contains=tan", ["3"]),
        ("parent=2", ["5", "3"]),
        ("parent__id__in=1,3", ["4", "2", "6"]),
        ("parent__isnull=True", ["1"]),
    ],
)
@pytest.mark.usefixtures("groups")
def test_a_filtered_tree_shows_only_matching_groups(
    client: Client, query: str, found: list[str]
) -> None:
    now = timezone.now()
    Group.objects.filter(pk__in=[3, 4]).update(missing_since=SEEN)
    Group.objects.filter(pk__in=[2, 6]).update(fetched_at=now - timedelta(days=2))
    Group.objects.filter(pk=3).update(fetched_at=now - timedelta(hours=2))
    assert lines(show(client, query)) == found


@pytest.mark.usefixtures("groups")
def test_a_filtered_tree_shows_the_number_of_all_subgroups(client: Client) -> None:
    Group.objects.filter(pk__in=[3, 4]).update(missing_since=SEEN)
    (node, _below) = show(client, presence="missing").context["nodes"]
    assert (node.subgroups, node.matching) == (2, 1)


def test_a_large_filtered_tree_is_shown_collapsed_below_its_second_level(client: Client) -> None:
    plant_tree(1000, 10)
    Group.objects.exclude(pk=1).update(missing_since=SEEN)
    answer = show(client, presence="missing")
    assert lines(answer)[:3] == ["2-", ".12+", ".13+"]
    assert len(lines(answer)) == 10 + 100
    address = f'data-subgroups-url="{url("subgroups")}?presence=missing&amp;_from="'
    assert address in answer.content.decode()


@pytest.mark.usefixtures("groups")
def test_filters_show_the_number_of_matching_groups(client: Client) -> None:
    Group.objects.filter(pk__in=[3, 4]).update(missing_since=SEEN)
    page = text(show(client, _facets="True"))
    assert "Listed by the vendor (4) Missing (2)" in page
    assert "With subgroups (3) Without subgroups (3)" in page


@pytest.mark.usefixtures("groups")
def test_a_group_that_does_not_match_the_filter_cannot_be_selected() -> None:
    Group.objects.filter(pk__in=[3, 5]).update(missing_since=SEEN)
    client = client_for("superuser")
    for from_id, selectable in ((2, ["5", "3"]), (3, ["3"])):
        page = show(client, presence="missing", _from=from_id).content.decode()
        assert re.findall(r'name="_selected_action" value="(\d+)"', page) == selectable
        assert not re.search(r"<tr data-id[^>]*>\s*<th", page)
    assert 'name="_selected_action" value="2"' in show(client, _from=2).content.decode()


# Search


@pytest.mark.parametrize("words", ["istanbul", "ISTANBUL", "İstanbul", "ıstanbul", "tanbu", "3"])
@pytest.mark.usefixtures("groups")
def test_istanbul_is_found_in_any_spelling_and_by_id(client: Client, words: str) -> None:
    assert lines(show(client, q=words)) == ["3+"]


@pytest.mark.usefixtures("groups")
def test_a_hit_shows_its_path_and_links_to_its_subgroups(client: Client) -> None:
    answer = show(client, q="istanbul")
    assert "İstanbul Rehber › Müşteriler 3" in text(answer)
    page = answer.content.decode()
    path = page[page.index('<div class="iletimerkezi-path">') :]
    assert re.findall(r"/group/(\d)/change/", path)[:2] == ["1", "2"]
    assert 'class="iletimerkezi-toggle"' not in page
    assert 'href="/admin/django_iletimerkezi/group/?_from=3">2</a>' in page


@pytest.mark.usefixtures("groups")
def test_a_search_finds_groups_that_contain_all_words(client: Client) -> None:
    hits: dict[str, list[str]] = {
        "ta": ["5", "3+"],
        "TA  is": ["5", "3+"],
        "kadikoy": ["4"],
        "ısp ARTA": ["5"],
        "i": ["5", "3+", "4", "2+", "6"],
        "%": [],
        "_": [],
        "\\": [],
        "'\"<script>": [],
        "9" * 500: [],
        "x" * 500: [],
        "😀": [],
        "0": [],
        "\u0307": [],
        "istan\u200bbul": ["3+"],
        "ist " * 140: ["3+"],
        "1 " * 30: ["1+"],
        " ".join(map(str, range(1, 150))): [],
    }
    assert {words: lines(show(client, q=words)) for words in hits} == hits


def test_the_ellipsis_of_a_long_path_links_to_the_last_omitted_group(client: Client) -> None:
    plant_tree(9, 1)
    for answer in (show(client, q="g000009"), client.get(url("change", 9))):
        assert '/group/4/change/"><bdi>…</bdi></a>' in answer.content.decode()
    assert '<a href="?_from=5"><bdi>…</bdi></a>' in show(client, _from=9).content.decode()


@pytest.mark.usefixtures("groups")
def test_a_search_covers_the_whole_mirror_within_the_filters(client: Client) -> None:
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    assert lines(show(client, q="ta", _from=4)) == ["5", "3+"]
    assert lines(show(client, q="ta", presence="missing")) == ["5"]


def test_a_search_for_an_id_lists_its_group_first(client: Client) -> None:
    plant({1: None, 7: 1} | dict.fromkeys(range(100, 250), 1), dict.fromkeys(range(100, 250), "a7"))
    assert lines(show(client, q="7"))[:2] == ["7", "100"]
    assert lines(show(client, q="g 7"))[0] == "7"


def test_hits_are_shown_a_hundred_per_page_in_the_order_of_their_names(client: Client) -> None:
    plant(dict.fromkeys(range(1, 151)), {150 - place: f"kayıt {place:03}" for place in range(150)})
    for page, places in ((1, range(100)), (2, range(100, 150))):
        assert lines(show(client, q="kayıt", p=page)) == [str(150 - place) for place in places]


def test_more_than_two_hundred_hits_are_never_shown_on_one_page(client: Client) -> None:
    plant_tree(300, 10)
    assert len(lines(show(client, q="g", all=""))) == 100


# Invalid query strings


def test_an_invalid_query_redirects_to_the_error_page(client: Client) -> None:
    plant({1: None, 2: None} | dict.fromkeys(range(3, 250), 2) | dict.fromkeys(range(300, 410)))
    for query in (
        *["_from=abc", "_from=", "_from=0", "_from=-5", "_from=1.5", "_from=٣", "_from=%00"],
        *[f"_from={10**20}", "nonsense=1", "start=5", "id__exact=abc", "parent=abc", "p=0", "p=-1"],
        *["p=99", "count__gt=x", "seen_at__gt=x", "_from=2&p=99", f"parent__gt={2**63}"],
        *[f"id__lt=-{2**63}", "name=%00", "name__contains=%00", "sort_key__gt=%00&presence=listed"],
        "missing_since__isnull=True&name__in=a,%00",
    ):
        assert redirects_to_error(client.get(f"{url('changelist')}?{query}")), query
    assert client.get(ERROR_URL).status_code == 200


@pytest.mark.usefixtures("groups")
def test_harmless_query_strings_are_accepted(client: Client) -> None:
    for query in (
        *["e=1", "o=1.-2.99.x", "all=", "_facets=x", "p=abc", "q=%00", "q=%ff", "_popup=1", "q=+"],
        *["_from=404", "presence=", "presence=missing&presence=listed", "_to_field=id", "p=2"],
        *["_start=5", "parent=404"],
    ):
        show(client, query)


@pytest.mark.usefixtures("groups")
def test_filter_lookups_that_may_fail_or_be_slow_are_refused(client: Client) -> None:
    for query in (
        *["name__regex=(", "name__iregex=(", "name__range=a,b", "count__range=1", "name__search=l"],
        *[
            "seen_at__year=2026",
            "sort_key__gt=a&seen_at__year__range=2025,2026",
            "parent__nonsense=1",
        ],
        *["parent__name__contains=x", "parent__parent=1", "children__isnull=True", "children=4"],
    ):
        for page in ("changelist", "subgroups"):
            assert client.get(f"{url(page)}?{query}").status_code == 400, query


@pytest.mark.parametrize("time_zone", ["Europe/Istanbul", "America/New_York"])
@pytest.mark.usefixtures("groups")
def test_filters_refuse_times_at_the_first_and_last_day_of_the_calendar(
    client: Client, time_zone: str
) -> None:
    with override_settings(TIME_ZONE=time_zone):
        for lookup in ("seen_at", "fetched_at__gt", "missing_since__in"):
            for moment in ("0001-01-01", "9999-12-31 23:59:59", "9999-12-31T23:59:59-12:00"):
                answer = client.get(url("changelist"), {lookup: moment})
                assert answer["Location"] == ERROR_URL, (lookup, moment)


@pytest.mark.usefixtures("groups")
def test_an_empty_to_field_parameter_is_ignored() -> None:
    client = client_for("superuser")
    for page in ("change", "delete"):
        assert client.get(url(page, 2), {"_to_field": ""}).status_code == 200


@pytest.mark.usefixtures("groups")
def test_a_sort_order_in_the_query_is_ignored(client: Client) -> None:
    assert lines(show(client, o="-2")) == lines(show(client))
    assert lines(show(client, o="-1", q="ta")) == ["5", "3+"]


def test_a_search_term_with_a_null_character_finds_nothing() -> None:
    assert not search(Group.objects.all(), "a\0b").exists()


def test_a_null_character_in_a_search_is_reported(client: Client) -> None:
    assert "Null characters are not allowed." in text(show(client, q="\0"))


@pytest.mark.parametrize("name", ["q", "presence", "name__contains"])
@pytest.mark.usefixtures("groups")
def test_a_query_string_of_more_than_600_characters_is_refused(client: Client, name: str) -> None:
    answer: Any = client.get(url("changelist"), {name: "x" * 600}, follow=True)
    assert answer.redirect_chain == [(ERROR_URL, 302)]
    assert messages(answer) == [("error", "The search text is too long.")]


# Popups

Limit = Callable[[Mapping[str, object]], str]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Limit the choices of a foreign key to groups, and return the query string of its popup."""

    def limit(limits: Mapping[str, object]) -> str:
        monkeypatch.setattr(Group._meta, "related_fkey_lookups", [lambda: limits])
        query = url_params_from_lookup_dict(limits) | {"_to_field": "id", "_popup": "1"}
        return "&".join(f"{name}={value}" for name, value in query.items())

    return limit


def offered(answer: Any) -> list[str]:
    return re.findall(r'data-popup-opener="(\d+)"', answer.content.decode())


@pytest.mark.usefixtures("groups")
def test_a_popup_offers_groups_without_checkboxes(client: Client) -> None:
    answer = client_for("superuser").get(f"{url('changelist')}?_popup=1")
    assert len(offered(answer)) == 6
    assert f"{url('subgroups')}?_popup=1&amp;" in answer.content.decode()
    assert 'name="_selected_action"' not in answer.content.decode()
    assert offered(subgroups(client, "_popup=1&_from=3")) == ["4", "6"]


@pytest.mark.usefixtures("groups")
def test_a_popup_limited_to_listed_groups_does_not_offer_missing_groups(
    client: Client, limit: Limit
) -> None:
    Group.objects.filter(pk=3).update(missing_since=SEEN)
    query = limit({"missing_since__isnull": True})
    assert offered(show(client, query)) == ["4", "1", "2", "5", "6"]
    assert offered(subgroups(client, f"{query}&_from=2")) == ["5"]


def test_a_popup_limited_to_a_parent_offers_only_its_subgroups(
    client: Client, limit: Limit
) -> None:
    plant({1: None, 1000: 1, 1001: 1000, 1002: 1000, 1003: 1002})
    answer = show(client, limit({"parent": 1000}))
    assert offered(answer) == ["1001", "1002"]
    assert "/group/1002/change/" in answer.content.decode()


@pytest.mark.usefixtures("groups")
def test_a_popup_limited_by_the_name_of_the_parent_offers_matching_groups(
    client: Client, limit: Limit
) -> None:
    assert offered(show(client, limit({"parent__name": "Müşteriler"}))) == ["5", "3"]


@pytest.mark.usefixtures("groups")
def test_a_regex_in_limit_choices_to_is_allowed_only_for_its_foreign_key(
    client: Client, limit: Limit
) -> None:
    address = url("changelist")
    assert client.get(f"{address}?name__iregex=^m").status_code == 400
    assert offered(show(client, limit({"name__iregex": "^m"}))) == ["2"]
    assert client.get(f"{address}?name__iregex=^k").status_code == 400


# Names and numbers


def test_html_in_a_name_is_escaped(client: Client) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    plant({1: None, 2: 1}, {1: hostile, 2: hostile})
    for answer in (show(client), show(client, q="script"), subgroups(client, "_from=1")):
        page = answer.content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_a_blank_name_is_shown_as_the_id(client: Client) -> None:
    plant({1: None, 2: None}, {1: " \t ", 2: "\u202egnp.exe"})
    page = show(client).content.decode()
    assert '<a id="g1" href="/admin/django_iletimerkezi/group/1/change/"><bdi>1</bdi></a>' in page
    assert r"<bdi>\u202egnp.exe</bdi>" in page


def test_numbers_in_links_have_no_thousand_separators(client: Client, settings: Any) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    plant({1_000_000: None} | dict.fromkeys(range(2_000_001, 2_001_201), 1_000_000))
    page = subgroups(client, "_from=1000000&_start=1000").content.decode()
    assert 'data-start="1100"' in page
    assert "_from=1000000&amp;p=12" in page
    page = show(client, _from=1_000_000).content.decode()
    assert "_from=1000000" in page
    assert 'data-max-rows="900"' in page
    assert "1,000,000" not in page


# Bounds


def count_queries(client: Client) -> dict[str, int]:
    pages = {
        "tree": url("changelist"),
        "below": f"{url('changelist')}?_from=2",
        "subgroups": f"{url('subgroups')}?_from=2",
        "search": f"{url('changelist')}?q=g",
        "filter": f"{url('changelist')}?presence=listed",
        "group": url("change", 1),
    }
    numbers = {}
    for name, address in pages.items():
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        assert answer.status_code == 200
        numbers[name] = len(queries)
    return numbers


AUTHENTICATION = {"superuser": 2, "viewer": 4}
"""Queries for session and user, and for two kinds of permissions."""
HISTORY = {"superuser": 1, "viewer": 0}
"""Queries for the marks of changed groups, which only some users may see. A list has as many for a
running fetch."""


@pytest.mark.parametrize("total", [300, 1500])
def test_the_number_of_queries_does_not_depend_on_the_number_of_groups(total: int) -> None:
    plant_tree(total, 20)
    ContentType.objects.get_for_model(Group)  # Cached for the process.
    for role, queries in AUTHENTICATION.items():
        numbers = count_queries(client_for(role))
        own = queries + HISTORY[role]
        assert {page: number - own for page, number in numbers.items()} == {
            "tree": 8 + HISTORY[role],
            "below": 7 + HISTORY[role],
            "subgroups": 2,
            "search": 5 + HISTORY[role],
            "filter": 7 + HISTORY[role],
            # The page of a group also reads its changes, and its contacts over time.
            "group": 4 + 2 * HISTORY[role],
        }


BIG = 9 * 10**18


def plant_longest(total: int, fanout: int) -> None:
    """Store a tree of the longest ids, and of the names that are longest as HTML."""
    Group.objects.bulk_create(
        Group(
            pk=BIG + place,
            name="'" * 100,
            count=2**31 - 1,
            seen_at=SEEN,
            fetched_at=SEEN,
            missing_since=SEEN,
            parent_id=BIG + (place - 1) // fanout if place else None,
        )
        for place in range(total)
    )


ALL_FILTERS = "presence=missing&fetched=yes&_facets=True"


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("total", "fanout", "query"),
    [
        *[(200, 1, ""), (200, 10, ""), (200, 1, ALL_FILTERS), (600, 100, f"_from={BIG}")],
        *[(600, 100, ALL_FILTERS), (600, 600, f"_from={BIG}&p=2&{ALL_FILTERS}")],
        *[(600, 1, "q=%27&p=2"), (600, 1, f"q=%27&p=5&{ALL_FILTERS}")],
        (600, 1, "q=" + "%20" * 190 + "%27&p=2"),
        (600, 1, "q=%27&p=2&name__contains=" + "%27" * 90),
        (600, 100, "id__gt=0&" * 18 + "id__gt=0"),
        (600, 100, "id__gt=0&" * 65 + "id__gt=0"),
    ],
)
def test_a_list_page_with_the_longest_names_is_smaller_than_half_a_megabyte(
    total: int, fanout: int, query: str
) -> None:
    plant_longest(total, fanout)
    answer = show(client_for("superuser"), query)
    assert len(lines(answer)) >= 100
    assert len(answer.content) < 500_000


HUNDRED = "&".join(f"_from={BIG + place}" for place in range(100))


@pytest.mark.parametrize(
    ("page", "arguments", "query"),
    [
        ("subgroups", [], HUNDRED),
        ("subgroups", [], f"{HUNDRED}&{ALL_FILTERS}&" + "id__gt=0&" * 15 + "id__gt=0"),
        ("change", [BIG], ""),
        ("change", [BIG + 59], f"_changelist_filters={'x' * 150}"),
        ("change", [BIG], f"_changelist_filters={'x' * 4000}"),
        ("delete", [BIG], ""),
        ("history", [BIG], ""),
    ],
)
def test_other_admin_pages_with_the_longest_names_are_smaller_than_half_a_megabyte(
    page: str, arguments: list[int], query: str
) -> None:
    plant_longest(600, 10)
    answer = client_for("superuser").get(f"{url(page, *arguments)}?{query}")
    assert answer.status_code == 200
    assert len(answer.content) < 500_000


def test_each_group_in_the_path_of_a_search_hit_can_be_chosen_in_a_popup(client: Client) -> None:
    plant(LINKS, NAMES)
    shown = show(client, _popup=1, q="kad").content.decode()
    path = re.search(r'iletimerkezi-path">(.*?)</div>', shown)
    assert path
    assert re.findall(r'data-popup-opener="(\d+)"', path[1]) == ["1", "2", "3"]


def test_facet_counts_below_a_group_cover_only_its_direct_subgroups(client: Client) -> None:
    plant({1: None, 2: 1, 3: 1, 4: 2, 5: None, 6: 5})
    shown = text(show(client, _from=1, _facets="True"))
    assert "With subgroups (1)" in shown
    assert "Without subgroups (1)" in shown
