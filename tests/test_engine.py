"""Finding the task queue of the host: with Django's tasks, with the backport, and with neither."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.checks import Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.module_loading import import_string

from django_iletimerkezi import tasks
from django_iletimerkezi.checks import check_settings
from django_iletimerkezi.conf import conf
from django_iletimerkezi.engine import TASK, find_backend, find_engine, find_library

LIBRARY = find_library()
has_library = pytest.mark.skipif(LIBRARY is None, reason="Django 5.2 without django-tasks")

queued: list[Any] = []


def enqueue(fetch_id: int) -> None:
    queued.append(fetch_id)


if LIBRARY:
    NAME = LIBRARY.__name__
    importlib.import_module(f"{NAME}.signals")  # It listens to changes of TASKS.

    class ListBackend(importlib.import_module(f"{NAME}.backends.base").BaseTaskBackend):  # type: ignore[misc]  # imported by name
        """Queues tasks in a list."""

        def enqueue(self, task: Any, args: Any, kwargs: Any) -> None:
            queued.append((task.module_path, task.queue_name, *args))

    class LoudImmediateBackend(
        importlib.import_module(f"{NAME}.backends.immediate").ImmediateBackend  # type: ignore[misc]  # imported by name
    ):
        """Runs tasks in the process that queues them, like its base class."""


def tasks_of(backend: str = "tests.test_engine.ListBackend", **options: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": backend, **options}}


@pytest.fixture(autouse=True)
def _empty_queue() -> Iterator[None]:
    yield
    queued.clear()


@contextmanager
def no_library() -> Iterator[None]:
    """Hide Django's tasks and the backport, where they are installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("django.tasks", "django_tasks"):
            patch.setitem(sys.modules, name, None)
        yield


def test_find_engine_returns_none_without_task_settings() -> None:
    assert find_engine() is None


@has_library
def test_a_fetch_is_queued_by_the_default_backend() -> None:
    with override_settings(TASKS=tasks_of()):
        engine = find_engine()
        assert engine
        engine(5)
    assert queued == [("django_iletimerkezi.tasks.run_fetch", "default", 5)]


@has_library
def test_the_task_backend_and_queue_can_be_chosen_in_the_settings() -> None:
    other = {"other": {"BACKEND": "tests.test_engine.ListBackend", "QUEUES": ["slow"]}}
    with override_settings(
        TASKS=tasks_of("nowhere.Backend") | other,
        ILETIMERKEZI_TASK_BACKEND="other",
        ILETIMERKEZI_TASK_QUEUE="slow",
    ):
        assert find_backend().alias == "other"
        engine = find_engine()
        assert engine
        engine(5)
    assert queued == [("django_iletimerkezi.tasks.run_fetch", "slow", 5)]


@has_library
def test_a_backend_without_queues_accepts_every_queue() -> None:
    with override_settings(TASKS=tasks_of(QUEUES=[]), ILETIMERKEZI_TASK_QUEUE="slow"):
        assert find_engine()


@has_library
@pytest.mark.parametrize(
    "backend",
    ["{}.backends.dummy.DummyBackend", "{}.backends.immediate.ImmediateBackend"],
)
def test_task_backends_without_a_worker_are_not_used(backend: str) -> None:
    with override_settings(TASKS=tasks_of(backend.format(NAME))):
        assert find_engine() is None


@has_library
def test_a_subclass_of_a_task_backend_without_a_worker_is_not_used() -> None:
    with override_settings(TASKS=tasks_of("tests.test_engine.LoudImmediateBackend")):
        assert find_engine() is None


def test_the_tasks_setting_is_not_used_if_it_has_no_default_backend() -> None:
    with override_settings(TASKS={"mail": {"BACKEND": "tests.test_engine.ListBackend"}}):
        assert find_engine() is None


def refuse_settings(alias: str, params: Any) -> None:
    raise RuntimeError("cannot parse redis://:p@ss/word@broker/0")


@has_library
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "TASKS: TypeError: "),
        (["default"], "TASKS: TypeError: "),
        (tasks_of("os.path"), "TASKS: TypeError: "),
        (
            tasks_of("tests.test_engine.refuse_settings"),
            "TASKS: RuntimeError: cannot parse redis://…@broker/0",
        ),
    ],
    ids=["None", "list", "module", "backend that raises"],
)
def test_any_error_in_the_tasks_setting_is_reported_without_passwords(
    value: Any, text: str
) -> None:
    with override_settings(ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="hash", TASKS=value):
        with pytest.raises(ImproperlyConfigured, match=text):
            find_engine()
        [message] = check_settings()
    assert text in message.msg


