"""The form field that chooses a group, and the paths in ``autocomplete_fields`` of the admin."""

from __future__ import annotations

import re
from contextlib import ExitStack
from html import unescape
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from django_iletimerkezi.admin import GroupAdmin
from django_iletimerkezi.display import LABEL_LENGTH, WHOLE_TREE
from django_iletimerkezi.finding import path_texts
from django_iletimerkezi.forms import GroupChoiceField, GroupSelect
from django_iletimerkezi.ids import MAX_ID
from django_iletimerkezi.models import Group

from .visitors import LINKS, NAMES, client_for, plant

pytestmark = pytest.mark.django_db

PATHS = {
    1: "Rehber",
    2: "Rehber › Müşteriler",
    5: "Rehber › Müşteriler › Isparta",
    3: "Rehber › Müşteriler › İstanbul",
    4: "Rehber › Müşteriler › İstanbul › Kadıköy",
    6: "Rehber › Müşteriler › İstanbul › Şişli",
}
EMPTY = str(forms.ModelChoiceField(Group.objects.none()).empty_label)
"""Django 6.1 has another text than the earlier versions."""
ISTANBUL = {"": EMPTY, "3": PATHS[3]}


class CampaignForm(forms.Form):
    audience = GroupChoiceField()


class OptionalForm(forms.Form):
    audience = GroupChoiceField(required=False)


class ParentForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    class Meta:
        model = Group
        fields = ("parent",)
        field_classes = {"parent": GroupChoiceField}  # noqa: RUF012 - as hosts write it


@pytest.fixture
def small() -> None:
    plant(LINKS, NAMES)


@pytest.fixture
def large() -> None:
    """The same groups, and so many others that a select with all of them would be too long."""
    plant(LINKS | dict.fromkeys(range(1000, 1250), 1), NAMES)


def options(html: object) -> dict[str, str]:
    found = re.findall(r'<option value="(\d*)"[^>]*>([^<]*)</option>', str(html))
    return {value: unescape(text) for value, text in found}


def selected(html: object) -> list[str]:
    return re.findall(r'<option value="(\d*)" selected>', str(html))


def box(html: object) -> str:
    """Return the tag of the search box."""
    found = re.search(r'<input type="search"[^>]*>', str(html))
    assert found
    return found[0]


def send(form: type[forms.BaseForm] = CampaignForm, **data: object) -> forms.BaseForm:
    return form({f"audience{name.removeprefix('chosen')}": value for name, value in data.items()})


def error_codes(form: forms.BaseForm) -> list[str | None]:
    return [error.code for error in form.errors.as_data()["audience"]]


# Small mirrors


