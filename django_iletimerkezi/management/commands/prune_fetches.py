from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...conf import conf
from ...display import visible
from ...services import Pruned, prune_fetches
from ..terminal import TerminalCommand


class Command(TerminalCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Delete the records of old fetches with their changes. Groups and unfinished fetches "
            "are kept."
        )
        parser.add_argument(
            "--older-than",
            metavar="90d",
            type=_parse_days,
            help=_(
                "delete fetches that finished more than this many days ago; the default is "
                "ILETIMERKEZI_KEEP_FETCHES_DAYS"
            ),
        )
        parser.add_argument(
            "--keep-last",
            metavar="N",
            type=int,
            default=0,
            help=_("keep the newest N fetches, no matter how old they are"),
        )

    def run(self) -> None:
        keep_last = self.options["keep_last"]
        if keep_last < 0:
            raise CommandError(_("Invalid number %s: must be 0 or more.") % keep_last)
        days = self.options["older_than"]
        days = conf.keep_fetches_days if days is None else days
        text = _("Nothing to delete: ILETIMERKEZI_KEEP_FETCHES_DAYS is None. Use --older-than.")
        if days is not None:
            pruned = prune_fetches(older_than=timedelta(days=days), keep_last=keep_last)
            text = _describe(pruned)
        if self.options["verbosity"]:
            self.write(text)


def _describe(pruned: Pruned) -> str:
    fetches = ngettext("%s fetch", "%s fetches", pruned.fetches) % pruned.fetches
    changes = ngettext("%s change", "%s changes", pruned.changes) % pruned.changes
    return _("Deleted %(fetches)s with %(changes)s.") % {"fetches": fetches, "changes": changes}


def _parse_days(text: str) -> int:
    if not (match := re.fullmatch(r"([0-9]{1,5})d?", text)):
        raise ArgumentTypeError(
            _("Invalid age %s: must be a number of days, such as 90d.") % visible(text)
        )
    return int(match[1])
