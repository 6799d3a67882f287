"""Texts in Django's templates for Babel, which does not know their language."""

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
    """Yield what Babel's extractors do; Django turns the template into calls of gettext."""
    calls = templatize(file.read().decode())
    # What stands around the calls is of no interest, and its indentation would be a fault.
    code = re.sub(r"^[ \t]+", "", calls, flags=re.MULTILINE)
    yield from extract_python(BytesIO(code.encode()), keywords, comment_tags, options)
