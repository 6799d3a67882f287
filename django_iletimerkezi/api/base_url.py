"""Which base URLs may be trusted with credentials: one rule for settings and for clients."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from django.utils.translation import gettext as _

_PLACE = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d*)?")


def base_url_flaw(url: str) -> str:
    """Say what is wrong with ``url``; empty if it is https, or http to a loopback host."""
    if any(character in " @\\?#" or not character.isprintable() for character in url):
        return _("must be a plain URL without user, query, fragment or whitespace")
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        return _("must be a URL such as https://api.iletimerkezi.com/v1/")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        return _("must start with https:// because it receives the credentials")
    return ""


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        place = parts.netloc.lower().encode("idna").decode()
        parts.port  # noqa: B018 - a property that raises if the port is no number
    except ValueError:
        return None
    return parts if _PLACE.fullmatch(place) else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
