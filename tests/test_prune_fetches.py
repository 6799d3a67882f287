"""``manage.py prune_fetches``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import override_settings
from django.utils import timezone

from django_iletimerkezi.management.commands import prune_fetches as module
from django_iletimerkezi.models import Fetch
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox

from .commands import run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fetches(sandbox: Sandbox) -> list[Fetch]:
    """Fetches that finished 100 and 10 days ago, the first with two changes."""
    found = [fetch_group(1400).fetch, fetch_group(1410).fetch]
    for fetch, days in zip(found, (100, 10), strict=True):
        finished_at = timezone.now() - timedelta(days=days)
        Fetch.objects.filter(pk=fetch.pk).update(finished_at=finished_at)
    return found


def test_fetches_older_than_ninety_days_are_deleted_by_default(fetches: list[Fetch]) -> None:
    outcome = run("prune_fetches")
    assert (outcome.status, outcome.out) == (0, "Deleted 1 fetch with 2 changes.\n")
    assert list(Fetch.objects.all()) == fetches[1:]


@pytest.mark.parametrize(
    ("arguments", "days", "left"),
    [
        ([], 5, 0),
        ([], 101, 2),
        (["--older-than", "5d"], 101, 0),
        (["--older-than", "0"], None, 0),
        (["--older-than", "99999d"], 5, 2),
        (["--older-than", "5d", "--keep-last", "1"], 90, 1),
        (["--keep-last", "2"], 5, 2),
        (["--keep-last", "9" * 30], 5, 2),
    ],
)
def test_the_options_of_prune_fetches_override_the_setting(
    arguments: list[str], days: int | None, left: int
) -> None:
    with override_settings(ILETIMERKEZI_KEEP_FETCHES_DAYS=days):
        assert run("prune_fetches", *arguments).status == 0
    assert Fetch.objects.count() == left


@override_settings(ILETIMERKEZI_KEEP_FETCHES_DAYS=None)
def test_nothing_is_deleted_if_the_setting_keeps_all_fetches() -> None:
    outcome = run("prune_fetches")
    assert outcome.out == (
        "Nothing to delete: ILETIMERKEZI_KEEP_FETCHES_DAYS is None. Use --older-than.\n"
    )
    assert Fetch.objects.count() == 2


@pytest.mark.parametrize("age", ["", "d", "-5", "5h", "1.5d", "٥", "999999d", "90 d\n"])
def test_an_invalid_older_than_option_is_refused(age: str) -> None:
    outcome = run("prune_fetches", f"--older-than={age}")
    assert outcome.status == 1
    assert "must be a number of days, such as 90d." in outcome.err
    assert Fetch.objects.count() == 2


@pytest.mark.parametrize("number", ["-1", "many"])
def test_an_invalid_keep_last_option_is_refused(number: str) -> None:
    assert run("prune_fetches", f"--keep-last={number}", "--older-than=0").status == 1
    assert Fetch.objects.count() == 2


def test_an_invalid_keep_fetches_days_setting_is_refused() -> None:
    with override_settings(ILETIMERKEZI_KEEP_FETCHES_DAYS=0):
        outcome = run("prune_fetches", "--skip-checks")
    assert outcome.err == (
        "CommandError: ILETIMERKEZI_KEEP_FETCHES_DAYS must be from 1 to 36500.\n"
    )


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DatabaseError("no"), 1, "CommandError: Database error: no.\n"),
        (KeyboardInterrupt(), 130, "CommandError: Stopped.\n"),
    ],
)
def test_prune_fetches_reports_errors_in_one_line(
    error: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Any) -> None:
        raise error

    monkeypatch.setattr(module, "prune_fetches", refuse)
    outcome = run("prune_fetches")
    assert (outcome.status, outcome.err) == (status, text)


def test_prune_fetches_prints_nothing_at_verbosity_0() -> None:
    assert run("prune_fetches", "-v0").out == ""
