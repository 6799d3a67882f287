"""A vendor in a process of its own, so that its work does not slow down what is measured.

Serves a tree of any size; ends when its standard input does, so it cannot outlive the benchmark.
Its arguments are the latency in seconds and, for another phone book, the ids of the main groups.
"""

from __future__ import annotations

import sys

from django_iletimerkezi.testing import GroupDict, Sandbox

FANOUT = 20
PHONE_BOOK = 3_001
"""The size of the tree whose groups are the phone book, except the one at its top."""
_LARGEST = 10**7


def group_id(size: int, number: int = 1) -> int:
    """Return the id of a group in the tree of so many groups; the one at its top is number 1."""
    return size * _LARGEST + number


def children(size: int, number: int) -> range:
    """Return the numbers of the groups that are directly below one."""
    first = FANOUT * (number - 1) + 2
    return range(first, min(first + FANOUT, size + 1))


def name(number: int) -> str:
    return f"Şube {number}"


class Trees(Sandbox):
    """Computes each answer from the id in the request."""

    main_ids = tuple(group_id(PHONE_BOOK, number) for number in children(PHONE_BOOK, 1))

    def find(self, group_id: int) -> GroupDict | None:
        size, number = divmod(group_id, _LARGEST)
        if not 1 <= number <= size:
            return None
        below = [_describe(size, child) for child in children(size, number)]
        return _describe(size, number) | ({"children": below} if below else {})

    def find_all(self) -> list[GroupDict]:
        return [group for main_id in self.main_ids if (group := self.find(main_id))]


def _describe(size: int, number: int) -> dict[str, object]:
    return {"id": group_id(size, number), "name": name(number), "count": number % 500}


if __name__ == "__main__":
    latency, *main_ids = sys.argv[1:]
    with Trees([], latency=float(latency)) as sandbox:
        sandbox.main_ids = tuple(map(int, main_ids)) or sandbox.main_ids
        sys.stdout.write(f"{sandbox.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
