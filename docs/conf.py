"""Sphinx settings for both languages: "make docs" passes the folder of one of them."""

import re
import sys
from pathlib import Path

import django
from django.conf import settings
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# autodoc imports the models, which need settings.
settings.configure(INSTALLED_APPS=["django_iletimerkezi"])
django.setup()

from django_iletimerkezi import __version__  # noqa: E402 - needs the path that is set above

project = "django-iletimerkezi"
author = "The django-iletimerkezi maintainers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
# GitHub creates the same anchors for headings.
myst_heading_anchors = 3
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_to_other_language)


def link_to_other_language(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace the link to the index of the other language: its HTML is in another build."""
    source[0] = re.sub(
        r"\[(\w+)\]\(\.\./(\w+)/index\.md\)", r'<a href="../\2/index.html">\1</a>', source[0]
    )
