"""Whether a challenger may replace the champion: decided on the same samples, and recorded."""

from typing import TYPE_CHECKING

from utils.training.lazy import lazily
from utils.training.promotion_gate.decision import GatePolicy, Measurement, Verdict, decide

if TYPE_CHECKING:
    from utils.training.promotion_gate.store import GateClosedError, VerdictStore

__all__ = ["GateClosedError", "GatePolicy", "Measurement", "Verdict", "VerdictStore", "decide"]

__getattr__ = lazily(__name__, {"GateClosedError": "store", "VerdictStore": "store"})
