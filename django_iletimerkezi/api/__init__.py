"""The vendor's API without a mirror: needs no Django model and reads no setting."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Credentials, IletimerkeziClient
    from .parsing import Answer, GroupData

__all__ = ["Answer", "Credentials", "GroupData", "IletimerkeziClient"]

_MODULES = {
    "Answer": "parsing",
    "Credentials": "client",
    "GroupData": "parsing",
    "IletimerkeziClient": "client",
}


def __getattr__(name: str) -> Any:
    # Lazy, because the client imports requests, which slows the start of every command.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
