from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...display import visible
from ...doctor import Finding, examine, repair
from ..terminal import TerminalCommand, parse_ids


class Command(TerminalCommand):
    # Run despite failed system checks, because this command reports them.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Check everything that a fetch from iletimerkezi needs: settings, network, "
            "credentials and tables. Suggest a fix for each failure. With -v 0, print only "
            "failures."
        )
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "id",
            metavar="ID",
            nargs="?",
            help=_(
                "id of the group to request (the group need not exist); without an id, the main "
                "groups are requested"
            ),
        )
        group.add_argument(
            "--repair",
            action="store_true",
            help=_("repair sort keys, search keys and totals, without sending a request"),
        )

    def run(self) -> None:
        options = self.options
        [group_id] = parse_ids([options["id"]]) if options["id"] is not None else [None]
        failed = 0
        for finding in repair() if options["repair"] else examine(group_id):
            failed += finding.verdict == "failed"
            if finding.verdict == "failed" or options["verbosity"] > 0:
                self._print(finding)
        if failed:
            raise CommandError(ngettext("%s check failed.", "%s checks failed.", failed) % failed)

    def _print(self, finding: Finding) -> None:
        words = {"ok": _("ok"), "failed": _("FAIL"), "not tried": _("not tried")}
        styles = {"ok": self.style.SUCCESS, "failed": self.style.ERROR}
        style = styles.get(finding.verdict, self.style.WARNING)
        word = words[finding.verdict].ljust(max(map(len, words.values())))
        line = visible(": ".join(filter(None, (finding.name, finding.text))))
        self.write(f"{style(word)}  {line}")
