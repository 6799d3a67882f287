from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...display import visible
from ...doctor import examine
from ..terminal import read_ids, write_line

if TYPE_CHECKING:
    from ...doctor import Finding


class Command(BaseCommand):
    # What they would find is among what is printed, and must not end the command before.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Check one after the other what a fetch from iletimerkezi needs: settings, network, "
            "credentials and tables. For each no it says what to try next. With -v 0 only those "
            "are printed."
        )
        parser.add_argument(
            "id",
            metavar="ID",
            nargs="?",
            default="1",
            help=_("id of the group to ask for (default: 1); it need not exist"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        (group_id,) = read_ids([options["id"]])
        failed = 0
        try:
            for finding in examine(group_id):
                failed += finding.verdict == "no"
                if finding.verdict == "no" or options["verbosity"] > 0:
                    self._print(finding)
        except KeyboardInterrupt:
            raise CommandError(_("Stopped."), returncode=130) from None
        if failed:
            raise CommandError(ngettext("%s check failed.", "%s checks failed.", failed) % failed)

    def _print(self, finding: Finding) -> None:
        words = {"ok": _("ok"), "no": _("no"), "not tried": _("not tried")}
        styles = {"ok": self.style.SUCCESS, "no": self.style.ERROR, "not tried": self.style.WARNING}
        word = words[finding.verdict].ljust(max(map(len, words.values())))
        line = visible(": ".join(filter(None, (finding.name, finding.said))))
        write_line(self.stdout, f"{styles[finding.verdict](word)}  {line}")
