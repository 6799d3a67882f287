"""The pages of the admin: who may do what, the page of a group, fetching and deleting."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import DatabaseError, connection
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from django_iletimerkezi.admin import fetch as fetching
from django_iletimerkezi.admin import group as admin
from django_iletimerkezi.mirror import store as mirror
from django_iletimerkezi.models import Group
from django_iletimerkezi.services import get_client
from django_iletimerkezi.testing import Sandbox

from .test_changelist import ISTANBUL, LINKS, lines, text
from .visitors import MAY, SEEN, plant, plant_tree, url, visit

pytestmark = pytest.mark.django_db


@pytest.fixture
def groups() -> None:
    plant(LINKS, ISTANBUL)


@pytest.fixture
def phone_book(sandbox: Sandbox) -> Sandbox:
    """The vendor's, with the ids of ``groups`` and more."""
    subgroups = [{"id": 4, "name": "Kadıköy", "count": 4}, {"id": 8, "name": "Şile", "count": 8}]
    sandbox.serve([{"id": 3, "name": "İstanbul", "count": 30, "children": subgroups}])
    return sandbox


def messages(answer: Any) -> list[tuple[str, str]]:
    return [(message.level_tag, message.message) for message in get_messages(answer.wsgi_request)]


# Who may do what

PEOPLE = [*MAY, "anonymous"]
GET = {
    "superuser": {"changelist", "rows", "fetch", "change", "delete", "history"},
    "viewer": {"changelist", "rows", "change", "history"},
    "fetcher": {"changelist", "rows", "fetch", "change", "history"},
    "deleter": {"changelist", "rows", "change", "delete", "history"},
}
PAGES = {
    "changelist": lambda: url("changelist"),
    "rows": lambda: f"{url('rows')}?parent=2",
    "fetch": lambda: url("fetch"),
    "add": lambda: url("add"),
    "change": lambda: url("change", 2),
    "delete": lambda: url("delete", 2),
    "history": lambda: url("history", 2),
}
POST = {
    ("superuser", "changelist"): 200,
    ("superuser", "fetch"): 302,
    ("superuser", "delete"): 302,
    ("superuser", "rows"): 405,
    ("viewer", "changelist"): 200,
    ("viewer", "rows"): 405,
    ("fetcher", "changelist"): 200,
    ("fetcher", "fetch"): 302,
    ("fetcher", "rows"): 405,
    ("deleter", "changelist"): 200,
    ("deleter", "delete"): 302,
    ("deleter", "rows"): 405,
}
FIELDS = {
    "group_id": "3",
    "post": "yes",
    "id": "2",
    "name": "x",
    "count": "1",
    "seen_at_0": "2026-05-01",
    "seen_at_1": "00:00",
}


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("person", PEOPLE)
def test_each_person_gets_to_see_the_pages_that_are_theirs(person: str, page: str) -> None:
    answer = visit(person).get(PAGES[page]())
    if person in {"user", "anonymous"}:
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")
    else:
        assert answer.status_code == (200 if page in GET.get(person, set()) else 403)


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"history"}))
@pytest.mark.parametrize("person", PEOPLE)
def test_each_person_can_do_what_is_theirs_and_nothing_else(
    person: str, page: str, phone_book: Sandbox
) -> None:
    before = list(Group.objects.order_by("pk").values())
    answer = visit(person).post(PAGES[page](), FIELDS)
    if person in {"user", "anonymous"}:
        assert answer["Location"].startswith("/admin/login/")
    else:
        assert answer.status_code == POST.get((person, page), 403)
    is_done = POST.get((person, page)) == 302
    assert phone_book.asked == ([3] if is_done and page == "fetch" else [])
    assert (list(Group.objects.order_by("pk").values()) != before) == is_done


