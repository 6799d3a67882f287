"""What an answer says, and how its bytes become that. Pure: no network, no database.

Facts about the vendor are from its page for get-group, tolerance for what that page does not
promise from the habits of its sibling methods: numbers may come as strings, lists as objects.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from http.client import responses
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from ..exceptions import UnexpectedResponse, error_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

BIGGEST = 2**63 - 1
"""The largest id and count that a database's big integer holds."""

DEEPEST = 100
"""How many groups may stand inside one another in one answer."""

_LONGEST_MESSAGE = 200
_MANY_DIGITS = 40
_INDEX = re.compile(r"0|[1-9][0-9]{0,18}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def read_id(text: str) -> int:
    """Return the id of a group that a person or a URL gives; raise ValueError if it is none."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(BIGGEST)):
        number = int(text)
        if 1 <= number <= BIGGEST:
            return number
    raise ValueError("not the id of a group")


@dataclass(frozen=True, slots=True)
class GroupData:
    """A group as one answer describes it.

    ``id`` is from 1 to 2**63-1. ``count`` is the number of contacts in the group itself, without
    its subgroups. ``children`` are its direct subgroups as far as the answer lists them: those
    have none of their own in the vendor's sample. Source: the vendor's page for get-group.
    """

    id: int
    name: str
    count: int
    children: tuple[GroupData, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The ``group`` that the vendor described when it was ``asked_for`` an id.

    ``asked_at`` (aware, UTC) is when the request was sent: what the answer says was true then
    or later. The group's id can be another than the one asked for: the sample on the vendor's
    page for get-group asks for 5 and answers 97101.
    """

    asked_for: int
    asked_at: datetime
    group: GroupData


def count_mentions(group: GroupData) -> int:
    """Count a group and all that it has inside."""
    return 1 + sum(count_mentions(child) for child in group.children)


@dataclass(frozen=True, slots=True)
class Absence:
    """The vendor's word, its code 463, that there was no group ``asked_for`` at ``asked_at``."""

    asked_for: int
    asked_at: datetime


def read_answer(
    http_status: int, body: bytes, redact: Callable[[str], str] = lambda text: text
) -> GroupData:
    """Return the group in an answer, or raise what the answer amounts to.

    The code in the body wins over ``http_status``, which counts alone where the body has none:
    the vendor's page for get-group says that they are the same. Raises UnexpectedResponse for an
    answer that makes no sense, and otherwise what ``error_for`` has for its code.
    ``redact`` is applied to the vendor's message before it gets into an exception.
    """
    document, flaw = _decode(body)
    code, message, code_flaw = _read_status(document)
    if code is None:
        code, flaw = http_status, flaw or code_flaw
        message = message or responses.get(code, "")
    message = _visible(redact(message))
    if 300 <= code < 400:
        raise UnexpectedResponse(
            _(
                "iletimerkezi answered with a redirect (%s), which is not followed because "
                "the credentials would go along: check ILETIMERKEZI_BASE_URL."
            )
            % code
        )
    if not 200 <= code < 300:
        raise error_for(code, message)
    if flaw:
        raise _unexpected(flaw)
    return _read_group(document)


def _unexpected(flaw: str) -> UnexpectedResponse:
    return UnexpectedResponse(_("The answer from iletimerkezi makes no sense: %s.") % flaw)


def _decode(body: bytes) -> tuple[Any, str]:
    """Return the JSON document and, where there is none, what is wrong with the body."""
    if not body:
        return None, _("it is empty")
    try:
        text = body.decode("utf-8-sig")
        return json.loads(text, parse_int=_parse_int, parse_constant=_refuse_constant), ""
    except RecursionError:
        return None, _("it is nested too deeply")
    except ValueError:
        return None, _("it is not JSON in UTF-8")


def _parse_int(digits: str) -> int:
    # Python refuses to read very long numbers; here they are no worse than others out of range.
    return int(digits[:_MANY_DIGITS])


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _read_status(document: Any) -> tuple[int | None, str, str]:
    """Return code and message of the envelope, and why a code that is there cannot be read."""
    response = document.get("response") if isinstance(document, dict) else None
    status = response.get("status") if isinstance(response, dict) else None
    if not isinstance(status, dict):
        return None, "", ""
    code, message = status.get("code"), status.get("message")
    text = message if isinstance(message, str) else ""
    if code is None:
        return None, text, ""
    number = _number(code)
    if number is None or not 0 <= number <= BIGGEST:
        return None, text, _("%s is not a whole number") % "response.status.code"
    return number, text, ""


def _visible(message: str) -> str:
    """Return the message on one line, without control characters, cut to a decent length."""
    plain = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in message)
    return " ".join(plain.split())[:_LONGEST_MESSAGE]


def _read_group(document: Any) -> GroupData:
    response = _required(_object(document, _("the answer")), "response", "")
    group = _required(_object(response, "response"), "group", "response.")
    return _group(group, "response.group", ())


def _group(value: Any, path: str, above: tuple[int, ...]) -> GroupData:
    fields = _object(value, path)
    group_id = _whole_number(fields, "id", path)
    if group_id == 0:
        raise _unexpected(_("%s is 0") % f"{path}.id")
    if group_id in above:
        raise _unexpected(_("%s is listed inside itself") % path)
    if len(above) == DEEPEST:
        raise _unexpected(_("%s is nested too deeply") % path)
    inside = (*above, group_id)
    return GroupData(
        id=group_id,
        name=_name(fields, path),
        count=_whole_number(fields, "count", path),
        children=tuple(
            _group(child, f"{path}.children[{index}]", inside)
            for index, child in _items(fields.get("children"), f"{path}.children")
        ),
    )


def _items(value: Any, path: str) -> Iterable[tuple[object, Any]]:
    """Return index and value of each item of a list, in each of PHP's ways to write one."""
    if value is None:
        return ()
    if isinstance(value, list):
        return enumerate(value)
    if not isinstance(value, dict):
        raise _unexpected(_("%s is not a list") % path)
    if not all(_INDEX.fullmatch(key) for key in value):
        raise _unexpected(_("%s has a key that is not an index") % path)
    return value.items()


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected(_("%s is not an object") % path)
    return value


def _required(fields: dict[str, Any], name: str, prefix: str) -> Any:
    if name not in fields:
        raise _unexpected(_("%s is missing") % f"{prefix}{name}")
    return fields[name]


def _whole_number(fields: dict[str, Any], name: str, path: str) -> int:
    number = _number(_required(fields, name, f"{path}."))
    if number is None:
        raise _unexpected(_("%s is not a whole number") % f"{path}.{name}")
    if not 0 <= number <= BIGGEST:
        raise _unexpected(_("%s is out of range") % f"{path}.{name}")
    return number


def _number(value: Any) -> int | None:
    """Return what an integer or a string of ASCII digits stands for; None for all else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value.lstrip("0")[:_MANY_DIGITS] or "0")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


def _name(fields: dict[str, Any], path: str) -> str:
    name = _required(fields, "name", f"{path}.")
    if not isinstance(name, str):
        raise _unexpected(_("%s is not a string") % f"{path}.name")
    if _UNSTORABLE.search(name):
        raise _unexpected(_("%s has characters that no database can hold") % f"{path}.name")
    return name
