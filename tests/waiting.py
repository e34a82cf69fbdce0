"""Waiting in tests: for as long as a slow, busy machine may take, and no longer than needed."""

import time

import pytest


def wait_until(is_so, seconds=120, told=None):
    """Wait until something is so, and give what it is; fail where it never comes about.

    ``told`` then tells what went wrong, such as the end of a log.
    """
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        if time.monotonic() > deadline:
            pytest.fail(f"It did not come about in {seconds} s.\n{told() if told else ''}")
        time.sleep(0.05)
    return found
