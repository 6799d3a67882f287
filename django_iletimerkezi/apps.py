from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _

from .checks import TAG, check_settings


class IletimerkeziConfig(AppConfig):
    name = "django_iletimerkezi"
    verbose_name = _("iletimerkezi phone book")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(check_settings, TAG)
