from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseRefusal
from django.utils.translation import gettext as _

from ...exceptions import IletimerkeziError
from ...messages import describe_counts, describe_failure, describe_other
from ...models import Group
from ...services import fetch_group, get_client
from ..terminal import read_ids, write_line
from ..tree import first_levels, json_lines, text_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ...api.client import IletimerkeziClient
    from ...services import FetchResult


_MOST_LINES = 200
_PROGRESS_DELAY = 0.5


class Command(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Fetch contact groups from iletimerkezi by their ids, mirror each with its direct "
            "subgroups, and print what the mirror then holds. With -v 0 only errors are printed, "
            "and JSON if that was asked for."
        )
        parser.add_argument(
            "ids", metavar="ID", nargs="+", help=_("id of a group, as in the vendor's panel")
        )
        parser.add_argument(
            "--recursive", "-r", action="store_true", help=_("fetch everything below it as well")
        )
        parser.add_argument(
            "--depth",
            metavar="N",
            type=int,
            help=_("fetch that many levels below it; 0 is the group alone"),
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
            help=_("print every group of a large tree, not only its first levels"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ids = read_ids(options["ids"])
        if options["depth"] is not None and options["depth"] < 0:
            raise CommandError(_("Not a depth: %s. It is 0 or more.") % options["depth"])
        self._options = options
        self._failures: list[str] = []
        try:
            with get_client() as client:
                self._fetch_each(ids, client)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt as error:
            self._note_failures(getattr(error, "failures", {}))
            if getattr(error, "__notes__", None):
                said = _("Stopped. The last answers are not stored: run the same command again.")
            else:
                said = _(
                    "Stopped. What was answered is stored: run the same command again to go on."
                )
            raise CommandError("\n".join([*self._failures, said]), returncode=130) from None
        if self._failures:
            raise CommandError("\n".join(self._failures))

    @property
    def _is_quiet(self) -> bool:
        return bool(self._options["verbosity"] == 0)

    def _fetch_each(self, ids: list[int], client: IletimerkeziClient) -> None:
        """Fetch and print one group after the other."""
        fetched = []
        for group_id in ids:
            try:
                result = self._fetch(group_id, client)
            except (IletimerkeziError, DatabaseRefusal) as error:
                self._note_failures(getattr(error, "failures", {}) | {group_id: error})
                continue
            fetched.append(result.group)
            self._note_failures(result.failures)
            if not self._is_quiet:
                self._warn_of_others(result.others)
            if not self._is_quiet and self._options["format"] == "tree":
                self._print_tree(result)
        if self._options["format"] == "json":
            self._print_json(fetched)

    def _note_failures(self, failures: Mapping[int, Exception]) -> None:
        self._failures += [describe_failure(pk, error) for pk, error in failures.items()]

    def _fetch(self, group_id: int, client: IletimerkeziClient) -> FetchResult:
        with self._progress() as report:
            return fetch_group(
                group_id,
                recursive=self._options["recursive"],
                depth=self._options["depth"],
                client=client,
                report=report,
            )

    @contextmanager
    def _progress(self) -> Iterator[Callable[[int, int], None] | None]:
        """Show a progress bar on a terminal, from the first report on."""
        if self._is_quiet or not self.stderr.isatty():
            yield None
            return
        # Not at the top: only a terminal needs it.
        from tqdm import tqdm  # noqa: PLC0415 - said above

        with tqdm(unit=_("groups"), delay=_PROGRESS_DELAY, leave=False) as bar:

            def report(done: int, known: int) -> None:
                bar.total = known
                bar.update(done - bar.n)

            yield report

    def _warn_of_others(self, others: Mapping[int, int]) -> None:
        for asked_for, answered in others.items():
            self.stderr.write(self.style.WARNING(describe_other(asked_for, answered)))

    def _print_tree(self, result: FetchResult) -> None:
        rows, hidden = first_levels(result.group, _MOST_LINES)
        if hidden and self._options["full"]:
            rows, hidden = list(_subtree(result.group)), {}
        for line in text_lines(rows, result.group.pk, hidden):
            write_line(self.stdout, line)
        write_line(self.stdout, describe_counts(_("Group %s") % result.group.pk, [result]))

    def _print_json(self, groups: list[Group]) -> None:
        trees = ("\n".join(json_lines(_subtree(group), group.pk)) for group in groups)
        write_line(self.stdout, "[\n" + ",\n".join(filter(None, trees)) + "\n]")


def _subtree(group: Group) -> Iterable[Group]:
    return Group.objects.using(group._state.db).subtree(group.pk)
