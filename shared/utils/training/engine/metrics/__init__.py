"""The numbers of a run: logged, judged, told, and handed out as one table."""

from utils.training.drift_metrics import DriftMetrics
from utils.training.engine.metrics.alerts import Alert, AlertCallback, AlertConfig
from utils.training.engine.metrics.confidence import ConfidenceMetrics
from utils.training.engine.metrics.engine import SUMMARY_COLUMNS, MetricsEngine

__all__ = [
    "SUMMARY_COLUMNS",
    "Alert",
    "AlertCallback",
    "AlertConfig",
    "ConfidenceMetrics",
    "DriftMetrics",
    "MetricsEngine",
]
