"""Run what was written, and compare it with the model in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from utils.training.export_utilities.errors import FormatError
from utils.training.export_utilities.signature import SEQUENCE, Signature, resized
from utils.training.export_utilities.templates.runtimes import load

_RELATIVE_TOLERANCE = 1e-4  # of the largest logit; kernels differ by about 1e-6 of it
_OTHER_BATCH, _OTHER_SEQUENCE = 3, 5


def greatest_difference(
    model: nn.Module, signature: Signature, artifacts: Path, kind: str
) -> dict[str, float]:
    """The greatest difference to eager over the sample and over other batch and sequence sizes.

    Raises:
        FormatError: a RuntimeError; it does not run, or differs by more than the tolerance.
    """
    longest = min(_OTHER_SEQUENCE, signature.limits.get(SEQUENCE, _OTHER_SEQUENCE))
    batches = [
        list(signature.samples.values()),
        resized(signature, _OTHER_BATCH, longest),
        resized(signature, 1, 1),
    ]
    try:
        run = load(artifacts, kind)
        pairs = [(_eager(model, batch), run(_named(signature, batch))) for batch in batches]
    except Exception as error:
        raise FormatError(f"It was written and does not run: {error}.") from error
    difference = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    scale = max(1.0, *(float(np.abs(ours).max()) for ours, _ in pairs))
    tolerance = _RELATIVE_TOLERANCE * scale
    if not difference <= tolerance:
        raise FormatError(
            f"It differs from the model in memory by {difference:.3g}, allowed is {tolerance:.3g}."
        )
    return {"greatest_difference": difference, "tolerance": tolerance}


def _eager(model: nn.Module, batch: list[Tensor]) -> np.ndarray:
    with torch.inference_mode():
        output: np.ndarray = model(*batch).float().numpy()
    return output


def _named(signature: Signature, batch: list[Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in zip(signature.samples, batch, strict=True)}
