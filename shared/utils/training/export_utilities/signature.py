"""What the exported model takes and gives, and a sample of it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.training.task_spec import TaskSpec

BATCH, SEQUENCE = "batch", "sequence"
_DATATYPES = {
    torch.int64: "INT64",
    torch.float32: "FP32",
}  # as the Open Inference Protocol names them
_SAMPLES = 2  # one would be taken for a constant
_SAMPLE_TOKENS = 12


@dataclass(frozen=True)
class Signature:
    """The model's inputs by name, in order, with a sample of each.

    ``dynamic`` names the free dimensions of each input, by position; ``limits`` their largest
    sizes.
    """

    samples: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    limits: dict[str, int]
    ranges: dict[str, tuple[int, int]]

    def to_dict(self, output: Tensor, output_dynamic: dict[int, str]) -> dict[str, Any]:
        """The form of ``signature.json``: a free dimension stands as its name."""
        return {
            "inputs": [
                {
                    "name": name,
                    "datatype": _DATATYPES[sample.dtype],
                    "shape": _shape(sample, self.dynamic[name]),
                    **({"limits": self.limits} if self.limits else {}),
                    **({"range": list(self.ranges[name])} if name in self.ranges else {}),
                }
                for name, sample in self.samples.items()
            ],
            "outputs": [
                {"name": "logits", "datatype": "FP32", "shape": _shape(output, output_dynamic)}
            ],
        }


class LogitsOnly(nn.Module):
    """A model with plain tensors in and its logits out, whatever form its own output has."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self._accepted = _accepted(model, names)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Run the model on its inputs in the signature's order."""
        raw = self.model(**dict(zip(self._accepted, tensors, strict=True)))
        if isinstance(raw, dict):
            raw = raw["logits"]
        logits = getattr(raw, "logits", raw)
        tensor: Tensor = logits[0] if isinstance(logits, tuple | list) else logits
        return tensor


def signature_of(
    model: nn.Module, task_spec: TaskSpec, sample: dict[str, Tensor] | None
) -> Signature:
    """Derive a model's signature from its task, or from a batch of samples where one is given.

    Raises:
        ValueError: a tabular task names no features and no sample was given.
    """
    drawn = _draw(model, task_spec) if sample is None else _own(sample)
    text = task_spec.modality == "text"
    free = {0: BATCH, 1: SEQUENCE} if text else {0: BATCH}
    return Signature(
        samples=drawn,
        dynamic={name: dict(free) for name in drawn},
        limits={SEQUENCE: task_spec.max_seq_len} if text else {},
        ranges={"input_ids": (0, task_spec.vocab_size - 1), "attention_mask": (0, 1)}
        if text
        else {},
    )


def output_dynamic(task_spec: TaskSpec, output: Tensor) -> dict[int, str]:
    """The free dimensions of the logits."""
    has_sequence = task_spec.modality == "text" and output.ndim == 3  # noqa: PLR2004 - [batch, seq, ...]
    return {0: BATCH, 1: SEQUENCE} if has_sequence else {0: BATCH}


def resized(signature: Signature, batch: int, sequence: int) -> list[Tensor]:
    """Other samples of the same signature: rows repeated or cut, sequences too."""
    out = []
    for name, sample in signature.samples.items():
        rows = sample[torch.arange(batch) % len(sample)]
        if SEQUENCE in signature.dynamic[name].values():
            rows = rows[:, torch.arange(sequence) % sample.shape[1]]
        out.append(rows.contiguous())
    return out


def _draw(model: nn.Module, task_spec: TaskSpec) -> dict[str, Tensor]:
    """A seeded sample: exporting twice writes the same files."""
    generator = torch.Generator().manual_seed(0)
    if task_spec.modality == "text":
        tokens = min(_SAMPLE_TOKENS, task_spec.max_seq_len)
        ids = torch.randint(0, task_spec.vocab_size, (_SAMPLES, tokens), generator=generator)
        inputs = {"input_ids": ids}
        if "attention_mask" in inspect.signature(model.forward).parameters:
            inputs["attention_mask"] = torch.ones_like(ids)
        return inputs
    if task_spec.modality == "vision":
        image = (task_spec.image_channels, *task_spec.image_size)
        return {"pixel_values": torch.randn((_SAMPLES, *image), generator=generator)}
    if not task_spec.feature_names:
        raise ValueError(
            f"The task {task_spec.name!r} names no features; give feature_names in its TaskSpec, "
            "or a sample_batch to the export."
        )
    columns = len(task_spec.feature_names)
    return {"features": torch.randn((_SAMPLES, columns), generator=generator)}


def _own(sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """A given batch as a sample of two or more rows, without its labels."""
    inputs = {name: tensor for name, tensor in sample.items() if name != "labels"}
    rows = max(_SAMPLES, min(len(tensor) for tensor in inputs.values()))
    return {
        name: tensor.detach().cpu()[torch.arange(rows) % len(tensor)].contiguous()
        for name, tensor in inputs.items()
    }


def _accepted(model: nn.Module, names: list[str]) -> list[str]:
    """The model's own argument names: ours where it has them, else its first ones in order."""
    parameters = inspect.signature(model.forward).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if takes_any or all(name in parameters for name in names):
        return names
    return list(parameters)[: len(names)]


def _shape(sample: Tensor, dynamic: dict[int, str]) -> list[int | str]:
    return [dynamic.get(axis, size) for axis, size in enumerate(sample.shape)]
