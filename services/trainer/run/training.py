"""A job of type training, from its data to a registered, judged and perhaps promoted model."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from services.trainer.order import CANCELLED
from services.trainer.run.bundle import Bundle
from services.trainer.run.checkpoints import CheckpointUploader, fetch_newest
from services.trainer.run.data import DataReader, JobData
from services.trainer.run.evaluating import HeldOut, judge
from services.trainer.run.exporting import best_weights, export_bundle, pack_bundle
from services.trainer.run.job import RunningJob
from services.trainer.run.models import build_model
from services.trainer.run.ranks import num_ranks
from services.trainer.run.reporting import MetricSender, Reporter
from utils.service.contracts.jobs import TrainingJob
from utils.service.contracts.models import ModelRegistration, RunCreation
from utils.service.http import RemoteError, UnreachableError
from utils.training.engine import Trainer, TrainingInterrupted
from utils.training.engine.checkpoint.folder import CheckpointFolder
from utils.training.engine.checkpoint.whole import as_one_file
from utils.training.errors import InvalidConfigError
from utils.training.experiment_db import Run
from utils.training.model_registry import RegisteredModel
from utils.training.training_config import TrainingConfig

log = logging.getLogger(__name__)

# Relative to the job's folder, so that every attempt writes the same bundle, byte for byte.
_FOLDERS: dict[str, Any] = {
    "checkpoint_dir": "checkpoints",
    "export_dir": "exports",
    "profile_dir": "profiles",
    "tensorboard_dir": "tensorboard",
}

_NOT_OF_JOBS = {
    "mlflow_tracking_uri": "the operator sets MLFLOW_TRACKING_URI",
    "email_alerts": "the monitor writes to people, a job's process has no mail account",
    "slack_alerts": "the monitor writes to people, a job's process has no webhook",
}


def run_training(job: RunningJob, config: TrainingJob) -> dict[str, Any]:
    """Train, export, register, judge, promote; what a former attempt did is not done again."""
    job.tell_phase("prepare")
    reader = DataReader(job.order.data_folder, job.artifacts)
    data = reader.load(config)
    settings = settings_of(config, job.order.num_nodes)
    model = _build_model(job, config, data, settings)
    run = _begin_run(job, config, settings)
    with _telling_how_it_ended(job, run):
        results = _train(job, run, model, data, settings)
        job.tell_phase("export")
        checkpoint = as_one_file(results["checkpoint_path"], job.folder / "checkpoint.pt")
        if settings.strategy == "fsdp":  # the trained one may hold a part of each weight only
            model = _build_model(job, config, data, settings)
        best, metrics = best_weights(model, checkpoint)
        bundle = export_bundle(best, data, settings)
        held_out = None
        if config.held_out is not None:
            job.tell_phase("evaluate")
            held_out = HeldOut.measure(reader, config.held_out, bundle)
            metrics |= held_out.metrics
        job.tell_phase("register")
        registered = _register(job, config, run, bundle, checkpoint, metrics)
        judgement = judge(job, reader, config.gate, registered, held_out)
        job.registry.end_run(run.run_id, "completed", job.fence)
    return {
        "model_id": registered.model_id,
        "version": registered.version,
        "run_id": run.run_id,
        "bundle_digest": registered.artifact_digest,
        "metrics": metrics,
        **judgement,
    }


def follow_training(job: RunningJob, config: TrainingJob) -> dict[str, Any]:
    """Train as one of the ranks behind the first, which does all else."""
    data = DataReader(job.order.data_folder, job.artifacts).load(config)
    settings = settings_of(config, job.order.num_nodes)
    model = _build_model(job, config, data, settings)
    trainer = Trainer(model, getattr(model, "config", None), settings, data.task_spec)
    trainer.train(data.train, data.validation, resume_from="auto")
    return {}


def settings_of(config: TrainingJob, num_nodes: int) -> TrainingConfig:
    """The job's settings, with every folder inside the job's own.

    Raises:
        InvalidConfigError: a ValueError that lists every fault.
    """
    settings = TrainingConfig.from_dict(config.training_config)
    settings.validate()
    faults = [
        f"{field} is given; leave it out, {why}."
        for field, why in _NOT_OF_JOBS.items()
        if getattr(settings, field)
    ]
    if settings.strategy == "fsdp" and num_nodes > 1:
        faults.append(
            f"strategy is 'fsdp' over {num_nodes} nodes, allowed there are 'auto' and 'ddp': a "
            "node's shards lie in its own work folder. Ask for more GPUs of one node, or train by "
            "a script under torchrun with a folder that all nodes see."
        )
    if faults:
        raise InvalidConfigError(faults)
    formats = list(dict.fromkeys(["onnx", *settings.export_formats]))  # what the gate runs
    return replace(settings, **_FOLDERS, export_bundle=False, export_formats=formats)


def _build_model(
    job: RunningJob, config: TrainingJob, data: JobData, settings: TrainingConfig
) -> nn.Module:
    allowed = job.order.entry_points
    return build_model(config.model, data.task_spec, allowed, settings.random_seed)


def _begin_run(job: RunningJob, config: TrainingJob, settings: TrainingConfig) -> Run:
    creation = RunCreation(
        name=f"{config.model_name} job {job.order.job_id}",
        config=settings.to_dict(),
        tags={"model": config.model_name, "job_id": str(job.order.job_id)},
        fence=job.fence,
    )
    run = job.registry.begin_run(creation, f"job:{job.order.job_id}")
    if run.status in ("interrupted", "failed"):
        return job.registry.end_run(run.run_id, "running", job.fence)
    return run


@contextmanager
def _telling_how_it_ended(job: RunningJob, run: Run) -> Iterator[None]:
    """Leave the run as what it is: interrupted, cancelled or failed."""
    try:
        yield
    except TrainingInterrupted:
        is_cancelled = (job.folder / CANCELLED).exists()
        _end_run(job, run, "cancelled" if is_cancelled else "interrupted")
        raise
    except Exception:
        _end_run(job, run, "failed")
        raise


def _end_run(job: RunningJob, run: Run, status: str) -> None:
    try:
        job.registry.end_run(run.run_id, status, job.fence)
    except (RemoteError, UnreachableError) as error:
        log.warning("Run %d can't be marked %s: %s", run.run_id, status, error)


def _train(
    job: RunningJob, run: Run, model: nn.Module, data: JobData, settings: TrainingConfig
) -> dict[str, Any]:
    """Train from the job's newest checkpoint on, reporting and uploading on the way."""
    folder = Path(settings.checkpoint_dir)
    fetch_newest(job, folder, job.order.max_artifact_bytes)
    checkpoints = CheckpointFolder(folder, settings.monitor, settings.monitor_mode)
    with MetricSender(job, run.run_id) as sender, CheckpointUploader(job, checkpoints):
        reporter = _reporter(job, sender, data, settings)
        trainer = Trainer(
            model=model,
            config=getattr(model, "config", None),
            training_config=settings,
            task_spec=data.task_spec,
            hooks=reporter,
            trackers=[reporter],
        )
        return trainer.train(data.train, data.validation, resume_from="auto")