ACTIONS = {
    "delete_selected": {"superuser", "deleter"},
    "fetch_selected": {"superuser", "fetcher"},
    "fetch_selected_with_everything_below": {"superuser", "fetcher"},
}


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("person", PEOPLE)
def test_each_person_has_the_actions_that_are_theirs(
    person: str, action: str, phone_book: Sandbox
) -> None:
    before = list(Group.objects.order_by("pk").values())
    client = visit(person)
    page = client.get(url("changelist")).content.decode()
    assert (f'value="{action}"' in page) == (person in ACTIONS[action])
    client.post(url("changelist"), {"action": action, "_selected_action": "3", "post": "yes"})
    changed = list(Group.objects.order_by("pk").values()) != before
    assert changed == (person in ACTIONS[action])
    assert bool(phone_book.asked) == (changed and action != "delete_selected")


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("person", ["superuser", "viewer", "fetcher", "deleter"])
def test_buttons_are_shown_to_those_who_may_fetch(person: str) -> None:
    client = visit(person)
    pages = [client.get(url("changelist")), client.get(url("change", 3))]
    is_allowed = person in {"superuser", "fetcher"}
    assert [url("fetch") in page.content.decode() for page in pages] == [is_allowed] * 2


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("page", ["fetch", "changelist", "delete"])
def test_nothing_is_done_without_the_token_against_forged_requests(
    page: str, phone_book: Sandbox
) -> None:
    fields = FIELDS | {"action": "fetch_selected", "_selected_action": "3"}
    answer = visit("superuser", checks_csrf=True).post(PAGES[page](), fields)
    assert answer.status_code == 403
    assert phone_book.asked == []
    assert Group.objects.count() == len(LINKS)


def test_no_permission_to_add_or_change_can_be_given() -> None:
    ours = Permission.objects.filter(content_type__app_label="django_iletimerkezi")
    assert set(ours.values_list("codename", flat=True)) == {
        "view_group",
        "delete_group",
        "fetch_group",
    }


# The page of a group


def contacts_below(page: Any) -> int:
    """Return what the page of a group says; since Django 6.1 the help is before the number."""
    said = re.search(r"Contacts in it and in all below it:\D*(\d+)", text(page))
    assert said
    return int(said[1])


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_shows_path_fields_and_totals() -> None:
    Group.objects.filter(pk=6).update(missing_since=SEEN, count=1000)
    Group.objects.filter(pk=5).update(missing_since=SEEN)
    page = visit("viewer").get(url("change", 3))
    shown = text(page)
    assert "Rehber › Müşteriler › İstanbul" in shown
    assert contacts_below(page) == 7
    assert "Number of contacts: 3" in shown
    assert "Groups that are missing are not counted." in shown
    assert contacts_below(visit("superuser").get(url("change", 5))) == 0
    assert 'name="_save"' not in page.content.decode()
    assert re.search(r'href="/admin/django_iletimerkezi/group/2/change/"', page.content.decode())


@pytest.mark.usefixtures("groups")
def test_contacts_are_added_up_exactly_whatever_the_vendor_says() -> None:
    Group.objects.update(count=2**63 - 1)
    assert contacts_below(visit("viewer").get(url("change", 1))) == 6 * (2**63 - 1)


@pytest.mark.usefixtures("groups")
def test_the_page_of_a_group_shows_its_subgroups_as_a_tree() -> None:
    answer = visit("viewer").get(url("change", 2))
    assert lines(answer) == ["5", "3-", ".4", ".6"]
    assert 'name="_selected_action"' not in answer.content.decode()


def test_of_many_subgroups_the_page_shows_a_hundred() -> None:
    plant({1: None} | dict.fromkeys(range(2, 200), 1))
    answer = visit("viewer").get(url("change", 1))
    assert lines(answer)[-2:] == ["101", "more 1 100"]
    assert "?parent=1&amp;p=2" in answer.content.decode()


@pytest.mark.parametrize("links", [{1: 1}, {1: 2, 2: 1}])
def test_the_page_of_a_group_in_a_loop_comes_to_an_end(links: dict[int, int | None]) -> None:
    plant(links)
    answer = visit("viewer").get(url("change", 1))
    assert answer.status_code == 200
    assert contacts_below(answer) == sum(links)


