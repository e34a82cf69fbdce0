"""Every published name at its published place, with its published parameters and defaults."""

from __future__ import annotations

import dataclasses
import inspect
from importlib import import_module

import pytest

REQUIRED = inspect.Parameter.empty

PLACES = {
    "utils.training.engine": "AlertConfig CheckpointManager CheckpointMetadata ClassificationLoss "
    "CollatorRegistry ConfidenceMetrics DataLoaderConfig DataLoaderFactory DriftMetrics EpochResult"
    " GradientAccumulator GradientHealth GradientMonitor LanguageModelingLoss LossInputs "
    "LossStrategyRegistry MetricsEngine ModelOutput PEFTAwareLoss QuantizationSafeLoss Trainer "
    "TrainingHooks TrainingLoop UniversalDataModule ValidationLoop VisionLoss AccumulationStats "
    "check_gradient_health get_loss_strategy LanguageModelingDataCollator VisionDataCollator",
    "utils.training.engine.checkpoint": "CheckpointManager CheckpointMetadata",
    "utils.training.engine.loss": "LossStrategy LossInputs LanguageModelingLoss ClassificationLoss "
    "VisionLoss PEFTAwareLoss QuantizationSafeLoss LossStrategyRegistry get_loss_strategy",
    "utils.training.engine.gradient_monitor": "GradientMonitor GradientHealth "
    "check_gradient_health",
    "utils.training.engine.gradient_accumulator": "GradientAccumulator AccumulationStats",
    "utils.training.engine.data": "DataLoaderFactory DataLoaderConfig CollatorRegistry "
    "UniversalDataModule LanguageModelingDataCollator VisionDataCollator",
    "utils.training.engine.metrics": "MetricsEngine AlertConfig AlertCallback DriftMetrics "
    "ConfidenceMetrics",
    "utils.training.engine.loop": "TrainingLoop ValidationLoop EpochResult",
    "utils.training.engine.trainer": "Trainer TrainingHooks",
    "utils.training.drift_metrics": "profile_dataset DriftMetrics",
    "utils.training.model_registry": "ModelRegistry",
    "utils.training.job_queue": "JobManager TrainingScheduler",
    "utils.training.export_utilities": "create_export_bundle",
    "utils.training.retraining_triggers": "RetrainingTriggerManager",
    "utils.training.flash_attention_wrapper": "FlashAttentionWrapper",
    "utils.training.training_config": "TrainingConfig",
    "utils.training.config_builder": "TrainingConfigBuilder",
    "utils.training.task_spec": "TaskSpec",
    "utils.training.seed_manager": "set_random_seed",
    "utils.training.experiment_db": "ExperimentDB",
    "utils.training.dashboard": "Dashboard",
    "utils.tier3_training_utilities": "test_fine_tuning",
}

# The parameters in their order; where a default is published, it stands beside its name.
PARAMETERS = {
    "CheckpointManager": {
        "checkpoint_dir": REQUIRED,
        "keep_best_k": 3,
        "keep_last_n": 5,
        "monitor": "val_loss",
        "mode": "min",
        "save_interval_epochs": 1,
        "drive_backup": False,
        "drive_backup_path": None,
    },
    "CheckpointManager.save": {
        "model": REQUIRED,
        "optimizer": REQUIRED,
        "scheduler": REQUIRED,
        "epoch": REQUIRED,
        "metrics": REQUIRED,
        "global_step": None,
        "custom_state": None,
    },
    "CheckpointManager.load": {"checkpoint_path": None},
    "GradientMonitor": {
        "vanishing_threshold": 1e-7,
        "explosion_threshold": 10.0,
        "max_consecutive_failures": 3,
        "log_histogram": False,
        "max_histogram_samples": 200_000,
    },
    "GradientAccumulator": {
        "optimizer": REQUIRED,
        "accumulation_steps": 1,
        "max_grad_norm": 1.0,
        "scaler": None,
        "batch_size": 1,
        "trainer": None,
    },
    "GradientAccumulator.accumulate": {
        "loss": REQUIRED,
        "model": REQUIRED,
        "is_final_batch": False,
    },
    "MetricsEngine": {
        "use_wandb": True,
        "gradient_accumulation_steps": 1,
        "drift_threshold_warning": 0.1,
        "drift_threshold_critical": 0.2,
        "alert_config": None,
        "alert_callbacks": None,
        "experiment_db": None,
        "run_id": None,
    },
    "Trainer": {
        "model": REQUIRED,
        "config": REQUIRED,
        "training_config": REQUIRED,
        "task_spec": None,
        "hooks": None,
    },
    "Trainer.train": {"train_data": REQUIRED, "val_data": None, "resume_from": None},
}

FIELDS = {
    "CheckpointMetadata": "epoch global_step best_metric timestamp git_commit metrics config",
    "GradientHealth": "has_nan has_inf max_norm min_norm affected_layers is_healthy "
    "vanishing_layers exploding_layers",
    "AccumulationStats": "total_steps optimizer_steps current_accumulation effective_batch_size "
    "is_accumulating last_grad_norm",
    "DataLoaderConfig": "batch_size shuffle num_workers pin_memory drop_last collator_name "
    "random_seed",
    "AlertConfig": "val_loss_spike_threshold accuracy_drop_threshold gradient_explosion_threshold "
    "enable_email_alerts enable_slack_alerts",
    "DriftMetrics": "js_divergence status affected_features timestamp details",
    "ConfidenceMetrics": "top1_confidence top5_confidence entropy num_samples calibration_error",
    "EpochResult": "epoch avg_loss avg_accuracy batch_count sample_count duration learning_rate "
    "max_gradient_norm",
}

HOOKS = {
    "on_training_start": [],
    "on_epoch_start": ["epoch"],
    "on_batch_end": ["batch_idx", "loss"],
    "on_validation_end": ["metrics"],
    "on_epoch_end": ["epoch", "metrics"],
    "on_training_end": [],
}


def named(path):
    found = import_module("utils.training.engine")
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("module", PLACES)
def test_a_module_has_its_names(module):
    for name in PLACES[module].split():
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters_have_their_order_and_defaults(path):
    parameters = inspect.signature(named(path)).parameters.values()
    found = {p.name: p.default for p in parameters if p.name != "self"}
    wanted = PARAMETERS[path]
    assert dict(list(found.items())[: len(wanted)]) == wanted
    assert list(found)[: len(wanted)] == list(wanted)
    assert REQUIRED not in list(found.values())[len(wanted) :]


@pytest.mark.parametrize("name", FIELDS)
def test_a_record_begins_with_its_published_fields(name):
    fields = dataclasses.fields(named(name))
    wanted = FIELDS[name].split()
    assert [field.name for field in fields][: len(wanted)] == wanted
    for field in fields[len(wanted) :]:  # what we have more has a default
        assert field.default is not dataclasses.MISSING


def test_hooks_have_their_parameters():
    hooks = named("TrainingHooks")
    for event, parameters in HOOKS.items():
        assert list(inspect.signature(getattr(hooks, event)).parameters) == ["self", *parameters]
