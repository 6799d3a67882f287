"""A client for the vendor's API. Uses neither Django models nor this app's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Credentials, IletimerkeziClient
    from .parsing import Answer, GroupData, Listing

__all__ = ["Answer", "Credentials", "GroupData", "IletimerkeziClient", "Listing"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Import late: each manage.py command imports this package, and importing requests is slow.
    from . import client  # noqa: PLC0415 - see above

    return getattr(client, name)
