"""What serving tells the monitor: summaries on a bounded stream, never the inputs themselves."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from utils.service.contracts.document import Request
from utils.service.contracts.jobs import MODEL_NAME

STREAM = "training:predictions"
STREAM_LENGTH = 100_000  # entries; the oldest make room
PROMOTIONS = "training:promotions"  # a nudge to look at the registry


class PredictionSummary(Request):
    """One answered request.

    ``features`` are a few numbers of each input (an image's brightness and contrast, a text's
    length, a row's values), by name, one value an example; drift is measured on them.
    """

    model_name: str = Field(pattern=MODEL_NAME)
    model_version: str = Field(max_length=100)
    at: AwareDatetime
    latency_ms: float = Field(ge=0)
    error: bool = False
    features: dict[str, list[float]] = {}
    predicted: list[str] = []
    confidence: list[float] = []
    trace_id: str | None = None
