"""Runs a management command as ``manage.py`` would, and keeps its output."""

from __future__ import annotations

import io
from dataclasses import dataclass

from django.core.management import CommandError, call_command


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


def run(*args: str, stderr: io.StringIO | None = None) -> Outcome:
    out, err, status = io.StringIO(), stderr or io.StringIO(), 0
    try:
        call_command(*args, stdout=out, stderr=err)
    except CommandError as error:
        status = error.returncode
        err.write(f"CommandError: {error}\n")
    return Outcome(status, out.getvalue(), err.getvalue())
