"""The forms for fetching."""

from django import forms
from django.contrib.admin.widgets import AdminIntegerFieldWidget
from django.utils.translation import gettext_lazy

from ..ids import MAX_ID

IN_BACKGROUND = gettext_lazy("The fetch runs in the background. You can leave the page.")
"""Help text of both forms if there is a task queue."""


class FetchForm(forms.Form):
    group_id = forms.IntegerField(
        label=gettext_lazy("Group id"),
        help_text=gettext_lazy("The id shown in the vendor's panel."),
        min_value=1,
        max_value=MAX_ID,
        widget=AdminIntegerFieldWidget({"class": "vIntegerField iletimerkezi-input"}),
    )
    recursive = forms.BooleanField(
        label=gettext_lazy("With everything below it"),
        help_text=gettext_lazy(
            "The fetch pauses before the web server's timeout, and can be continued. For large "
            "trees use “manage.py fetch_group ID --recursive”."
        ),
        required=False,
    )


class PhoneBookForm(forms.Form):
    phone_book = forms.BooleanField(
        label=gettext_lazy("All main groups and everything below them"),
        help_text=gettext_lazy(
            "The fetch sends one request per group. It pauses before the web server's timeout, and "
            "can be continued. For large phone books use “manage.py fetch_groups”."
        ),
        initial=True,
    )
