"""What serving tells the monitor: summaries on a bounded stream, never the inputs themselves."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from utils.service.contracts.document import Request
from utils.service.contracts.jobs import MODEL_NAME

STREAM = "training:predictions"
STREAM_LENGTH = 100_000  # entries; the oldest make room
SUMMARY = "summary"  # an entry's one field: a summary as JSON
PROMOTIONS = "training:promotions"  # a nudge to look at the registry


class PredictionSummary(Request):
    """One answered request.

    All of it is named and scaled as in the reference profile, one value an example: ``features``
    are a few numbers of each input (an image's brightness and contrast before normalization, a
    text's length, a row's values); ``tokens`` are the ids of each text in ascending order, so that
    they can be counted and not be read; ``predicted``, ``confidence`` and ``entropy`` (nats) are
    ``prediction.class`` (the class's number), ``prediction.confidence`` and
    ``prediction.entropy``. What a task does not have is empty. A request that failed here
    (``error``) has none of it.
    """

    model_name: str = Field(pattern=MODEL_NAME)
    model_version: str = Field(max_length=100)
    at: AwareDatetime
    latency_ms: float = Field(ge=0)
    error: bool = False
    rows: int = Field(0, ge=0)  # examples
    features: dict[str, list[float]] = {}
    tokens: list[list[int]] = []
    predicted: list[str] = []
    confidence: list[float] = []
    entropy: list[float] = []
    trace_id: str | None = None
