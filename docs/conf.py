"""Sphinx's settings for both languages: "make docs" gives docs/en and docs/tr as the sources."""

import re
import sys
from pathlib import Path

import django
from django.conf import settings
from sphinx.application import Sphinx

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


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_to_other_language)


def link_to_other_language(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Lead to the HTML of the other language, where the link in the source leads to its source."""
    source[0] = re.sub(
        r"\[(\w+)\]\(\.\./(\w+)/index\.md\)", r'<a href="../\2/index.html">\1</a>', source[0]
    )
