"""The app's settings and their defaults, read from the project at each access."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from .api.base_url import base_url_flaw

# Never bind an unvalidated credential to a local variable: Django's error page prints the local
# variables of every frame.


_BASE_URL = "https://api.iletimerkezi.com/v1/"


class Settings:
    """The app's settings; a property raises ImproperlyConfigured if its setting is invalid."""

    @property
    def api_key(self) -> str:
        """The API key from the vendor's panel; empty if not set or None."""
        return _credential("ILETIMERKEZI_API_KEY")

    @property
    def api_hash(self) -> str:
        """The hash from the vendor's panel, to be sent as it is; empty if not set or None.

        Source: the vendor's authentication page.
        """
        return _credential("ILETIMERKEZI_API_HASH")

    @property
    def api_secret(self) -> str:
        """The secret key of older accounts, from which the hash is derived; empty if not set."""
        return _credential("ILETIMERKEZI_API_SECRET")

    @property
    def base_url(self) -> str:
        """The base URL of the API, with or without a trailing slash.

        The default is the address on the vendor's page for get-group.
        """
        flaw = base_url_flaw(_text("ILETIMERKEZI_BASE_URL", _BASE_URL))
        if flaw:
            raise ImproperlyConfigured(f"ILETIMERKEZI_BASE_URL {flaw}.")
        return _text("ILETIMERKEZI_BASE_URL", _BASE_URL)

    @property
    def timeout(self) -> float:
        """Seconds for one whole request, the answer's body included: above 0, at most 3600."""
        seconds = getattr(settings, "ILETIMERKEZI_TIMEOUT", 30)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise _wrong("ILETIMERKEZI_TIMEOUT", _("a number of seconds"), seconds)
        if not 0 < seconds <= 3600:
            raise ImproperlyConfigured(
                _("ILETIMERKEZI_TIMEOUT must be above 0 and at most 3600 seconds.")
            )
        return seconds

    @property
    def retries(self) -> int:
        """Retries after a temporary failure of a request: 0 to 100."""
        return _whole_number("ILETIMERKEZI_RETRIES", 2, range(101))

    @property
    def max_connections(self) -> int:
        """How many connections to the vendor one client keeps: 1 to 100."""
        return _whole_number("ILETIMERKEZI_MAX_CONNECTIONS", 4, range(1, 101))

    @property
    def has_credentials(self) -> bool:
        """Whether there is a key, and a hash or the secret to derive it from."""
        return bool(self.api_key and (self.api_hash or self.api_secret))

    @property
    def is_contradictory(self) -> bool:
        """Whether a hash and a secret are both set, which is ambiguous."""
        return bool(self.api_hash and self.api_secret)

    @property
    def effective_hash(self) -> str:
        """The hash to send. If only the secret is set, derived as in roadrunner/iletimerkezi-php:
        lower-case hexadecimal HMAC-SHA256 of the key, keyed with the secret. The vendor's page for
        get-group says only that the hash is made from key and secret.
        """
        if not self.has_credentials:
            raise ImproperlyConfigured(missing_credentials())
        if self.is_contradictory:
            raise ImproperlyConfigured(contradictory_credentials())
        return (
            self.api_hash
            or hmac.new(_bytes(self.api_secret), _bytes(self.api_key), hashlib.sha256).hexdigest()
        )


conf = Settings()


def missing_credentials() -> str:
    return _(
        "The credentials of iletimerkezi are missing: "
        "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH."
    )


def contradictory_credentials() -> str:
    return _("ILETIMERKEZI_API_HASH and ILETIMERKEZI_API_SECRET are both set: keep one of them.")


def _credential(name: str) -> str:
    """Return a credential; empty if unset or None, as from ``os.environ.get``."""
    if getattr(settings, name, None) is None:
        return ""
    if _text(name, "") != _text(name, "").strip():
        raise ImproperlyConfigured(_("%s starts or ends with whitespace.") % name)
    return _text(name, "")


def _text(name: str, default: str) -> str:
    if not isinstance(getattr(settings, name, default), str):
        raise _wrong(name, _("a string"), getattr(settings, name))
    # Convert lazy strings, which JSON rejects.
    return str(getattr(settings, name, default))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _whole_number(name: str, default: int, allowed: range) -> int:
    number = getattr(settings, name, default)
    if isinstance(number, bool) or not isinstance(number, int):
        raise _wrong(name, _("a whole number"), number)
    if number not in allowed:
        raise ImproperlyConfigured(
            _("%(name)s must be from %(least)s to %(most)s.")
            % {"name": name, "least": allowed[0], "most": allowed[-1]}
        )
    return number


def _wrong(name: str, wanted: str, value: Any) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        _("%(name)s must be %(wanted)s, not of type %(type)s.")
        % {"name": name, "wanted": wanted, "type": type(value).__name__}
    )
