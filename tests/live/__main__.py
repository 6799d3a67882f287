"""``python -m tests.live ID``: prints a line per fact, without names and credentials."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from django.conf import settings
from urllib3.exceptions import HTTPError

from django_iletimerkezi.api.base_url import base_url_flaw
from django_iletimerkezi.ids import parse_id

from .probe import Fact, probe

WORDS = {True: "holds", False: "does not hold", None: "not seen"}
CREDENTIALS = ("ILETIMERKEZI_API_KEY", "ILETIMERKEZI_API_HASH")


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    missing = [name for name in CREDENTIALS if not environ.get(name)]
    if missing:
        sys.stdout.write(f"Skipped: set {' and '.join(missing)} in the environment.\n")
        return 0
    group_id = parse_id(arguments[0]) if len(arguments) == 1 else None
    if group_id is None:
        return _refuse("Give the id of one of your groups: make test-live GROUP=5")
    base_url = environ.get("ILETIMERKEZI_BASE_URL") or "https://api.iletimerkezi.com/v1/"
    if flaw := base_url_flaw(base_url):
        return _refuse(f"ILETIMERKEZI_BASE_URL {flaw}.")
    key, hash_ = (environ[name] for name in CREDENTIALS)
    try:
        facts = probe(base_url, key, hash_, group_id)
    except (OSError, HTTPError, UnicodeError) as error:
        # The text of the error may be long, and it has the request.
        return _refuse(f"Could not reach the vendor: {type(error).__name__}.")
    return _report(facts)


def _report(facts: list[Fact]) -> int:
    for fact, holds in facts:
        sys.stdout.write(f"{WORDS[holds]:<13}  {fact}\n")
    return int(any(holds is False for _fact, holds in facts))


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 2


if __name__ == "__main__":
    settings.configure(USE_I18N=False)
    sys.exit(main(sys.argv[1:], os.environ))
