"""Waiting in tests: for as long as a slow, busy machine may take, and no longer than needed."""

import time


def wait_until(is_so, seconds=120):
    """Wait until something is so, and give what it is; fail where it never comes about."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"it did not come about in {seconds} s"
        time.sleep(0.05)
    return found
