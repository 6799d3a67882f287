"""The settings of the browser tests, with the theme that the environment names."""

import environ

from .settings import *  # noqa: F403 - a settings module

THEME = environ.Env().str("THEME")
INSTALLED_APPS = [THEME, *INSTALLED_APPS]  # noqa: F405 - from there
# Themes use inline scripts and styles, which our policy forbids.
MIDDLEWARE = [name for name in MIDDLEWARE if name != "tests.browser.policy.strict"]  # noqa: F405 - from the settings above
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}  # The tests use no other server.
ROOT_URLCONF = "tests.browser.urls"
