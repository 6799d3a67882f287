from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

# Playwright keeps an event loop in this thread; the database is not used from within it.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

Open = Callable[..., Page]

PATIENCE = 30_000
"""Milliseconds until a test gives up; a busy machine may need many of them."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: install the package of this name"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, live_server: Any, transactional_db: None) -> Iterator[Open]:
    """Open pages as a superuser. Messages on the console and dialogs fail the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(path: str = "", *, log_in: bool = True, **options: Any) -> Page:
        options = {
            "viewport": {"width": 1280, "height": 900},
            "base_url": live_server.url,
        } | options
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        if log_in:
            user, _ = User.objects.get_or_create(
                username="demo", is_staff=True, is_superuser=True, is_active=True
            )
            client = Client()
            client.force_login(user)
            cookie = client.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
        page = context.new_page()
        if not hasattr(settings, "THEME"):  # Themes write to the console too.
            page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(f"/admin/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    # Threads of the server close the database, which they may not do once the server has stopped.
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(PATIENCE / 1000)
    assert complaints == []
