"""The settings of the tests, with static files, and a policy that forbids inline code."""

import os
import tempfile

from tests.settings import *  # noqa: F403 - a settings module

INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.staticfiles"]  # noqa: F405 - from there
MIDDLEWARE = [
    "tests.browser.policy.strict",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
STATIC_URL = "/static/"
LANGUAGE_CODE = "en"

# A file, because the threads of the server and of a worker need connections of their own.
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405 - from there
    file = f"{tempfile.gettempdir()}/iletimerkezi-{os.getpid()}.sqlite3"
    DATABASES["default"] |= {  # noqa: F405 - from the settings above
        "NAME": file,
        "TEST": {"NAME": file},
        "OPTIONS": {"timeout": 30, "init_command": "PRAGMA synchronous = OFF"},
    }
