"""Queues fetches and runs them in the background. Each task runs a slice of a fetch.

A task queue may lose a task, or run the task twice, even at the same time. So a task contains only
the id of a fetch, and a process must claim the row of the fetch before it works on the fetch.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _

from .conf import conf, get_client
from .engine import describe_cause, find_engine
from .exceptions import FetchPaused, FetchTakenOver, IletimerkeziError
from .mirror.journal import Journal
from .mirror.recorder import Limit, Progress, Recorder
from .mirror.retry import after_commit, persistently
from .mirror.run import (
    group_fetch,
    phone_book_fetch,
    run_group,
    run_phone_book,
    run_phone_book_in_parts,
)
from .models import Fetch, FetchQuerySet, Group

logger = logging.getLogger("django_iletimerkezi")


def start_fetch(
    group_id: int | None = None,
    *,
    recursive: bool = False,
    depth: int | None = None,
    source: Fetch.Source = Fetch.Source.PYTHON,
    started_by: str = "",
) -> Fetch:
    """Queue a fetch of a group, or of the whole phone book, and return its record.

    The arguments work as in ``fetch_group``. If the same fetch is already queued or running in the
    background, its record is returned. The task is queued after the commit of the caller's
    transaction. If the task queue refuses the task, the fetch fails, and its record says why.
    Also queues interrupted fetches again, like ``resume_fetches``.

    Raises ImproperlyConfigured if there is no task queue; ValueError like ``fetch_group``; and
    ``django.db.Error``.
    """
    _require_engine()
    if group_id is None:
        fetch = phone_book_fetch(depth, source=source, started_by=started_by)
    else:
        fetch = group_fetch(
            group_id, depth, recursive=recursive, source=source, started_by=started_by
        )
    resume_fetches()
    journal = Journal(fetch)
    levels = "all" if fetch.depth is None else fetch.depth
    is_new = journal.insert_queued(f"{fetch.group_id or fetch.kind}:{levels}")
    if is_new:
        after_commit(journal.fetch._state.db, partial(_push_or_fail, journal.fetch))
    return journal.fetch


def run_fetch(fetch_id: int) -> None:
    """Work on a fetch for ``ILETIMERKEZI_TASK_SECONDS``, then queue it again if it is unfinished.

    Background tasks call this function. Does nothing if the fetch is finished, or if another
    process works on it. Errors of the vendor and of the settings end the fetch, and are recorded.
    Raises ``django.db.Error``.
    """
    # A worker may hold a connection that the server closed since the last task.
    fetch = persistently(lambda using: Fetch.objects.using(using).filter(pk=fetch_id).first())
    if fetch and not fetch.is_finished:
        with _sigterm_noted() as is_stopped:
            _run_slice(fetch, is_stopped)


def _run_slice(fetch: Fetch, is_stopped: Callable[[], bool]) -> None:
    try:
        limit = Limit(conf.task_seconds, is_stopped)
        _run(fetch, limit, in_parts=find_engine() is not None)
    except FetchTakenOver:
        logger.info("Fetch %s: another process works on it, or it is finished.", fetch.pk)
    except FetchPaused as pause:
        _push_next(fetch, pause)
    except (IletimerkeziError, ImproperlyConfigured) as error:
        logger.warning("Fetch %s failed: %s", fetch.pk, error)
        # Usually the recorder has ended the fetch, and this call does nothing. But some settings
        # are read before the fetch is claimed, so their errors are not recorded yet.
        _end(Fetch.objects.idle(), fetch, Fetch.State.FAILED, error)
        if getattr(error, "is_fatal", False) and (parent := _parent(fetch)):
            _end(Fetch.objects.unfinished(), parent, Fetch.State.FAILED, error)
    finally:  # Also after other errors, such as database errors.
        _push_parent_if_done(fetch)


def continue_fetch(
    fetch: Fetch,
    *,
    seconds: float | None = None,
    report: Callable[[Progress], object] | None = None,
) -> None:
    """Continue a queued, paused or interrupted fetch in this process, until it ends.

    Ctrl-C leaves the fetch queued. Raises FetchPaused after ``seconds``; FetchTakenOver if another
    process works on the fetch; and the errors of ``fetch_groups``.
    """
    _run(fetch, Limit(seconds), report)


def resume_fetches() -> int:
    """Requeue the fetches that gave no sign of life for ``Fetch.SILENCE``.

    Marks fetches as failed instead if they were silent for longer than ``Fetch.MAX_INTERRUPTION``.
    Returns the number of requeued fetches. Raises ImproperlyConfigured if there is no task queue,
    and ``django.db.Error``.
    """
    _require_engine()
    resumed = 0
    for fetch in _fetches().silent().order_by("pk"):
        if end_if_old(fetch):
            continue
        # If several processes find the fetch, only one process queues it.
        if persistently(partial(_free, fetch.pk)):
            after_commit(fetch._state.db, partial(_push, fetch))
            resumed += 1
    return resumed


def _free(fetch_id: int, using: str) -> int:
    """Release a silent fetch for other processes. Returns 0 if the fetch is not silent."""
    silent = Fetch.objects.using(using).silent().filter(pk=fetch_id)
    return silent.update(state=Fetch.State.QUEUED, token=None, alive_at=timezone.now())


def end_if_old(fetch: Fetch) -> bool:
    """End a fetch as failed if it was silent for longer than ``Fetch.MAX_INTERRUPTION``.

    If a part and its parent were both silent for longer, the parent and all its parts end. Returns
    whether the fetch has ended.
    """
    if not fetch.alive_at or fetch.alive_at >= timezone.now() - Fetch.MAX_INTERRUPTION:
        return False
    if (parent := _parent(fetch)) and end_if_old(parent):
        fetch.refresh_from_db()
        return True
    error = IletimerkeziError(_("The fetch was interrupted for too long to be continued."))
    has_ended = _end(Fetch.objects.silent(), fetch, Fetch.State.FAILED, error)
    _push_parent_if_done(fetch)
    return has_ended


def cancel_fetch(fetch: Fetch) -> bool:
    """End an unfinished fetch and all its parts. Returns whether the fetch was unfinished.

    A process that works on the fetch stops at its next batch, after a few seconds.
    """
    was_unfinished = _end(Fetch.objects.unfinished(), fetch, Fetch.State.CANCELLED)
    _push_parent_if_done(fetch)
    return was_unfinished


def _require_engine() -> Callable[[int], object]:
    """Return the function that queues a fetch, or raise ImproperlyConfigured if there is none."""
    if engine := find_engine():
        return engine
    raise ImproperlyConfigured(
        _(
            "No task queue is set up: set TASKS to a backend that runs tasks in a separate worker, "
            "or set ILETIMERKEZI_ENQUEUE."
        )
    )


def _fetches() -> FetchQuerySet:
    return Fetch.objects.using(router.db_for_write(Group))


def _run(
    fetch: Fetch,
    limit: Limit,
    report: Callable[[Progress], object] | None = None,
    *,
    in_parts: bool = False,
) -> None:
    recorder = Recorder(fetch, report, limit)
    with recorder.running(), get_client() as client:
        if fetch.kind == Fetch.Kind.GROUP:
            run_group(fetch, client, recorder)
        elif in_parts:
            run_phone_book_in_parts(fetch, client, recorder)
        else:
            run_phone_book(fetch, client, recorder)


def _push(fetch: Fetch) -> str:
    """Hand the id of a fetch to the task queue. Returns the reason of a refusal, or ``""``.

    After a refusal, ``resume_fetches`` tries again later, unless the caller ends the fetch.
    """
    try:
        _require_engine()(fetch.pk)
    except Exception as error:  # noqa: BLE001 - the engine of the host may raise anything
        refusal = describe_cause(error)
        logger.warning("Fetch %s could not be queued: %s", fetch.pk, refusal)
        return refusal
    return ""


def _push_or_fail(fetch: Fetch) -> None:
    """Push a fetch. After a refusal, the fetch fails, and its record contains the reason."""
    if refusal := _push(fetch):
        error = IletimerkeziError(_("The task queue refused the fetch: %s") % refusal)
        _end(Fetch.objects.idle(), fetch, Fetch.State.FAILED, error)


def _end(
    claimable: FetchQuerySet, fetch: Fetch, state: Fetch.State, error: Exception | None = None
) -> bool:
    """End a fetch and its parts if ``claimable`` contains it. Returns whether the fetch ended."""
    journal = Journal(fetch)
    try:
        journal.claim(claimable)
        journal.finish(state, error)
    except FetchTakenOver:
        return False
    return True


def _push_next(fetch: Fetch, pause: FetchPaused) -> None:
    """Push a paused fetch, or the new parts that the fetch waits for."""
    if pause.state == Fetch.State.QUEUED:
        _push(fetch)
    else:
        for part in _fetches().filter(parent=fetch, started_at=None).unfinished():
            _push(part)
        _push_if_done(fetch)  # The last part may have ended before the fetch began to wait.


def _parent(part: Fetch) -> Fetch | None:
    """Return the unfinished parent of a part, from the database that fetches write to."""
    return _fetches().unfinished().filter(pk=part.parent_id).first() if part.parent_id else None


def _push_parent_if_done(part: Fetch) -> None:
    if parent := _parent(part):
        _push_if_done(parent)


def _push_if_done(parent: Fetch) -> None:
    """Push a parent if all its parts have ended, so that the parent finishes."""
    if not _fetches().filter(parent=parent).unfinished().exists():
        _push(parent)


@contextmanager
def _sigterm_noted() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGTERM has arrived, so that the slice can end early.

    The worker's own handler is called too. If the worker has no handler, SIGTERM ends the process
    after the block.
    """
    has_arrived = False
    usual = signal.getsignal(signal.SIGTERM)
    # Only the main thread can set a handler, and a handler that C code set cannot be restored.
    if threading.current_thread() is not threading.main_thread() or usual is None:
        yield lambda: has_arrived
        return

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal has_arrived
        has_arrived = True
        if callable(usual):
            usual(number, frame)

    signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: has_arrived
    finally:
        signal.signal(signal.SIGTERM, usual)
        if has_arrived and usual is signal.SIG_DFL:
            os.kill(os.getpid(), signal.SIGTERM)
