"""What the documentation shows: its samples, and how to run them as its reader would.

Run as a program it performs the steps that standard input has as JSON, in the project whose
settings the environment names, and prints what they said.
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
        """The file of a project that the first line names; empty if it names none."""
        named = _FILE.fullmatch(self.text.partition("\n")[0])
        return named[1] if named and self.language in ("python", "ini") else ""


@dataclass(frozen=True)
class Step:
    """Something that a reader does, and what is ``shown`` to come of it."""

    where: str
    kind: str
    text: str
    shown: str = ""


@dataclass(frozen=True)
class Outcome:
    status: int
    said: str


def blocks(path: Path, root: Path) -> list[Block]:
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
            assert line.startswith("```"), f"{page}:{number}: such a block would not be run"
            fence = "`" * (len(line) - len(line.lstrip("`")))
            start, language, lines = number, line.strip("`").partition(" ")[0], []
    assert not fence, f"{page}:{start}: the block has no end"
    return found


def steps(block: Block) -> list[Step]:
    """Return what a reader does with a block of a language that is run."""
    if block.file:
        return [Step(str(block), "file", block.text)]
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


def is_as_shown(shown: str, said: str) -> bool:
    """Compare line by line; a line of three dots stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line.rstrip()) + r"[ ]*\n"
        for line in shown.splitlines()
    )
    return bool(re.fullmatch(pattern, said))


def perform(step: Step, namespace: dict[str, Any]) -> Outcome:
    """Do one thing in this process."""
    if step.kind == "pycon":
        return _converse(step, namespace)
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if step.kind == "python":
                exec(compile(step.text, step.where, "exec"), namespace)
            else:
                status = _command(step.text.split())
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except Exception:  # noqa: BLE001 - of any kind: the page is shown with it
            traceback.print_exc()
            status = 1
    return Outcome(status, said.getvalue())


def _converse(step: Step, namespace: dict[str, Any]) -> Outcome:
    test = doctest.DocTestParser().get_doctest(
        step.text + "\n", namespace, step.where, step.where, 0
    )
    report = io.StringIO()
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)
    assert results.attempted, step.where
    return Outcome(int(results.failed > 0), report.getvalue())


def _command(words: list[str]) -> int:
    if words[:3] == ["python", "-m", "pytest"]:
        import pytest  # noqa: PLC0415 - few pages need it

        return int(pytest.main(words[3:]))
    arguments = words[1:] if words[0] == "python" else words
    assert arguments[0] in ("manage.py", "django-admin"), words
    # A command closes the connections at its end, and the tests of this project still need them.
    with patch.object(connections, "close_all"):
        execute_from_command_line(arguments)
    return 0


def main() -> None:
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as manage.py has it
    namespace: dict[str, Any] = {"__name__": "shell"}
    import django  # noqa: PLC0415 - the settings come first

    django.setup()
    outcomes = [asdict(perform(Step(**step), namespace)) for step in json.load(sys.stdin)]
    sys.stdout.write("\n" + json.dumps(outcomes))


if __name__ == "__main__":
    main()
