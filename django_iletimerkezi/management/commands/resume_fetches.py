from __future__ import annotations

from django import db
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...background import end_if_old
from ...engine import find_engine
from ...exceptions import FetchTakenOver, IletimerkeziError
from ...messages import describe_fetch
from ...models import Fetch, Group
from ...services import continue_fetch, resume_fetches
from ..terminal import TerminalCommand


class Command(TerminalCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _(
            "Queue interrupted fetches again. Without a task queue, continue queued and "
            "interrupted fetches in this process until they end. With -v 0, print only errors."
        )

    def run(self) -> None:
        if find_engine():
            number = resume_fetches()
            text = ngettext("Queued %s fetch again.", "Queued %s fetches again.", number)
            self._note(text % number)
        else:
            self._continue_all()

    def _continue_all(self) -> None:
        idle = Fetch.objects.using(db.router.db_for_write(Group)).idle()
        for fetch in idle:
            end_if_old(fetch)
        # Newest first, so that the parts have stored their groups before the parent runs.
        for fetch in idle.order_by("-pk"):
            name = describe_fetch(fetch)
            try:
                continue_fetch(fetch)
            except FetchTakenOver as error:
                self._note(f"{name}: {error}")
            except (IletimerkeziError, ImproperlyConfigured) as error:
                self.errors.append(f"{name}: {error}")
            else:
                self._note_end(name, fetch)

    def _note_end(self, name: str, fetch: Fetch) -> None:
        line = f"{name}: {fetch.get_state_display()}"
        if fetch.failed:
            text = ngettext("%s group failed", "%s groups failed", fetch.failed) % fetch.failed
            self.errors.append(f"{line}: {text}")
        else:
            self._note(line)

    def _note(self, line: str) -> None:
        if self.options["verbosity"]:
            self.write(line)
