"""Pictures of a training run: six panels of metrics, four more of drift."""

from utils.training.dashboard.dashboard import Dashboard

__all__ = ["Dashboard"]
