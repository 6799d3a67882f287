"""Lets Babel extract the marked texts of Django templates."""

from __future__ import annotations

import re
from collections.abc import Generator
from io import BytesIO
from typing import IO, Any

from babel.messages.extract import extract_python
from django.utils.translation.template import templatize


def extract_templates(
    file: IO[bytes], keywords: Any, comment_tags: Any, options: Any
) -> Generator[Any]:
    """Yield the texts of a template as Babel's own extractors do."""
    calls = templatize(file.read().decode())
    # Django leaves the indentation of the template, which would be a syntax error in Python.
    code = re.sub(r"^[ \t]+", "", calls, flags=re.MULTILINE)
    yield from extract_python(BytesIO(code.encode()), keywords, comment_tags, options)
