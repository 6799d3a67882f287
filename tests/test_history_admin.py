"""The recorded fetches and changes in the admin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.messages import get_messages
from django.db import DatabaseError, connection, transaction
from django.db.models import JSONField, QuerySet, Value
from django.http import HttpRequest
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import path, reverse
from django.utils import timezone

from django_iletimerkezi import services
from django_iletimerkezi.admin import FetchAdmin, GroupAdmin, tree
from django_iletimerkezi.admin.chart import Point, draw
from django_iletimerkezi.mirror import prune, recorder
from django_iletimerkezi.mirror.journal import Journal
from django_iletimerkezi.models import Change, Fetch, Group
from django_iletimerkezi.testing import Sandbox

from .records import Kind, State, failures, record, record_changes, record_sample
from .visitors import LINKS, NAMES, act, client_for, fetch, messages, plant, plant_tree, text, url

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
HOSTILE = "<script>alert(1)</script>"


def page_of(page: str, *args: object) -> str:
    return reverse(f"admin:django_iletimerkezi_fetch_{page}", args=args)


def client_with(*codenames: str) -> Client:
    """Return the client of a staff member with some permissions of our app."""
    user = User.objects.create(username=" ".join(codenames), is_staff=True)
    ours = Permission.objects.filter(content_type__app_label="django_iletimerkezi")
    user.user_permissions.set(ours.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def groups() -> None:
    plant(LINKS, NAMES)


@pytest.fixture
def client() -> Client:
    return client_for("superuser")


@pytest.fixture
def register(settings: Any) -> Callable[..., None]:
    """Replace our admins."""

    def register(
        group_admin: Any = GroupAdmin,
        fetch_admin: Any = FetchAdmin,
        group: type[Group] = Group,
        fetch: type[Fetch] = Fetch,
    ) -> None:
        site = admin.AdminSite()
        for model, own in ((group, group_admin), (fetch, fetch_admin)):
            if own:
                site.register(model, own)
        settings.ROOT_URLCONF = (path("admin/", site.urls),)

    return register


def rows(answer: Any) -> list[list[str]]:
    """Return the texts of the list of fetches, without the checkboxes."""
    table = re.findall(r"<tr>(.*?)</tr>", answer.content.decode().split("<tbody>")[1], re.DOTALL)
    cells = (re.findall(r'<t[dh] class="field-.*?>(.*?)</t[dh]>', row, re.DOTALL) for row in table)
    return [[re.sub(r"<.*?>", "", cell) for cell in row] for row in cells]


def shown(answer: Any) -> list[tuple[int, str, str, str]]:
    """Return the changes on a page."""
    changes = answer.context["changes"]
    return [(row.group_id, row.kind, row.before, row.after) for row in changes]


# The list of fetches


@pytest.mark.usefixtures("groups")
def test_the_fetch_list_shows_the_outcome_of_each_fetch(client: Client) -> None:
    record_sample()
    hours = "\xa0hour"
    listed = rows(client.get(page_of("changelist")))
    assert float(listed[0].pop(4).removesuffix("\xa0s")) >= 4
    assert listed[:5] == [
        ["Phone book", "running", "command", "just now", "none"],
        [
            "Phone book",
            "partly succeeded",
            "ayşe (admin)",
            f"1{hours} ago",
            "4.0\xa0s",
            "1 new, 4 changed, 1 missing, 3 failed",
        ],
        ["İstanbul (id 3)", "failed", "ayşe (admin)", f"2{hours}s ago", "4.0\xa0s", "none"],
        ["Phone book", "interrupted", "ali (command)", f"3{hours}s ago", "4.0\xa0s", "none"],
        ["Phone book", "succeeded", "schedule", "1\xa0week ago", "4.0\xa0s", "1 changed"],
    ]


@pytest.mark.usefixtures("groups")
def test_the_fetch_list_is_translated_into_turkish(client: Client) -> None:
    record_sample()
    with override_settings(LANGUAGE_CODE="tr"):
        listed = rows(client.get(page_of("changelist")))
    assert listed[1] == [
        "Rehber",
        "kısmen başarılı",
        "ayşe (admin)",
        "1\xa0saat önce",
        "4,0\xa0sn",
        "1 yeni, 4 güncellendi, 1 artık listede yok, 3 getirilemedi",
    ]
    assert listed[3][1] == "yarıda kaldı"


@pytest.mark.parametrize(
    ("age", "duration"),
    [
        (0.04, "0.0\xa0s"),
        (59.9, "59.9\xa0s"),
        (60, "0:01:00"),
        (3725.4, "1:02:05"),
        (10**6, "277:46:40"),
    ],
)
def test_durations_of_a_minute_or_more_are_shown_as_hours_minutes_and_seconds(
    client: Client, age: float, duration: str
) -> None:
    end = timezone.now()
    record(started_at=end - timedelta(seconds=age), alive_at=end, finished_at=end)
    assert rows(client.get(page_of("changelist")))[0][4] == duration


def test_a_queued_fetch_has_no_duration(client: Client) -> None:
    record(state=State.QUEUED, started_at=None, alive_at=None, finished_at=None)
    ((_what, state, _who, _when, duration, _outcome),) = rows(client.get(page_of("changelist")))
    assert (state, duration) == ("queued", "-")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=interrupted", ["interrupted"]),
        ("state=running", ["running"]),
        ("state=failed", ["failed"]),
        ("state=partial", ["partial"]),
        ("state=cancelled", []),
        ("kind__exact=group", ["failed"]),
        ("source__exact=admin", ["partial", "failed"]),
        ("source__exact=admin&state=failed", ["failed"]),
        ("kind__exact=nonsense", []),
    ],
)
def test_the_fetch_list_can_be_filtered(client: Client, query: str, names: list[str]) -> None:
    sample = record_sample()
    answer = client.get(f"{page_of('changelist')}?{query}")
    assert list(answer.context["cl"].result_list) == [sample[name] for name in names]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("p=-1", 302),
        ("p=99999999999999999999", 302),
        ("p=x", 200),
        ("state=nonsense", 200),
        ("group_id=x", 302),
        ("group_id=99999999999999999999", 302),
        ("requested_at__gte=x", 302),
        ("requested_at=9999-12-31", 302),
        ("started_by=%00", 302),
        ("id__in=1,x", 302),
        ("nonsense=1", 302),
        ("error__regex=(", 400),
        ("failures__contains=1", 400),
        ("changes__kind=moved", 400),
    ],
)
def test_invalid_query_strings_of_the_fetch_list_do_not_cause_a_server_error(
    client: Client, query: str, status: int
) -> None:
    for _ in range(101):
        record()
    answer = client.get(f"{page_of('changelist')}?{query}")
    assert answer.status_code == status
    if status == 302:
        assert answer["Location"].endswith("?e=1")


@pytest.mark.parametrize("total", [3, 250])
def test_the_fetch_list_needs_five_queries_for_any_number_of_fetches(
    client: Client, total: int
) -> None:
    plant_tree(total, 20)
    ContentType.objects.get_for_model(Fetch)  # Cached for the process.
    for pk in range(1, total + 1):
        record(kind=Fetch.Kind.GROUP, group_id=pk, **failures(*range(1, 100)))
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(page_of("changelist"))
    assert len(rows(answer)) == min(total, 100)
    # Session, user, count, fetches and names. Django counts once more for its text “1 of 2”.
    assert len(queries) == 5


# The page of a fetch


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_fetch_shows_its_state_depth_and_error(client: Client) -> None:
    sample = record_sample()
    page = text(client.get(page_of("change", sample["failed"].pk)))
    for fact in (
        "Fetch: İstanbul (id 3)",
        "State: failed",
        "Started by: ayşe (admin)",
        "Depth: 0",
        "Groups asked for: 0 of 0",
        "Error: iletimerkezi is not available",
        "No changes.",
    ):
        assert fact in page
    assert "Failed groups" not in page
    page = text(client.get(page_of("change", sample["interrupted"].pk)))
    assert "State: interrupted" in page
    assert "Depth: all levels" in page
    assert "Groups asked for: 70 of 120" in page


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_fetch_shows_its_warnings(client: Client) -> None:
    fetch = record(aliases={"5": 97101}, clock_ahead=timedelta(hours=-1), maybe_other_account=True)
    page = client.get(page_of("change", fetch.pk)).content.decode()
    assert (
        "Mirrored groups that the vendor cannot find are marked as missing."
        "<br>Asked for group 5, but the vendor returned group 97101."
        "<br>The clock of this machine is 60 minutes behind the vendor&#x27;s: correct it."
    ) in page
    fetch = record()
    assert "Warnings: -" in text(client.get(page_of("change", fetch.pk)))


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("written", [[], "x", 7, None, {"x": 1}, [{"id": 2**70}, {"id": 0}]])
def test_the_page_of_a_fetch_skips_malformed_aliases_and_failures(
    client: Client, written: Any
) -> None:
    fetch = record(clock_ahead=timedelta(hours=1))
    json = Value(written, JSONField())
    Fetch.objects.update(aliases=json, failures=json)
    page = client.get(page_of("change", fetch.pk))
    assert "60 minutes ahead" in text(page)
    assert "Failed groups" not in text(page)


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_fetch_shows_its_failures(client: Client) -> None:
    pk = record_sample()["partial"].pk
    page = client.get(page_of("change", pk))
    assert [(str(row["group"]), row["id"], row["reason"]) for row in page.context["failures"]] == [
        ("İstanbul", 3, "no answer about 3"),
        ("Isparta", 5, "no answer about 5"),
        ("", 77, "no answer about 77"),
    ]
    content = page.content.decode()
    assert f'<a href="{url("change", 3)}"><bdi>İstanbul</bdi></a>' in content
    assert f'formaction="{page_of("retry", pk)}"' in content
    assert "Only the first 100" not in content


@pytest.mark.parametrize(
    ("language", "number", "sentence"),
    [
        ("en", 101, "1 more group failed. Only the first 100 are recorded."),
        ("en", 2100, "2000 more groups failed. Only the first 100 are recorded."),
        ("tr", 102, "2 grup daha getirilemedi. Yalnızca ilk 100 grup kaydedilir."),
    ],
)
def test_the_page_of_a_fetch_says_how_many_failures_are_not_recorded(
    client: Client, language: str, number: int, sentence: str
) -> None:
    fetch = record(**failures(*range(1, number + 1)))
    with override_settings(LANGUAGE_CODE=language):
        assert sentence in text(client.get(page_of("change", fetch.pk)))


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_fetch_shows_its_changes(client: Client) -> None:
    pk = record_sample()["partial"].pk
    page = client.get(page_of("change", pk))
    assert shown(page) == [
        (7, "created", "", "Beşiktaş"),
        (5, "missing", "", ""),
        (4, "moved", "Müşteriler", "İstanbul"),
        (6, "moved", "top level", "İstanbul"),
        (3, "recounted", "1,290", "1,440"),
        (3, "renamed", "Istanbul", "İstanbul"),
        (2, "returned", "", ""),
    ]
    assert [link.text for link in page.context["kinds"]] == [
        *("All (7)", "created (1)", "renamed (1)", "contacts changed (1)", "moved (2)"),
        *("missing (1)", "listed again (1)"),
    ]
    assert page.context["pages"] == []
    assert [row.group for row in page.context["changes"]][:3] == ["", "Isparta", "Kadıköy"]
    with override_settings(LANGUAGE_CODE="tr"):
        turkish = client.get(page_of("change", pk))
    assert "Tümü (7)" in text(turkish)
    assert "taşındı (2)" in text(turkish)
    assert "Değişiklik Önce → sonra Zaman" in text(turkish)


@pytest.mark.usefixtures("groups")
def test_the_changes_of_a_fetch_can_be_filtered_by_kind(client: Client) -> None:
    address = page_of("change", record_sample()["partial"].pk)
    page = client.get(f"{address}?kind=moved")
    assert [row[0] for row in shown(page)] == [4, 6]
    assert [link.query for link in page.context["kinds"] if link.is_current] == ["?kind=moved"]


@pytest.fixture
def large() -> Fetch:
    """A fetch with 1,150 changes of two kinds."""
    fetch = record()
    end = timezone.now()
    record_changes(fetch, [(pk, Kind.CREATED, None, f"g{pk}") for pk in range(1, 1001)], end)
    record_changes(fetch, [(pk, Kind.RECOUNTED, "1", "2") for pk in range(1, 151)], end)
    return fetch


@pytest.mark.parametrize(
    ("query", "first", "last", "pages"),
    [
        ("", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?p=6", (501, "created"), (600, "created"), "1 … 4 5 6 7 8 … 12"),
        ("?p=12", (101, "recounted"), (150, "recounted"), "1 … 10 11 12"),
        ("?kind=recounted&p=2", (101, "recounted"), (150, "recounted"), "1 2"),
        ("?kind=nonsense", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?kind=moved", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?p=0", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?p=-1", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?p=13", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?p=99999999999999999999", (1, "created"), (100, "created"), "1 2 3 … 12"),
        (f"?p={'9' * 5000}", (1, "created"), (100, "created"), "1 2 3 … 12"),
        ("?p=x&kind=%00", (1, "created"), (100, "created"), "1 2 3 … 12"),
    ],
)
def test_the_changes_of_a_fetch_are_paginated(
    client: Client, large: Fetch, query: str, first: Any, last: Any, pages: str
) -> None:
    page = client.get(page_of("change", large.pk) + query)
    found = [row[:2] for row in shown(page)]
    assert (found[0], found[-1]) == (first, last)
    assert " ".join(link.text for link in page.context["pages"]) == pages


def test_pagination_links_keep_the_kind_filter(client: Client, large: Fetch) -> None:
    page = client.get(page_of("change", large.pk) + "?kind=recounted").content.decode()
    assert 'href="?kind=recounted&amp;p=2#changes"' in page
    assert 'href="?p=2#changes"' in client.get(page_of("change", large.pk)).content.decode()


@pytest.mark.parametrize("query", ["", "?p=12", "?kind=created&p=9"])
def test_the_page_of_a_fetch_with_many_changes_needs_nine_queries(
    client: Client, large: Fetch, query: str
) -> None:
    plant_tree(1000, 10)
    Fetch.objects.filter(pk=large.pk).update(**failures(*range(1, 120)))
    ContentType.objects.get_for_model(Fetch)  # Cached for the process.
    with CaptureQueriesContext(connection) as queries:
        client.get(page_of("change", large.pk) + query)
    # Session, user, fetch, names of failed groups, parts, counts, ids, changes, names of groups.
    assert len(queries) == 9
    assert sum("GROUP BY" in query["sql"] for query in queries) == 1
    assert not any("COUNT(*)" in query["sql"] for query in queries)


def test_names_and_errors_are_escaped_on_the_pages_of_fetches_and_groups(client: Client) -> None:
    plant({1: None}, {1: HOSTILE})
    fetch = record(
        (1, Kind.RENAMED, HOSTILE, HOSTILE),
        started_by=HOSTILE,
        error=HOSTILE,
        failures=[{"id": 1, "reason": HOSTILE}],
    )
    for address in (page_of("changelist"), page_of("change", fetch.pk), url("change", 1)):
        assert HOSTILE not in client.get(address).content.decode()


# Fetching the failed groups again


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(("depth", "asked"), [(None, [1300, 1310, 1320, 1330]), (0, [1200, 1300])])
def test_a_retry_fetches_the_failed_groups_again(
    client: Client, sandbox: Sandbox, depth: int | None, asked: list[int]
) -> None:
    failed = record(depth=depth, **failures(1300, 1200))
    answer = client.post(page_of("retry", failed.pk), follow=True)
    assert answer.redirect_chain == [(page_of("change", failed.pk), 302)]
    assert [level for level, _message in messages(answer)] == ["success"]
    assert set(asked) <= set(sandbox.asked)
    assert (sorted(sandbox.asked) == asked) == (depth == 0)
    first, second = Fetch.objects.exclude(pk=failed.pk).order_by("pk")
    assert [first.group_id, second.group_id] == [1300, 1200]
    assert {first.depth, second.depth} == {depth}
    assert {first.source, second.source} == {Fetch.Source.ADMIN}
    assert LogEntry.objects.count() == 2


def test_a_fetch_without_failures_cannot_be_retried(client: Client, sandbox: Sandbox) -> None:
    fetch = record()
    assert "formaction" not in client.get(page_of("change", fetch.pk)).content.decode()
    assert client.post(page_of("retry", fetch.pk)).status_code == 302
    assert sandbox.asked == []


def test_a_retry_requires_a_post_request_with_a_csrf_token(
    client: Client, sandbox: Sandbox
) -> None:
    fetch = record(**failures(98))
    assert client.get(page_of("retry", fetch.pk)).status_code == 405
    assert client.post(page_of("retry", 10**30)).status_code == 404
    assert client.post(page_of("retry", "x")).status_code == 404
    csrf = client_for("fetcher", checks_csrf=True)
    assert csrf.post(page_of("retry", fetch.pk)).status_code == 403
    assert sandbox.asked == []


@pytest.mark.parametrize(
    "permissions", [("view_fetch", "view_group"), ("fetch_group", "view_group"), ("fetch_group",)]
)
def test_a_retry_requires_the_permissions_view_fetch_and_fetch_group(
    permissions: tuple[str, ...], sandbox: Sandbox
) -> None:
    fetch = record(**failures(98))
    client = client_with(*permissions)
    assert client.post(page_of("retry", fetch.pk)).status_code == 403
    assert sandbox.asked == []
    if "view_fetch" in permissions:
        assert "formaction" not in client.get(page_of("change", fetch.pk)).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_retry_runs_outside_the_transaction_of_the_request(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_transaction = []
    get_client = services.get_client

    def note() -> Any:
        in_transaction.append(connection.in_atomic_block)
        return get_client()

    monkeypatch.setattr(services, "get_client", note)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    fetch = record(**failures(98))
    client = client_with("view_fetch", "view_group", "fetch_group")
    client.post(page_of("retry", fetch.pk))
    assert in_transaction == [False]


class FetchingOnlySmallIds(GroupAdmin):
    def has_fetch_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return obj is None or obj.pk < 3


@pytest.mark.usefixtures("groups")
def test_a_retry_skips_groups_that_the_user_may_not_fetch(
    client: Client, register: Callable[..., None], sandbox: Sandbox
) -> None:
    register(FetchingOnlySmallIds)
    fetch = record(depth=0, **failures(2, 3, 98))
    client.post(page_of("retry", fetch.pk))
    assert sandbox.asked == [2, 98]


# The page of a group


def recounts(pk: int, *counts: int) -> list[tuple[Any, ...]]:
    return [(pk, Kind.RECOUNTED, str(before), str(after)) for before, after in pairwise(counts)]


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_shows_its_changes_newest_first(client: Client) -> None:
    sample = record_sample()
    page = client.get(url("change", 3))
    assert shown(page)[:3] == [
        (3, "recounted", "1,290", "1,440"),
        (3, "renamed", "Istanbul", "İstanbul"),
        (3, "recounted", "1,310", "1,290"),
    ]
    assert shown(page)[-1] == (3, "created", "", "İstanbul")
    assert {row[0] for row in shown(page)} == {3}
    assert f'href="{page_of("change", sample["partial"].pk)}"' in page.content.decode()


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    ("query", "newest", "number", "links"),
    [
        ("", "130", 50, ["?changes=2"]),
        ("?changes=2", "80", 50, ["?changes=1", "?changes=3"]),
        ("?changes=3", "30", 30, ["?changes=2"]),
        ("?changes=4", "130", 50, ["?changes=2"]),
        ("?changes=-1", "130", 50, ["?changes=2"]),
        ("?changes=x", "130", 50, ["?changes=2"]),
        ("?changes=99999999999999999999", "130", 50, ["?changes=2"]),
    ],
)
def test_the_changes_of_a_group_are_paginated(
    client: Client, query: str, newest: str, number: int, links: list[str]
) -> None:
    record(*recounts(3, *range(131)))
    page = client.get(url("change", 3) + query)
    assert shown(page)[0][3] == newest
    assert len(shown(page)) == number
    assert [link.query for link in page.context["change_links"]] == links


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_without_changes_has_no_history_section(client: Client) -> None:
    page = client.get(url("change", 3)).content.decode()
    assert 'id="changes"' not in page


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_needs_twelve_queries_for_any_number_of_changes(client: Client) -> None:
    ContentType.objects.get_for_model(Group)  # Cached for the process.
    numbers = []
    for total in (2, 1000):
        record(*recounts(3, *range(total)))
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url("change", 3)).status_code == 200
        numbers.append(len(queries))
    # Session and user, group, path, subgroups and their counts, marks, and the history.
    assert numbers == [12, 12]


# The chart


def points(client: Client, pk: int = 3) -> list[tuple[bool, str]] | None:
    """Return the numbers on a chart, and for each of them whether its start is known."""
    chart = client.get(url("change", pk)).context["chart"]
    return chart and [(bool(re.search(r"\d", since)), count) for since, count in chart["points"]]


@pytest.mark.usefixtures("groups")
def test_the_contact_chart_starts_at_the_creation_of_the_group(client: Client) -> None:
    Group.objects.filter(pk=3).update(count=1440)
    record_sample()
    page = client.get(url("change", 3))
    assert points(client) == [
        (True, number) for number in ("1,100", "1,180", "1,150", "1,310", "1,290", "1,440")
    ]
    label = "Contacts over time: from 1,100 to 1,440, lowest 1,100, highest 1,440"
    assert f'role="img" aria-label="{label}"' in page.content.decode()
    with override_settings(LANGUAGE_CODE="tr"):
        turkish = client.get(url("change", 3)).content.decode()
    assert "ilk değer 1.100, son değer 1.440" in turkish
    assert " style=" not in turkish.split('id="changes"')[1].split("</section>")[0]


@pytest.mark.usefixtures("groups")
def test_a_chart_labels_an_unknown_start_as_earlier(client: Client) -> None:
    record(*recounts(3, 5, 3))
    assert points(client) == [(False, "5"), (True, "3")]
    assert "earlier" in text(client.get(url("change", 3)))


@pytest.mark.usefixtures("groups")
def test_a_chart_shows_the_last_fifty_changes(client: Client) -> None:
    record((3, Kind.CREATED, None, "x"), *recounts(3, *range(60)), (3, Kind.MISSING))
    shown_points = points(client)
    assert shown_points
    # The first of them starts at nine. The last is the count of the row.
    assert [shown_points[0], shown_points[-2]] == [(False, "9"), (True, "59")]
    assert len(shown_points) == 52


@pytest.mark.usefixtures("groups")
def test_a_chart_omits_the_counts_of_an_earlier_group_with_the_same_id(client: Client) -> None:
    created = (3, Kind.CREATED, None, "x")
    record(created, *recounts(3, 1, 2), created, *recounts(3, 7, 3))
    assert points(client) == [(True, "7"), (True, "3")]


@pytest.mark.usefixtures("groups")
def test_a_group_whose_count_never_changed_has_no_chart(client: Client) -> None:
    record((3, Kind.CREATED, None, "İstanbul"))
    assert points(client) is None
    record(*recounts(3, 1, 2), (3, Kind.CREATED, None, "İstanbul"))
    assert points(client) is None


@pytest.mark.usefixtures("groups")
def test_a_chart_is_drawn_in_a_project_without_time_zones(client: Client) -> None:
    with override_settings(USE_TZ=False):
        record((3, Kind.CREATED, None, "x"), *recounts(3, 1, 3))
        assert points(client) == [(True, "1"), (True, "3")]


START = datetime(2026, 5, 1, tzinfo=UTC)


def test_the_line_of_a_chart_is_drawn_in_steps() -> None:
    steps = [Point(START, 10), Point(START + DAY, 20), Point(START + 3 * DAY, 15)]
    svg = draw(steps, START + 4 * DAY, "a < b")
    assert 'd="M5.0 95.0H152.5V5.0H447.5V50.0H595.0"' in svg
    assert 'd="M5.0 95.0h0M152.5 5.0h0M447.5 50.0h0"' in svg
    assert 'aria-label="a &lt; b"' in svg


@pytest.mark.parametrize("until", [START, START + DAY])
def test_a_chart_with_an_unknown_start_is_drawn_even_for_a_single_moment(until: datetime) -> None:
    svg = draw([Point(None, 1), Point(START, 2)], until, "")
    assert 'd="M5.0 95.0H5.0V5.0H' in svg


# The list of groups


def marks(answer: Any) -> dict[int, str]:
    found = re.findall(r'id="m(\d+)" class="iletimerkezi-badge">(\w+)<', answer.content.decode())
    return {int(pk): mark for pk, mark in found}


@pytest.mark.usefixtures("groups")
def test_groups_that_changed_in_the_last_day_are_marked(client: Client) -> None:
    record((1, Kind.CREATED, None, "x"), *recounts(2, 1, 2))
    record((3, Kind.CREATED, None, "x"), *recounts(3, 1, 2))
    record(*recounts(4, 1, 2), (4, Kind.CREATED, None, "x"), *recounts(4, 1, 3))
    record((5, Kind.MISSING), age=2 * DAY)
    record((6, Kind.MISSING))
    Group.objects.filter(pk=6).update(missing_since=timezone.now())
    # The first fetch creates the whole mirror, so that its new groups are not marked.
    expected = {2: "changed", 3: "new", 4: "new"}
    assert marks(client.get(url("changelist"))) == expected
    below = client.get(url("subgroups") + "?_from=2")
    assert marks(below) == {3: "new"}
    assert 'aria-labelledby="g3 m3"' in below.content.decode()
    assert marks(client.get(url("change", 3))) == {4: "new"}
    with override_settings(LANGUAGE_CODE="tr"):
        assert marks(client.get(url("changelist"))) == {2: "güncellendi", 3: "yeni", 4: "yeni"}


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("changed=day", {2}),
        ("changed=week", {2, 4}),
        ("changed=nonsense", {1, 2, 3, 4, 5, 6}),
        ("changed=day&q=kad", set()),
        ("changed=week&q=kad", {4}),
        ("changed=week&_facets=True", {2, 4}),
        ("changed=week&_from=3", {3, 4}),
    ],
)
def test_groups_can_be_filtered_by_changes_in_the_last_day_or_week(
    client: Client, query: str, found: set[int]
) -> None:
    record(*recounts(2, 1, 2, 3))
    record((4, Kind.MISSING), age=3 * DAY)
    record((5, Kind.MISSING), age=8 * DAY)
    answer = client.get(f"{url('changelist')}?{query}")
    assert {node.group.pk for node in answer.context["nodes"]} == found


@pytest.mark.parametrize("total", [300, 1500])
def test_the_group_tree_needs_the_same_number_of_queries_for_any_number_of_changes(
    client: Client, total: int
) -> None:
    plant_tree(total, 20)
    ContentType.objects.get_for_model(Group)  # Cached for the process.
    numbers = {}
    record()
    for query in ("", "?changed=day", "?changed=week"):
        for pk in range(1, total, 100):
            record(*[(pk + 1, Kind.RECOUNTED, "1", "2")] * 20)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url("changelist") + query).status_code == 200
        numbers[query] = len(queries)
    assert numbers == {"": 12, "?changed=day": 9, "?changed=week": 9}


@pytest.mark.usefixtures("groups")
def test_only_users_who_may_view_fetches_see_the_history_of_groups() -> None:
    record(*recounts(2, 1, 2))
    viewer = client_for("viewer")
    for address in (url("changelist"), f"{url('changelist')}?changed=day", url("change", 2)):
        answer = viewer.get(address)
        assert answer.status_code == 200
        assert "Changed in the last day" not in text(answer)
        assert "/fetch/" not in answer.content.decode()
        assert 'id="changes"' not in answer.content.decode()
        assert marks(answer) == {}
    assert len(viewer.get(f"{url('changelist')}?changed=day").context["nodes"]) == 6
    assert marks(client_with("view_group", "view_fetch").get(url("changelist"))) == {2: "changed"}


def test_an_empty_group_list_shows_no_change_marks(client: Client) -> None:
    record(*recounts(2, 1, 2))
    assert marks(client.get(url("changelist"))) == {}


# Messages


def links(answer: Any) -> list[str]:
    texts = [message.message for message in get_messages(answer.wsgi_request)]
    return re.findall('href="(.*?)">(?:Details|Ayrıntılar)</a>', "".join(texts))


def newest() -> Fetch:
    return Fetch.objects.order_by("pk").last() or Fetch()


def test_the_message_after_a_fetch_links_to_the_page_of_the_fetch(
    client: Client, sandbox: Sandbox
) -> None:
    answer = client.post(url("fetch"), {"group_id": 1000}, follow=True)
    assert links(answer) == [page_of("change", newest().pk)]
    assert (newest().source, newest().started_by) == (Fetch.Source.ADMIN, "superuser")
    answer = client.post(url("fetch"), {"phone_book": "on"}, follow=True)
    assert links(answer)[-1:] == [page_of("change", newest().pk)]
    assert (newest().source, newest().started_by) == (Fetch.Source.ADMIN, "superuser")
    assert 'class="iletimerkezi-details"' in answer.content.decode()


def test_the_message_after_a_failed_fetch_links_to_the_page_of_the_fetch(
    client: Client, sandbox: Sandbox
) -> None:
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        for fields in ({"group_id": 1000}, {"phone_book": "on"}):
            answer = fetch(client, **fields)
            assert links(answer)[-1] == page_of("change", newest().pk)
            assert newest().state == State.FAILED


def test_the_message_about_a_phone_book_that_cannot_be_stored_links_to_the_fetch(
    client: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(recorder, "store", refuse)
    answer = fetch(client, phone_book="on")
    assert page_of("change", newest().pk) in links(answer)


def test_the_message_about_a_fetch_that_did_not_start_has_no_link(
    client: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(Journal, "start", refuse)
    assert links(fetch(client, group_id=1000)) == []
    assert links(fetch(client, phone_book="on")) == []


def test_the_message_after_several_fetches_links_to_a_list_of_these_fetches(
    client: Client, sandbox: Sandbox
) -> None:
    plant({1200: None, 1300: None})
    record()
    (link,) = links(act(client, "fetch_selected", 1200, 1300))
    listed = client.get(link.replace("&amp;", "&")).context["cl"].result_list
    assert {found.group_id for found in listed} == {1200, 1300}


def test_messages_have_no_link_for_users_who_may_not_view_fetches(sandbox: Sandbox) -> None:
    client = client_for("fetcher")
    assert links(fetch(client, group_id=1000)) == []
    assert newest().started_by == "fetcher"


# Permissions


@pytest.mark.parametrize(
    ("permissions", "statuses"),
    [
        ((), [403, 403, 403]),
        (("view_group",), [403, 403, 403]),
        (("view_fetch",), [200, 200, 403]),
        (("view_fetch", "delete_fetch"), [200, 200, 200]),
    ],
)
def test_each_page_of_fetches_requires_its_permission(
    permissions: tuple[str, ...], statuses: list[int]
) -> None:
    pk = record((1, Kind.MISSING)).pk
    client = client_with(*permissions)
    pages = [page_of("changelist"), page_of("change", pk), page_of("delete", pk)]
    assert [client.get(page).status_code for page in pages] == statuses
    assert client.get(page_of("add")).status_code == 403
    assert client.post(page_of("change", pk), {"state": "failed"}).status_code == 403


@pytest.mark.usefixtures("groups")
def test_a_user_who_may_not_view_groups_sees_no_links_to_groups() -> None:
    pk = record_sample()["partial"].pk
    page = client_with("view_fetch").get(page_of("change", pk)).content.decode()
    assert "İstanbul" in page
    assert "/group/" not in page


def test_the_page_of_an_unknown_fetch_redirects_to_the_admin_index(client: Client) -> None:
    for unknown in ("77", "x", "9" * 30):
        assert client.get(page_of("change", unknown)).status_code == 302
    pk = record().pk
    assert client.get(page_of("change", pk) + "?_to_field=").status_code == 200


# Deleting


@pytest.mark.django_db(transaction=True)
def test_a_fetch_is_deleted_with_its_changes_in_small_transactions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = client_for("superuser")
    kept, gone = record((1, Kind.MISSING)), record(*recounts(1, *range(11)))
    monkeypatch.setattr(prune, "MAX_DELETED", 4)
    with CaptureQueriesContext(connection) as queries:
        address = page_of("delete", gone.pk) + "?_changelist_filters=state%3Dfailed"
        answer = client.post(address, {"post": "yes"})
    assert answer["Location"] == page_of("changelist") + "?state=failed"
    assert list(Fetch.objects.all()) == [kept]
    assert Change.objects.count() == 1
    statements = [query["sql"] for query in queries]
    commits = [number for number, sql in enumerate(statements) if sql.startswith("COMMIT")]
    deletes = [number for number, sql in enumerate(statements) if "DELETE" in sql]
    if connection.vendor == "sqlite":
        assert sum(commits[0] < number for number in deletes) == len(deletes) >= 4
    assert LogEntry.objects.get().object_id == str(gone.pk)


@pytest.mark.django_db(transaction=True)
def test_selected_fetches_are_deleted() -> None:
    client = client_with("view_fetch", "delete_fetch")
    first, second, third = record((1, Kind.MISSING)), record((2, Kind.MISSING)), record()
    selected = {"action": "delete_selected", "_selected_action": [first.pk, second.pk]}
    page = client.post(page_of("changelist"), selected | {"index": "0"})
    assert "Fetches: 2 Changes: 2" in text(page)
    answer = client.post(page_of("changelist"), selected | {"post": "yes"}, follow=True)
    assert [level for level, _text in messages(answer)] == ["success"]
    assert list(Fetch.objects.all()) == [third]
    assert not Change.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_unfinished_fetches_are_never_deleted() -> None:
    client = client_for("superuser")
    running = record(state=State.RUNNING, finished_at=None)
    finished = record()
    assert client.post(page_of("delete", running.pk), {"post": "yes"}).status_code == 403
    assert "deletelink" not in client.get(page_of("change", running.pk)).content.decode()
    assert "deletelink" in client.get(page_of("change", finished.pk)).content.decode()
    selected = {"action": "delete_selected", "_selected_action": [running.pk, finished.pk]}
    for fields in ({"index": "0"}, {"post": "yes"}):
        page = client.post(page_of("changelist"), selected | fields)
        assert "Cannot delete fetches" in text(page)
        assert "running" in text(page)
    assert Fetch.objects.count() == 2


def test_fetches_cannot_be_deleted_without_permission() -> None:
    fetch = record()
    client = client_with("view_fetch")
    act_on = {"action": "delete_selected", "_selected_action": fetch.pk, "post": "yes"}
    client.post(page_of("changelist"), act_on)
    assert client.post(page_of("delete", fetch.pk), {"post": "yes"}).status_code == 403
    assert Fetch.objects.exists()


def test_the_delete_confirmation_counts_changes_without_reading_them(
    client: Client, large: Fetch
) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = client.get(page_of("delete", large.pk))
    assert "Changes: 1150" in text(page)
    about = [query["sql"] for query in queries if "_change" in query["sql"]]
    assert len(about) == 1
    assert "COUNT(" in about[0]


def test_the_delete_confirmation_lists_at_most_a_hundred_fetches(client: Client) -> None:
    ids = [record().pk for _ in range(102)]
    selected = {"action": "delete_selected", "_selected_action": ids, "index": "0"}
    page = client.post(page_of("changelist"), selected)
    assert "… and 2 more." in text(page)
    assert page.content.decode().count("/change/") == 100


def test_the_delete_action_requires_permission_even_if_a_subclass_always_offers_the_action(
    register: Callable[..., None],
) -> None:
    class Lenient(FetchAdmin):
        # Django 6.1 passes the location.
        def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
            return {"delete_selected": self.get_action("delete_selected")}

    register(fetch_admin=Lenient)
    fetch = record()
    selected = {"action": "delete_selected", "_selected_action": fetch.pk, "index": "0"}
    page = client_with("view_fetch").post(page_of("changelist"), selected)
    assert "your account doesn't have permission" in text(page).replace("&#x27;", "'")


# Hidden groups, and other admins


class Hiding(GroupAdmin):
    list_select_related = ("parent",)

    def get_queryset(self, request: HttpRequest) -> Any:
        groups = super().get_queryset(request).select_related("parent")
        return groups.prefetch_related("children").exclude(name="İstanbul")


@pytest.mark.usefixtures("groups")
def test_the_changes_of_hidden_groups_do_not_appear_on_any_page(
    client: Client, register: Callable[..., None]
) -> None:
    register(Hiding)
    sample = record_sample()
    page = client.get(page_of("change", sample["partial"].pk))
    assert shown(page) == [
        (5, "missing", "", ""),
        (4, "moved", "Müşteriler", "3"),
        (6, "moved", "top level", "3"),
        (2, "returned", "", ""),
    ]
    assert [link.text for link in page.context["kinds"]] == [
        *("All (4)", "moved (2)", "missing (1)", "listed again (1)")
    ]
    assert [row["id"] for row in page.context["failures"]] == [3, 5, 77]
    addresses = [page_of("changelist"), url("changelist"), f"{url('changelist')}?changed=week"]
    addresses += [page_of("change", fetch.pk) for fetch in sample.values()]
    addresses += [url("change", 4), url("change", 6), url("change", 2)]
    for address in addresses:
        content = client.get(address).content.decode()
        assert not re.search("[Iİ]stanbul", content), address
    assert client.get(url("change", 3)).status_code == 302
    listed = client.get(f"{url('changelist')}?changed=week").context["nodes"]
    assert {node.group.pk for node in listed} == {2, 4, 5, 6}


@pytest.mark.usefixtures("groups")
def test_a_retry_does_not_show_the_name_of_a_hidden_group(
    client: Client, register: Callable[..., None], sandbox: Sandbox
) -> None:
    register(Hiding)
    sandbox.serve([{"id": 3, "name": "İstanbul", "count": 1, "children": []}])
    failed = record(**failures(3))
    answer = client.post(page_of("retry", failed.pk), follow=True)
    assert "Fetched “3” (id 3)" in messages(answer)[0][1]
    assert "İstanbul" not in answer.content.decode()
    assert LogEntry.objects.get().object_repr == "3"
    assert "İstanbul" not in LogEntry.objects.get().change_message


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_fetch_reads_group_names_only_from_group_admins_that_the_user_may_view(
    proxies: tuple[type[Group], type[Fetch]], settings: Any
) -> None:
    proxy, _fetches = proxies
    site = admin.AdminSite()
    for model, own in ((Group, GroupAdmin), (proxy, Hiding), (Fetch, FetchAdmin)):
        site.register(model, own)
    settings.ROOT_URLCONF = (path("admin/", site.urls),)
    viewer = client_with("view_fetch")
    app, name = proxy._meta.app_label, proxy._meta.model_name
    kind = ContentType.objects.create(app_label=app, model=str(name))
    view = Permission.objects.create(codename=f"view_{name}", content_type=kind, name="x")
    User.objects.get(username="view_fetch").user_permissions.add(view)
    page = viewer.get(page_of("change", record_sample()["partial"].pk)).content.decode()
    assert "Kadıköy" in page
    assert not re.search("[Iİ]stanbul", page)


class OwnFetches(FetchAdmin):
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may_delete = super().has_delete_permission(request, obj)
        return may_delete and (obj is None or obj.started_by == "ayşe")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("started_by", "left"), [("ayşe", 0), ("ali", 1)])
def test_the_delete_action_checks_the_delete_permission_for_each_fetch(
    started_by: str, left: int, client: Client, register: Callable[..., None]
) -> None:
    register(fetch_admin=OwnFetches)
    fields = {"action": "delete_selected", "post": "yes"}
    pk = record(started_by=started_by).pk
    client.post(page_of("changelist"), fields | {"_selected_action": pk})
    assert Fetch.objects.count() == left


@pytest.mark.django_db(transaction=True)
def test_the_delete_action_rejects_too_many_selected_fetches(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MAX_ROWS", 2)
    for _number in range(3):
        pk = record().pk
    fields = {"action": "delete_selected", "_selected_action": pk, "select_across": "1"}
    answer = client.post(page_of("changelist"), fields, follow=True)
    assert "Too many fetches are selected: select at most 2 at a time" in messages(answer)[0][1]
    monkeypatch.setattr(tree, "MAX_ROWS", 3)
    client.post(page_of("changelist"), fields | {"post": "yes"})
    assert not Fetch.objects.exists()


@pytest.mark.usefixtures("groups")
def test_groups_created_by_the_first_successful_fetch_are_not_marked_as_new(client: Client) -> None:
    record(state=Fetch.State.FAILED)
    record((3, Kind.CREATED, None, "İstanbul"), (4, Kind.CREATED, None, "Kadıköy"))
    record((4, Kind.MISSING))
    assert marks(client.get(url("changelist"))) == {4: "changed"}


@pytest.mark.usefixtures("groups")
def test_a_chart_shows_an_unrecorded_count_with_an_unknown_time(client: Client) -> None:
    Group.objects.filter(pk=3).update(count=9)
    record((3, Kind.CREATED, None, "İstanbul"), (3, Kind.RECOUNTED, "5", "7"))
    points = client.get(url("change", 3)).context["chart"]["points"]
    assert points[-1] == ("unknown", "9")


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(
    "change",
    [
        (3, "merged", None, None),
        (3, Kind.RECOUNTED, None, None),
        (3, Kind.RECOUNTED, "many", "9"),
        (3, Kind.RECOUNTED, "5", "5"),
        (3, Kind.MOVED, "here", str(2**70)),
    ],
)
def test_malformed_changes_from_a_host_project_do_not_break_the_pages(
    client: Client, change: Any
) -> None:
    fetch = record(change)
    record(change, age=-timedelta(hours=1))
    for address in (page_of("change", fetch.pk), url("change", 3)):
        assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    "value", [[5], "text", {"a": 1}, [{"reason": "x"}], [{"id": "3"}], [{"id": 3}]]
)
def test_malformed_failures_from_a_host_project_do_not_break_the_pages(
    client: Client, value: Any
) -> None:
    fetch = record(failures=value)
    assert client.get(page_of("change", fetch.pk)).status_code == 200
    assert client.post(page_of("delete", fetch.pk), {"post": "yes"}).status_code == 302


@pytest.mark.usefixtures("groups")
def test_names_that_differ_only_in_a_trailing_space_are_shown_in_quotes(client: Client) -> None:
    fetch = record((3, Kind.RENAMED, "Ankara ", "Ankara"))
    assert shown(client.get(page_of("change", fetch.pk))) == [
        (3, "renamed", "“Ankara ”", "“Ankara”")
    ]


def test_a_negative_duration_is_shown_as_zero(client: Client) -> None:
    now = timezone.now()
    record(started_at=now, finished_at=now - timedelta(minutes=5))
    [[_what, _state, _who, _started, duration, _outcome]] = rows(client.get(page_of("changelist")))
    assert duration == "0.0\xa0s"


def test_invisible_characters_in_a_user_name_are_escaped(client: Client) -> None:
    record(started_by="a\u202eb")
    [[_what, _state, who, _started, _duration, _outcome]] = rows(client.get(page_of("changelist")))
    assert who == r"a\u202eb (command)"


class PlainFetches(FetchAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return QuerySet(Fetch)


@pytest.mark.usefixtures("groups")
def test_the_get_queryset_of_a_fetch_admin_may_return_a_plain_queryset(
    client: Client, register: Callable[..., None]
) -> None:
    register(fetch_admin=PlainFetches)
    running = record(state=State.RUNNING, finished_at=None)
    assert page_of("change", running.pk) in client.get(url("changelist")).content.decode()
    assert client.get(page_of("change", running.pk)).status_code == 200


class HidingFetches(FetchAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(started_by="ayşe")


@pytest.mark.usefixtures("groups")
def test_changes_of_hidden_fetches_are_not_shown(
    client: Client, register: Callable[..., None]
) -> None:
    register(fetch_admin=HidingFetches)
    record((3, Kind.MISSING))
    record((4, Kind.MISSING), started_by="ayşe")
    assert "changes" in client.get(url("change", 4)).context
    assert client.get(url("change", 3)).context["changes"] == []
    assert marks(client.get(url("changelist"))) == {4: "changed"}
    found = client.get(f"{url('changelist')}?changed=day").context["nodes"]
    assert [node.group.pk for node in found] == [4]


@pytest.mark.usefixtures("groups")
def test_an_admin_site_without_the_fetch_admin_shows_no_history(
    client: Client, register: Callable[..., None], sandbox: Sandbox
) -> None:
    register(fetch_admin=None)
    record((3, Kind.MISSING))
    assert 'id="changes"' not in client.get(url("change", 3)).content.decode()
    assert links(fetch(client, group_id=1000)) == []


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("group_admin", [None, admin.ModelAdmin])
def test_an_admin_site_without_our_group_admin_shows_fetches(
    client: Client, register: Callable[..., None], group_admin: Any
) -> None:
    register(group_admin)
    pk = record_sample()["partial"].pk
    page = client.get(page_of("change", pk))
    assert len(shown(page)) == 7
    assert "formaction" not in page.content.decode()
    assert ("/group/3/change/" in page.content.decode()) == bool(group_admin)
    assert client.post(page_of("retry", pk)).status_code == 403


@pytest.fixture
def proxies() -> Iterator[tuple[type[Group], type[Fetch]]]:
    with isolate_apps("tests"):

        class GroupProxy(Group):
            class Meta:
                proxy = True
                app_label = "auth"

        class FetchProxy(Fetch):
            class Meta:
                proxy = True
                app_label = "auth"

        yield GroupProxy, FetchProxy


@pytest.mark.usefixtures("groups")
def test_proxy_models_of_groups_and_fetches_have_the_same_admin_pages(
    client: Client,
    register: Callable[..., None],
    proxies: tuple[type[Group], type[Fetch]],
    sandbox: Sandbox,
) -> None:
    group, fetch_model = proxies
    register(Hiding, group=group, fetch=fetch_model)
    pk = record_sample()["partial"].pk
    page = client.get(reverse("admin:auth_fetchproxy_change", args=[pk]))
    assert len(shown(page)) == 4
    content = page.content.decode()
    assert "/admin/auth/groupproxy/4/change/" in content
    assert f"/admin/auth/fetchproxy/{pk}/retry/" in content
    page = client.get(reverse("admin:auth_groupproxy_change", args=[4]))
    assert f"/admin/auth/fetchproxy/{pk}/change/" in page.content.decode()
    answer = client.post(reverse("admin:auth_groupproxy_fetch"), {"group_id": 1000})
    assert links(answer) == [f"/admin/auth/fetchproxy/{newest().pk}/change/"]


class OwnFetchAdmin(FetchAdmin):
    list_display = (*FetchAdmin.list_display, "is_large")
    fields = (*FetchAdmin.fields, "is_large")
    readonly_fields = fields
    list_filter = (*FetchAdmin.list_filter, "started_by")
    change_form_template = "own.html"

    @admin.display(description="large", boolean=True)
    def is_large(self, fetch: Fetch) -> bool:
        return fetch.known > 5

    def has_add_permission(self, request: HttpRequest) -> bool:
        return True


@pytest.mark.usefixtures("groups")
def test_a_fetch_admin_subclass_may_add_columns_fields_filters_and_templates(
    client: Client, register: Callable[..., None], settings: Any, tmp_path: Any
) -> None:
    (tmp_path / "own.html").write_text(
        '{% extends "admin/change_form.html" %}{% block form_top %}Own{% endblock %}'
    )
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [tmp_path]}]
    register(fetch_admin=OwnFetchAdmin)
    pk = record_sample()["partial"].pk
    page = client.get(page_of("change", pk)).content.decode()
    assert "Own" in page
    assert "iletimerkezi-history" in page
    assert "Large:" in text(client.get(page_of("change", pk)))
    listed = client.get(f"{page_of('changelist')}?started_by=ali")
    assert len(rows(listed)) == 1
    assert client.get(page_of("add")).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_fetch_can_be_deleted_with_autocommit_off(client: Client) -> None:
    pk = record((3, Kind.MISSING)).pk
    transaction.set_autocommit(False)
    try:
        answer = client.post(page_of("delete", pk), {"post": "yes"})
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert answer.status_code == 302
    assert not Fetch.objects.exists()
