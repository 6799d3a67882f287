"""The task that a worker of the host runs.

Celery imports the module ``tasks`` of each app. This import must not fail, even if ``TASKS`` is
invalid, so the task is created only when ``run_fetch`` is read from the module.
"""

from __future__ import annotations

from typing import Any

from . import services
from .conf import conf
from .engine import find_library


def _run_fetch(fetch_id: int) -> None:
    services.run_fetch(fetch_id)


# Workers import the task by the name of its function.
_run_fetch.__name__ = _run_fetch.__qualname__ = "run_fetch"


def __getattr__(name: str) -> Any:
    if name != "run_fetch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return find_library().task(backend=conf.task_backend, queue_name=conf.task_queue)(_run_fetch)
