"""Finds the task queue of the host, which runs fetches in the background."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from .conf import conf

TASK = "django_iletimerkezi.tasks.run_fetch"

_INLINE = {
    "django.tasks.backends.dummy",
    "django.tasks.backends.immediate",
    "django_tasks.backends.dummy",
    "django_tasks.backends.immediate",
}
"""Modules of the backends that run tasks in the calling process or do not run tasks at all."""


def find_engine() -> Callable[[int], object] | None:
    """Return the function that queues a fetch by its id, or None if the host has no task queue.

    Raises ImproperlyConfigured for invalid settings.
    """
    if enqueue := conf.enqueue:
        return enqueue
    try:
        return import_string(TASK).enqueue if find_backend() else None
    except ImproperlyConfigured:
        raise
    except Exception as error:  # noqa: BLE001 - an invalid TASKS may raise any exception
        raise ImproperlyConfigured(f"TASKS: {describe_cause(error)}") from None


def describe_cause(error: Exception) -> str:
    """Return the type and the text of an error. Removes user names and passwords from URLs."""
    return re.sub(r"//\S*@", "//…@", f"{type(error).__name__}: {error}")


def find_backend() -> Any:
    """Return the backend in ``TASKS`` that runs our task in another process, or None."""
    if not settings.is_overridden("TASKS"):  # type: ignore[misc]  # the stubs lack this method
        return None
    # Without ILETIMERKEZI_TASK_BACKEND, a TASKS setting that does not define "default" is probably
    # meant for the host's own tasks.
    if conf.task_backend == "default" and "default" not in settings.TASKS:
        return None
    library = find_library()
    if not library:
        raise ImproperlyConfigured(
            _("TASKS needs Django 6.0 or newer, or the package django-tasks.")
        )
    backend = library.task_backends[conf.task_backend]
    if any(each.__module__ in _INLINE for each in type(backend).__mro__):
        return None
    if backend.queues and conf.task_queue not in backend.queues:
        raise ImproperlyConfigured(
            _("ILETIMERKEZI_TASK_QUEUE: the backend “%(backend)s” has no queue “%(queue)s”.")
            % {"backend": conf.task_backend, "queue": conf.task_queue}
        )
    return backend


def find_library() -> Any:
    """Return ``django.tasks`` or the backport for Django 5.2, or None if no module is installed."""
    for name in ("django.tasks", "django_tasks"):
        with suppress(ImportError):
            return import_module(name)
    return None
