from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from ...display import WHOLE_TREE
from ...messages import (
    describe_alias,
    describe_clock,
    describe_failure,
    describe_loss,
    describe_results,
)
from ...models import Group
from ...services import FetchResult, Progress, fetch_each
from ..terminal import ProgressBar, TerminalCommand, parse_ids
from ..trees import first_levels, json_lines, text_lines


class Command(TerminalCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Fetch contact groups from iletimerkezi by their ids, mirror each with its direct "
            "subgroups, and print the mirrored trees. With -v 0, print only errors, and JSON if "
            "--format json is given."
        )
        parser.add_argument(
            "ids", metavar="ID", nargs="+", help=_("group id, as shown in the vendor's panel")
        )
        parser.add_argument(
            "--recursive", "-r", action="store_true", help=_("also fetch everything below")
        )
        parser.add_argument(
            "--depth",
            metavar="N",
            type=int,
            help=_("also fetch N levels below; 0 fetches the group only"),
        )
        parser.add_argument(
            "--format",
            choices=("tree", "json"),
            default="tree",
            help=_("tree for people (the default), json for programs"),
        )
        parser.add_argument(
            "--full",
            action="store_true",
            help=_("print all groups of a large tree, not only its first levels"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ids = parse_ids(options["ids"])
        if options["depth"] is not None and options["depth"] < 0:
            raise CommandError(_("Invalid depth %s: must be 0 or more.") % options["depth"])
        if options["recursive"] and options["depth"] == 0:
            raise CommandError(_("Use either --recursive or --depth 0."))
        self._options = options
        self._is_quiet = options["verbosity"] == 0
        self._bar = ProgressBar()
        self._progress = Progress()
        self._errors: list[str] = []
        try:
            self._fetch(ids)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            self._bar.close()
            self._note_errors(self._progress)
            self._errors.append(
                _("Stopped.")
                if self._progress.unstored
                else _("Stopped. All answers are stored. Run the command again to fetch the rest.")
            )
            raise CommandError("\n".join(self._errors), returncode=130) from None
        if self._errors:
            raise CommandError("\n".join(self._errors))

    def _fetch(self, ids: list[int]) -> None:
        left, groups = dict.fromkeys(ids), []
        for fetched in fetch_each(
            ids,
            recursive=self._options["recursive"],
            depth=self._options["depth"],
            report=self._report,
        ):
            self._bar.close()
            del left[fetched.group_id]
            self._note_errors(fetched.progress)
            self._progress = Progress()
            if isinstance(fetched.outcome, FetchResult):
                groups.append(fetched.outcome.group)
                self._print(fetched.outcome)
            else:
                self._errors.append(describe_failure(fetched.group_id, fetched.outcome))
        if left:
            self._errors.append(_("Not fetched: %s.") % ", ".join(map(str, left)))
        if self._options["format"] == "json":
            self._print_json(groups)

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        if self.stderr.isatty() and not self._is_quiet:
            self._bar.update(progress)

    def _note_errors(self, progress: Progress) -> None:
        self._errors += [describe_failure(pk, error) for pk, error in progress.failures.items()]
        if progress.unstored:
            self._errors.append(describe_loss(progress.unstored))

    def _print(self, result: FetchResult) -> None:
        if self._is_quiet:
            return
        warnings = [describe_alias(*ids) for ids in result.aliases.items()]
        for warning in filter(None, (*warnings, describe_clock(result.clock_ahead))):
            self.write(self.style.WARNING(warning), self.stderr)
        if self._options["format"] == "tree":
            for line in self._lines(result.group):
                self.write(line)
            self.write(describe_results([result]))

    def _lines(self, root: Group) -> Iterable[str]:
        rows, hidden = first_levels(root, WHOLE_TREE)
        if hidden and self._options["full"]:
            return text_lines(_subtree(root), root.pk)
        return text_lines(rows, root.pk, hidden)

    def _print_json(self, groups: list[Group]) -> None:
        trees = ("\n".join(json_lines(_subtree(group), group.pk)) for group in groups)
        self.write("[\n" + ",\n".join(filter(None, trees)) + "\n]")


def _subtree(group: Group) -> Iterable[Group]:
    return Group.objects.using(group._state.db).subtree(group.pk)
