"""The admin pages. Django imports this package to register them."""

from django.contrib import admin

from ..models import Fetch, Group
from .fetch import FetchAdmin
from .group import GroupAdmin

__all__ = ["FetchAdmin", "GroupAdmin"]

admin.site.register(Fetch, FetchAdmin)
admin.site.register(Group, GroupAdmin)
