"""What serving is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from utils.service.rates import RATE
from utils.service.settings import WebSettings, words

PREFIX = "TRAINING_SERVING"


class ServingSettings(WebSettings):
    """Serving's settings, ``TRAINING_SERVING_...`` in the environment."""

    registry_url: str
    token_file: Path  # of a reader's token, for the registry
    redis_url: str | None = Field(None, repr=False)  # promotions and summaries; None: neither
    work_folder: Path  # of the versions that are served
    backend: Literal["torchserve", "onnx"] = "torchserve"
    model_names: Annotated[tuple[str, ...], BeforeValidator(words)] = ()  # none: all names

    max_body_bytes: int = Field(8 * 1024**2, ge=1024)
    rate_limit: str = Field("120000/minute", pattern=RATE)  # of one caller, on one route
    max_batch: int = Field(256, ge=1)  # examples in one request
    sample_rate: float = Field(1.0, ge=0, le=1)  # of the requests that are told to the monitor
    summary_queue: int = Field(10_000, ge=1)  # summaries that wait to be sent

    model_threads: int = Field(1, ge=1, le=256)  # that compute one answer
    model_workers: int = Field(1, ge=1, le=64)  # TorchServe's processes for one version
    answer_seconds: float = Field(30, gt=0)  # the longest that one answer takes
    load_seconds: float = Field(120, gt=0)  # the longest that loading a version takes
    poll_seconds: float = Field(2, gt=0)  # between two looks at the registry
    retry_seconds: float = Field(
        60, gt=0
    )  # until a broken bundle is tried again, doubled each time
    drain_seconds: float = Field(60, gt=0)  # for the last requests of a version that goes
    max_bundle_bytes: int = Field(8 * 1024**3, ge=1024)  # of an unpacked one
