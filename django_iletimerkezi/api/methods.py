"""The methods of the vendor's API. Each method has a path, a request body and a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from . import parsing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Method(Generic[T]):
    """A method of the vendor's API.

    ``path`` is relative to the base URL. ``body`` builds the request, to which the client adds the
    credentials. ``read`` parses the ``response`` of a successful answer.
    """

    path: str
    body: Callable[..., dict[str, Any]]
    read: Callable[[dict[str, Any]], T]

    def describe(self, *args: object) -> str:
        """Return the name of a request for the log, for example “get-group 5”."""
        return " ".join([self.path.partition("/")[0], *map(str, args)])


GET_GROUP = Method(
    "get-group/json", lambda group_id: {"group": {"id": group_id}}, parsing.read_group
)
"""Source: the vendor's page for get-group."""

GET_GROUPS = Method("get-groups/json", dict, parsing.read_groups)
"""The request contains only the authentication. Source: the vendor's page for get-groups."""
