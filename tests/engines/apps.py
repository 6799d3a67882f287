"""An app of the tested project, which changes our app in the project's workers for the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.apps import AppConfig


class Watched(AppConfig):
    name = "tests.engines"

    def ready(self) -> None:
        # Not at the top: models cannot be imported while the settings are read.
        from django_iletimerkezi import background  # noqa: PLC0415 - see above
        from django_iletimerkezi.mirror import recorder  # noqa: PLC0415 - see above

        class NotedLimit(recorder.Limit):
            """Appends a letter to a file for each task that a worker begins."""

            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                with Path(os.environ["TASKS_BEGUN"]).open("a") as file:
                    file.write("x")

        vars(background)["Limit"] = NotedLimit
        # The usual batch is larger than the tested phone books, so a killed worker would often
        # have stored nothing.
        recorder.BATCH_GROUPS = 100
