"""Signals about fetches. A signal is sent after the groups and the changes are committed.

The parts of a fetch do not send signals. If a receiver raises an exception, Django logs the
exception, and the fetch does not fail.
"""

from django.dispatch import Signal

fetch_finished = Signal()
"""Sent with ``fetch`` at the end of every fetch, even if the fetch failed."""

groups_changed = Signal()
"""Sent with ``fetch``, ``changes`` and ``kinds`` at the end of every fetch that changed a group.

Sent even if the fetch failed. If the process of the fetch was killed, the signal is sent when
another process ends the fetch. ``changes`` is the queryset of the changes. It reads the database
that the fetch wrote to, because a read replica may be behind. ``kinds`` is the set of the
``Change.Kind`` values in ``changes``.
"""
