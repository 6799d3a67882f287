"""Seconds of real time, even while a test has stopped the clock."""

import time
from functools import partial

monotonic = partial(time.monotonic)
"""A partial, because freezegun replaces ``time.monotonic`` in each module that has imported it.

Its replacement chooses the real or the frozen clock by the call stack, so the threads of a fetch
would read different clocks.
"""
