from __future__ import annotations

from django import db
from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from ...exceptions import IletimerkeziError
from ...messages import describe_error, describe_problems
from ...models import Fetch
from ...services import PhoneBookResult, fetch_groups
from ..fetching import FetchCommand
from ..trees import whole_tree


class Command(FetchCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Fetch the whole phone book from iletimerkezi, mirror it, and print it as a tree. With "
            "-v 0, print only errors and the JSON or CSV output."
        )
        self.add_common_arguments(
            parser,
            depth_help=_(
                "request only N levels group by group; 0 sends only the first request, which "
                "returns the main groups with their direct subgroups"
            ),
        )

    def fetch(self) -> None:
        outcome: PhoneBookResult | IletimerkeziError | db.Error
        try:
            outcome = fetch_groups(
                depth=self.options["depth"], report=self.report, source=Fetch.Source.COMMAND
            )
        except (IletimerkeziError, db.Error) as error:
            outcome = error
        self.bar.close()
        self.errors += describe_problems(self.progress)
        tops, below = self.groups.filter(parent=None), self.groups.exclude(parent=None)
        if isinstance(outcome, Exception):
            self.errors.append(describe_error(outcome))
        else:
            self.show(outcome, tops, below)
        self.note_changes(self.progress)
        if isinstance(outcome, Exception) and not self.options["changes"]:
            return  # Do not print the tree after a failure. With --changes, print the changes.
        if self.options["format"] == "json":  # json_lines keeps missing groups at the top.
            tops = tops.listed()
        self.export(whole_tree(tops, below))