@has_library
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"TASKS": tasks_of("nowhere.Backend")}, "nowhere"),
        ({"TASKS": tasks_of(), "ILETIMERKEZI_TASK_BACKEND": "other"}, "other"),
        (
            {"TASKS": tasks_of(QUEUES=["mail"])},
            "ILETIMERKEZI_TASK_QUEUE: the backend “default” has no queue “default”.",
        ),
    ],
    ids=["backend that cannot be imported", "unknown alias", "unknown queue"],
)
def test_an_unusable_backend_is_reported_by_the_checks(settings: dict[str, Any], text: str) -> None:
    with override_settings(ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="hash", **settings):
        with pytest.raises(ImproperlyConfigured, match=text):
            find_engine()
        [message] = check_settings()
    assert isinstance(message, CheckWarning)
    assert message.id == "django_iletimerkezi.W003"
    assert text in message.msg
    assert "Correct the settings of the task queue" in (message.hint or "")


def test_the_checks_report_a_tasks_setting_on_django_5_without_the_backport() -> None:
    with override_settings(
        ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="hash", TASKS={"default": {}}
    ):
        with no_library():
            [message] = check_settings()
            with pytest.raises(ImportError):
                import_string(TASK)
    assert (message.id, message.msg) == (
        "django_iletimerkezi.W003",
        "TASKS needs Django 6.0 or newer, or the package django-tasks.",
    )


def test_the_function_in_the_enqueue_setting_is_used_instead_of_tasks() -> None:
    path = "tests.test_engine.enqueue"
    with override_settings(ILETIMERKEZI_ENQUEUE=path, TASKS=tasks_of("nowhere.Backend")):
        engine = find_engine()
        assert engine
        engine(5)
        assert check_ids() == []
    assert queued == [5]


def check_ids() -> list[str]:
    with override_settings(ILETIMERKEZI_API_KEY="key", ILETIMERKEZI_API_HASH="hash"):
        return [message.id or "" for message in check_settings()]


@pytest.mark.parametrize(
    "given",
    [None, "text", {}, {"default": {}}, tasks_of("nowhere.Backend"), tasks_of()],
    ids=["None", "text", "empty", "no backend", "backend that cannot be imported", "valid"],
)
def test_the_tasks_module_can_be_imported_with_any_tasks_setting(given: Any) -> None:
    with override_settings(TASKS=given):
        importlib.reload(tasks)


def test_the_tasks_module_can_be_imported_without_a_task_library() -> None:
    with no_library():
        importlib.reload(tasks)


def test_an_unknown_name_in_the_tasks_module_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run_fetches'"):
        tasks.run_fetches  # noqa: B018 - looking it up is the test


@has_library
@pytest.mark.django_db
def test_the_task_of_a_deleted_fetch_does_nothing() -> None:
    with override_settings(TASKS=tasks_of()):
        assert import_string(TASK).call(5) is None


@pytest.mark.parametrize(
    ("name", "value", "number", "text"),
    [
        ("TASK_SECONDS", 0, "E010", "must be from 1 to 86400"),
        ("TASK_SECONDS", "120", "E010", "must be a whole number"),
        ("TASK_BACKEND", None, "E011", "must be a string"),
        ("TASK_QUEUE", 1, "E012", "must be a string"),
        ("ENQUEUE", 1, "E013", "must be a string"),
        ("ENQUEUE", "enqueue", "E013", "ILETIMERKEZI_ENQUEUE: enqueue doesn't look like"),
        ("ENQUEUE", "nowhere.enqueue", "E013", "No module named 'nowhere'"),
        ("ENQUEUE", "tests.test_engine.nothing", "E013", "nothing"),
        ("ENQUEUE", "tests.test_engine.TASK", "E013", "TASK is not a function"),
    ],
)
def test_invalid_task_settings_are_reported_as_errors(
    name: str, value: Any, number: str, text: str
) -> None:
    with override_settings(
        ILETIMERKEZI_API_KEY="key",
        ILETIMERKEZI_API_HASH="hash",
        **{f"ILETIMERKEZI_{name}": value},
    ):
        with pytest.raises(ImproperlyConfigured, match=text):
            getattr(conf, name.lower())
        [message] = check_settings()
    assert isinstance(message, Error)
    assert message.id == f"django_iletimerkezi.{number}"
    assert text in message.msg
    assert message.hint


def test_task_settings_have_defaults() -> None:
    assert (conf.task_seconds, conf.task_backend, conf.task_queue) == (120, "default", "default")
    assert conf.enqueue is None
    with override_settings(ILETIMERKEZI_ENQUEUE=None):
        assert conf.enqueue is None