def _reporter(
    job: RunningJob, sender: MetricSender, data: JobData, settings: TrainingConfig
) -> Reporter:
    share = len(data.train) / (settings.batch_size * num_ranks())  # type: ignore[arg-type]
    batches = math.floor(share) if settings.drop_last else math.ceil(share)
    total = batches * settings.epochs
    if settings.max_steps is not None:
        total = min(total, settings.max_steps * settings.gradient_accumulation_steps)
    return Reporter(
        job,
        sender,
        batches=batches,
        total=total,
        batch_size=settings.batch_size * num_ranks(),
        interval=settings.log_interval_steps,
    )


def _register(
    job: RunningJob,
    config: TrainingJob,
    run: Run,
    bundle: Bundle,
    checkpoint: Path,
    metrics: dict[str, float],
) -> RegisteredModel:
    """Upload and register; the registry gives what this run registered before, if it did."""
    champion = job.registry.tagged(config.model_name)
    packed = pack_bundle(bundle.folder, job.folder)
    registration = ModelRegistration(
        name=config.model_name,
        bundle_digest=job.registry.upload(packed),
        checkpoint_digest=job.registry.upload(checkpoint),
        task_type=bundle.task_spec.task_type,
        metrics=metrics,
        config_hash=_digest_of(config),
        training_run_id=run.run_id,
        parent_model_id=None if champion is None else champion.model_id,
        export_formats=bundle.formats,
        metadata={
            "job_id": job.order.job_id,
            "trace_id": job.order.trace_id,
            "job": config.model_dump(mode="json"),
            "task_spec": bundle.task_spec.to_dict(),
        },
        reference_profile=bundle.reference_profile,
        fence=job.fence,
    )
    packed.unlink()
    return job.registry.register(registration)


def _digest_of(config: TrainingJob) -> str:
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
