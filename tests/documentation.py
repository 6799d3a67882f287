"""Finds the samples of the documentation, and runs them as a reader would.

Run as a program, it reads steps as JSON from standard input, performs them in the project that the
environment names, and prints their outcomes.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.core.management import execute_from_command_line
from django.db import connections

_FILE = re.compile(r"# ([\w./]+\.py|\.env)(, .*)?")
_COMMENT = re.compile(r"(?m)(^|  )# .*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The file of the reader's project that the first line names, or an empty string."""
        named = _FILE.fullmatch(self.text.partition("\n")[0])
        return named[1] if named and self.language in ("python", "ini") else ""

    @property
    def meaning(self) -> tuple[str, str, str]:
        """The block without its comments. Of blocks with equal meanings only one is run."""
        return self.language, self.file, _COMMENT.sub("", self.text)


@dataclass(frozen=True)
class Step:
    """One action of the reader, and its output as the page shows it."""

    where: str
    kind: str
    text: str
    shown: str = ""


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str


def blocks(path: Path, root: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    page = path.relative_to(root).as_posix()
    found: list[Block] = []
    lines: list[str] = []
    start, fence, language = 0, "", ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if fence and line == fence:
            found.append(Block(page, start, language, "\n".join(lines)))
            start, fence = 0, ""
        elif fence:
            lines.append(line)
        elif line.lstrip().startswith(("```", "~~~")):
            assert line.startswith("```"), f"{page}:{number}: only unindented ``` blocks are run"
            fence = "`" * (len(line) - len(line.lstrip("`")))
            start, language, lines = number, line.strip("`").partition(" ")[0], []
    assert not fence, f"{page}:{start}: the block has no end"
    return found


def steps(block: Block) -> list[Step]:
    """Return the steps of a block that is run."""
    if block.language != "console":
        return [Step(str(block), block.language, block.text)]
    found: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if line.startswith("$ "):
            found.append(Step(f"{block.page}:{number}", "command", line[2:]))
        else:
            assert found, f"{block}: output without a command"
            last = found.pop()
            found.append(Step(last.where, "command", last.text, f"{last.shown}{line}\n"))
    return found


def is_as_shown(shown: str, output: str) -> bool:
    """Compare line by line. A line of three dots matches any lines.

    A terminal does not show the byte order mark of CSV.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in shown.splitlines()
    )
    return bool(re.fullmatch(pattern, output.removeprefix("\ufeff")))


def perform(step: Step, namespace: dict[str, Any]) -> Outcome:
    """Perform a step in this process."""
    if step.kind == "pycon":
        return _run_session(step, namespace)
    output, status = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            if step.kind == "python":
                exec(compile(step.text, step.where, "exec"), namespace)
            else:
                status = _run_command(step.text.split())
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except Exception:  # noqa: BLE001 - the test reports it with the page and the line
            traceback.print_exc()
            status = 1
    return Outcome(status, output.getvalue())


def _run_session(step: Step, namespace: dict[str, Any]) -> Outcome:
    test = doctest.DocTestParser().get_doctest(
        step.text + "\n", namespace, step.where, step.where, 0
    )
    report = io.StringIO()
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)
    assert results.attempted, step.where
    return Outcome(int(results.failed > 0), report.getvalue())


def _run_command(words: list[str]) -> int:
    if words[:3] == ["python", "-m", "pytest"]:
        import pytest  # noqa: PLC0415 - slow to import, and only one page needs it

        return int(pytest.main(words[3:]))
    arguments = words[1:] if words[0] == "python" else words
    assert arguments[0] in ("manage.py", "django-admin"), words
    # A command closes all connections at its end, but the next step needs them.
    with patch.object(connections, "close_all"):
        execute_from_command_line(arguments)
    return 0


def main() -> None:
    import django  # noqa: PLC0415 - tests that import this module have set Django up already

    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - manage.py has this string too
    django.setup()
    namespace: dict[str, Any] = {"__name__": "shell"}
    outcomes = [asdict(perform(Step(**step), namespace)) for step in json.load(sys.stdin)]
    sys.stdout.write("\n" + json.dumps(outcomes))


if __name__ == "__main__":
    main()
