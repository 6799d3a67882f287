"""The options, warnings, output and errors of the fetch commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from django import db
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import messages
from ..display import FEW, WHOLE_TREE
from ..export import csv_lines
from ..mirror.journal import changes_of
from ..models import ChangeQuerySet, Fetch, Group, GroupQuerySet
from ..services import FetchResult, Progress, start_fetch
from .changes import change_lines, json_changes
from .terminal import ProgressBar, TerminalCommand
from .trees import Place, arranged, first_levels, json_lines, text_lines, whole_tree, with_paths


class FetchCommand(TerminalCommand):
    """Base class of the fetch commands. Subclasses implement ``fetch``.

    ``ids`` contains the ids of the groups to fetch, or None for the phone book.
    """

    ids: Sequence[int | None] = (None,)

    def add_common_arguments(self, parser: CommandParser, *, depth_help: str) -> None:
        parser.add_argument("--depth", metavar="N", type=int, help=depth_help)
        parser.add_argument(
            "--format",
            choices=("tree", "json", "csv"),
            default="tree",
            help=_("tree for people (the default), json for programs, csv for spreadsheets"),
        )
        parser.add_argument(
            "--full",
            action="store_true",
            help=_("print all groups of a large tree, not only its first levels"),
        )
        parser.add_argument(
            "--changes",
            action="store_true",
            help=_("print everything that the fetch changed, instead of the tree"),
        )
        parser.add_argument(
            "--background",
            action="store_true",
            help=_("hand the fetch to the project's task queue, without waiting for the result"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.groups = Group.objects.using(db.router.db_for_write(Group))
        self.is_quiet = options["verbosity"] == 0
        self.bar = ProgressBar()
        self.progress = Progress()
        self.has_warned = False
        self.changes: list[ChangeQuerySet] = []
        super().handle(*args, **options)

    def run(self) -> None:
        _check(self.options)
        self.queue() if self.options["background"] else self.fetch()

    def stop(self) -> None:
        """Print the changes for ``--changes``. Add failures and a closing message to ``errors``."""
        self.bar.close()
        if self.options["changes"]:
            self.note_changes(self.progress)
            self.export(())
        self.errors += messages.describe_problems(self.progress)
        if self.options["background"] or self.progress.unstored:
            super().stop()
        else:
            self.errors.append(
                _(
                    "Stopped. All answers received so far are stored. The next fetch requests all "
                    "groups again."
                )
            )

    def fetch(self) -> None:
        """Fetch and print groups. Adds the errors of single groups to ``errors``."""

    def queue(self) -> None:
        """Queue the fetches, and print the path of each fetch's admin page."""
        for group_id in self.ids:
            now = timezone.now()
            fetch = start_fetch(
                group_id,
                recursive=self.options.get("recursive", False),
                depth=self.options["depth"],
                source=Fetch.Source.COMMAND,
            )
            if fetch.state == Fetch.State.FAILED:
                self.errors.append(fetch.error)
            elif not self.is_quiet:
                is_new = fetch.requested_at >= now
                text = (
                    _("%(fetch)s is queued: %(place)s")
                    if is_new
                    else _("%(fetch)s was already queued or running: %(place)s")
                )
                names = {"fetch": messages.describe_fetch(fetch), "place": _place(fetch)}
                self.write(text % names)

    def report(self, progress: Progress) -> None:
        if progress.maybe_other_account and not self.has_warned:
            self.has_warned = True
            self.bar.close()
            # Print this warning even with -v 0, because a fetch with a wrong key marks many groups
            # as missing.
            self.write(self.style.WARNING(messages.describe_other_account()), self.stderr)
        self.progress = progress
        if self.stderr.isatty() and not self.is_quiet:
            self.bar.update(progress)

    def warn(self, text: str) -> None:
        if not self.is_quiet:
            self.write(self.style.WARNING(text), self.stderr)

    def show(self, result: FetchResult, tops: GroupQuerySet, below: GroupQuerySet) -> None:
        """Print the warnings of a fetch.

        In the tree format, also prints the counts of the fetch and, unless ``--changes`` is given,
        the trees and the first changes.
        """
        for warning in messages.describe_warnings(result.aliases, result.clock_ahead):
            self.warn(warning)
        if self.options["format"] != "tree" or self.is_quiet:
            return
        if not self.options["changes"]:
            self._show_trees(tops, below)
        self.write(messages.describe_results([result]))
        # If all groups are new, the list of changes would repeat the tree.
        is_all_new = result.created and not (result.changed or result.unchanged or result.missing)
        if not self.options["changes"] and not is_all_new:
            self._show_few_changes(result.changes)

    def _show_few_changes(self, changes: ChangeQuerySet) -> None:
        left = changes.count() - FEW
        self._write_all(islice(change_lines(changes), FEW))
        if left > 0:
            text = ngettext(
                "… and %s more change. Use --changes next time to print all changes.",
                "… and %s more changes. Use --changes next time to print all changes.",
                left,
            )
            self.write(text % left)

    def note_changes(self, progress: Progress) -> None:
        """Collect the changes of a fetch for ``--changes``, even if the fetch failed.

        In the tree format, also print these changes.
        """
        if self.options["changes"] and progress.fetch:
            self.changes.append(changes_of(progress.fetch))
            if self.options["format"] == "tree" and not self.is_quiet:
                self._write_all(change_lines(self.changes[-1]))

    def _show_trees(self, tops: GroupQuerySet, below: GroupQuerySet) -> None:
        if self.options["full"]:
            self._write_all(text_lines(whole_tree(tops, below)))
            return
        shown = list(tops.order_by("sort_key", "pk")[:WHOLE_TREE])
        rows, hidden = first_levels(shown, WHOLE_TREE)
        self._write_all(text_lines(arranged(rows, {top.pk for top in shown}), hidden))
        if (left := tops.count() - len(shown)) > 0:
            text = ngettext("… and %s more main group", "… and %s more main groups", left)
            self.write(text % left)

    def export(self, places: Iterable[Place]) -> None:
        """Print the trees or the changes if ``--format`` is json or csv."""
        lines: Iterable[str] = ()
        if self.options["format"] == "json" and self.options["changes"]:
            lines = json_changes(self.changes)
        elif self.options["format"] == "json":
            lines = json_lines(places)
        elif self.options["format"] == "csv":
            lines = csv_lines(with_paths(places))
            # Redirected output on Windows would otherwise use the encoding of the system.
            if reconfigure := getattr(self.stdout, "reconfigure", None):
                reconfigure(encoding="utf-8")
        self._write_all(lines)

    def _write_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def _check(options: dict[str, Any]) -> None:
    """Raise CommandError for an invalid depth, or for options that exclude each other."""
    if options["depth"] is not None and options["depth"] < 0:
        raise CommandError(_("Invalid depth %s: must be 0 or more.") % options["depth"])
    if options["changes"] and options["format"] == "csv":
        raise CommandError(_("--changes requires the format tree or json."))
    is_printing = options["format"] != "tree" or options["full"] or options["changes"]
    if options["background"] and is_printing:
        raise CommandError(_("--background prints no groups: omit --format, --full and --changes."))


def _place(fetch: Fetch) -> str:
    """Return the path of the fetch's admin page, or a hint if the project has no such page."""
    # A project without pages need not set ROOT_URLCONF.
    if getattr(settings, "ROOT_URLCONF", None):
        with suppress(NoReverseMatch):
            return reverse("admin:django_iletimerkezi_fetch_change", args=[fetch.pk])
    return _("see the list of fetches in the admin")
