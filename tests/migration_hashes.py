"""The migrations by the version that brings them, with hashes: ``make freeze-migrations``."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from django_iletimerkezi import migrations

FOLDER = Path(migrations.__path__[0])
FROZEN = Path(__file__).parent / "released_migrations.json"
CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"
UNRELEASED = "unreleased"

Entries = dict[str, dict[str, str]]


class Refused(Exception):
    """What was released would change."""


def hashes() -> dict[str, str]:
    """Return, by name and in order, the SHA-256 of each migration, whatever the line ends."""
    return {
        path.stem: hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()
        for path in sorted(FOLDER.glob("[0-9]*.py"))
    }


def frozen() -> Entries:
    """Return what ``released_migrations.json`` holds."""
    entries: Entries = json.loads(FROZEN.read_text(encoding="utf-8"))
    return entries


def versions() -> dict[str, str]:
    """Return the versions of the changelog, oldest first, each with its date or "unreleased"."""
    found = re.findall(r"^## (\S+) \((.+)\)$", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    return dict(reversed(found))


def freeze(versions: Mapping[str, str], entries: Entries, found: Mapping[str, str]) -> Entries:
    """Return the entries anew: those of releases as they are, all else under the newest version.

    Raises:
        Refused: a migration of a release was edited or is gone, the entry of a release is
            missing, or there is a new migration and no version yet to bring it.
    """
    kept: Entries = {}
    for version in (version for version, day in versions.items() if day != UNRELEASED):
        if version not in entries:
            raise Refused(f"{version} is released, and its entry is missing: restore it.")
        kept[version] = entries[version]
        for name, content in entries[version].items():
            if found.get(name) != content:
                raise Refused(
                    f"{name} was released in {version} and may not change: restore it. "
                    "Only a newer migration can mend it."
                )
    released = {name for names in kept.values() for name in names}
    rest = {name: content for name, content in found.items() if name not in released}
    newest = list(versions)[-1]
    if newest not in kept:
        return kept | {newest: rest}
    if rest:
        raise Refused(f"{newest} is released without {', '.join(rest)}: open the next heading.")
    return kept


def main() -> None:
    try:
        entries = freeze(versions(), frozen(), hashes())
    except Refused as refusal:
        sys.exit(f"Nothing is written. {refusal}")
    FROZEN.write_text(json.dumps(entries, indent=4) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
