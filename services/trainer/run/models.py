"""From a model's source to a module: an allowed function, or a transformers configuration."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from utils.service.contracts.jobs import ModelSource
from utils.training.errors import TrainingError
from utils.training.seed_manager import set_random_seed
from utils.training.task_spec import TaskSpec

_REMOTE_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")
_AUTO_CLASSES = {
    "language_modeling": "AutoModelForCausalLM",
    "causal_lm": "AutoModelForCausalLM",
    "classification": "AutoModelForSequenceClassification",
    "text_classification": "AutoModelForSequenceClassification",
    "vision_classification": "AutoModelForImageClassification",
}


class ModelSourceError(TrainingError, ValueError):
    """A model's source that is not allowed here, or does not give a model."""


def build_model(
    source: ModelSource, task_spec: TaskSpec, allowed: Collection[str], seed: int
) -> nn.Module:
    """Build a fresh model, whose first weights follow from the seed.

    Raises:
        ModelSourceError: a ValueError; the entry point is not on the allow-list, gives no module,
            or the transformers configuration does not fit.
    """
    set_random_seed(seed)
    if source.entry_point is not None:
        return _from_entry_point(source.entry_point, source.arguments, allowed)
    return _from_transformers(source.transformers or {}, task_spec)


def _from_entry_point(name: str, arguments: dict[str, Any], allowed: Collection[str]) -> nn.Module:
    if name not in allowed:
        raise ModelSourceError(
            f"The entry point '{name}' is not on this trainer's list; allowed are "
            f"{', '.join(sorted(allowed)) or 'none'}. The operator adds it: "
            "`trainctl up --entry-point`, or TRAINING_TRAINER_ENTRY_POINTS."
        )
    build = _function(name)
    try:
        model = build(**arguments)
    except TypeError as error:
        raise ModelSourceError(f"'{name}' can't be called: {error}.") from error
    if not isinstance(model, nn.Module):
        raise ModelSourceError(
            f"'{name}' gave a {type(model).__name__}, wanted is a torch.nn.Module."
        )
    return model


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        build: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelSourceError(f"'{name}' can't be imported: {error}.") from error
    return build


def _from_transformers(values: dict[str, Any], task_spec: TaskSpec) -> nn.Module:
    import transformers

    refused = [key for key in _REMOTE_CODE if key in values]
    if refused:
        raise ModelSourceError(
            f"The configuration has {', '.join(refused)}, which loads foreign code; leave it out."
        )
    if task_spec.task_type not in _AUTO_CLASSES:
        raise ModelSourceError(
            f"A transformers model is built for {', '.join(sorted(_AUTO_CLASSES))}; the task is "
            f"'{task_spec.task_type}': give an entry point."
        )
    given = dict(values)
    if task_spec.num_classes is not None:
        given.setdefault("num_labels", task_spec.num_classes)
    try:
        config = transformers.AutoConfig.for_model(given.pop("model_type", ""), **given)
        kind = getattr(transformers, _AUTO_CLASSES[task_spec.task_type])
        model: nn.Module = kind.from_config(config)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelSourceError(f"The transformers configuration gives no model: {error}") from error
    return model
