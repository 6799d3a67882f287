"""A public page of a host with two forms: our field, and a field as in the host's admin."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.utils.html import format_html

from django_iletimerkezi.forms import GroupChoiceField
from django_iletimerkezi.models import Group


class CampaignForm(forms.Form):
    title = forms.CharField()
    audience = GroupChoiceField()


class AdminForm(forms.Form):
    parent = GroupChoiceField(
        widget=AutocompleteSelect(Group._meta.get_field("parent"), admin.site)
    )


def page(request: HttpRequest, form: forms.Form) -> HttpResponse:
    if form.is_valid():
        return HttpResponse(format_html("<p>{}</p>", [*form.cleaned_data.values()][-1].pk))
    return HttpResponse(
        format_html(
            '<!doctype html><html lang="en"><head><title>Campaign</title>'
            '<meta name="viewport" content="width=device-width">{}</head><body><main>'
            '<h1>Campaign</h1><form method="post">'
            '<input type="hidden" name="csrfmiddlewaretoken" value="{}">{}'
            "<button>Send</button></form></main></body></html>",
            form.media,
            get_token(request),
            form.as_div(),
        )
    )


urlpatterns = [
    path("admin/", admin.site.urls),
    path("campaign/", lambda request: page(request, CampaignForm(request.POST or None))),
    path("autocomplete/", lambda request: page(request, AdminForm(request.POST or None))),
]
