"""The settings of the tests, with static files, and a policy that forbids inline code."""

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
