"""The settings of ``make run-background``: a worker fetches, and the sandbox answers slowly."""

from . import settings
from .settings import *  # noqa: F403 - the usual settings, with the changes below

INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
ILETIMERKEZI_TASK_SECONDS = 5  # Ctrl-C waits until the worker has finished its slice.

if hasattr(settings, "sandbox"):
    settings.sandbox.latency = 2  # The phone book of the sandbox then takes 20 seconds.
