"""Renders the columns that a host adds to the tree, with the code of Django's own lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.admin.templatetags.admin_list import items_for_result
from django.contrib.admin.utils import label_for_field
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    from ..models import Group


class Columns:
    """The columns in an admin's ``list_display``.

    Django expects a ``ChangeList``, but reads only the attributes that this class has.
    """

    list_display_links = None  # The name of a group is already a link.

    def __init__(self, model_admin: ModelAdmin[Group], list_display: Iterable[Any]) -> None:
        self.model_admin = model_admin
        self.lookup_opts = model_admin.opts
        self.list_display = tuple(list_display)

    def __iter__(self) -> Iterator[str]:
        """Yield the column headings."""
        for field in self.list_display:
            yield capfirst(str(label_for_field(field, self.model_admin.model, self.model_admin)))

    def cells(self, group: Group) -> SafeString:
        changelist: Any = self
        cells = items_for_result(changelist, group, None)
        return mark_safe("".join(cells))  # noqa: S308 - Django escapes each cell

    def empty_cells(self) -> SafeString:
        return SafeString("<td></td>" * len(self.list_display))
