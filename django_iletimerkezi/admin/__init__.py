"""The admin's pages. Django imports this package to register them."""

from django.contrib import admin

from ..models import Group
from .group import GroupAdmin

__all__ = ["GroupAdmin"]

admin.site.register(Group, GroupAdmin)
