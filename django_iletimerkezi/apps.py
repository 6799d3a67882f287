from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _

from . import clock  # noqa: F401 - must be imported before a test freezes the time
from .checks import TAG, check_settings, check_tables


class IletimerkeziConfig(AppConfig):
    name = "django_iletimerkezi"
    verbose_name = _("iletimerkezi phone book")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(check_settings, TAG)
        register(check_tables, TAG, Tags.database)
