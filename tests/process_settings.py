"""The settings of child processes: those of the tests, and more from the environment."""

from __future__ import annotations

import signal

import environ
from django.apps import AppConfig

from .settings import *  # noqa: F403 - a settings module

_env = environ.Env()

ILETIMERKEZI_BASE_URL = _env.str("ILETIMERKEZI_BASE_URL")
ILETIMERKEZI_API_KEY = _env.str("ILETIMERKEZI_API_KEY")
ILETIMERKEZI_API_HASH = _env.str("ILETIMERKEZI_API_HASH")
ILETIMERKEZI_MAX_CONNECTIONS = 4
# Longer than any test, so that a process that waits for an answer cannot end by itself.
ILETIMERKEZI_TIMEOUT = 600

DATABASES["default"].update(_env.json("DATABASE_OPTIONS", default={}))  # noqa: F405 - as above

# A process that a shell starts in the background ignores SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


class SmallBatches(AppConfig):
    name = "tests"

    def ready(self) -> None:
        # Not at the top: models cannot be imported while the settings are read.
        from django_iletimerkezi.mirror import recorder  # noqa: PLC0415 - see above

        recorder.BATCH_GROUPS = _env.int("BATCH_GROUPS")


# Only the apps that the command needs, so that processes start faster.
INSTALLED_APPS = ["django_iletimerkezi", "tests.process_settings.SmallBatches"]
ROOT_URLCONF = ""
