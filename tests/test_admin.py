"""The pages of the admin: permissions, the page of a group, fetching and deleting."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_iletimerkezi import services
from django_iletimerkezi.admin import tree
from django_iletimerkezi.mirror import recorder
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import get_client
from django_iletimerkezi.testing import Sandbox

from .forest import Forest
from .vendor import Vendor, envelope, reply
from .visitors import (
    LINKS,
    NAMES,
    ROLES,
    SEEN,
    act,
    client_for,
    fetch,
    lines,
    messages,
    plant,
    plant_tree,
    sum_up,
    text,
    total_contacts,
    url,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def groups() -> None:
    plant(LINKS, NAMES)


@pytest.fixture
def phone_book(sandbox: Sandbox) -> Sandbox:
    """A vendor that knows some of the mirrored groups and a new one."""
    subgroups = [{"id": 4, "name": "Kadıköy", "count": 4}, {"id": 8, "name": "Şile", "count": 8}]
    sandbox.serve([{"id": 3, "name": "İstanbul", "count": 30, "children": subgroups}])
    return sandbox


def mirror() -> list[Any]:
    return list(Group.objects.order_by("pk").values())


# Permissions

ADDRESSES: dict[str, Callable[[], str]] = {
    "changelist": lambda: url("changelist"),
    "subgroups": lambda: f"{url('subgroups')}?_from=2",
    "fetch": lambda: url("fetch"),
    "add": lambda: url("add"),
    "change": lambda: url("change", 2),
    "history": lambda: url("history", 2),
    "delete": lambda: url("delete", 2),
}
PAGES = {
    "superuser": {"changelist", "subgroups", "change", "history", "fetch", "delete"},
    "viewer": {"changelist", "subgroups", "change", "history"},
    "fetcher": {"changelist", "subgroups", "change", "history", "fetch"},
    "deleter": {"changelist", "subgroups", "change", "history", "delete"},
}
ACTIONS = {
    "superuser": {"fetch_selected", "fetch_selected_recursively", "delete_selected"},
    "fetcher": {"fetch_selected", "fetch_selected_recursively"},
    "deleter": {"delete_selected"},
}
ACCEPTED = {"changelist": 200, "subgroups": 405, "fetch": 302, "delete": 302}
"""The status of a POST to each page that a role can open, if it is not 403."""
OUTSIDERS = {"user", "anonymous"}
FIELDS = {
    "group_id": "3",
    "post": "yes",
    "id": "2",
    "name": "x",
    "count": "1",
    "seen_at_0": "2026-05-01",
    "seen_at_1": "00:00",
}
NOTE = "This deletes groups only from the mirror"


def is_login(answer: Any) -> bool:
    return bool(answer.get("Location", "").startswith("/admin/login/"))


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("role", ROLES)
def test_each_role_can_open_only_permitted_pages(role: str) -> None:
    client = client_for(role)
    answers = {page: client.get(address()) for page, address in ADDRESSES.items()}
    opened = {page for page, answer in answers.items() if answer.status_code == 200}
    refused = [answer for page, answer in answers.items() if page not in opened]
    assert opened == PAGES.get(role, set())
    if role in OUTSIDERS:
        assert all(map(is_login, refused))
    else:
        assert {answer.status_code for answer in refused} <= {403}


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("role", ROLES)
def test_each_role_can_submit_only_permitted_forms(role: str, phone_book: Sandbox) -> None:
    client = client_for(role)
    pages = PAGES.get(role, set())
    for page in ("changelist", "subgroups", "add", "change", "fetch", "delete"):
        before = mirror()
        answer = client.post(ADDRESSES[page](), FIELDS)
        status = ACCEPTED.get(page, 403) if page in pages else 403
        assert is_login(answer) if role in OUTSIDERS else answer.status_code == status
        assert (mirror() != before) == (status == 302)
    assert phone_book.asked == [3] * ("fetch" in pages)


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("role", ROLES)
def test_each_role_can_run_only_permitted_actions(role: str, phone_book: Sandbox) -> None:
    client = client_for(role)
    page = client.get(url("changelist")).content.decode()
    for action in ("fetch_selected", "fetch_selected_recursively", "delete_selected"):
        before = mirror()
        act(client, action, 3, post="yes")
        is_allowed = action in ACTIONS.get(role, set())
        assert (f'value="{action}"' in page) == is_allowed
        assert (mirror() != before) == is_allowed
    assert bool(phone_book.asked) == (role in {"superuser", "fetcher"})


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("role", ["superuser", "viewer", "fetcher", "deleter"])
def test_fetch_buttons_are_shown_to_roles_that_may_fetch(role: str) -> None:
    client = client_for(role)
    pages = [client.get(url("changelist")), client.get(url("change", 3))]
    is_allowed = role in {"superuser", "fetcher"}
    assert [url("fetch") in page.content.decode() for page in pages] == [is_allowed] * 2


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", ["fetch", "changelist", "delete"])
def test_a_form_without_csrf_token_is_refused(page: str, phone_book: Sandbox) -> None:
    client = client_for("superuser", checks_csrf=True)
    fields = FIELDS | {"action": "fetch_selected", "_selected_action": "3"}
    assert client.post(ADDRESSES[page](), fields).status_code == 403
    assert phone_book.asked == []
    assert Group.objects.count() == len(LINKS)


def test_permissions_to_add_or_change_groups_and_fetches_are_not_created() -> None:
    ours = Permission.objects.filter(content_type__app_label="django_iletimerkezi")
    assert set(ours.values_list("codename", flat=True)) == {
        "view_group",
        "delete_group",
        "fetch_group",
        "view_fetch",
        "delete_fetch",
    }


# The page of a group


@pytest.mark.usefixtures("groups")
def test_a_group_page_shows_the_path_the_fields_and_the_total() -> None:
    Group.objects.filter(pk=6).update(missing_since=SEEN, count=1000)
    sum_up()
    page = client_for("viewer").get(url("change", 3))
    shown = text(page)
    assert "Rehber › Müşteriler" in shown
    assert "Number of contacts: 3" in shown
    assert total_contacts(page) == 3 + 4
    assert "Missing groups are not counted." in shown
    assert 'name="_save"' not in page.content.decode()
    assert f'href="{url("change", 2)}"' in page.content.decode()


@pytest.mark.usefixtures("groups")
def test_the_total_of_a_missing_group_is_zero() -> None:
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    sum_up()
    assert total_contacts(client_for("viewer").get(url("change", 5))) == 0


@pytest.mark.usefixtures("groups")
def test_the_total_of_groups_with_the_largest_possible_count_is_exact() -> None:
    Group.objects.update(count=2**31 - 1)
    sum_up()
    assert total_contacts(client_for("viewer").get(url("change", 1))) == 6 * (2**31 - 1)


@pytest.mark.usefixtures("groups")
def test_bars_compare_the_contacts_of_subgroups() -> None:
    Group.objects.filter(pk=3).update(total=400)
    Group.objects.filter(pk=5).update(total=100)
    page = client_for("viewer").get(url("change", 2)).content.decode()
    assert re.findall(r'<rect width="([\d.]+)"', page)[:2] == ["25.0", "100.0"]


@pytest.mark.usefixtures("groups")
def test_an_incomplete_total_is_shown_as_a_lower_bound() -> None:
    Group.objects.filter(pk=3).update(total=12345, unexplored=4)
    shown = text(client_for("viewer").get(url("change", 3)))
    assert "at least 12,345; 4 groups have never been fetched" in shown


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_shows_its_subgroups_as_a_tree() -> None:
    page = client_for("viewer").get(url("change", 2))
    assert lines(page) == ["5", "3-", ".4", ".6"]
    assert 'name="_selected_action"' not in page.content.decode()


def test_a_group_page_shows_a_hundred_subgroups_and_a_link_to_more() -> None:
    plant({1: None} | dict.fromkeys(range(2, 200), 1))
    page = client_for("viewer").get(url("change", 1))
    assert lines(page)[-2:] == ["101", "more 1 100"]
    assert "?_from=1&amp;p=2" in page.content.decode()


@pytest.mark.parametrize("links", [{1: 1}, {1: 2, 2: 1}])
def test_a_group_page_is_shown_for_a_group_in_a_loop(
    links: dict[int, int | None],
) -> None:
    plant(links)
    assert client_for("viewer").get(url("change", 1)).status_code == 200


def test_a_very_long_name_is_cut_and_its_invisible_characters_are_escaped() -> None:
    plant({1: None}, {1: "a\u202e" + "x" * 10**6})
    page = client_for("viewer").get(url("change", 1)).content.decode()
    assert r"a\u202e" in page
    assert "\u202e" not in page
    assert len(page) < 50_000


@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_the_page_of_an_unknown_group_redirects_to_the_index(page: str) -> None:
    client = client_for("superuser")
    for object_id in ("404", "abc", "0", "-1", "9" * 30, "1_2", "%00"):
        answer = client.get(url(page, 1).replace("/1/", f"/{object_id}/"))
        assert (answer.status_code, answer["Location"]) == (302, "/admin/"), object_id


# The form


def test_the_fetch_form_has_an_id_and_a_recursive_option() -> None:
    page = client_for("fetcher").get(url("fetch"), {"group_id": "12"}).content.decode()
    assert re.search(r'<input type="number" name="group_id" value="12"[^>]* required', page)
    assert re.search(r'<input type="checkbox" name="recursive"', page)


@pytest.mark.usefixtures("groups")
def test_a_fetch_redirects_to_the_group_and_logs_the_outcome(
    phone_book: Sandbox,
) -> None:
    answer = fetch(client_for("fetcher"), group_id=3)
    assert (answer.status_code, answer["Location"]) == (302, url("change", 3))
    report = "Fetched “İstanbul” (id 3): 1 created, 1 changed, 1 unchanged, 1 missing."
    assert messages(answer) == [("success", report)]
    assert phone_book.asked == [3]
    assert Group.objects.get(pk=8).parent_id == 3
    assert LogEntry.objects.get().get_change_message() == report


@pytest.mark.usefixtures("groups", "phone_book")
def test_a_fetch_checks_only_once_whether_the_group_is_visible() -> None:
    client = client_for("fetcher")
    with CaptureQueriesContext(connection) as queries:
        fetch(client, group_id=3)
    assert sum(query["sql"].startswith("SELECT 1 ") for query in queries) == 1


@pytest.mark.usefixtures("groups")
def test_a_recursive_fetch_requests_the_group_and_all_groups_below_it(phone_book: Sandbox) -> None:
    fetch(client_for("fetcher"), group_id=3, recursive="on")
    assert sorted(phone_book.asked) == [3, 4, 8]


def test_a_fetch_of_an_alias_redirects_to_the_returned_group(sandbox: Sandbox) -> None:
    answer = fetch(client_for("fetcher"), group_id=5)
    assert answer["Location"] == url("change", 97101)
    warning = "Asked for group 5, but the vendor returned group 97101."
    assert messages(answer)[0] == ("warning", warning)


def test_an_invalid_id_is_refused_and_the_form_keeps_its_input(sandbox: Sandbox) -> None:
    client = client_for("fetcher")
    for group_id in ("", "abc", "0", "-1", str(2**63), "1.5", "9" * 5000, "\0"):
        answer = fetch(client, group_id=group_id, recursive="on")
        assert answer.status_code == 200
        assert "Please correct the error below." in text(answer)
        assert re.search(r'name="recursive"[^>]* checked', answer.content.decode())
    assert sandbox.asked == []


def test_a_vendor_error_is_shown_above_the_filled_form(sandbox: Sandbox) -> None:
    answer = fetch(client_for("fetcher"), group_id=12, recursive="on")
    page = answer.content.decode()
    assert messages(answer)[0][1].startswith("Group 12: iletimerkezi answered 463")
    assert 'name="group_id" value="12"' in page
    assert re.search(r'name="recursive"[^>]* checked', page)


def test_an_error_message_is_in_the_language_of_the_page(sandbox: Sandbox) -> None:
    with override_settings(LANGUAGE_CODE="tr"):
        answer = fetch(client_for("fetcher"), group_id=12)
    assert messages(answer)[0][1].startswith("Grup 12: ")


def test_wrong_credentials_are_reported_without_their_values(sandbox: Sandbox) -> None:
    sandbox.key = "changed"
    answer = fetch(client_for("fetcher"), group_id=1000)
    assert "answered 401" in text(answer)
    for secret in ("sandbox-key", "sandbox-hash"):
        assert secret not in answer.content.decode()


def test_a_bug_during_a_fetch_is_reported_on_the_page(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("django_iletimerkezi.api.transport.MAX_BODY")
    ((level, report),) = messages(fetch(client_for("fetcher"), group_id=1000))
    assert level == "error"
    assert report.startswith("Group 1000: This is a bug: NameError in transport.py, line ")


@override_settings(ILETIMERKEZI_API_KEY=None)
def test_a_missing_setting_is_reported_on_the_fetch_page() -> None:
    assert "ILETIMERKEZI_API_KEY" in text(fetch(client_for("fetcher"), group_id=1))


def test_a_database_error_and_the_lost_answer_are_reported(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise DatabaseError("database is locked")

    monkeypatch.setattr(recorder, "store", refuse)
    reports = [report for _level, report in messages(fetch(client_for("fetcher"), group_id=1000))]
    assert reports[0].startswith("1 answer could not be stored")
    assert reports[1:] == ["Group 1000: Database error: database is locked."]


def test_ten_failures_below_a_group_are_listed_and_the_others_are_counted(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [{"id": 10 + number, "name": "b", "count": 0} for number in range(12)]
    top = {"id": 1, "name": "a", "count": 0, "children": children}
    monkeypatch.setattr(sandbox, "find", {1: top}.get)
    answer = fetch(client_for("fetcher"), group_id=1, recursive="on")
    assert answer["Location"] == url("change", 1)
    assert [level for level, _report in messages(answer)] == ["success", *["error"] * 11]
    assert messages(answer)[-1][1] == "… and 2 more like these."


def test_an_alias_below_the_fetched_group_is_reported(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = {"id": 1, "name": "a", "count": 0, "children": [{"id": 6, "name": "b", "count": 0}]}
    groups = {1: top, 6: {"id": 60, "name": "c", "count": 0}}
    monkeypatch.setattr(sandbox, "find", groups.get)
    reports = messages(fetch(client_for("fetcher"), group_id=1, recursive="on"))
    assert reports[0] == ("warning", "Asked for group 6, but the vendor returned group 60.")


# The whole phone book


def fetch_phone_book(client: Client) -> Any:
    return client.post(url("fetch"), {"phone_book": "on"}, follow=True)


def test_one_post_request_fetches_the_whole_phone_book(sandbox: Sandbox) -> None:
    page = fetch_phone_book(client_for("fetcher"))
    assert page.redirect_chain == [(url("changelist"), 302)]
    assert Group.objects.count() == 34
    text_ = (
        "Fetched the phone book with 2 main groups: 34 created, 0 changed, 0 unchanged, 0 missing."
    )
    assert [str(message) for message in page.context["messages"]] == [text_]


def test_the_phone_book_form_recommends_the_command_for_large_trees(sandbox: Sandbox) -> None:
    page = client_for("fetcher").get(url("fetch"), {"phone_book": "1"})
    assert "Fetch the whole phone book" in text(page)
    assert "use “manage.py fetch_groups”" in text(page)
    assert (sandbox.listings, sandbox.asked) == (0, [])


@pytest.mark.parametrize("role", ["viewer", "deleter", "staff"])
def test_only_users_with_fetch_permission_can_fetch_the_phone_book(
    role: str, sandbox: Sandbox
) -> None:
    client = client_for(role)
    assert client.post(url("fetch"), {"phone_book": "on"}).status_code == 403
    assert sandbox.listings == 0
    if role != "staff":
        assert "phone_book" not in client.get(url("changelist")).content.decode()


def test_failed_groups_of_the_phone_book_are_shown_as_messages(sandbox: Sandbox) -> None:
    with Forest({1: [], 2: []}) as server:
        server.main_ids, server.failing = [1, 2], {2: 500}
        with override_settings(**server.settings, ILETIMERKEZI_RETRIES=0):
            page = fetch_phone_book(client_for("fetcher"))
    found = [(message.level_tag, str(message)) for message in page.context["messages"]]
    assert found[0][1].startswith("Fetched the phone book with 2 main groups: 2 created")
    assert found[1][0] == "error"
    assert found[1][1].startswith("Group 2: iletimerkezi is not available")


def test_a_refused_request_for_the_main_groups_is_shown_as_a_message(sandbox: Sandbox) -> None:
    sandbox.key = "changed"
    page = fetch_phone_book(client_for("fetcher"))
    ((level, message),) = [(item.level_tag, str(item)) for item in page.context["messages"]]
    assert level == "error"
    assert message.startswith("iletimerkezi answered 401")


def test_the_admin_warns_if_the_key_seems_to_belong_to_another_account() -> None:
    plant({98: None})
    with Forest({1: []}) as server:
        server.main_ids, server.headers = [1], {}
        with override_settings(**server.settings):
            page = fetch_phone_book(client_for("fetcher"))
    assert "another account" in text(page)
    assert "1 created, 0 changed, 0 unchanged, 1 missing." in text(page)


def test_unstorable_answers_are_counted_in_a_message(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise DatabaseError("no")

    monkeypatch.setattr(recorder, "store", refuse)
    page = fetch_phone_book(client_for("fetcher"))
    found = [str(message) for message in page.context["messages"]]
    assert found[0] == "Database error: no."
    assert re.fullmatch(r"\d+ answers could not be stored: fetch again\.", found[1])


def test_the_phone_book_is_fetched_only_if_the_checkbox_is_ticked(sandbox: Sandbox) -> None:
    page = client_for("fetcher").post(f"{url('fetch')}?phone_book=1", {"csrfmiddlewaretoken": "x"})
    assert "Fetch the whole phone book" in text(page)
    assert "This field is required." in text(page)
    assert sandbox.listings == 0


def test_a_wrong_system_clock_is_shown_as_a_warning() -> None:
    script = reply(200, envelope(groups=[]), Date="Thu, 01 Jan 2026 00:00:00 GMT")
    with Vendor(script) as vendor, override_settings(**vendor.settings):
        page = fetch_phone_book(client_for("fetcher"))
    assert "The clock of this machine is" in text(page)


# Actions


@pytest.mark.usefixtures("groups")
def test_fetches_of_selected_groups_are_summed_up_in_one_message(phone_book: Sandbox) -> None:
    phone_book.serve([{"id": pk, "name": str(pk), "count": 0} for pk in (2, 3)])
    answer = act(client_for("fetcher"), "fetch_selected", 2, 3, 4)
    assert answer.redirect_chain == [(url("fetch"), 307), (url("changelist"), 302)]
    assert sorted(phone_book.asked) == [2, 3, 4]
    report, error = messages(answer)
    assert report == (
        "success",
        "Fetched 2 contact groups: 0 created, 2 changed, 0 unchanged, 4 missing.",
    )
    assert error[1].startswith("Group 4: iletimerkezi answered 463")


@pytest.mark.usefixtures("groups")
def test_a_selected_group_below_another_selected_group_is_fetched_once(phone_book: Sandbox) -> None:
    act(client_for("fetcher"), "fetch_selected_recursively", 3, 4, 6)
    assert sorted(phone_book.asked) == [3, 4, 8]


@pytest.mark.usefixtures("groups")
def test_a_fetch_action_redirects_to_the_list_and_keeps_the_filters(phone_book: Sandbox) -> None:
    query = "?q=ist&presence=listed"
    fields = {"action": "fetch_selected", "_selected_action": "3", "index": "0"}
    client = client_for("fetcher")
    answer: Any = client.post(url("changelist") + query, fields, follow=True)
    assert answer.redirect_chain[-1] == (url("changelist") + query, 302)
    assert phone_book.asked == [3]


@pytest.mark.usefixtures("groups")
def test_selected_groups_that_no_longer_exist_are_reported(phone_book: Sandbox) -> None:
    client = client_for("fetcher")
    for action in sorted(ACTIONS["fetcher"]):
        ((level, report),) = messages(act(client, action, 77))
        assert (level, report[:37]) == ("warning", "The selected groups no longer exist. ")
    assert phone_book.asked == []


def test_ten_aliases_are_listed_and_the_others_are_counted(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(dict.fromkeys(range(1, 14)))
    monkeypatch.setattr(sandbox, "find", lambda group_id: {"id": 1, "name": "a", "count": 0})
    reports = messages(act(client_for("fetcher"), "fetch_selected", *range(1, 14)))
    assert [level for level, _report in reports] == [*["warning"] * 11, "success"]
    assert reports[10][1] == "… and 2 more like these."


@pytest.mark.usefixtures("groups")
def test_a_fatal_error_stops_a_fetch_action_and_is_reported_once(
    phone_book: Sandbox,
) -> None:
    phone_book.key = "changed"
    answer = act(client_for("fetcher"), "fetch_selected", 2, 3, 4)
    assert [level for level, _report in messages(answer)] == ["error", "error"]
    assert messages(answer)[1][1].startswith("2 groups were not fetched: ")


@pytest.mark.usefixtures("groups")
def test_an_action_with_an_invalid_query_redirects_to_the_error_page() -> None:
    fields = {"action": "fetch_selected", "_selected_action": "1"}
    answer = client_for("fetcher").post(f"{url('fetch')}?nonsense=1", fields)
    assert answer["Location"] == f"{url('changelist')}?e=1"


def test_a_selection_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_ROWS", 20)
    plant_tree(30, 5)
    client = client_for("superuser")
    for select_across in ("on", "true", "1"):
        act(client, "delete_selected", 1, select_across=select_across, post="yes")
    ((level, report),) = messages(act(client, "delete_selected", *range(1, 22), post="yes"))
    assert level == "error"
    assert "at most 20 at a time" in report
    assert Group.objects.count() == 30
    act(client, "delete_selected", *range(1, 21), select_across="0", post="yes")
    assert Group.objects.count() == 10


def test_all_rows_of_the_largest_page_can_be_selected_and_deleted() -> None:
    plant_tree(tree.MAX_ROWS, 20)
    act(client_for("deleter"), "delete_selected", *range(1, tree.MAX_ROWS + 1), post="yes")
    assert not Group.objects.exists()


@pytest.mark.usefixtures("groups")
def test_a_selected_value_that_is_not_an_id_is_refused() -> None:
    client = client_for("superuser")
    for selected in ("abc", "", "0", "-1", str(10**30), "1\0"):
        fields = {"action": "delete_selected", "_selected_action": selected, "post": "yes"}
        ((level, report),) = messages(client.post(url("changelist"), fields, follow=True))
        assert level == "error"
        assert "an invalid group id" in report
    assert Group.objects.count() == len(LINKS)


@pytest.mark.django_db(transaction=True)
def test_a_fetch_runs_outside_the_transaction_of_the_request(
    phone_book: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(LINKS, NAMES)
    in_transaction: list[bool] = []

    def get_client_and_note() -> Any:
        in_transaction.append(connection.in_atomic_block)
        return get_client()

    monkeypatch.setattr(services, "get_client", get_client_and_note)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = client_for("fetcher")
    fetch(client, group_id=3)
    act(client, "fetch_selected", 3)
    act(client, "fetch_selected_recursively", 3)
    assert in_transaction == [False] * 3


# Deleting


@pytest.mark.usefixtures("groups")
def test_the_subgroups_of_a_deleted_group_become_roots(sandbox: Sandbox) -> None:
    client = client_for("deleter")
    assert NOTE in text(client.get(url("delete", 3)))
    answer = client.post(url("delete", 3), {"post": "yes"})
    assert (answer.status_code, answer["Location"]) == (302, url("changelist"))
    assert dict(Group.objects.values_list("pk", "parent")) == {
        1: None,
        2: 1,
        4: None,
        5: 2,
        6: None,
    }
    assert sandbox.asked == []


@pytest.mark.usefixtures("groups")
def test_deleting_a_group_in_a_popup_closes_the_popup() -> None:
    answer = client_for("deleter").post(url("delete", 3), {"post": "yes", "_popup": "1"})
    assert "popup_response.js" in answer.content.decode()


@pytest.mark.usefixtures("groups")
def test_selected_groups_are_deleted_after_confirmation() -> None:
    client = client_for("deleter")
    assert NOTE in text(act(client, "delete_selected", 1, 2))
    assert Group.objects.count() == len(LINKS)
    act(client, "delete_selected", 1, 2, post="yes")
    assert dict(Group.objects.values_list("pk", "parent")) == {3: None, 4: 3, 5: None, 6: 3}


# Names and times


def test_the_admin_index_lists_contact_groups() -> None:
    page = client_for("viewer").get(reverse("admin:index")).content.decode()
    assert "Contact groups" in page
    assert "iletimerkezi phone book" in page


def test_the_page_of_a_group_shows_when_the_group_was_fetched(phone_book: Sandbox) -> None:
    fetch(client_for("fetcher"), group_id=3)
    fetched_at = timezone.localtime(Group.objects.get(pk=3).fetched_at)
    page = client_for("viewer").get(url("change", 3)).content.decode()
    shown = re.search(r'field-fetched_at".*?<div class="readonly">([^<]*)<', page, re.DOTALL)
    assert shown
    assert shown[1].startswith(f"{fetched_at:%b}")
