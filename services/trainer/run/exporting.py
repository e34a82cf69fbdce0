"""From trained weights to a bundle; and a job of type export, which does so once more."""

from __future__ import annotations

import copy
import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.trainer.run.bundle import Bundle
from services.trainer.run.data import DataReader, JobData, as_served
from services.trainer.run.errors import DataError
from services.trainer.run.job import RunningJob
from services.trainer.run.models import build_model
from utils.service.contracts.jobs import ExportJob, TrainingJob
from utils.service.packing import pack
from utils.training.drift_metrics import DatasetProfiler
from utils.training.engine import CheckpointManager, DataLoaderFactory
from utils.training.engine.forward import ForwardPass
from utils.training.export_utilities import ExportError, create_export_bundle
from utils.training.training_config import TrainingConfig

log = logging.getLogger(__name__)

_PROFILED_SAMPLES = 10_000
_BATCH = 64
_LM_TASKS = ("language_modeling", "causal_lm")


def best_weights(model: nn.Module, checkpoint: Path) -> tuple[nn.Module, dict[str, float]]:
    """The model with a checkpoint's weights, averaged where the run averages, and its metrics."""
    with CheckpointManager(checkpoint.parent) as manager:
        state = manager.load(checkpoint, restore_rng=False)
    best = copy.deepcopy(model).cpu()
    best.load_state_dict(state["model_state_dict"])
    averages = (state["custom_state"] or {}).get("average", {}).get("averages", {})
    best.load_state_dict(averages, strict=False)
    metrics = {name: value for name, value in state["metrics"].items() if math.isfinite(value)}
    return best.eval(), metrics


def export_bundle(model: nn.Module, data: JobData, settings: TrainingConfig) -> Bundle:
    """Write the bundle; a format beside ONNX that fails is left out, and said so.

    Raises:
        ExportError: a RuntimeError; ONNX is what failed.
    """
    try:
        folder = create_export_bundle(
            model=model,
            config=getattr(model, "config", None),
            task_spec=data.task_spec,
            training_config=settings,
            tokenizer=data.tokenizer,
            reference_profile=_profile(model, data),
            sample_batch=_sample_batch(data),
        )
    except ExportError as error:
        if "onnx" in error.failures:
            raise
        log.warning("The bundle lacks a format. %s", error)
        folder = error.bundle
    return Bundle(folder)


def pack_bundle(folder: Path, parent: Path) -> Path:
    """The bundle as one file."""
    packed = parent / "bundle.tar"
    pack(folder, packed)
    return packed


def run_export(job: RunningJob, config: ExportJob) -> dict[str, Any]:
    """Export a registered model again, in other formats, from the checkpoint it came with.

    Raises:
        DataError: a ValueError; the model was not registered by a job of this platform.
    """
    job.tell_phase("prepare")
    registered = job.registry.get_model(config.model_id)
    metadata = registered.metadata or {}
    digest = metadata.get("checkpoint_digest")
    if digest is None or "job" not in metadata or registered.artifact_digest is None:
        raise DataError(
            f"Model {config.model_id} was registered without its job and checkpoint, so it can't "
            "be built again; train it by a job."
        )
    former = Bundle(job.artifacts.unpacked(registered.artifact_digest))
    trained_by = TrainingJob.model_validate(metadata["job"])
    settings = former.training_config(config.formats)
    model = build_model(
        trained_by.model, former.task_spec, job.order.entry_points, settings.random_seed
    )
    checkpoint = job.folder / "checkpoint.pt"
    checkpoint.symlink_to(job.artifacts.file(digest).resolve())
    best, _ = best_weights(model, checkpoint)
    data = DataReader(job.order.data_folder, job.artifacts).load(trained_by)
    job.tell_phase("export")
    bundle = export_bundle(best, data, settings)
    packed = pack_bundle(bundle.folder, job.folder)
    return {
        "model_id": registered.model_id,
        "bundle_digest": job.registry.upload(packed),
        "formats": bundle.formats,
    }


def _profile(model: nn.Module, data: JobData) -> dict[str, Any]:
    """What production is compared with: the training data as served, and the model's answers."""
    dataset = as_served(data.train)
    count = len(dataset)  # type: ignore[arg-type]
    rows = min(count, _PROFILED_SAMPLES)
    samples = [dataset[number * count // rows] for number in range(rows)]
    profiler = DatasetProfiler(data.task_spec)
    has_classes = data.task_spec.task_type not in _LM_TASKS
    for start in range(0, rows, _BATCH):
        chunk = samples[start : start + _BATCH]
        if has_classes:
            chunk = _with_answers(model, chunk, data)
        profiler.update(chunk)
    return profiler.result()


def _with_answers(model: nn.Module, samples: list[Any], data: JobData) -> list[Any]:
    loader = DataLoaderFactory().create(
        dataset=samples, batch_size=len(samples), shuffle=False, task_spec=data.task_spec
    )
    batch = next(iter(loader))
    with torch.inference_mode():
        logits = ForwardPass(model, data.task_spec)(batch)["logits"]
    if logits.ndim != 2:  # noqa: PLR2004 - [batch, classes]; a class a token or a pixel is no answer
        return samples
    return [{**sample, "logits": row} for sample, row in zip(samples, logits.numpy(), strict=True)]


def _sample_batch(data: JobData) -> dict[str, torch.Tensor] | None:
    """A tabular task that names no features shows their number by a sample."""
    if data.task_spec.modality != "tabular" or data.task_spec.feature_names:
        return None
    return {"features": torch.stack([data.train[index]["features"] for index in (0, 0)])}
