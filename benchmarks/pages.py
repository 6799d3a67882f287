"""Measure the admin's page of the tree: a process of its own, which ``bench`` starts.

Its settings are those of a project with the admin. Writes a row of the report as JSON on each line.
"""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import django
import environ
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.settings import TEMPLATES

from .bench import POSTGRESQL_URL, Router, Row, Taken, give_up, in_turn, ratios, scratch_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALL = 100
LARGE = 100_000
SLOWER = 1.5
MOST_QUERIES = 12
LARGEST = 500_000
UNEVEN = 0.1
"""By how much the numbers of rows may differ on pages that are compared."""
EVERY_NAME = "sube"
REQUESTS = 10
"""How many make up one measurement, except where a page takes about a second."""
PEERS = {
    "treebeard": (f"TreeAdmin of django-treebeard {version('django-treebeard')}", REQUESTS, 1),
    "mptt": (f"DraggableMPTTAdmin of django-mptt {version('django-mptt')}", 1, 1),
    "treequeries": (f"TreeAdmin of django-tree-queries {version('django-tree-queries')}", 1, 1),
    "plain": ("a plain ModelAdmin", REQUESTS, 1.3),
}
"""Of each its name, how many requests make up one measurement, and how far to be ahead of it."""
ENGINES = "sqlite", "postgresql"


class Page(NamedTuple):
    """A page of a database, and who looks at it."""

    using: str
    client: Client
    url: str

    def get(self) -> bytes:
        Router.using = self.using
        response = self.client.get(self.url)
        if response.status_code != 200:
            raise RuntimeError(f"{self.url} answered {response.status_code}")
        return response.content

    def rows(self) -> int:
        return self.get().count(b'name="_selected_action"')

    def queries(self) -> int:
        with CaptureQueriesContext(connections[self.using]) as queries:
            self.get()
        return len(queries)

    def to(self, app: str, model: str, query: str = "") -> Page:
        return self._replace(url=reverse(f"admin:{app}_{model}_changelist") + query)


def configure(databases: dict[str, Any]) -> None:
    settings.configure(
        SECRET_KEY="only-for-the-benchmark",  # noqa: S106 - nobody else gets to see it
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "django_iletimerkezi",
            "benchmarks.peers",
            "mptt",
            "tree_queries",
            "treebeard",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        TEMPLATES=TEMPLATES,
        ROOT_URLCONF="benchmarks.peers.urls",
        DATABASES=databases,
        DATABASE_ROUTERS=[Router()],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        STATIC_URL="static/",
        USE_TZ=True,
    )
    django.setup()


# What is stored.


def prepare(using: str) -> Client:
    """Create the tables of a database; return somebody who may see all of it."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - it needs the settings

    Router.using = using
    call_command("migrate", database=using, run_syncdb=True, verbosity=0)
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    return client


def plant(using: str, size: int, *, with_peers: bool) -> None:
    from django_iletimerkezi.models import Group  # noqa: PLC0415 - it needs the settings

    from .peers import trees  # noqa: PLC0415 - as above

    Router.using = using
    places, now = trees.phone_book(size), datetime.now(UTC)
    if len(places) != size:
        raise RuntimeError(f"{len(places)} of {size} groups were planted")
    # Our page shows the time of the last fetch where those of the peers show ``seen_at``: all
    # have one, so that each page writes a time on every row.
    fetched = now - timedelta(hours=1)
    times = {"seen_at": now, "fetched_at": fetched, "listed_at": fetched}
    Group.objects.bulk_create(
        [Group(at.id, at.parent_id, at.name, count=at.count, **times) for at in places]
    )
    if with_peers:
        for model, rows in trees.rows(places, now):
            model.objects.bulk_create(rows)
    settle(using)


def settle(using: str) -> None:
    """Do what autovacuum does sooner or later."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


# What is measured.


