"""Clients of the vendors that tests start."""

from __future__ import annotations

from typing import Any

import pytest

from django_iletimerkezi.api import Credentials, IletimerkeziClient
from django_iletimerkezi.api.parsing import Answer
from django_iletimerkezi.mirror.crawl import Crawl, Failure, Frontier

from .forest import Forest
from .vendor import HASH, KEY


def make_client(
    url: str, *, timeout: float = 5, retries: int = 0, max_connections: int = 2
) -> IletimerkeziClient:
    return IletimerkeziClient(
        Credentials(KEY, HASH),
        base_url=url,
        timeout=timeout,
        retries=retries,
        max_connections=max_connections,
    )


def forest(links: Any, **options: Any) -> Forest:
    """Return a forest with the credentials of ``make_client``."""
    return Forest(links, key=KEY, hash=HASH, **options)


def crawl(client: IletimerkeziClient, root: Answer, depth: int | None = None) -> Crawl:
    frontier = Frontier(depth, asked=[root.asked_for])
    frontier.add(root.group)
    return Crawl(
        client.ask_group,
        frontier,
        probe=lambda: client.ask_group(root.asked_for),
        workers=client.max_connections,
    )


def crawl_all(
    client: IletimerkeziClient, *, root: int = 1, depth: int | None = None
) -> list[Answer | Failure]:
    return list(crawl(client, client.ask_group(root), depth))


def set_backoff(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Make the first pause between attempts last half of ``factor`` seconds. Later pauses double.

    The factor is otherwise a random number from 0.5 to 1.
    """
    monkeypatch.setattr("random.uniform", lambda least, most: factor)
