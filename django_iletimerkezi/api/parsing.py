"""Parses the vendor's answers. If an answer reports an error, raises the matching exception.

Facts about the vendor come from the vendor's pages for get-group and get-groups. Some other API
methods write numbers as strings and lists as objects, so this module accepts both forms.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from http.client import responses
from typing import Any, TypeVar

from django.utils.translation import gettext as _

from ..exceptions import UnexpectedResponse, error_for
from ..ids import MAX_ID, parse_digits, parse_number

T = TypeVar("T")

_INDEX = re.compile(r"0|[1-9][0-9]{0,18}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class GroupData:
    """A group in an answer.

    ``id`` is from 1 to 2**63-1. ``count`` is the number of contacts in the group itself, without
    subgroups. The highest ``count`` is 2**31-1. ``children`` are the direct subgroups. In the
    vendor's samples, subgroups do not have ``children``. Source: the vendor's pages for get-group
    and get-groups.
    """

    id: int
    name: str
    count: int
    children: tuple[GroupData, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The ``group`` that the vendor returned for the id ``asked_for``.

    ``asked_at`` (aware, UTC) is when the request was sent. The answer describes the group at this
    time or later. The id of the group may differ from ``asked_for``: the sample request on the
    vendor's page for get-group asks for 5, but the sample answer contains 97101.
    """

    asked_for: int
    asked_at: datetime
    group: GroupData

    @property
    def is_alias(self) -> bool:
        return self.group.id != self.asked_for


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer to get-groups. ``asked_at`` (aware, UTC) is when the request was sent."""

    asked_at: datetime
    groups: tuple[GroupData, ...]

    @property
    def main_groups(self) -> tuple[GroupData, ...]:
        """The groups that are not subgroups of another group in the listing."""
        below = [child for group in self.groups for child in group.children]
        for group in below:
            below += group.children
        ids = {group.id for group in below}
        return tuple(group for group in self.groups if group.id not in ids)


@dataclass(frozen=True, slots=True)
class Absence:
    """The vendor answered 463 or 462: the group ``asked_for`` did not exist at ``asked_at``."""

    asked_for: int
    asked_at: datetime


Reply = Answer | Listing | Absence
"""The possible results of a request for groups."""


def read_answer(
    http_status: int,
    body: bytes,
    read: Callable[[dict[str, Any]], T],
    redact: Callable[[str], str] = str,
) -> T:
    """Parse an answer's ``response`` with ``read``, or raise the error that the answer reports.

    The code in the body takes precedence over ``http_status``, because the code may be more
    specific. Source: the vendor's error-code page. Raises UnexpectedResponse for an invalid answer,
    and the exception from ``error_for`` for an error code. ``redact`` removes credentials from the
    vendor's message.
    """
    document, flaw = _decode(body)
    code, message, code_flaw = _read_status(document)
    if code is None:
        code, flaw = http_status, flaw or code_flaw
        message = message or responses.get(code, "")
    message = _one_line(redact(message))
    if 300 <= code < 400:
        raise UnexpectedResponse(
            _(
                "iletimerkezi answered with a redirect (%s). Redirects are not followed, because "
                "they could send the credentials elsewhere: check ILETIMERKEZI_BASE_URL."
            )
            % code
        )
    if not 200 <= code < 300:
        raise error_for(code, message)
    if flaw:
        raise unexpected(flaw)
    response = _required(_object(document, _("the answer")), "response", "")
    try:
        return read(_object(response, "response"))
    except RecursionError:
        raise unexpected(_("it is nested too deeply")) from None


def read_group(response: dict[str, Any]) -> GroupData:
    """Parse the ``response`` of get-group. Source: the vendor's page for get-group."""
    return _group(_required(response, "group", "response."), "response.group", ())


def read_groups(response: dict[str, Any]) -> tuple[GroupData, ...]:
    """Parse the ``response`` of get-groups. Source: the vendor's page for get-groups."""
    path, groups = "response.groups", _required(response, "groups", "response.")
    # The vendor documented this form until 2024-09-30.
    if isinstance(groups, dict) and "group" in groups:
        path, groups = f"{path}.group", groups["group"]
    if groups is None:
        raise unexpected(_("%s is missing") % path)
    return tuple(_group(item, f"{path}[{index}]", ()) for index, item in _items(groups, path))


