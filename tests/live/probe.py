"""Compares a few answers of a vendor with its pages for get-group and get-groups."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import requests
from requests.exceptions import ContentDecodingError

from django_iletimerkezi.api.transport import Line, Watchdog
from django_iletimerkezi.exceptions import UnexpectedResponse

UNKNOWN_ID = 2**31 - 1
"""An id that hardly any account has, and that fits into an integer column."""

_MOST_SUBGROUPS = 5


class Fact(NamedTuple):
    """A sentence of the documentation; ``holds`` is None if no answer shows it."""

    fact: str
    holds: bool | None


@dataclass(frozen=True)
class Answer:
    asked_for: Any  # None for get-groups
    http_status: int
    content_type: str
    document: Any  # None if the body is too long, or cannot be decompressed or decoded

    @property
    def code(self) -> Any:
        return dig(self.document, "response", "status", "code")

    @property
    def message(self) -> Any:
        return dig(self.document, "response", "status", "message")

    @property
    def group(self) -> Any:
        return dig(self.document, "response", "group")

    @property
    def children(self) -> Any:
        return dig(self.group, "children")

    @property
    def subgroups(self) -> list[Any]:
        return items(self.children)

    @property
    def main_groups(self) -> list[Any]:
        groups = dig(self.document, "response", "groups")
        return items(dig(groups, "group") if is_wrapped(groups) else groups)

    @property
    def form(self) -> str:
        """How the main groups are written."""
        groups = dig(self.document, "response", "groups")
        if is_wrapped(groups):
            return 'an object with "group"'
        if isinstance(groups, dict):
            return "an object with indexes"
        return "a list" if isinstance(groups, list) else "neither list nor object"


def probe(
    base_url: str,
    key: str,
    hash: str,  # noqa: A002 - the vendor's word
    group_id: int,
    *,
    timeout: float = 30,
) -> list[Fact]:
    """Return which facts hold, after at most nine requests of ``timeout`` seconds each.

    If the vendor cannot be reached, raises an error of the exchange, which may hold the
    credentials.
    """
    base_url = base_url.rstrip("/")
    # The line of the client sends the credentials to the vendor only, within the timeout.
    line = Line(Watchdog(), trust_env=base_url.lower().startswith("https"))

    def ask(group_id: Any, hash_: str = hash) -> Answer:
        request: dict[str, Any] = {"authentication": {"key": key, "hash": hash_}}
        if group_id is not None:
            request["group"] = {"id": group_id}
        method = "get-groups" if group_id is None else "get-group"
        url = f"{base_url}/{method}/json"
        return _ask(line, url, group_id, {"request": request}, timeout)

    try:
        listing = ask(None)
        known = ask(group_id)
        ids = (dig(child, "id") for child in known.subgroups[:_MOST_SUBGROUPS])
        # Other values cannot be asked for, and are reported as a deviation.
        below = [ask(child) for child in ids if isinstance(child, int | str)]
        unknown = ask(UNKNOWN_ID)
        refused = ask(group_id, f"{hash}0")
    finally:
        line.close()
    every = [listing, known, *below, unknown, refused]
    answers = [answer for answer in [known, *below] if isinstance(answer.group, dict)]
    return [
        Fact("the group is returned with code 200", _is_code(known, 200)),
        *_facts_of_status(known, unknown, refused),
        *_facts_of_form(every),
        *_facts_of_groups(answers),
        *_facts_of_children(answers),
        Fact(
            f"an unknown id is refused with code 463 (HTTP {unknown.http_status})",
            _is_code(unknown, 463),
        ),
        Fact(
            f"a wrong hash is refused with code 401 (HTTP {refused.http_status})",
            _is_code(refused, 401),
        ),
        Fact("an error has no group", unknown.group is None and refused.group is None),
        *_facts_of_listing(listing, known, below),
    ]


def is_wrapped(groups: Any) -> bool:
    return isinstance(groups, dict) and "group" in groups


def items(listed: Any) -> list[Any]:
    """Return the items of a list, or of an object, as PHP writes some lists."""
    if isinstance(listed, dict):
        return list(listed.values())
    return listed if isinstance(listed, list) else []


def dig(value: Any, *path: str) -> Any:
    """Return the value at a path, or None."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _ask(line: Line, url: str, group_id: Any, request: object, timeout: float) -> Answer:
    # The exchange returns no status if it cannot read the body.
    statuses: list[int] = []
    hooks = {"response": lambda response, **_: statuses.append(response.status_code)}
    prepared = line.session.prepare_request(
        requests.Request("POST", url, json=request, hooks=hooks)
    )
    body, document = b"", None
    with suppress(ContentDecodingError, UnexpectedResponse):
        _status, body = line.exchange(prepared, timeout)
    with suppress(ValueError, RecursionError):
        document = json.loads(body.decode())
    return Answer(group_id, statuses[-1], line.headers.get("Content-Type", ""), document)


