"""The vendor's API over HTTP: requests, retries and deadlines.

Reads no settings: ``services.get_client`` passes them in.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import random
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import requests
from django.utils.translation import gettext as _
from requests.utils import select_proxy
from urllib3.exceptions import HTTPError

from .. import __version__
from ..exceptions import IletimerkeziError, ServiceUnavailable, UnexpectedResponse
from .base_url import base_url_flaw
from .errors import explain
from .parsing import BIGGEST, Answer, GroupData, read_answer
from .transport import Deadline, DeadlineAdapter, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("django_iletimerkezi")

LONGEST_BODY = 16 * 2**20
"""Bytes of an answer, unpacked, beyond which it is refused."""

LONGEST_WAIT = 120
"""Seconds of a ``Retry-After`` beyond which it is not waited for."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30
_SHORTEST_TRY = 0.1
_CHUNK = 64 * 2**10
_A_YEAR = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Credentials:
    """The account's API key and hash, in an object so that no repr and no error page shows them.

    Both are sent as they are. Source: the vendor's authentication page, by which the hash comes
    ready-made from the panel.
    """

    key: str = field(repr=False)
    hash: str = field(repr=False)

    def redact(self, text: str) -> str:
        """Return a text with three asterisks in place of key and hash."""
        # The longer one first: it may contain the other.
        for value in sorted(filter(None, (self.key, self.hash)), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


class IletimerkeziClient:
    """A client of the JSON API; a context manager that closes its connections at the end.

    ``timeout`` is in seconds and for one whole request from connect to the last byte of the
    answer; ``retries`` is how often a request is repeated where that can help: after 429, 502,
    503 and 504, a timeout, and a connection that failed. One client may be used by several
    threads, ``max_connections`` requests at a time.

    Raises ValueError for a ``base_url`` that is neither https nor http to loopback.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str,
        timeout: float,
        retries: int,
        max_connections: int,
    ) -> None:
        flaw = base_url_flaw(base_url)
        if flaw:
            raise ValueError(f"base_url {flaw}")
        self._credentials = credentials
        self._url = f"{base_url.rstrip('/')}/get-group/json"
        self._host = urlsplit(base_url).netloc
        self._timeout = timeout
        self._retries = retries
        self.max_connections = max_connections
        self._session = _session(self._url, max_connections)
        # Taken before the time of a request is, so that no request waits after that.
        self._slots = threading.BoundedSemaphore(max_connections)
        self._resume_at = 0.0
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client cannot be used after that."""
        self._closed.set()
        self._session.close()

    def get_group(self, group_id: int) -> GroupData:
        """Return what the vendor says about one group and its direct subgroups.

        Raises ValueError for an id outside 1 to 2**63-1, RuntimeError on a closed client, and
        ``IletimerkeziError``: its subclasses tell what happened. Source: the vendor's page for
        get-group.
        """
        return self.ask(group_id).group

    @property
    def uses_proxy(self) -> bool:
        """Whether requests go through a proxy, as the environment may say."""
        options = self._session.merge_environment_settings(self._url, {}, None, None, None)
        return select_proxy(self._url, options["proxies"]) is not None

    def ask(self, group_id: int, *, within: float = math.inf) -> Answer:
        """Do as ``get_group`` does, errors included, and tell also when the request was sent.

        ``within`` is how many seconds all attempts may take together; the last one's error is
        raised as soon as there is no time for another.
        """
        is_number = isinstance(group_id, int) and not isinstance(group_id, bool)
        if not is_number or not 1 <= group_id <= BIGGEST:
            raise ValueError(f"a group id is a whole number between 1 and {BIGGEST}")
        attempt, end = 0, monotonic() + within
        while True:
            try:
                with self._slots:
                    self._wait(0)
                    while (seconds := self._resume_at - monotonic()) > 0:
                        self._wait(seconds)
                    left = max(round(end - monotonic(), 1), _SHORTEST_TRY)
                    return self._ask_once(group_id, min(self._timeout, left))
            except ServiceUnavailable as error:
                pause = self._pause(error, attempt)
                if attempt >= self._retries or not error.temporary or monotonic() + pause >= end:
                    raise
                logger.info("get-group %s: attempt %s failed: %s", group_id, attempt + 1, error)
            self._wait(pause)
            attempt += 1

    def _pause(self, error: ServiceUnavailable, attempt: int) -> float:
        """Return the seconds to wait before the next attempt: ever longer, or as the vendor says.

        What the vendor says goes for all threads, and is not waited for if it is too long.
        """
        asked = error.retry_after or 0
        if asked > LONGEST_WAIT:
            error.hits_every_request = error.temporary
            error.temporary = False
            return 0
        backoff = min(_FIRST_PAUSE * 2.0 ** min(attempt, 10), _LONGEST_PAUSE)
        pause = max(backoff * random.uniform(0.5, 1), asked)  # noqa: S311 - no secret
        if error.is_throttled or asked:
            self._resume_at = max(self._resume_at, monotonic() + pause)
        return pause

    def _wait(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise RuntimeError("the client is closed")

    def _ask_once(self, group_id: int, seconds: float) -> Answer:
        asked_at = datetime.now(UTC)
        outcome = self._exchange(group_id, seconds)
        if isinstance(outcome, IletimerkeziError):
            outcome.asked_at = asked_at
            raise outcome
        return Answer(group_id, asked_at, outcome)

    def _exchange(self, group_id: int, seconds: float) -> GroupData | IletimerkeziError:
        """Return the group or what to raise.

        Nothing is raised from here, where request and answer stand in local variables and in
        the errors of requests: an error page prints the former, and an exception keeps the latter.
        """
        retry_after = None
        try:
            with self._post(group_id, seconds) as response:
                retry_after = _retry_after(response.headers)
                body = _read(response)
            logger.debug("get-group %s: HTTP %s", group_id, response.status_code)
            return read_answer(response.status_code, body, self._credentials.redact)
        except (OSError, HTTPError, UnicodeError) as error:
            failure = explain(error, self._host, seconds)
        except IletimerkeziError as error:
            failure = error.with_traceback(None)
        if isinstance(failure, ServiceUnavailable):
            failure.retry_after = retry_after
        return failure

    def _post(self, group_id: int, seconds: float) -> requests.Response:
        request = self._blank.copy()
        request.prepare_body(self._envelope(group_id), None)
        options = self._session.merge_environment_settings(
            self._url, {}, stream=True, verify=None, cert=None
        )
        return self._session.send(
            request,
            **options,
            allow_redirects=False,
            # The stubs of requests do not know that urllib3's Timeout is taken too.
            timeout=Deadline(seconds),  # type: ignore[arg-type]  # said above
        )

    @functools.cached_property
    def _blank(self) -> requests.PreparedRequest:
        """The request without its body: the same for all, and a quarter of what one costs."""
        headers = {"Content-Type": "application/json"}
        return self._session.prepare_request(requests.Request("POST", self._url, headers))

    def _envelope(self, group_id: int) -> bytes:
        text = json.dumps(
            {
                "request": {
                    "authentication": {
                        "key": self._credentials.key,
                        "hash": self._credentials.hash,
                    },
                    "group": {"id": group_id},
                }
            }
        )
        return Secret(text, "ascii")


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none: requests reads a redirect's whole body, and parses where it leads to."""


def _session(url: str, max_connections: int) -> requests.Session:
    session = _Session()
    # Without it requests would send what a netrc file has for the host.
    session.auth = _no_auth
    session.headers["User-Agent"] = f"django-iletimerkezi/{__version__}"
    session.headers["Accept"] = "application/json"
    # None is ever sent, and they would pile up.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # Without TLS only loopback is allowed, and a proxy from the environment is not loopback.
    session.trust_env = urlsplit(url).scheme == "https"
    adapter = DeadlineAdapter(max_connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > LONGEST_BODY:
                raise UnexpectedResponse(
                    _("The answer from iletimerkezi makes no sense: it is longer than %s bytes.")
                    % LONGEST_BODY
                )
    except requests.exceptions.ContentDecodingError:
        if response.ok:
            raise
        return b""  # The HTTP status says enough.
    return bytes(body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait; None without a sound one."""
    value = headers.get("Retry-After", "").strip()
    try:
        if value.isascii() and value.isdigit():
            return min(float(value), _A_YEAR)
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), _A_YEAR)
