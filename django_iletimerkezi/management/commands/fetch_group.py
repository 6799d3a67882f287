from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, starmap

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from ...messages import describe_failure, describe_problems
from ...models import Fetch, GroupQuerySet
from ...services import GroupResult, Progress, fetch_each
from ..fetching import FetchCommand
from ..terminal import parse_ids
from ..trees import whole_tree


class Command(FetchCommand):
    ids: Sequence[int]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Fetch contact groups from iletimerkezi by their ids, mirror each with its direct "
            "subgroups, and print the mirrored trees. With -v 0, print only errors and the "
            "JSON or CSV output."
        )
        parser.add_argument(
            "ids", metavar="ID", nargs="+", help=_("group id, as shown in the vendor's panel")
        )
        parser.add_argument(
            "--recursive", "-r", action="store_true", help=_("also fetch everything below")
        )
        self.add_common_arguments(
            parser,
            depth_help=_("also request N levels below, group by group; 0 requests only the group"),
        )

    def run(self) -> None:
        self.ids = parse_ids(self.options["ids"])
        if self.options["recursive"] and self.options["depth"] == 0:
            raise CommandError(_("Use --recursive or --depth 0, but not both."))
        super().run()

    def fetch(self) -> None:
        left = dict.fromkeys(self.ids)
        trees: list[tuple[GroupQuerySet, GroupQuerySet]] = []
        for fetched in fetch_each(
            self.ids,
            recursive=self.options["recursive"],
            depth=self.options["depth"],
            report=self.report,
            source=Fetch.Source.COMMAND,
        ):
            self.bar.close()
            del left[fetched.group_id]
            self.errors += describe_problems(fetched.progress)
            self.progress = Progress()
            if isinstance(fetched.outcome, GroupResult):
                pk = fetched.outcome.group.pk
                trees.append((self.groups.filter(pk=pk), self.groups.subtree(pk).exclude(pk=pk)))
                self.show(fetched.outcome, *trees[-1])
            else:
                self.errors.append(describe_failure(fetched.group_id, fetched.outcome))
            self.note_changes(fetched.progress)
        if left:
            self.errors.append(_("Not fetched: %s.") % ", ".join(map(str, left)))
        self.export(chain.from_iterable(starmap(whole_tree, trees)))
