"""A list in the place of the host's task queue, for ``ILETIMERKEZI_ENQUEUE``."""

from __future__ import annotations

from collections import deque

from django_iletimerkezi import services

ENGINE = f"{__name__}.enqueue"
queue: deque[int] = deque()


def enqueue(fetch_id: int) -> None:
    queue.append(fetch_id)


def work() -> None:
    """Run all queued tasks, as a worker would."""
    while queue:
        services.run_fetch(queue.popleft())
