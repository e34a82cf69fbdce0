"""What a finished run hands back, and what it leaves on disk for others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from utils.training.engine.checkpoint.weights import (
    export_checkpoint,
    export_safetensors,
    weights_of,
)
from utils.training.engine.data import iterate
from utils.training.engine.distributed.blueprint import whole_model
from utils.training.engine.run.run import Run
from utils.training.seed_manager import untouched_generators
from utils.training.task_spec import TaskSpec

logger = logging.getLogger(__name__)

WEIGHTS_NAME = "model.safetensors"


def results_of(run: Run, model_config: Any, task_spec: TaskSpec | None) -> dict[str, Any]:
    """Gather a finished run's results, and export its best weights where configured."""
    best = run.best_checkpoint()
    exports = _exports(run, best, model_config, task_spec) if run.world.is_first else {}
    return {
        "metrics_summary": run.metrics.get_summary(),
        "best_epoch": run.state.best_epoch,
        "best_value": run.state.best_value,
        "monitor": run.config.monitor,
        "final_loss": run.state.final_loss,
        "checkpoint_path": best,
        "training_time": run.state.elapsed_seconds,
        "global_step": run.global_step,
        "alerts": run.metrics.alert_history,
        "reference_profile": run.profiles.reference,
        **run.world.of_first(exports),
    }


def _exports(
    run: Run, best: Path | None, model_config: Any, task_spec: TaskSpec | None
) -> dict[str, Path]:
    config = run.config
    if not (config.save_safetensors or config.export_bundle):
        return {}
    if run.world.strategy == "fsdp" and best is not None:
        return _exports_of_shards(run, best, model_config, task_spec)
    paths = {}
    with best_weights(run.model, best):
        if config.save_safetensors:
            target = Path(config.checkpoint_dir) / WEIGHTS_NAME
            paths["weights_path"] = export_safetensors(run.model, target)
        if config.export_bundle and task_spec is not None:
            paths["export_path"] = _export_bundle(run, run.model, model_config, task_spec)
    return paths


def _exports_of_shards(
    run: Run, best: Path, model_config: Any, task_spec: TaskSpec | None
) -> dict[str, Path]:
    """Export by the first rank alone: the checkpoint has all shards, and no rank the whole."""
    paths = {}
    if run.config.save_safetensors:
        target = Path(run.config.checkpoint_dir) / WEIGHTS_NAME
        paths["weights_path"] = export_checkpoint(best, target)
    if run.blueprint is not None and task_spec is not None:
        whole = whole_model(run.blueprint, weights_of(best))
        paths["export_path"] = _export_bundle(run, whole, model_config, task_spec)
    return paths


def _export_bundle(run: Run, model: nn.Module, model_config: Any, task_spec: TaskSpec) -> Path:
    """Export in every format that can hold the model; one that can't is logged and left out."""
    # The export's libraries are an extra of their own.
    from utils.training.export_utilities import ExportError, create_export_bundle

    try:
        return create_export_bundle(
            model=model,
            config=model_config,
            task_spec=task_spec,
            training_config=run.config,
            reference_profile=run.profiles.reference,
            sample_batch=_sample_of(run, task_spec),
        )
    except ExportError as error:
        logger.error("%s", error)  # noqa: TRY400 - the error says it all
        return error.bundle
    except Exception as error:
        error.add_note(
            f"Training itself is finished and saved in {run.config.checkpoint_dir}; "
            "train(..., resume_from='auto') only exports again."
        )
        raise


def _sample_of(run: Run, task_spec: TaskSpec) -> dict[str, Any] | None:
    """Take a batch of the training data where the task does not tell the inputs' shapes."""
    if task_spec.modality != "tabular" or task_spec.feature_names:
        return None
    with untouched_generators():
        batch = next(iter(iterate(run.train_loader, epoch=0)))
    return dict(batch) if isinstance(batch, Mapping) else None


@contextmanager
def best_weights(model: nn.Module, path: Path | None) -> Iterator[None]:
    """Give the model the best epoch's weights (averaged, where they are), and its own ones back."""
    if path is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights_of(path))
    try:
        yield
    finally:
        model.load_state_dict(own)
