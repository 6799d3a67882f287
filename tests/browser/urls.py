"""The admin, with what a theme needs of a project."""

from django.apps import apps
from django.urls import include, path

from tests.urls import urlpatterns

if apps.is_installed("grappelli"):
    urlpatterns = [path("grappelli/", include("grappelli.urls")), *urlpatterns]

if apps.is_installed("unfold"):
    from unfold.forms import ActionForm

    from django_iletimerkezi.admin import FetchAdmin, GroupAdmin

    FetchAdmin.action_form = GroupAdmin.action_form = ActionForm
