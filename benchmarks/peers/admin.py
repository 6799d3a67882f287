"""The page of each package as its documentation has it, with the columns of ours."""

from __future__ import annotations

from django.contrib import admin
from mptt.admin import DraggableMPTTAdmin
from tree_queries.admin import TreeAdmin as TreeQueriesTreeAdmin
from treebeard.admin import TreeAdmin as TreebeardTreeAdmin
from treebeard.forms import movenodeform_factory

from . import models

COLUMNS = ("id", "count", "seen_at")


@admin.register(models.Treebeard)
class TreebeardAdmin(TreebeardTreeAdmin):
    form = movenodeform_factory(models.Treebeard)
    list_display = ("name", *COLUMNS)


@admin.register(models.Mptt)
class MpttAdmin(DraggableMPTTAdmin):
    list_display = (*DraggableMPTTAdmin.list_display, *COLUMNS)


@admin.register(models.TreeQueries)
class TreeQueriesAdmin(TreeQueriesTreeAdmin):
    list_display = (*TreeQueriesTreeAdmin.list_display, *COLUMNS)


@admin.register(models.Plain)
class PlainAdmin(admin.ModelAdmin):
    list_display = ("name", *COLUMNS)
