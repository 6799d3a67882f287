"""A project to try django-iletimerkezi in. Not for production: DEBUG is on."""

import sys
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")

DEBUG = True
SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="for-the-example-only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_iletimerkezi",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = env.str("DJANGO_LANGUAGE_CODE", default="en")
TIME_ZONE = "Europe/Istanbul"
USE_TZ = True
STATIC_URL = "static/"

ILETIMERKEZI_API_KEY = env.str("ILETIMERKEZI_API_KEY", default="")
ILETIMERKEZI_API_HASH = env.str("ILETIMERKEZI_API_HASH", default="")
ILETIMERKEZI_BASE_URL = env.str("ILETIMERKEZI_BASE_URL", default="https://api.iletimerkezi.com/v1/")

if not (ILETIMERKEZI_API_KEY or ILETIMERKEZI_API_HASH):
    from django_iletimerkezi.testing import Sandbox

    sandbox = Sandbox().start()
    ILETIMERKEZI_API_KEY, ILETIMERKEZI_API_HASH = sandbox.key, sandbox.hash
    ILETIMERKEZI_BASE_URL = sandbox.url
    if sys.argv[1:2] in (["fetch_group"], ["fetch_groups"], ["runserver"]):
        sys.stderr.write("No credentials in the environment or .env: using the sandbox.\n")
