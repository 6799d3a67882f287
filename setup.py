"""Completes the metadata of ``pyproject.toml`` with the address of the repository.

PyPI resolves no relative links. The environment variable ``REPOSITORY_URL`` makes the links and
pictures of the README absolute, and sets the project's links. Without it, they are left out.
"""

import os
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
VERSION = (ROOT / "django_iletimerkezi/__init__.py").read_text().split('"')[1]
ADDRESS = os.environ.get("REPOSITORY_URL", "").rstrip("/")

# A picture or a link to a file of the repository.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)")


def description(readme: str) -> str:
    """Return the README with absolute links, or without its relative links and pictures."""
    if ADDRESS:
        return _LINK.sub(_absolute, readme)
    # Drop the paragraphs that are only a link or a picture.
    kept = [text for text in readme.split("\n\n") if not _LINK.fullmatch(text.strip())]
    return _LINK.sub(lambda link: "" if link[1] else link[2], "\n\n".join(kept))


def _absolute(link: re.Match[str]) -> str:
    view = "raw" if link[1] else "blob"
    return f"{link[1]}[{link[2]}]({ADDRESS}/{view}/v{VERSION}/{link[3]})"


def links() -> dict[str, str]:
    """Return the links in the sidebar of PyPI."""
    paths = {
        "Homepage": "",
        "Documentation": f"/blob/v{VERSION}/docs/en/index.md",
        "Changelog": f"/blob/v{VERSION}/CHANGELOG.md",
        "Issues": "/issues",
    }
    return {name: ADDRESS + path for name, path in paths.items()} if ADDRESS else {}


setup(
    long_description=description((ROOT / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    project_urls=links(),
)
