"""Take the screenshot for the README: ``make screenshots``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from django_iletimerkezi.models import Group
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import Sandbox

from .conftest import Open

TARGET = Path(__file__).resolve().parents[2] / "docs" / "tree.png"


def test_the_tree_of_the_sample_phone_book(open_page: Open, sandbox: Sandbox) -> None:
    fetch_group(1000, recursive=True)
    now = timezone.now()
    Group.objects.update(fetched_at=now - timedelta(hours=3))
    Group.objects.filter(pk=1332).update(missing_since=now - timedelta(days=2))
    page = open_page("django_iletimerkezi/group/", viewport={"width": 1280, "height": 820})
    page.locator('tr[data-id="1240"] .iletimerkezi-toggle').click()
    page.mouse.move(0, 0)
    page.locator("body").click(position={"x": 5, "y": 5})
    TARGET.parent.mkdir(exist_ok=True)
    page.screenshot(path=TARGET)
