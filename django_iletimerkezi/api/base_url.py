"""Checks the base URLs of settings and clients, because a base URL receives the credentials."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

_PLACE = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d*)?")


def base_url_flaw(url: str) -> str:
    """Return what is wrong with ``url``, or an empty string for a valid URL.

    A valid URL uses https, or http to a loopback host.
    """
    if any(character in " @\\?#" or not character.isprintable() for character in url):
        return _("must be a plain URL without user, query, fragment or whitespace")
    try:
        parts = urlsplit(url)
        place = parts.netloc.lower().encode("idna").decode()
        parts.port  # noqa: B018 - raises ValueError for an invalid port
    except ValueError:
        place = ""
    if not _PLACE.fullmatch(place) or parts.scheme not in ("http", "https"):
        return _("must be a URL such as https://api.iletimerkezi.com/v1/")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        return _("must start with https:// because it receives the credentials")
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
