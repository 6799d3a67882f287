"""A Python process that runs code for a test, and returns the result as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any


class Console:
    """Starts the process. Each ``run`` sees the variables of the runs before."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engines.console"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, code: str) -> Any:
        """Run some code, and return the value that the code assigned to ``result``."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(dedent(code)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        """Close the input of the process, which ends it, and wait for the end."""
        self._process.communicate()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # The code may print. This must not mix with the answers.
    namespace: dict[str, Any] = {}
    for line in sys.stdin:
        namespace["result"] = None
        try:
            exec(json.loads(line), namespace)
            answer = json.dumps({"result": namespace["result"]})
        except Exception:  # noqa: BLE001 - the test shows it
            answer = json.dumps({"error": traceback.format_exc()})
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
