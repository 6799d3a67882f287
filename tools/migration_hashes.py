"""Hashes of the migrations by release. ``make freeze-migrations`` writes them."""

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
    """A released migration would change."""


def hashes() -> dict[str, str]:
    """Return the SHA-256 of each migration by name, in order. Line endings do not matter."""
    return {
        path.stem: hashlib.sha256(path.read_text(encoding="utf-8").encode()).hexdigest()
        for path in sorted(FOLDER.glob("[0-9]*.py"))
    }


def frozen() -> Entries:
    """Return the entries of ``released_migrations.json``."""
    entries: Entries = json.loads(FROZEN.read_text(encoding="utf-8"))
    return entries


def versions() -> dict[str, str]:
    """Return the versions of the changelog, oldest first, each with its date or "unreleased"."""
    found = re.findall(r"^## (\S+) \((.+)\)$", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    return dict(reversed(found))


def freeze(versions: Mapping[str, str], entries: Entries, found: Mapping[str, str]) -> Entries:
    """Return updated entries: those of releases stay, the newest version gets all other migrations.

    Raises Refused if a released migration was edited or deleted, if the entry of a release is
    missing, or if the newest version is released and there is a new migration.
    """
    kept: Entries = {}
    for version in (version for version, day in versions.items() if day != UNRELEASED):
        if version not in entries:
            raise Refused(f"The entry of release {version} is missing: restore it.")
        kept[version] = entries[version]
        for name, content in entries[version].items():
            if found.get(name) != content:
                raise Refused(
                    f"{name} was released in {version} and must not change: restore it, "
                    "and add a new migration instead."
                )
    released = {name for names in kept.values() for name in names}
    rest = {name: content for name, content in found.items() if name not in released}
    newest = list(versions)[-1]
    if newest not in kept:
        return kept | {newest: rest}
    if rest:
        raise Refused(
            f"{newest} is released without {', '.join(rest)}: "
            "add the next version to CHANGELOG.md first."
        )
    return kept


def main() -> None:
    try:
        entries = freeze(versions(), frozen(), hashes())
    except Refused as refusal:
        sys.exit(f"Nothing was written. {refusal}")
    FROZEN.write_text(json.dumps(entries, indent=4) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
