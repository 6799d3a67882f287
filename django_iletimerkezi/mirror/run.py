"""Runs a fetch: requests its groups, and stores the answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from django import db
from django.db.models import Q

from ..api.parsing import Answer, GroupData, Listing
from ..exceptions import FetchPaused, FetchTakenOver, GroupNotFound, IletimerkeziError
from ..ids import MAX_ID, check_id
from ..models import Fetch, Group
from . import rules
from .crawl import Crawl, Failure, Frontier, ask_once
from .recorder import Recorder
from .store import without_listed_parent

if TYPE_CHECKING:
    from ..api import IletimerkeziClient

logger = logging.getLogger("django_iletimerkezi")

MAX_UNMENTIONED = 1_000
"""Most unmentioned groups that one fetch requests. Users rarely remove more groups between two
fetches. The next fetch requests the remaining groups."""


def group_fetch(
    group_id: int, depth: int | None, *, recursive: bool, source: Fetch.Source, started_by: str
) -> Fetch:
    """Return an unsaved fetch of a group. Raises ValueError for an invalid id or depth."""
    check_id(group_id)
    _check_depth(depth)
    if recursive and depth == 0:
        raise ValueError("depth 0 fetches the group only, recursive everything below it")
    levels = 0 if depth is None and not recursive else depth
    return Fetch(
        kind=Fetch.Kind.GROUP,
        group_id=group_id,
        depth=_storable(levels),
        source=source,
        started_by=started_by,
    )


def phone_book_fetch(depth: int | None, *, source: Fetch.Source, started_by: str) -> Fetch:
    """Return an unsaved fetch of the phone book. Raises ValueError for an invalid depth."""
    _check_depth(depth)
    return Fetch(
        kind=Fetch.Kind.PHONE_BOOK, depth=_storable(depth), source=source, started_by=started_by
    )


def _check_depth(depth: int | None) -> None:
    if depth is not None and depth < 0:
        raise ValueError("depth must be 0 or more")


def _storable(depth: int | None) -> int | None:
    return depth if depth is None else min(depth, MAX_ID)


def run_group(fetch: Fetch, client: IletimerkeziClient, recorder: Recorder) -> Answer | None:
    """Fetch a group. Returns its answer, or None if an earlier process has stored the answer."""
    group_id = fetch.group_id or 0
    answered = _resume(fetch, recorder)
    if group_id in answered:
        root = None
        frontier = Frontier(fetch.depth, answered=answered)
        frontier.add_id(group_id, 0)
    else:
        root = _ask_root(group_id, client, recorder)
        frontier = Frontier(fetch.depth, asked=[group_id], answered=answered)
        if fetch.depth != 0:  # With depth 0, do not request the group behind an alias again.
            frontier.add(root.group)
    _crawl(frontier, client, recorder, probe=lambda: client.ask_group(group_id))
    return root


def run_phone_book(fetch: Fetch, client: IletimerkeziClient, recorder: Recorder) -> int:
    """Fetch the whole phone book in this process. Returns the number of main groups."""
    answered = _resume(fetch, recorder)
    listing = _ask_listing(client, recorder)
    frontier = Frontier(fetch.depth, answered=answered)
    for group in listing.groups:
        frontier.add(group, level=1)
    _crawl(frontier, client, recorder, probe=client.ask_groups)
    _ask_for_unmentioned(fetch, client, recorder)
    return len(listing.main_groups)


def run_phone_book_in_parts(fetch: Fetch, client: IletimerkeziClient, recorder: Recorder) -> None:
    """Add a part for each main group. After the last part ends, request the unmentioned groups.

    Raises FetchPaused while parts are unfinished, and IletimerkeziError if all parts failed.
    """
    stored = Fetch.objects.using(fetch._state.db).filter(parent=fetch).order_by("pk")
    parts = list(stored)
    if not parts:
        listing = _ask_listing(client, recorder)
        recorder.flush()
        main_groups = _uppermost(listing) if fetch.depth != 0 else ()
        recorder.journal.add_parts([_part(fetch, group.id) for group in main_groups])
        parts = list(stored.all())
    for part in parts:
        recorder.count_part(part)
    if not all(part.is_finished for part in parts):
        raise FetchPaused(Fetch.State.RUNNING)
    if parts and all(part.state == Fetch.State.FAILED for part in parts):
        raise IletimerkeziError(parts[0].error)
    _resume(fetch, recorder)
    _ask_for_unmentioned(fetch, client, recorder)


def _uppermost(listing: Listing) -> list[GroupData]:
    """Return the main groups and one group of each loop.

    All other listed groups are below the returned groups.
    """
    found: list[GroupData] = []
    reached: set[int] = set()
    for group in (*listing.main_groups, *listing.groups):
        if group.id not in reached:
            found.append(group)
            reached.update(rules.mentions(replace(listing, groups=(group,))))
    return found


def _part(parent: Fetch, group_id: int) -> Fetch:
    return Fetch(
        parent=parent,
        active_key=f"{parent.pk}/{group_id}",  # Prevents two processes from adding a part twice.
        kind=Fetch.Kind.GROUP,
        group_id=group_id,
        depth=None if parent.depth is None else parent.depth - 1,
        source=parent.source,
        started_by=parent.started_by,
        alive_at=parent.alive_at,
        known=1,  # The main group of the part.
    )


def _resume(fetch: Fetch, recorder: Recorder) -> dict[int, list[int]]:
    """Map each group that earlier processes requested for this fetch to its subgroups.

    Also notes the groups that the earlier answers mentioned.
    """
    answered: dict[int, list[int]] = {}
    # In the first process, both times are equal, because the start of the fetch sets both times.
    if fetch.started_at and fetch.started_at != fetch.alive_at:
        answered, mentioned = _stored_since(fetch.started_at, fetch._state.db)
        recorder.mentioned |= mentioned
    # Do not request the failed groups again.
    return answered | {pk: [] for pk in fetch.reasons}


def _stored_since(moment: datetime, using: str | None) -> tuple[dict[int, list[int]], set[int]]:
    """Read the groups that were stored since a time.

    Returns a mapping and a set. The mapping has the subgroups of each answered or denied group. The
    set has the ids of all groups that answers mentioned. A denied group stays in the list of its
    parent, so that a continued fetch still counts the group as requested.
    """
    is_seen, is_denied = Q(seen_at__gte=moment), Q(denied_at__gte=moment)
    # Compare the times in the database, because converting many times in Python is slow.
    rows = (
        Group.objects.using(using)
        .filter(is_seen | is_denied)
        .annotate(
            is_seen=is_seen,
            is_answered=Q(listed_at__gte=moment) | is_denied,
            is_linked=Q(missing_since=None) | is_denied,
        )
        .order_by("pk")
        .values_list("pk", "named_parent_id", "is_seen", "is_answered", "is_linked")
    )
    subgroups: dict[int, list[int]] = {}
    parents: dict[int, int] = {}
    mentioned: set[int] = set()
    for pk, parent_id, was_seen, was_answered, is_linked in rows.iterator():
        if was_answered:
            subgroups[pk] = []
        if was_seen:
            mentioned.add(pk)
            if parent_id and is_linked:
                parents[pk] = parent_id
    for pk, parent_id in parents.items():
        if parent_id in subgroups:
            subgroups[parent_id].append(pk)
    return subgroups, mentioned


def _ask_root(group_id: int, client: IletimerkeziClient, recorder: Recorder) -> Answer:
    try:
        root = ask_once(lambda: client.ask_group(group_id), recorder.tick)
    except GroupNotFound as error:
        recorder.add(Failure(group_id, error))
        recorder.flush()
        raise
    recorder.add(root)
    return root


def _ask_listing(client: IletimerkeziClient, recorder: Recorder) -> Listing:
    listing = ask_once(client.ask_groups, recorder.tick)
    recorder.note_clock(client.clock_ahead)
    recorder.add(listing)
    return listing


def _ask_for_unmentioned(fetch: Fetch, client: IletimerkeziClient, recorder: Recorder) -> None:
    """Request the unmentioned groups without a listed parent, and everything below them.

    If the vendor has removed such a group, this function then requests the mirrored subgroups. With
    a depth, this function does nothing, because an unmentioned group may be on a level that was not
    fetched.
    """
    if fetch.depth is not None:
        return
    recorder.count_earlier()
    excluded = set(recorder.progress.failures)
    left = MAX_UNMENTIONED
    while found := list(islice(recorder.unmentioned(without_listed_parent(), excluded), left)):
        has_warned = recorder.progress.maybe_other_account
        if not has_warned and _are_all_main_groups_new(fetch, recorder):
            logger.warning("No main group of the mirror is in the listing: another account's key?")
            recorder.progress.maybe_other_account = True
        frontier = Frontier(depth=None)
        for group_id in found:
            frontier.add_id(group_id, 0)
        _crawl(frontier, client, recorder, probe=client.ask_groups, has_answers=True)
        excluded.update(found)
        left -= len(found)


def _are_all_main_groups_new(fetch: Fetch, recorder: Recorder) -> bool:
    groups = Group.objects.using(fetch._state.db).filter(parent=None, seen_at__gte=fetch.started_at)
    return recorder.journal.tally.created.issuperset(groups.values_list("pk", flat=True))


def _crawl(
    frontier: Frontier,
    client: IletimerkeziClient,
    recorder: Recorder,
    probe: Callable[[], object],
    *,
    has_answers: bool = False,
) -> None:
    """Request the groups of the frontier. Stores the answers even if an error ends the crawl."""
    known_before, skipped = recorder.progress.known, 0

    def report() -> None:
        nonlocal skipped
        newly_skipped, skipped = frontier.skipped - skipped, frontier.skipped
        recorder.report(known_before + frontier.known, newly_skipped)

    def tick() -> None:
        if frontier.skipped > skipped:
            report()
        recorder.tick()

    crawl = Crawl(
        client.ask_group,
        frontier,
        probe=probe,
        workers=client.max_connections,
        has_answers=has_answers,
        tick=tick,
    )
    with _rescuing(crawl, recorder, client):
        report()
        for outcome in crawl:
            recorder.add(outcome)
            report()
            recorder.tick()
        if frontier.skipped:  # Report skipped groups after the last outcome.
            report()
        recorder.flush()


@contextmanager
def _rescuing(crawl: Crawl, recorder: Recorder, client: IletimerkeziClient) -> Iterator[None]:
    """If an error ends the block, store the arrived answers, and add the failures to the error."""
    try:
        yield
    except (db.Error, FetchTakenOver):
        raise  # Storing the pending answers would also fail.
    except BaseException as error:
        for answer in crawl.arrived():
            recorder.add(answer)
        recorder.rescue()
        if isinstance(error, IletimerkeziError):
            error.failures = recorder.progress.failures
        raise
    finally:
        recorder.note_clock(client.clock_ahead)
