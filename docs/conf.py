"""Sphinx's settings for both languages: "make docs" gives docs/en and docs/tr as the sources."""

import sys
from pathlib import Path

import django
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# What autodoc needs to import the models.
settings.configure(INSTALLED_APPS=["django_iletimerkezi"])
django.setup()

from django_iletimerkezi import __version__  # noqa: E402 - from the path that is set above

project = "django-iletimerkezi"
author = "The django-iletimerkezi maintainers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
# GitHub makes the same anchors of headings.
myst_heading_anchors = 3
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
