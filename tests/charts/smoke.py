"""The script that `helm test` runs, as a module."""

from __future__ import annotations

import importlib.util
import sys

from tests.charts.helm import CHART

_spec = importlib.util.spec_from_file_location("chart_smoke", CHART / "smoke" / "smoke.py")
smoke = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = smoke  # where pydantic looks its annotations up
_spec.loader.exec_module(smoke)