def _facts_of_status(known: Answer, unknown: Answer, refused: Answer) -> list[Fact]:
    answers = {"the group": known, "an unknown id": unknown, "a wrong hash": refused}
    return [
        Fact(f"HTTP status equals status.code, for {name}", _is_code(answer, answer.http_status))
        for name, answer in answers.items()
    ]


def _facts_of_form(answers: list[Answer]) -> list[Fact]:
    types = [answer.content_type.lower().replace(" ", "").split(";") for answer in answers]
    return [
        Fact("content type is application/json", _all(t[0] == "application/json" for t in types)),
        Fact("charset is declared, as UTF-8", _all("charset=utf-8" in t[1:] for t in types)),
        Fact("the body is JSON in UTF-8", _all(a.document is not None for a in answers)),
        Fact("status.code is a number", _all(_is_number(a.code) for a in answers)),
        Fact("status.message is a string", _all(isinstance(a.message, str) for a in answers)),
    ]


def _facts_of_groups(answers: list[Answer]) -> list[Fact]:
    groups = [answer.group for answer in answers]
    mentions = groups + [child for answer in answers for child in answer.subgroups]
    return [
        Fact(
            "the returned id is the requested id",
            _all(dig(answer.group, "id") == answer.asked_for for answer in answers),
        ),
        Fact("id is a number", _all(_is_number(dig(group, "id")) for group in mentions)),
        Fact("name is a string", _all(isinstance(dig(group, "name"), str) for group in mentions)),
        Fact("count is a number", _all(_is_number(dig(group, "count")) for group in mentions)),
    ]


def _facts_of_children(answers: list[Answer]) -> list[Fact]:
    # Not a set: an id in an answer may be a list.
    parents = [dig(answer.group, "id") for answer in answers if answer.subgroups]
    listed = [child for answer in answers for child in answer.subgroups]
    # Only subgroups with subgroups show how deep an answer goes.
    with_subgroups = [c for c in listed if dig(c, "children") or dig(c, "id") in parents]
    return [
        Fact(
            "subgroups are in children, a list",
            _all(isinstance(a.children, list) for a in answers if a.children),
        ),
        Fact(
            "a group without subgroups has no children",
            _all("children" not in a.group for a in answers if not a.children),
        ),
        Fact(
            "subgroups are listed without their own subgroups",
            _all(not dig(child, "children") for child in with_subgroups),
        ),
    ]


def _facts_of_listing(listing: Answer, known: Answer, below: list[Answer]) -> list[Fact]:
    main_groups = listing.main_groups
    # As text, because one method may write numbers and the other strings.
    main_ids = [str(dig(group, "id")) for group in main_groups]
    listed = [child for group in main_groups for child in items(dig(group, "children"))]
    deep = listed + [child for answer in [known, *below] for child in answer.subgroups]
    mentions = main_groups + listed
    place = "among" if str(dig(known.group, "id")) in main_ids else "not among"
    return [
        Fact("get-groups is answered with code 200", _is_code(listing, 200)),
        Fact(
            f"HTTP status equals status.code, for get-groups (HTTP {listing.http_status})",
            _is_code(listing, listing.http_status),
        ),
        Fact(
            f"the main groups are in groups, a list ({listing.form})",
            listing.form == "a list" if _is_code(listing, 200) else None,
        ),
        Fact("id is a number, in get-groups", _all(_is_number(dig(g, "id")) for g in mentions)),
        Fact(
            "name is a string, in get-groups",
            _all(isinstance(dig(group, "name"), str) for group in mentions),
        ),
        Fact(
            "count is a number, in get-groups",
            _all(_is_number(dig(group, "count")) for group in mentions),
        ),
        Fact(
            "subgroups are listed without their own subgroups, in get-groups",
            _all(not dig(child, "children") for child in listed),
        ),
        Fact(
            "no subgroup is among the main groups",
            _all(str(dig(child, "id")) not in main_ids for child in deep) if main_ids else None,
        ),
        # No deviation: which of the two is right depends on the group.
        Fact(f"the group is {place} the main groups", True if main_ids and known.group else None),
    ]


def _all(found: Iterable[bool]) -> bool | None:
    found = list(found)
    return all(found) if found else None


def _is_code(answer: Answer, code: int) -> bool:
    """Whether the body has this code. Its type is a fact of its own."""
    return isinstance(answer.code, int | str) and str(answer.code) == str(code)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
