"""Starts threads, and raises an error if the system refuses a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.utils.translation import gettext as _

from .exceptions import ServiceUnavailable


def start_thread(work: Callable[[], object]) -> threading.Thread:
    """Start a daemon thread. Raises ServiceUnavailable if the system refuses the thread."""
    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        text = _(
            "The system does not allow more threads: lower ILETIMERKEZI_MAX_CONNECTIONS, or raise "
            "the thread or process limit."
        )
        raise ServiceUnavailable(text, temporary=False, is_fatal=True, step="environment") from None
    return thread