def test_groups_of_a_small_mirror_are_shown_as_a_select_of_paths_in_tree_order(
    small: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        html = str(CampaignForm()["audience"])
    assert list(options(html).items()) == [
        ("", EMPTY),
        *((str(pk), path) for pk, path in PATHS.items()),
    ]
    assert re.match(r'<select name="audience" [^>]*\brequired\b', html)
    assert "<input" not in html


def test_a_choice_from_the_select_is_valid(small: None) -> None:
    form = send(chosen="3")
    assert form.is_valid()
    assert form.cleaned_data == {"audience": Group.objects.get(pk=3)}
    assert selected(form["audience"]) == ["3"]


def test_an_empty_mirror_is_shown_as_an_empty_select() -> None:
    assert options(CampaignForm()["audience"]) == {"": EMPTY}


def test_a_field_with_an_initial_group_has_no_empty_choice(small: None) -> None:
    class Form(forms.Form):
        audience = GroupChoiceField(initial=3)

    html = Form()["audience"]
    assert (list(options(html)), selected(html)) == ([str(pk) for pk in PATHS], ["3"])
    assert "required" not in str(html)


def test_groups_in_a_loop_are_offered_with_shortened_paths() -> None:
    plant({7: 8, 8: 7})
    assert options(OptionalForm()["audience"]) == {
        "": EMPTY,
        "7": "… › g000008 › g000007",
        "8": "… › g000007 › g000008",
    }


# Large mirrors


def test_a_search_box_replaces_the_select_for_a_large_mirror(
    large: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        html = str(CampaignForm()["audience"])
    assert options(html) == {}
    assert 'name="audience_search" id="id_audience"' in re.sub(
        r'(placeholder|maxlength)="[^"]*" ', "", box(html)
    )
    assert "required" not in html


def test_a_search_shows_its_results_as_a_select(
    large: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    form = send(_search=" istan ")
    with django_assert_num_queries(1):
        assert error_codes(form) == ["choose"]
    with django_assert_num_queries(4):
        html = str(form["audience"])
    assert options(html) == ISTANBUL
    assert selected(html) == [""]
    assert 'value="istan"' in box(html)
    assert 'id="id_audience_search"' in box(html)
    assert '<input type="hidden" name="audience_found" value="istan">' in html
    assert "required" not in html


def test_choosing_a_group_from_the_search_results_is_valid(
    large: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    form = send(_search="istan", _found="istan", chosen="3")
    with django_assert_num_queries(1):
        assert form.is_valid()
    assert form.cleaned_data["audience"].pk == 3
    html = form["audience"]
    assert (options(html), selected(html)) == ({"": EMPTY, "3": PATHS[3]}, ["3"])


def test_groups_are_found_by_their_ids(large: None) -> None:
    form = send(_search="1007")
    assert options(form["audience"]) == {"": EMPTY, "1007": "Rehber › g001007"}


def test_a_group_id_that_is_sent_without_a_search_is_valid(large: None) -> None:
    assert send(chosen="1007").is_valid()


def test_search_results_are_shown_until_a_group_is_chosen(large: None) -> None:
    form = send(_search="istan", _found="istan", chosen="")
    assert error_codes(form) == ["choose"]
    assert options(form["audience"]) == ISTANBUL


def test_an_earlier_choice_stays_selected_after_a_search(large: None) -> None:
    group = Group.objects.get(pk=4)
    assert group.parent_id == 3
    before = ParentForm(instance=group)["parent"]
    assert (options(before), selected(before)) == (ISTANBUL, ["3"])
    form = ParentForm({"parent": "3", "parent_search": "ısparta"}, instance=group)
    assert not form.is_valid()
    html = form["parent"]
    assert options(html) == ISTANBUL | {"5": PATHS[5]}
    assert selected(html) == ["3"]
    sent = {"parent": "5", "parent_search": "ısparta", "parent_found": "ısparta"}
    form = ParentForm(sent, instance=group)
    assert form.is_valid()
    assert form.has_changed()
    assert form.save().parent_id == 5


def test_a_search_without_a_hit_keeps_the_earlier_choice(large: None) -> None:
    form = send(chosen="3", _search="xyz")
    assert error_codes(form) == ["no_match"]
    html = str(form["audience"])
    assert (options(html), selected(html)) == (ISTANBUL, ["3"])
    assert "audience_found" not in html
    assert 'value="xyz"' in box(html)


def test_a_search_without_a_hit_shows_only_the_search_box(large: None) -> None:
    html = str(send(_search="xyz")["audience"])
    assert options(html) == {}
    assert 'value="xyz"' in box(html)


def test_the_number_of_groups_shown_for_a_search_is_limited(large: None) -> None:
    form = send(_search="g0")
    assert error_codes(form) == ["many_matches"]
    assert len(options(form["audience"])) == WHOLE_TREE + 1


def test_an_optional_field_may_stay_empty(large: None) -> None:
    form = send(OptionalForm, _search="")
    assert form.is_valid()
    assert form.cleaned_data == {"audience": None}


def test_a_required_field_may_not_stay_empty(large: None) -> None:
    assert error_codes(send(_search=" ")) == ["required"]


def test_a_field_with_an_initial_group_does_not_preselect_the_first_search_result(
    large: None,
) -> None:
    class Form(forms.Form):
        audience = GroupChoiceField(initial=3)

    assert options(Form()["audience"]) == {"3": PATHS[3]}
    html = Form({"audience_search": "kadıköy"})["audience"]
    assert options(html) == {"": EMPTY, "4": PATHS[4]}


def test_a_long_search_term_is_truncated(large: None) -> None:
    text = "istanbul" + " " * LABEL_LENGTH + "xyz"
    assert error_codes(send(_search=text)) == ["choose"]


def test_form_options_apply_to_both_the_search_box_and_the_select(large: None) -> None:
    class Form(forms.Form):
        audience = GroupChoiceField(disabled=True, initial=3, help_text="Who?")

    form = Form({"campaign-audience": "4"}, prefix="campaign", auto_id=False)
    assert form.is_valid()
    assert form.cleaned_data["audience"].pk == 3
    html = str(form["audience"])
    assert html.count("disabled") == 2
    assert 'name="campaign-audience_search"' in box(html)
    assert "id=" not in html


def test_widget_attributes_override_the_defaults_and_element_ids_stay_unique(large: None) -> None:
    attrs = {"id": "x", "placeholder": "Branch", "maxlength": 20, "required": True}

    class Form(forms.Form):
        audience = GroupChoiceField(initial=3, widget=GroupSelect(attrs))

    assert 'placeholder="Branch" maxlength="20" id="x"' in box(Form(initial={"audience": ""}))
    html = str(Form())
    assert re.findall(r'\bid="(\w+)"', html) == ["x_search", "x"]
    assert "required" not in html


@pytest.mark.parametrize("widget", [forms.Select, forms.RadioSelect])
def test_a_group_field_with_a_django_widget_needs_three_queries(
    small: None, widget: type[forms.Widget], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    class Form(forms.Form):
        audience = GroupChoiceField(widget=widget)

    with django_assert_num_queries(3):  # The groups, and two for their paths.
        html = unescape(str(Form()))
    assert all(path in html for path in PATHS.values())


@pytest.mark.parametrize("initial", [None, 3])
def test_a_group_field_with_a_django_select_offers_all_groups_by_path(
    small: None, initial: int | None
) -> None:
    class Form(forms.Form):
        audience = GroupChoiceField(initial=initial, widget=forms.Select)

    empty = {} if initial else {"": EMPTY}
    assert options(Form()["audience"]) == empty | {str(pk): path for pk, path in PATHS.items()}


# Errors


@pytest.mark.parametrize("value", ["abc", "-1", "0", "7", str(MAX_ID + 1), "9" * 5000, "１"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_an_invalid_choice_is_rejected(
    size: str, value: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(size)
    form = send(chosen=value)
    expected = [] if value == "１" else ["invalid_choice"]  # int() reads any digits.
    assert (error_codes(form) if form.errors else []) == expected
    assert "audience" in str(form["audience"])


def test_a_group_marked_missing_cannot_be_chosen(small: None) -> None:
    Group.objects.filter(pk=3).update(missing_since=timezone.now())
    assert error_codes(send(chosen="3")) == ["invalid_choice"]
    assert "3" not in options(CampaignForm()["audience"])


def test_an_initial_group_that_no_longer_exists_is_not_selected(large: None) -> None:
    html = CampaignForm(initial={"audience": 7})["audience"]
    assert options(html) == {}


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ("xyz", "“xyz” ile eşleşen grup yok. Adın bir bölümünü arayın."),
        ("istan", "Listeden bir grup seçin veya aramayı temizleyin."),
        (
            "g0",
            "“g0” ile 200 gruptan fazlası eşleşiyor. Listeden bir grup seçin veya adın daha uzun "
            "bir bölümünü yazın.",
        ),
        ("", "Bu grup seçilemez. Başka bir grup seçin."),
    ],
)
def test_form_errors_are_shown_in_turkish(large: None, search: str, text: str) -> None:
    with translation.override("tr"):
        assert send(_search=search, chosen="" if search else "7").errors["audience"] == [text]


@pytest.mark.parametrize("chosen", [3, None, ["3"], {}])
@pytest.mark.parametrize("search", ["istan", None, 1007, ["istan"], {}])
def test_data_from_json_may_have_values_of_any_type(
    large: None, chosen: object, search: object
) -> None:
    form = CampaignForm({"audience": chosen, "audience_search": search})
    assert form.is_valid() is (chosen == 3 and not search)
    assert "audience" in str(form["audience"])


def test_a_lone_surrogate_in_a_request_does_not_break_the_form(large: None, rf: Any) -> None:
    body = '--x\r\nContent-Disposition: form-data; name="audience_search"\r\n\r\na+2AA-b\r\n--x--'
    content_type = "multipart/form-data; boundary=x; charset=utf-7"
    request = rf.generic("POST", "/", body, content_type)
    assert request.POST["audience_search"] == "a\ud800b"
    form = CampaignForm(request.POST)
    assert error_codes(form) == ["no_match"]
    assert str(form).encode()


@pytest.mark.parametrize("deleted", [3, 1])
def test_a_group_that_is_deleted_while_its_path_is_read_is_not_shown(
    large: None, deleted: int
) -> None:
    def delete_first(execute: Any, sql: str, *args: Any) -> Any:
        if '"name"' in sql.replace("`", '"') and sql.startswith("SELECT"):
            stack.pop_all().close()
            Group.objects.filter(pk__in=[deleted, 4]).delete()
        return execute(sql, *args)

    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(delete_first))
        texts = path_texts([deleted, 5], Group.objects.exclude(pk=2))
    assert texts == {5: "… › Isparta"}


# Hidden groups


@pytest.mark.parametrize("size", ["small", "large"])
def test_groups_outside_the_queryset_do_not_appear_in_the_form(
    size: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(size)

    class Form(forms.Form):
        audience = GroupChoiceField(Group.objects.exclude(pk__in=[2, 5]), required=False)

    pages = [Form(), Form({"audience_search": "isparta"}), Form({"audience": "5"})]
    for form in (*pages, Form({"audience_search": "kadıköy"}), Form({"audience": "4"})):
        html = str(form)
        assert "Müşteriler" not in html
        assert "Isparta" not in html
    assert options(html)["4"] == "… › İstanbul › Kadıköy"
    for form in pages[1:]:
        assert not form.is_valid()


# The admin


def autocomplete(term: str, client: Client | None = None) -> Any:
    query = {"app_label": "django_iletimerkezi", "model_name": "group", "field_name": "parent"}
    client = client or client_for("viewer")
    return client.get(reverse("admin:autocomplete"), query | {"term": term})


def test_the_admin_autocomplete_shows_paths(large: None) -> None:
    assert autocomplete("istan").json() == {
        "results": [{"id": "3", "text": PATHS[3]}],
        "pagination": {"more": False},
    }


def test_the_admin_autocomplete_is_paginated(large: None) -> None:
    first = autocomplete("g0").json()
    assert [row["text"] for row in first["results"][:2]] == [
        "Rehber › g001000",
        "Rehber › g001001",
    ]
    assert first["pagination"] == {"more": True}


def test_the_admin_autocomplete_needs_few_queries(
    large: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_for("superuser")
    with django_assert_num_queries(6):  # Session, user, count, page, and two for the paths.
        autocomplete("g0", client)


def test_the_admin_autocomplete_does_not_show_hidden_groups_in_paths(
    large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    visible = Group.objects.exclude(pk=2)
    monkeypatch.setattr(GroupAdmin, "get_queryset", lambda self, request: visible.all())
    assert autocomplete("kadıköy").json()["results"] == [
        {"id": "4", "text": "… › İstanbul › Kadıköy"}
    ]


def test_the_selected_group_of_an_admin_autocomplete_is_shown_with_its_path(large: None) -> None:
    widget = AutocompleteSelect(Group._meta.get_field("parent"), admin.site)
    field = Group._meta.get_field("parent").formfield(form_class=GroupChoiceField, widget=widget)
    form = type("Form", (forms.Form,), {"parent": field})(initial={"parent": 3})
    assert options(form["parent"])["3"] == PATHS[3]


def test_a_model_admin_keeps_the_group_choice_field_of_its_form(small: None, rf: Any) -> None:
    class ParentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
        form = ParentForm

    request = rf.get("/")
    request.user = User(is_superuser=True, is_active=True)
    form = ParentAdmin(Group, admin.site).get_form(request)
    field = form.base_fields["parent"]
    assert isinstance(field, GroupChoiceField)
    assert isinstance(getattr(field.widget, "widget", field.widget), GroupSelect)
    assert options(form(instance=Group.objects.get(pk=4))["parent"]) == {"": EMPTY} | {
        str(pk): path for pk, path in PATHS.items()
    }
