"""Asks a vendor a few questions, and compares the answers with what its page for get-group says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import requests

from django_iletimerkezi.api.client import _read, _session
from django_iletimerkezi.api.transport import Deadline
from django_iletimerkezi.exceptions import UnexpectedResponse

UNKNOWN_ID = 2**31 - 1
"""An id that an account hardly has, and that a vendor's integer column holds."""

_MOST_SUBGROUPS = 5


class Fact(NamedTuple):
    """A sentence of the documentation; ``holds`` is None where nothing showed it either way."""

    fact: str
    holds: bool | None


@dataclass(frozen=True)
class Answer:
    asked_for: int
    http_status: int
    content_type: str
    document: Any  # None if the body is not JSON in UTF-8, cannot be unpacked, or is too long

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
        """The subgroups, however PHP writes them."""
        children = self.children
        if isinstance(children, dict):
            return list(children.values())
        return children if isinstance(children, list) else []


def probe(
    base_url: str,
    key: str,
    hash: str,  # noqa: A002 - the vendor's word
    group_id: int,
    *,
    timeout: float = 30,
) -> list[Fact]:
    """Return which facts hold, after at most eight requests of ``timeout`` seconds at most.

    Raises errors of requests and urllib3, which hold the credentials, if the vendor cannot be
    reached.
    """
    url = f"{base_url.rstrip('/')}/get-group/json"
    # The client's own: the credentials go nowhere but to the vendor, and nothing lasts for ever.
    with _session(url, 1) as session:

        def ask(group_id: Any, hash_: str = hash) -> Answer:
            authentication = {"key": key, "hash": hash_}
            request = {"authentication": authentication, "group": {"id": group_id}}
            return _ask(session, url, group_id, {"request": request}, timeout)

        known = ask(group_id)
        ids = (dig(child, "id") for child in known.subgroups[:_MOST_SUBGROUPS])
        # What cannot be an id is a deviation of the answer that has it, and no question.
        below = [ask(child) for child in ids if isinstance(child, int | str)]
        unknown = ask(UNKNOWN_ID)
        refused = ask(group_id, f"{hash}0")
    every = [known, *below, unknown, refused]
    answers = [answer for answer in [known, *below] if isinstance(answer.group, dict)]
    return [
        Fact("the group asked for is answered with code 200", _is_code(known, 200)),
        *_facts_of_status(known, unknown, refused),
        *_facts_of_form(every),
        *_facts_of_groups(answers),
        *_facts_of_children(answers),
        Fact(
            f"an unknown id is answered with code 463 (HTTP {unknown.http_status})",
            _is_code(unknown, 463),
        ),
        Fact(
            f"a wrong hash is answered with code 401 (HTTP {refused.http_status})",
            _is_code(refused, 401),
        ),
        Fact("an error has no group", unknown.group is None and refused.group is None),
    ]


def dig(value: Any, *path: str) -> Any:
    """Return what is at the path; None if there is no such thing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _ask(
    session: requests.Session, url: str, group_id: Any, request: object, timeout: float
) -> Answer:
    with session.post(
        url,
        json=request,
        # The stubs of requests do not know that urllib3's Timeout is taken too.
        timeout=Deadline(timeout),  # type: ignore[arg-type]  # said above
        # A 307 would take the credentials along.
        allow_redirects=False,
        stream=True,
    ) as response:
        content_type = response.headers.get("Content-Type", "")
        return Answer(group_id, response.status_code, content_type, _document(response))


def _document(response: requests.Response) -> Any:
    try:
        return json.loads(_read(response).decode())
    except (
        requests.exceptions.ContentDecodingError,
        UnexpectedResponse,
        ValueError,
        RecursionError,
    ):
        return None


def _facts_of_status(known: Answer, unknown: Answer, refused: Answer) -> list[Fact]:
    answers = {"the group asked for": known, "an unknown id": unknown, "a wrong hash": refused}
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
        Fact("status.message is a text", _all(isinstance(a.message, str) for a in answers)),
    ]


def _facts_of_groups(answers: list[Answer]) -> list[Fact]:
    groups = [answer.group for answer in answers]
    mentions = groups + [child for answer in answers for child in answer.subgroups]
    return [
        Fact(
            "the id answered is the one asked for",
            _all(dig(answer.group, "id") == answer.asked_for for answer in answers),
        ),
        Fact("id is a number", _all(_is_number(dig(group, "id")) for group in mentions)),
        Fact("name is a text", _all(isinstance(dig(group, "name"), str) for group in mentions)),
        Fact("count is a number", _all(_is_number(dig(group, "count")) for group in mentions)),
    ]


def _facts_of_children(answers: list[Answer]) -> list[Fact]:
    # Not a set: what is answered for an id may be anything.
    parents = [dig(answer.group, "id") for answer in answers if answer.subgroups]
    listed = [child for answer in answers for child in answer.subgroups]
    # A subgroup without subgroups says nothing on how deep an answer goes.
    telling = [c for c in listed if dig(c, "children") or dig(c, "id") in parents]
    return [
        Fact(
            "a group with subgroups has them in children, a list",
            _all(isinstance(a.children, list) for a in answers if a.children),
        ),
        Fact(
            "a group without subgroups has no children at all",
            _all("children" not in a.group for a in answers if not a.children),
        ),
        Fact(
            "one level only: a subgroup with subgroups is listed without them",
            _all(not dig(child, "children") for child in telling),
        ),
    ]


def _all(found: Iterable[bool]) -> bool | None:
    found = list(found)
    return all(found) if found else None


def _is_code(answer: Answer, code: int) -> bool:
    """Tell whether the body has this code, be it a number or a text: that is a fact of its own."""
    return isinstance(answer.code, int | str) and str(answer.code) == str(code)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