def test_a_long_name_is_shown_in_bounds_and_without_what_cannot_be_seen() -> None:
    plant({1: None}, {1: "a\u202e" + "x" * 10**6})
    page = visit("viewer").get(url("change", 1)).content.decode()
    assert r"a\u202e" in page
    assert "\u202e" not in page
    assert len(page) < 50_000


@pytest.mark.parametrize("object_id", ["404", "abc", "0", "-1", "9" * 30, "1_2", "%00"])
@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_the_page_of_a_group_that_is_not_there_leads_to_the_index(
    page: str, object_id: str
) -> None:
    address = url(page, 1).replace("/1/", f"/{object_id}/")
    answer = visit("superuser").get(address)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


# Fetching


def fetch(client: Client, **fields: Any) -> Any:
    return client.post(url("fetch"), fields)


def test_the_form_asks_for_an_id_and_whether_to_go_below() -> None:
    page = visit("fetcher").get(url("fetch")).content.decode()
    assert re.search(r'<input type="number" name="group_id"[^>]* required', page)
    assert re.search(r'<input type="checkbox" name="recursive"', page)
    given = visit("superuser").get(url("fetch"), {"group_id": "12"}).content.decode()
    assert 'name="group_id" value="12"' in given


@pytest.mark.usefixtures("groups")
def test_a_fetch_leads_to_the_group_and_says_what_it_did(phone_book: Sandbox) -> None:
    answer = fetch(visit("fetcher"), group_id=3)
    assert (answer.status_code, answer["Location"]) == (302, url("change", 3))
    said = "“İstanbul” (id 3) is fetched: 1 created, 1 changed, 1 unchanged, 1 missing."
    assert messages(answer) == [("success", said)]
    assert phone_book.asked == [3]
    assert Group.objects.get(pk=8).parent_id == 3
    assert LogEntry.objects.get().get_change_message() == said


@pytest.mark.usefixtures("groups")
def test_a_fetch_with_everything_below_asks_for_each_group(phone_book: Sandbox) -> None:
    fetch(visit("fetcher"), group_id=3, recursive="on")
    assert sorted(phone_book.asked) == [3, 4, 8]


def test_a_group_that_is_answered_under_another_id_is_where_the_fetch_leads(
    sandbox: Sandbox,
) -> None:
    answer = fetch(visit("fetcher"), group_id=5)
    assert answer["Location"] == url("change", 97101)
    assert messages(answer)[0] == (
        "warning",
        "Asked for group 5, the vendor answered about group 97101.",
    )


@pytest.mark.parametrize("given", ["", "abc", "0", "-1", str(2**63), "1.5", "9" * 5000, "\0"])
def test_an_id_that_cannot_be_one_is_refused_and_kept(given: str, sandbox: Sandbox) -> None:
    answer = fetch(visit("fetcher"), group_id=given, recursive="on")
    assert answer.status_code == 200
    assert "Please correct the error below." in text(answer)
    assert re.search(r'name="recursive"[^>]* checked', answer.content.decode())
    assert sandbox.asked == []


def test_an_error_of_the_vendor_is_told_and_the_form_keeps_what_was_typed(
    sandbox: Sandbox,
) -> None:
    answer = fetch(visit("fetcher"), group_id=12, recursive="on")
    assert answer.status_code == 200
    said = text(answer)
    assert "Group 12: iletimerkezi answered 463 (Böyle bir grup bulunamadı.)." in said
    assert 'name="group_id" value="12"' in answer.content.decode()
    assert re.search(r'name="recursive"[^>]* checked', answer.content.decode())


def test_wrong_credentials_are_told_with_where_to_look(sandbox: Sandbox) -> None:
    sandbox.key = "another"
    answer = fetch(visit("fetcher"), group_id=1000)
    assert "answered 401" in text(answer)
    assert "“Allow API access”" in text(answer)
    for secret in ("sandbox-key", "sandbox-hash"):
        assert secret not in answer.content.decode()


