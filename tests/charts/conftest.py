"""The chart, rendered by a real Helm once for each case."""

from __future__ import annotations

from functools import cache

import pytest

from tests.charts.helm import CASES, render, values_of
from tests.charts.release import Release


@cache
def rendered(case):
    return Release(render(*values_of(case)))


@pytest.fixture(params=CASES)
def release(request):
    """Each case's objects in turn."""
    return rendered(request.param)


@pytest.fixture
def release_of():
    """A function from a case to its objects."""
    return rendered
