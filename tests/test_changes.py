"""What the fetch commands print about changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_iletimerkezi.management.changes import json_changes
from django_iletimerkezi.management.fetching import FetchCommand
from django_iletimerkezi.messages import describe_change, mentioned_groups
from django_iletimerkezi.models import Change, Fetch, Group
from django_iletimerkezi.services import Progress
from django_iletimerkezi.testing import Sandbox

from .commands import run

pytestmark = pytest.mark.django_db


def group(pk: int, name: str, count: int, *children: dict[str, Any]) -> dict[str, Any]:
    return {"id": pk, "name": name, "count": count, "children": list(children)}


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    """A vendor whose phone book is already mirrored."""
    vip, old = group(4, "VIP", 1), group(5, "Eski", 2)
    tree = [group(1, "Ankara", 10, vip, old), group(2, "İzmir", 20), group(3, "Bursa", 30)]
    with Sandbox(tree) as vendor, override_settings(**vendor.settings):
        run("fetch_groups")
        yield vendor


CHANGED = [
    group(1, "Ankara Merkez", 10),
    group(2, "İzmir", 25, group(4, "VIP", 1), group(6, "Yeni", 0)),
    group(3, "Bursa", 30),
]
LINES = {
    "renamed: Ankara → Ankara Merkez (id 1)",
    "contacts changed: İzmir (id 2): 20 → 25",
    "moved: VIP (id 4): Ankara Merkez → İzmir",
    "missing: Eski (id 5)",
    "created: Yeni (id 6)",
}


def lines_after_summary(out: str) -> list[str]:
    lines = out.splitlines()
    return lines[next(at for at, line in enumerate(lines) if line.startswith("Fetched")) + 1 :]


def test_the_first_fetch_does_not_print_changes(sandbox: Sandbox) -> None:
    assert lines_after_summary(run("fetch_groups").out) == []


def test_a_fetch_does_not_print_changes_if_nothing_changed(vendor: Sandbox) -> None:
    assert lines_after_summary(run("fetch_groups").out) == []
    assert lines_after_summary(run("fetch_groups", "--changes").out) == []
    assert run("fetch_groups", "--changes", "--format", "json").out == "[\n]\n"


def test_the_summary_lists_all_changes_if_there_are_few(vendor: Sandbox) -> None:
    vendor.serve(CHANGED)
    outcome = run("fetch_groups")
    assert set(lines_after_summary(outcome.out)) == LINES
    assert "└── " in outcome.out


def test_the_summary_lists_ten_changes_and_counts_the_others(vendor: Sandbox) -> None:
    vendor.serve([*CHANGED, *(group(pk, str(pk), 0) for pk in range(11, 18))])
    *lines, last = lines_after_summary(run("fetch_groups").out)
    assert len(set(lines)) == 10
    assert last == "… and 2 more changes. Use --changes next time to print all changes."


def test_the_changes_option_prints_all_changes_instead_of_the_tree(vendor: Sandbox) -> None:
    vendor.serve([*CHANGED, *(group(pk, str(pk), 0) for pk in range(11, 17))])
    summary, *lines = run("fetch_groups", "--changes").out.splitlines()
    assert summary.startswith("Fetched the phone book with 9 main groups: ")
    assert set(lines) == LINES | {f"created: {pk} (id {pk})" for pk in range(11, 17)}


def test_a_move_out_of_a_parent_is_printed_as_a_move_to_the_top_level(vendor: Sandbox) -> None:
    vendor.serve([group(1, "Ankara", 10, group(5, "Eski", 2)), group(4, "VIP", 1)])
    lines = run("fetch_groups", "--changes").out.splitlines()
    assert "moved: VIP (id 4): Ankara → top level" in lines


def test_json_changes_contain_counts_and_parent_ids_as_numbers(vendor: Sandbox) -> None:
    vendor.serve(CHANGED)
    outcome = run("fetch_groups", "--changes", "--format", "json")
    found = {change.pop("id"): change for change in json.loads(outcome.out)}
    times = {change.pop("at") for change in found.values()}
    assert times == {at.isoformat() for at in Change.objects.values_list("at", flat=True)[5:]}
    assert found == {
        1: {
            "name": "Ankara Merkez",
            "change": "renamed",
            "before": "Ankara",
            "after": "Ankara Merkez",
        },
        2: {"name": "İzmir", "change": "recounted", "before": 20, "after": 25},
        4: {"name": "VIP", "change": "moved", "before": 1, "after": 2},
        5: {"name": "Eski", "change": "missing", "before": None, "after": None},
        6: {"name": "Yeni", "change": "created", "before": None, "after": "Yeni"},
    }


def test_changes_of_several_fetches_are_printed_as_one_json_array(vendor: Sandbox) -> None:
    vendor.serve(CHANGED)
    outcome = run("fetch_group", "1", "2", "99", "--changes", "--format", "json")
    ids = [change["id"] for change in json.loads(outcome.out)]
    assert (sorted(ids[:3]), sorted(ids[3:])) == ([1, 4, 5], [2, 4, 4, 6])
    assert outcome.status == 1


def test_changes_of_a_failed_fetch_are_printed(vendor: Sandbox) -> None:
    vendor.serve(CHANGED)
    assert run("fetch_group", "5", "--changes").out == "missing: Eski (id 5)\n"
    with override_settings(ILETIMERKEZI_API_HASH="wrong"):
        outcome = run("fetch_groups", "--changes", "--format", "json")
        assert (outcome.status, outcome.out) == (1, "[\n]\n")
        outcome = run("fetch_groups", "--format", "json")
        assert (outcome.status, outcome.out) == (1, "")


def test_changes_of_groups_that_are_not_in_the_mirror_show_only_their_ids(vendor: Sandbox) -> None:
    change = Change.objects.create(
        fetch=Fetch.objects.get(),
        group_id=77,
        at=timezone.now(),
        kind=Change.Kind.MOVED,
        before="78",
        after="2",
    )
    found = mentioned_groups([change], Group.objects.all())
    assert describe_change(change, found) == "moved: (id 77): 78 → İzmir"
    [line] = list(json_changes([Change.objects.filter(pk=change.pk)]))[1:-1]
    assert json.loads(line)["name"] is None


def test_the_changes_option_rejects_the_csv_format() -> None:
    outcome = run("fetch_groups", "--changes", "--format", "csv")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "CommandError: --changes requires the format tree or json.\n"


def test_changes_are_not_printed_with_verbosity_0(vendor: Sandbox) -> None:
    vendor.serve(CHANGED)
    assert run("fetch_groups", "--changes", "-v0").out == ""


def test_printing_many_changes_takes_few_queries(sandbox: Sandbox) -> None:
    sandbox.serve([group(pk, str(pk), 0) for pk in range(1, 400)])
    with CaptureQueriesContext(connection) as plain:
        run("fetch_groups", "-v0", "--depth", "0")
    Group.objects.all().delete()
    with CaptureQueriesContext(connection) as with_changes:
        run("fetch_groups", "--depth", "0", "--changes")
    assert len(with_changes) - len(plain) == 3


@pytest.mark.django_db(transaction=True)
def test_a_missing_history_table_is_reported_with_advice_to_migrate(vendor: Sandbox) -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(Change)
    try:
        outcomes = [run("fetch_groups", *options) for options in ([], ["--changes"])]
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(Change)
    for outcome in outcomes:
        assert outcome.status == 1
        assert "Has “manage.py migrate” been run?" in outcome.err


def test_the_changes_so_far_are_printed_after_ctrl_c(
    vendor: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: FetchCommand, progress: Progress) -> None:
        self.progress = progress
        if progress.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FetchCommand, "report", stop)
    vendor.serve(CHANGED)
    outcome = run("fetch_groups", "--changes", "--format", "json")
    assert outcome.status == 130
    assert {change["id"] for change in json.loads(outcome.out)} >= {1, 2}


def test_fetches_started_by_commands_are_recorded_with_the_source_command(vendor: Sandbox) -> None:
    run("fetch_group", "1")
    sources = Fetch.objects.order_by("pk").values_list("kind", "source")
    assert list(sources) == [("phone_book", "command"), ("group", "command")]
