"""A client for the vendor's API. Needs no Django models and none of this app's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .parsing import Answer, GroupData, Listing

if TYPE_CHECKING:
    from .client import Credentials, IletimerkeziClient

__all__ = ["Answer", "Credentials", "GroupData", "IletimerkeziClient", "Listing"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not at the top, because the client imports requests, which slows the start of every command.
    from . import client  # noqa: PLC0415 - see above

    return getattr(client, name)
