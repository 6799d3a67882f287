"""A form field for choosing a group by its path.

For a small queryset, the widget is a select with all groups. For a large queryset, the user sends a
search with the form, and then chooses a group from the results. The field needs neither a script
nor a view, and shows only the groups of its queryset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.models import ModelChoiceIterator, ModelChoiceIteratorValue
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .display import LABEL_LENGTH, WHOLE_TREE, label
from .finding import path_texts, search, tree_texts
from .ids import parse_id
from .models import Group, GroupQuerySet, chunked

if TYPE_CHECKING:
    ModelChoiceField = forms.ModelChoiceField[Group]
else:
    ModelChoiceField = forms.ModelChoiceField


class Search(NamedTuple):
    """A search that the user sent. ``chosen`` is the previously chosen id, as text."""

    text: str
    chosen: str


class GroupSelect(forms.Select):
    """A select of groups with their paths. For a large queryset, the widget adds a search box."""

    choices: Any

    def use_required_attribute(self, initial: Any) -> bool:
        # Django's own method would query the first group.
        return self.choices.field.empty_label is not None

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        chosen = data.get(name)
        text, found = (_text(data.get(f"{name}_{part}")) for part in ("search", "found"))
        if text and (text != found or not chosen):
            return Search(text, str(chosen or ""))
        return chosen

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        asked = value if isinstance(value, Search) else Search("", str(value or ""))
        # Merge the attributes here, because the search box and the select change some attributes.
        attrs, chosen = self.build_attrs(self.attrs, attrs), parse_id(asked.chosen)
        empty_label = self.choices.field.empty_label
        groups: GroupQuerySet = self.choices.queryset
        texts = tree_texts(groups, WHOLE_TREE)
        hits: list[int] = []
        box = SafeString()
        if texts is None:
            # The browser would not send a search if a choice were required.
            attrs = {key: each for key, each in attrs.items() if key != "required"}
            hits = list(search(groups, asked.text).values_list("pk", flat=True)[:WHOLE_TREE])
            texts = path_texts([chosen, *hits] if chosen else hits, groups)
            if not texts:
                return self._box(name, asked.text, attrs, renderer)
            if chosen not in texts:
                empty_label = empty_label or forms.ModelChoiceField(groups).empty_label
            box = format_html("{} ", self._box(name, asked.text, _beside(attrs), renderer))
            if hits:
                box += forms.HiddenInput().render(f"{name}_found", asked.text, renderer=renderer)
        empty = [] if empty_label is None else [("", empty_label)]
        select = forms.Select(choices=[*empty, *texts.items()])
        return format_html("{}{}", box, select.render(name, chosen, attrs, renderer))

    def _box(self, name: str, text: str, attrs: dict[str, Any], renderer: Any) -> SafeString:
        attrs = {"placeholder": _("Name or id"), "maxlength": LABEL_LENGTH} | attrs
        return forms.SearchInput().render(f"{name}_search", text, attrs, renderer)


def _text(value: Any) -> str:
    """Convert a value to a search text. Form data may come from JSON and contain any type.

    Replaces surrogates, which neither the database nor the page can contain.
    """
    return str(value or "").strip()[:LABEL_LENGTH].encode(errors="replace").decode()


def _beside(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a search box. The select beside it keeps the label and the id."""
    named = {"id": f"{attrs['id']}_search"} if "id" in attrs else {}
    return attrs | named | {"aria-label": _("Search for a group")}


class PathIterator(ModelChoiceIterator):  # type: ignore[type-arg]  # not generic at run time
    """The choices for Django's own widgets. Uses two queries for the paths of each chunk."""

    field: GroupChoiceField

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if self.field.empty_label is not None:
            yield "", self.field.empty_label
        queryset = cast("GroupQuerySet", self.queryset)
        for groups in chunked(queryset.all()):
            texts = path_texts([group.pk for group in groups], queryset)
            for group in groups:
                value = ModelChoiceIteratorValue(self.field.prepare_value(group), group)
                yield value, texts.get(group.pk, str(group))


class GroupChoiceField(ModelChoiceField):
    """A field for choosing a group from ``queryset``, by default from the listed groups.

    Shows the path of each group. Names of groups outside the queryset do not appear.
    """

    widget = GroupSelect
    iterator = PathIterator
    default_error_messages: ClassVar = {
        "invalid_choice": gettext_lazy("This group cannot be chosen. Choose another group."),
        "choose": gettext_lazy("Choose a group from the list, or clear the search."),
        "many_matches": gettext_lazy(
            "More than %(number)s groups match “%(text)s”. Choose a group from the list, or enter "
            "more of the name."
        ),
        "no_match": gettext_lazy("No group matches “%(text)s”. Search for a part of the name."),
    }

    def __init__(self, queryset: GroupQuerySet | None = None, **options: Any) -> None:
        super().__init__(Group.objects.listed() if queryset is None else queryset, **options)

    def to_python(self, value: Any) -> Group | None:
        if isinstance(value, Search):
            matches = search(self._groups, value.text).order_by().values_list("pk")
            found = len(matches[: WHOLE_TREE + 1])
            code = "many_matches" if found > WHOLE_TREE else "choose" if found else "no_match"
            params = {"number": WHOLE_TREE, "text": label(value.text)}
            raise ValidationError(self.error_messages[code], code=code, params=params)
        return super().to_python(value)

    def label_from_instance(self, obj: Group) -> str:
        return path_texts([obj.pk], self._groups).get(obj.pk, str(obj))

    @property
    def _groups(self) -> GroupQuerySet:
        return cast("GroupQuerySet", self.queryset)
