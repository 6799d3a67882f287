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
myst_enable_extensions = ["attrs_inline"]
locale_dirs = ["../locale"]
html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_show_sourcelink = False
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
# GitHub creates the same anchors for headings.
myst_heading_anchors = 3
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_dark_pictures)


def add_dark_pictures(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Show the dark picture instead of the light one while the page is dark."""
    source[0] = re.sub(
        r"(!\[[^\]]*\]\(\S+-)light\.png\)",
        r"\1light.png){.only-light}\1dark.png){.only-dark}",
        source[0],
    )