def unexpected(flaw: str) -> UnexpectedResponse:
    text = _("Invalid answer from iletimerkezi: %s.") % flaw
    advice = _("Check ILETIMERKEZI_BASE_URL, or look for a newer release of django-iletimerkezi.")
    return UnexpectedResponse(f"{text} {advice}")


def _decode(body: bytes) -> tuple[Any, str]:
    """Decode a JSON body. Returns the document and an empty string, or None and what is wrong."""
    if not body:
        return None, _("it is empty")
    try:
        text = body.decode("utf-8-sig")
        # ``int`` raises ValueError for NaN and Infinity, which JSON does not allow.
        return json.loads(text, parse_int=parse_digits, parse_constant=int), ""
    except RecursionError:
        return None, _("it is nested too deeply")
    except ValueError:
        return None, _("it is not JSON in UTF-8")


def _read_status(document: Any) -> tuple[int | None, str, str]:
    """Return the code and the message of ``response.status``, and what is wrong with the status."""
    response = document.get("response") if isinstance(document, dict) else None
    status = response.get("status") if isinstance(response, dict) else None
    if status is None:
        return None, "", ""
    if not isinstance(status, dict):
        return None, "", _("%s is not an object") % "response.status"
    code, message = status.get("code"), status.get("message")
    text = message if isinstance(message, str) else ""
    if code is None:
        return None, text, ""
    number = _number(code)
    if number is None or not 0 <= number <= MAX_ID:
        return None, text, _("%s is not a whole number") % "response.status.code"
    return number, text, ""


def _one_line(message: str) -> str:
    """Shorten a message to a single line without control characters."""
    plain = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in message)
    return " ".join(plain.split())[:200]


def _group(value: Any, path: str, above: tuple[int, ...]) -> GroupData:
    fields = _object(value, path)
    group_id = _whole_number(fields, "id", path, MAX_ID)
    if group_id == 0:
        raise unexpected(_("%s is 0") % f"{path}.id")
    if group_id in above:
        raise unexpected(_("%s is listed inside itself") % path)
    return GroupData(
        id=group_id,
        name=_name(fields, path),
        # This limit keeps the sum of all counts within a big integer.
        count=_whole_number(fields, "count", path, 2**31 - 1),
        children=tuple(
            _group(child, f"{path}.children[{index}]", (*above, group_id))
            for index, child in _items(fields.get("children"), f"{path}.children")
        ),
    )


def _items(value: Any, path: str) -> Iterable[tuple[object, Any]]:
    """Return the index and the value of each list item. PHP may write a list as an object."""
    if value is None:
        return ()
    if isinstance(value, list):
        return enumerate(value)
    if not isinstance(value, dict):
        raise unexpected(_("%s is not a list") % path)
    if not all(_INDEX.fullmatch(key) for key in value):
        raise unexpected(_("%s has a key that is not an index") % path)
    return value.items()


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unexpected(_("%s is not an object") % path)
    return value


def _required(fields: dict[str, Any], name: str, prefix: str) -> Any:
    if name not in fields:
        raise unexpected(_("%s is missing") % f"{prefix}{name}")
    return fields[name]


def _whole_number(fields: dict[str, Any], name: str, path: str, most: int) -> int:
    number = _number(_required(fields, name, f"{path}."))
    if number is None:
        raise unexpected(_("%s is not a whole number") % f"{path}.{name}")
    if not 0 <= number <= most:
        raise unexpected(_("%s is out of range") % f"{path}.{name}")
    return number


def _number(value: Any) -> int | None:
    """Parse an integer or a string of ASCII digits. Returns None for all other values."""
    if isinstance(value, str):
        return parse_number(value)
    return value if type(value) is int else None


def _name(fields: dict[str, Any], path: str) -> str:
    name = _required(fields, "name", f"{path}.")
    if not isinstance(name, str):
        raise unexpected(_("%s is not a string") % f"{path}.name")
    if _UNSTORABLE.search(name):
        raise unexpected(_("%s contains characters that no database can store") % f"{path}.name")
    return name