@override_settings(ILETIMERKEZI_API_KEY=None)
def test_missing_settings_are_told() -> None:
    assert "ILETIMERKEZI_API_KEY" in text(fetch(visit("fetcher"), group_id=1))


def test_a_database_that_refuses_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(answers: object) -> None:
        raise DatabaseError("database is locked")

    monkeypatch.setattr(mirror, "store", refuse)
    said = text(fetch(visit("fetcher"), group_id=1000))
    assert "Group 1000: The database refused (database is locked)." in said


def test_groups_below_that_fail_are_told_and_the_rest_is_fetched(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [{"id": 10 + number, "name": "b", "count": 0} for number in range(12)]
    top = {"id": 1, "name": "a", "count": 0, "children": children}
    monkeypatch.setattr(sandbox, "find", {1: top}.get)
    answer = fetch(visit("fetcher"), group_id=1, recursive="on")
    assert answer["Location"] == url("change", 1)
    levels = [level for level, _said in messages(answer)]
    assert levels == ["success", *["error"] * 11]
    assert messages(answer)[-1][1] == "And 2 more groups failed."


def test_messages_are_in_the_language_of_the_page(phone_book: Sandbox) -> None:
    with override_settings(LANGUAGE_CODE="tr"):
        answer = fetch(visit("fetcher"), group_id=3)
    (said,) = (said for _level, said in messages(answer))
    assert said == (
        "“İstanbul” (id 3) getirildi: 3 oluşturuldu, 0 değiştirildi, 0 değişmedi, 0 kayıp."
    )


def act(client: Client, action: str, *ids: int, **fields: Any) -> Any:
    chosen = {"action": action, "_selected_action": list(ids), "index": "0"}
    return client.post(url("changelist"), chosen | fields)


@pytest.mark.usefixtures("groups")
def test_selected_groups_are_fetched_and_what_was_done_is_summed_up(phone_book: Sandbox) -> None:
    phone_book.serve([{"id": pk, "name": str(pk), "count": 0} for pk in (2, 3)])
    answer = act(visit("fetcher"), "fetch_selected", 2, 3, 4)
    assert sorted(phone_book.asked) == [2, 3, 4]
    told = messages(answer)
    assert told[0] == (
        "success",
        "2 contact groups are fetched: 0 created, 2 changed, 0 unchanged, 4 missing.",
    )
    assert told[1][1].startswith("Group 4: iletimerkezi answered 463")


@pytest.mark.usefixtures("groups")
def test_what_is_below_a_selected_group_is_asked_for_once(phone_book: Sandbox) -> None:
    act(visit("fetcher"), "fetch_selected_with_everything_below", 3, 4, 6)
    assert sorted(phone_book.asked) == [3, 4, 8]


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("action", sorted(ACTIONS.keys() - {"delete_selected"}))
def test_that_nothing_is_left_of_what_was_selected_is_told(
    phone_book: Sandbox, action: str
) -> None:
    answer = act(visit("fetcher"), action, 77)
    said = "Nothing that was selected is here any more. Nothing has been done."
    assert messages(answer) == [("warning", said)]
    assert phone_book.asked == []


def test_an_answer_about_another_group_is_told_of_further_down_too(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = {"id": 1, "name": "a", "count": 0, "children": [{"id": 6, "name": "b", "count": 0}]}
    groups = {1: top, 6: {"id": 60, "name": "c", "count": 0}}
    monkeypatch.setattr(sandbox, "find", lambda group_id: groups.get(group_id, groups[6]))
    told = messages(fetch(visit("fetcher"), group_id=1, recursive="on"))
    assert told[0] == ("warning", "Asked for group 6, the vendor answered about group 60.")


def test_of_many_answers_about_another_group_ten_are_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(dict.fromkeys(range(1, 14)))
    monkeypatch.setattr(sandbox, "find", lambda group_id: {"id": 1, "name": "a", "count": 0})
    told = messages(act(visit("fetcher"), "fetch_selected", *range(1, 14)))
    assert [level for level, _said in told] == [*["warning"] * 11, "success"]
    assert told[10][1] == "And 2 more answers were about other groups."


@pytest.mark.usefixtures("groups")
def test_what_would_fail_for_every_group_is_tried_and_told_once(phone_book: Sandbox) -> None:
    phone_book.key = "another"
    answer = act(visit("fetcher"), "fetch_selected", 2, 3, 4)
    assert [level for level, _said in messages(answer)] == ["error"]


def test_too_many_selected_groups_are_refused(
    phone_book: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_MOST_SELECTED", 20)
    plant_tree(30, 5)
    visit_again = visit("superuser")
    answer = act(visit_again, "delete_selected", 1, select_across="1")
    said = "Too many are selected: at most 20 at a time. Nothing has been done."
    assert messages(answer) == [("error", said)]
    for across in ("on", "true", "1"):
        act(visit_again, "delete_selected", 1, select_across=across, post="yes")
    act(visit_again, "delete_selected", *range(1, 25), post="yes")
    assert Group.objects.count() == 30
    page = act(visit("fetcher"), "fetch_selected", 3, select_across="0")
    assert messages(page)[0][0] == "success"
    assert phone_book.asked == [3]


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize("chosen", ["abc", "", "0", "-1", str(10**30), "1\0"])
def test_what_is_no_group_cannot_be_selected(chosen: str) -> None:
    fields = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    answer = visit("superuser").post(url("changelist"), fields)
    said = "What was selected are not contact groups. Nothing has been done."
    assert messages(answer) == [("error", said)]


@pytest.mark.django_db(transaction=True)
def test_a_fetch_is_stored_outside_of_the_transaction_of_the_request(
    phone_book: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(LINKS, ISTANBUL)
    within: list[bool] = []

    def watched() -> Any:
        within.append(connection.in_atomic_block)
        return get_client()

    monkeypatch.setattr(fetching, "get_client", watched)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = visit("fetcher")
    fetch(client, group_id=3)
    act(client, "fetch_selected", 3)
    assert within == [False, False]


# Deleting


@pytest.mark.usefixtures("groups")
def test_a_deleted_group_is_gone_and_its_subgroups_become_roots(sandbox: Sandbox) -> None:
    client = visit("deleter")
    assert "This removes from the mirror only." in text(client.get(url("delete", 3)))
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
def test_a_group_that_is_deleted_in_a_window_of_its_own_closes_it() -> None:
    answer = visit("deleter").post(url("delete", 3), {"post": "yes", "_popup": "1"})
    assert "popup_response.js" in answer.content.decode()


@pytest.mark.usefixtures("groups")
def test_selected_groups_are_deleted_after_a_page_that_says_what_this_means() -> None:
    client = visit("deleter")
    assert "This removes from the mirror only." in text(act(client, "delete_selected", 1, 2))
    act(client, "delete_selected", 1, 2, post="yes")
    assert dict(Group.objects.values_list("pk", "parent")) == {3: None, 4: 3, 5: None, 6: 3}


def test_people_see_contact_groups_and_not_auth_groups() -> None:
    page = visit("viewer").get(reverse("admin:index")).content.decode()
    assert "Contact groups" in page
    assert "iletimerkezi phone book" in page


def test_the_time_of_a_fetch_is_shown_on_the_page_of_the_group(phone_book: Sandbox) -> None:
    fetch(visit("fetcher"), group_id=3)
    fetched_at = timezone.localtime(Group.objects.get(pk=3).fetched_at)
    page = visit("viewer").get(url("change", 3)).content.decode()
    shown = re.search(r'field-fetched_at".*?<div class="readonly">([^<]*)<', page, re.DOTALL)
    assert shown
    assert shown[1].startswith(f"{fetched_at:%b}")
