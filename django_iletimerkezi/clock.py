"""A monotonic clock that keeps running while a test freezes the time."""

import time
from functools import partial

monotonic = partial(time.monotonic)
"""A partial, because freezegun replaces ``time.monotonic`` in modules that import this function.

The replacement chooses the real or the frozen clock by the call stack, so the threads of a fetch
would read different clocks.
"""