def rows_about(engine: str) -> Iterator[Row]:
    small, large = f"{engine}_{SMALL}", f"{engine}_{LARGE}"
    name = connections[large].display_name
    tree = Page(small, prepare(small), ""), Page(large, prepare(large), "")
    few, many = (page.to("django_iletimerkezi", "group") for page in tree)
    plant(small, SMALL, with_peers=False)
    plant(large, LARGE, with_peers=True)
    yield growth(few, many, name)
    for model, (what, requests, bound) in PEERS.items():
        yield ahead(many, many.to("peers", model), requests, f"{what}, {name}", bound)
    yield size(many, name)
    yield queries(few, many, name)
    yield search(many.to("django_iletimerkezi", "group", f"?q={EVERY_NAME}"), name)


def growth(few: Page, many: Page, name: str) -> Row:
    rows = few.rows(), many.rows()
    if abs(rows[0] - rows[1]) > UNEVEN * rows[0]:
        raise RuntimeError(f"{rows[0]} and {rows[1]} rows are not to be compared")
    less, more = time(REQUESTS, few, many)
    pairs = ratios(more, less)
    return Row(
        f"tree page at {LARGE:,} groups against that at {SMALL}, {name}",
        f"{spread(pairs)}: {shown(more, rows[1])} against {shown(less, rows[0])}",
        f"at most {SLOWER:g} x",
        median(pairs) <= SLOWER,
    )


def ahead(ours: Page, peer: Page, requests: int, what: str, bound: float) -> Row:
    rows = ours.rows(), peer.rows()
    mine, other = time(requests, ours, peer)
    pairs = ratios(other, mine)
    return Row(
        f"tree page at {LARGE:,} groups, ahead of {what}",
        f"{spread(pairs)}: {shown(mine, rows[0])} against {shown(other, rows[1])}",
        f"more than {bound:g} x",
        median(pairs) > bound,
    )


def size(page: Page, name: str) -> Row:
    length = len(page.get())
    return Row(
        f"size of the tree page at {LARGE:,} groups, {name}",
        f"{length / 1000:.0f} kB",
        f"at most {LARGEST // 1000} kB",
        length <= LARGEST,
    )


def queries(few: Page, many: Page, name: str) -> Row:
    # A small tree is shown whole, which takes fewer queries.
    less, more = few.queries(), many.queries()
    return Row(
        f"queries of the tree page at {SMALL} and at {LARGE:,} groups, {name}",
        f"{less} and {more}",
        f"at most {MOST_QUERIES} each",
        max(less, more) <= MOST_QUERIES,
    )


def search(page: Page, name: str) -> Row:
    rows = page.rows()
    (taken,) = time(REQUESTS, page)
    return Row(
        f"search that finds all of {LARGE:,} groups, its first page, {name}",
        f"{shown(taken, rows)}, {page.queries()} queries",
        "none",
    )


def time(requests: int, *pages: Page) -> list[list[Taken]]:
    """Return how long a request for each page took each time, on an average of several."""

    def ask(page: Page) -> None:
        for _request in range(requests):
            page.get()

    times = in_turn(*(partial(ask, page) for page in pages), before=gc.collect)
    return [[Taken(*(part / requests for part in each)) for each in taken] for taken in times]


def spread(pairs: Sequence[float]) -> str:
    return f"{median(pairs):.2f} x ({pairs[0]:.2f} to {pairs[-1]:.2f})"


def shown(taken: Sequence[Taken], rows: int) -> str:
    return f"{median(each.wall for each in taken) * 1000:.0f} ms for {rows:,} rows"


# The surroundings.


@contextlib.contextmanager
def scratch_databases(*sizes: object) -> Iterator[dict[str, Any]]:
    """Give the settings of a database for each engine and number of groups."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # django-tree-queries asks the default one how SQL is written.
        databases: dict[str, Any] = {"default": sqlite(folder / "default.sqlite3")}
        for groups in sizes:
            databases[f"sqlite_{groups}"] = sqlite(folder / f"{groups}.sqlite3")
            created = stack.enter_context(scratch_database(f"bench_{groups}"))
            url = f"{POSTGRESQL_URL}/{created}"
            databases[f"postgresql_{groups}"] = environ.Env.db_url_config(url)
        yield databases


def sqlite(file: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}


def main() -> None:
    signal.signal(signal.SIGTERM, give_up)
    with scratch_databases(SMALL, LARGE) as databases:
        configure(databases)
        for engine in ENGINES:
            for row in rows_about(engine):
                sys.stdout.write(f"{json.dumps(asdict(row))}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
