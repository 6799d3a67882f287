"""Draws the contacts of a group over time as SVG. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from django.utils.html import format_html
from django.utils.safestring import SafeString

# The view box of 600 by 100 is stretched to fit the page. A margin of 5 keeps the dots inside.
_CHART = """<svg class="iletimerkezi-chart" role="img" aria-label="{label}" \
viewBox="0 0 600 100" preserveAspectRatio="none">
<path class="iletimerkezi-line" d="{line}" vector-effect="non-scaling-stroke"/>
<path class="iletimerkezi-dots" d="{dots}" vector-effect="non-scaling-stroke"/>
</svg>"""


class Point(NamedTuple):
    """A number of contacts. ``since`` is the time of the change to this number, if known."""

    since: datetime | None
    contacts: int


def draw(points: Sequence[Point], until: datetime, label: str) -> SafeString:
    """Draw a step line through at least two points.

    If the time of the first point is unknown, the line begins at the time of the second point. A
    later point with an unknown time is drawn at the end of the line.
    """
    numbers = [point.contacts for point in points]
    lowest, highest = min(numbers), max(numbers)
    start = points[0].since or points[1].since or until
    seconds = (until - start).total_seconds() or 1

    def x(moment: datetime) -> float:
        # Machine clocks differ, so the time of a change can be in the future.
        share = min(max((moment - start).total_seconds() / seconds, 0), 1)
        return round(5 + share * 590, 1)

    def y(contacts: int) -> float:
        share = (contacts - lowest) / ((highest - lowest) or 1)
        return round(95 - share * 90, 1)

    times = [start, *(point.since or until for point in points[1:])]
    places = [(x(at), y(point.contacts)) for at, point in zip(times, points, strict=True)]
    steps = "".join(f"H{right}V{end}" for _, (right, end) in pairwise(places))
    return format_html(
        _CHART,
        label=label,
        line=f"M{places[0][0]} {places[0][1]}{steps}H{x(until)}",
        # A line of length zero with round ends is drawn as a dot.
        dots="".join(f"M{left} {top}h0" for left, top in places),
    )
