"""An export bundle as the gate sees it: read from its folder, run by ONNX Runtime."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from services.trainer.run.errors import DataError
from utils.training.engine import DataLoaderFactory
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

_BATCH = 64
_WARM_UP, _TIMED = 10, 100
_LM_TASKS = ("language_modeling", "causal_lm")
_IGNORED = -100


class Bundle:
    """A bundle's facts, and its ONNX model at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = self._json("MANIFEST.json")
        self.task_spec = TaskSpec.from_dict(self._json("configs/task_spec.json"))

    @property
    def formats(self) -> list[str]:
        """What the model was exported to."""
        return sorted(self.manifest["formats"])

    @property
    def greatest_difference(self) -> float:
        """Of the ONNX model to the one in memory, as measured at its export."""
        return float(self._onnx["greatest_difference"])

    @property
    def tolerance(self) -> float:
        """How great the difference may be."""
        return float(self._onnx["tolerance"])

    @property
    def reference_profile(self) -> dict[str, Any] | None:
        """What drift is measured against."""
        if not (self.folder / "reference_profile.json").exists():
            return None
        return self._json("reference_profile.json")

    @property
    def tokenizer(self) -> Any:
        """The bundle's own tokenizer; None where it has none."""
        path = self.folder / "tokenizer" / "tokenizer.json"
        if not path.exists():
            return None
        from tokenizers import Tokenizer

        return _Encoder(Tokenizer.from_file(str(path)))

    def training_config(self, formats: Sequence[str]) -> TrainingConfig:
        """The settings it was made with, for another set of formats."""
        settings = TrainingConfig.from_dict(self._json("configs/training_config.json"))
        return replace(settings, export_formats=list(dict.fromkeys(["onnx", *formats])))

    def scores(self, dataset: Dataset[Any], task_spec: TaskSpec) -> list[float]:
        """A score a sample, higher is better.

        1 for a right answer and 0 for a wrong one, the share of right ones where a sample has
        several, and the mean log-likelihood of a token (nats) for language models.

        Args:
            dataset: samples whose labels are numbered as in ``task_spec``.
            task_spec: names the classes; this bundle may number them otherwise.
        """
        renumbered = self._renumbering(task_spec)
        found: list[float] = []
        for batch in self._batches(dataset, _BATCH):
            logits = self._run(batch)
            labels = batch["labels"].numpy()
            if self.task_spec.task_type in _LM_TASKS:
                found += _likelihoods(logits, labels).tolist()
            else:
                found += _shares_right(logits, labels, batch, renumbered).tolist()
        return found

    def latency_ms(self, dataset: Dataset[Any]) -> float:
        """The median time of single inputs, one thread, after a warm-up, in milliseconds."""
        count = min(len(dataset), _TIMED)  # type: ignore[arg-type]
        singles = [
            self._feed(batch)
            for _, batch in zip(range(count), self._batches(dataset, 1), strict=False)
        ]
        times = []
        for number in range(_WARM_UP + _TIMED):
            feed = singles[number % len(singles)]
            started = time.perf_counter()
            self._session.run(["logits"], feed)
            times.append(time.perf_counter() - started)
        return statistics.median(times[_WARM_UP:]) * 1000

    @property
    def _onnx(self) -> dict[str, Any]:
        if "onnx" not in self.manifest["formats"]:
            raise DataError(
                f"The bundle holds {', '.join(self.formats)} and no ONNX model, which is what is "
                "measured; export it with 'onnx'."
            )
        facts: dict[str, Any] = self.manifest["formats"]["onnx"]
        return facts

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(self.folder / self._onnx["file"]), options, providers=["CPUExecutionProvider"]
        )

    def _batches(self, dataset: Dataset[Any], size: int) -> Any:
        return DataLoaderFactory().create(
            dataset=dataset, batch_size=size, shuffle=False, task_spec=self.task_spec
        )

    def _feed(self, batch: Any) -> dict[str, np.ndarray]:
        return {entry.name: batch[entry.name].numpy() for entry in self._session.get_inputs()}

    def _run(self, batch: Any) -> np.ndarray:
        logits: np.ndarray = self._session.run(["logits"], self._feed(batch))[0]
        return logits

    def _renumbering(self, task_spec: TaskSpec) -> np.ndarray | None:
        """This bundle's classes as another task numbers them, -1 for those it lacks."""
        ours, theirs = self.task_spec.class_names, task_spec.class_names
        if ours == theirs or not ours or not theirs:
            return None
        return np.array([theirs.index(name) if name in theirs else -1 for name in ours])

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


class _Encoder:
    """A tokenizer that gives plain lists, as the data reader wants them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return list(self._inner.encode(text).ids)


def _likelihoods(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean log-likelihood of each row's next tokens: logits [batch, seq, vocab]."""
    shifted, targets = logits[:, :-1].astype(np.float64), labels[:, 1:]
    top = shifted.max(axis=-1, keepdims=True)
    norms = top[..., 0] + np.log(np.exp(shifted - top).sum(axis=-1))
    counts = targets != _IGNORED
    chosen = np.take_along_axis(shifted, np.where(counts, targets, 0)[..., None], axis=-1)[..., 0]
    total: np.ndarray = ((chosen - norms) * counts).sum(axis=1)
    return total / np.maximum(counts.sum(axis=1), 1)


def _shares_right(
    logits: np.ndarray, labels: np.ndarray, batch: Any, renumbered: np.ndarray | None
) -> np.ndarray:
    """The share of right answers in each row."""
    if logits.ndim == 3 and labels.ndim == 1:  # noqa: PLR2004 - [batch, seq, classes]: the last token decides
        logits = logits[np.arange(len(logits)), _last_tokens(batch, logits.shape[1])]
    axis = -1 if logits.ndim == 3 else 1  # noqa: PLR2004 - a class a token, else [batch, classes, ...]
    answers = logits.argmax(axis=axis)
    if renumbered is not None:
        answers = renumbered[answers]
    rows = (answers == labels).reshape(len(labels), -1)
    counts = (labels != _IGNORED).reshape(len(labels), -1)
    right: np.ndarray = (rows & counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    return right


def _last_tokens(batch: Any, length: int) -> np.ndarray:
    if "attention_mask" not in batch:
        return np.full(len(batch["labels"]), length - 1)
    mask = batch["attention_mask"].numpy()
    last: np.ndarray = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return last
