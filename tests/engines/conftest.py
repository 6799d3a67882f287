from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .host import Host, create_database
from .vendor import Vendor

# Each process of pytest-xdist has databases and queues of its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
POSTGRESQL = f"postgres://postgres@127.0.0.1:5432/engines_{WORKER}"
MARIADB = f"mysql://root@127.0.0.1:3306/engines_{WORKER}"
REDIS = f"redis://127.0.0.1:6379/{10 + int(WORKER.removeprefix('gw'))}"
RQ_ON_REDIS = f'RQ_QUEUES["default"]["URL"] = "{REDIS}"'
CELERY = f"""
CELERY_TASK_DEFAULT_QUEUE = "engines_{WORKER}"
if "BEAT" in os.environ:
    for each in CELERY_BEAT_SCHEDULE.values():
        each["schedule"] = 1
"""
CELERY_ON_REDIS = f"""
CELERY_BROKER_URL = "{REDIS}"
if "VISIBILITY" in os.environ:
    CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] = int(os.environ["VISIBILITY"])
"""

ENGINES = {
    "db-sqlite": (["django-tasks-db"], "sqlite:///{folder}/db.sqlite3", ""),
    "db-postgresql": (["django-tasks-db"], f"{POSTGRESQL}_db", ""),
    "db-mariadb": (["django-tasks-db"], f"{MARIADB}_db", ""),
    "rq": (["django-tasks-rq"], f"{POSTGRESQL}_rq", RQ_ON_REDIS),
    "celery-rabbitmq": (["Celery", "Celery beat"], f"{POSTGRESQL}_rabbitmq", CELERY),
    "celery-redis": (
        ["Celery", "Redis instead of RabbitMQ"],
        f"{POSTGRESQL}_redis",
        CELERY_ON_REDIS,
    ),
}
"""For each engine: the sections of the page, the URL of the database, and more settings."""

MakeHost = Callable[[str], Host]


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[MakeHost]:
    """Return a function that makes the project of an engine when it is first needed."""
    made: dict[str, Host] = {}

    def make(name: str) -> Host:
        if name not in made:
            folder = tmp_path_factory.mktemp("engines") / name
            recipe, database, settings = ENGINES[name]
            url = database.format(folder=folder)
            with django_db_blocker.unblock():
                create_database(url)
            made[name] = Host(folder, recipe, url, settings, Vendor())
        return made[name]

    yield make
    for host in made.values():
        host.close()
        host.vendor.close()


@pytest.fixture
def make_host(hosts: MakeHost) -> Iterator[MakeHost]:
    """Return the project of an engine, without groups, fetches, tasks and workers."""
    used: list[Host] = []

    def make(name: str) -> Host:
        used.append(hosts(name))
        used[-1].clear()
        return used[-1]

    yield make
    for host in used:
        host.clear()


@pytest.fixture(params=ENGINES)
def host(request: pytest.FixtureRequest, make_host: MakeHost) -> Host:
    """Repeats the test with the project of each engine."""
    return make_host(request.param)
