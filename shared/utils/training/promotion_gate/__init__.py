"""Whether a challenger may replace the champion: decided on the same samples, and recorded."""

from utils.training.promotion_gate.decision import GatePolicy, Measurement, Verdict, decide
from utils.training.promotion_gate.store import GateClosedError, VerdictStore

__all__ = ["GateClosedError", "GatePolicy", "Measurement", "Verdict", "VerdictStore", "decide"]
