"""The app's settings and their defaults, read from the project's settings at each access."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from .api.base_url import base_url_flaw

if TYPE_CHECKING:
    from .api import IletimerkeziClient

# Never bind an unvalidated credential to a local variable, because Django's error page prints the
# local variables of every frame.

_BASE_URL = "https://api.iletimerkezi.com/v1/"


class Settings:
    """The app's settings. A property raises ImproperlyConfigured if its setting is invalid."""

    @property
    def api_key(self) -> str:
        """The API key from the vendor's panel. Empty if not set or None."""
        return _credential("ILETIMERKEZI_API_KEY")

    @property
    def api_hash(self) -> str:
        """The hash from the vendor's panel, sent unchanged. Empty if not set or None.

        Source: the vendor's authentication page.
        """
        return _credential("ILETIMERKEZI_API_HASH")

    @property
    def api_secret(self) -> str:
        """The secret key of older accounts, from which the hash is derived. Empty if not set."""
        return _credential("ILETIMERKEZI_API_SECRET")

    @property
    def base_url(self) -> str:
        """The base URL of the API, with or without a trailing slash.

        The default is the address on the vendor's page for get-group.
        """
        if flaw := base_url_flaw(_text("ILETIMERKEZI_BASE_URL", _BASE_URL)):
            raise ImproperlyConfigured(f"ILETIMERKEZI_BASE_URL {flaw}.")
        return _text("ILETIMERKEZI_BASE_URL", _BASE_URL)

    @property
    def timeout(self) -> float:
        """Seconds for a whole request, including the answer's body. Above 0 and at most 3600."""
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
        """Number of retries after a temporary error, from 0 to 100."""
        return _whole_number("ILETIMERKEZI_RETRIES", 2, range(101))

    @property
    def max_connections(self) -> int:
        """Number of connections to the vendor per client, from 1 to 100."""
        return _whole_number("ILETIMERKEZI_MAX_CONNECTIONS", 4, range(1, 101))

    @property
    def keep_fetches_days(self) -> int | None:
        """Days after which ``manage.py prune_fetches`` deletes a fetch, or None to keep all."""
        name = "ILETIMERKEZI_KEEP_FETCHES_DAYS"
        if getattr(settings, name, 90) is None:
            return None
        return _whole_number(name, 90, range(1, 36_501))  # A century.

    @property
    def task_seconds(self) -> int:
        """Seconds that a background task works on a fetch before it queues the fetch again."""
        return _whole_number("ILETIMERKEZI_TASK_SECONDS", 120, range(1, 86_401))  # A day.

    @property
    def task_backend(self) -> str:
        """The alias of the backend in ``TASKS`` that runs fetches in the background."""
        return _text("ILETIMERKEZI_TASK_BACKEND", "default")

    @property
    def task_queue(self) -> str:
        """The backend's queue for fetches in the background."""
        return _text("ILETIMERKEZI_TASK_QUEUE", "default")

    @property
    def enqueue(self) -> Callable[[int], object] | None:
        """The host's function that queues a fetch by its id, or None to use Django's tasks."""
        if getattr(settings, "ILETIMERKEZI_ENQUEUE", None) is None:
            return None
        path = _text("ILETIMERKEZI_ENQUEUE", "")
        try:
            found = import_string(path)
        except Exception as error:  # noqa: BLE001 - the host's module may raise anything
            raise ImproperlyConfigured(f"ILETIMERKEZI_ENQUEUE: {error}.") from None
        if not callable(found):
            raise ImproperlyConfigured(_("ILETIMERKEZI_ENQUEUE: %s is not a function.") % path)
        return cast("Callable[[int], object]", found)

    @property
    def has_credentials(self) -> bool:
        """Whether the settings contain a key, and at least one of a hash and a secret."""
        return bool(self.api_key and (self.api_hash or self.api_secret))

    @property
    def is_contradictory(self) -> bool:
        """Whether a hash and a secret are both set, which is ambiguous."""
        return bool(self.api_hash and self.api_secret)

    @property
    def effective_hash(self) -> str:
        """The hash to send.

        If only the secret is set, the hash is the HMAC-SHA256 of the key with this secret, in
        lower-case hexadecimal digits. Source: roadrunner/iletimerkezi-php, because the vendor's
        page for get-group says only that the hash is made from key and secret.
        """
        if not self.has_credentials:
            raise ImproperlyConfigured(missing_credentials())
        if self.is_contradictory:
            raise ImproperlyConfigured(contradictory_credentials())
        if self.api_hash:
            return self.api_hash
        return hmac.digest(_bytes(self.api_secret), _bytes(self.api_key), "sha256").hex()


conf = Settings()


def get_client() -> IletimerkeziClient:
    """Return a client with the current settings. The caller must close the client.

    Raises ImproperlyConfigured if settings are missing, invalid or contradictory.
    """
    # Import here, because requests is slow to import, and the admin and the commands import this
    # module at startup.
    from .api import Credentials, IletimerkeziClient  # noqa: PLC0415 - see above

    return IletimerkeziClient(
        Credentials(conf.api_key, conf.effective_hash),
        base_url=conf.base_url,
        timeout=conf.timeout,
        retries=conf.retries,
        max_connections=conf.max_connections,
    )


def missing_credentials() -> str:
    return _(
        "The credentials of iletimerkezi are missing: "
        "set ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH."
    )


def contradictory_credentials() -> str:
    return _("ILETIMERKEZI_API_HASH and ILETIMERKEZI_API_SECRET are both set: keep only one.")


def _credential(name: str) -> str:
    """Return a credential. Empty if the setting is missing or None, as from ``os.environ.get``."""
    if getattr(settings, name, None) is None:
        return ""
    if _text(name, "") != _text(name, "").strip():
        raise ImproperlyConfigured(_("%s starts or ends with whitespace.") % name)
    return _text(name, "")


def _text(name: str, default: str) -> str:
    if not isinstance(getattr(settings, name, default), str):
        raise _wrong(name, _("a string"), getattr(settings, name))
    # Convert lazy strings, because json.dumps rejects them.
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
        _("%(name)s must be %(wanted)s, but is of type %(type)s.")
        % {"name": name, "wanted": wanted, "type": type(value).__name__}
    )
