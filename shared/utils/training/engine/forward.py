"""The forward pass: from a batch of any common form to what a loss strategy needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from utils.training.engine.loss import LossInputs
from utils.training.engine.outputs import ModelOutput
from utils.training.errors import TrainingError
from utils.training.task_spec import TaskSpec

LABEL_KEYS = ("labels", "label")
PRIMARY_KEYS = ("input_ids", "pixel_values", "inputs")
_LOSS_KEYS = ("attention_mask", "class_weights")

Call = tuple[tuple[str, str], ...]  # (parameter of forward, key of the batch)


class Plan(NamedTuple):
    """What becomes of each key of a mapping; made once for all batches with these keys."""

    call: Call
    label_key: str
    loss_keys: tuple[str, ...]


class BatchError(TrainingError, ValueError):
    """A batch that the model or the loss can't take."""


class ForwardPass:
    """Calls a model with what its ``forward`` accepts, and never with the labels.

    A batch is a mapping (``input_ids``, ``pixel_values`` or any tensors by the model's parameter
    names, and ``labels``) or a tuple of inputs that ends with the labels. A model whose
    ``forward`` takes ``**kwargs`` gets every key but the labels. Where just one required parameter
    has no key of its name, the main input goes there.

    Args:
        model: any module that returns logits in a form :class:`ModelOutput` knows.
        task_spec: gives the padding id; None leaves padding to the loss strategy's default.
    """

    def __init__(self, model: nn.Module, task_spec: TaskSpec | None = None) -> None:
        self.model = model
        self._constants: dict[str, Any] = (
            {} if task_spec is None else {"pad_token_id": task_spec.pad_token_id}
        )
        self._plans: dict[tuple[str, ...], Plan] = {}

    def __call__(self, batch: Any) -> LossInputs:
        """Run the model on a batch.

        Returns:
            ``logits``, ``labels`` and, where the batch has them, ``attention_mask`` and
            ``class_weights``.

        Raises:
            BatchError: a ValueError; there are no labels, or the model lacks an input.
            Exception: whatever the model raises, with a note on what it was given.
        """
        if isinstance(batch, Mapping):
            return self._from_mapping(batch)
        if isinstance(batch, tuple | list) and len(batch) > 1:
            *inputs, labels = batch
            if isinstance(inputs[0], Mapping):
                return self._from_mapping({**inputs[0], LABEL_KEYS[0]: labels})
            return self._loss_inputs(self._run(*inputs), labels)
        raise BatchError(
            f"The batch is a {type(batch).__name__}; give a mapping with 'labels', or a tuple of "
            "inputs and labels."
        )

    def _from_mapping(self, batch: Mapping[str, Any]) -> LossInputs:
        keys = tuple(batch)
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plans[keys] = make_plan(self.model, keys)
        raw = self._run(**{parameter: batch[key] for parameter, key in plan.call})
        inputs = self._loss_inputs(raw, batch[plan.label_key])
        for key in plan.loss_keys:
            inputs[key] = batch[key]  # type: ignore[literal-required]
        return inputs

    def _run(self, *inputs: Any, **named: Any) -> Any:
        try:
            return self.model(*inputs, **named)
        except Exception as error:
            error.add_note(note_on(error, dict(enumerate(inputs)) | named))
            raise

    def _loss_inputs(self, raw: Any, labels: Tensor) -> LossInputs:
        logits = raw if type(raw) is Tensor else ModelOutput.from_raw(raw).logits
        return {"logits": logits, "labels": labels, **self._constants}  # type: ignore[typeddict-item]


def note_on(error: Exception, inputs: Mapping[Any, Any]) -> str:
    """Say what a model was given when it failed, and what often helps."""
    given = ", ".join(f"{name}: {_shown(value)}" for name, value in inputs.items())
    advice = next((help_ for sign, help_ in _ADVICE.items() if sign in str(error)), _ADVICE[""])
    return f"The model's forward was given {given}. {advice}"


_ADVICE = {
    "more than 1 value per channel": "A batch of one sample has no statistics to normalise by: set "
    "drop_last=True, or another batch_size.",
    "index out of range in self": "An id is outside an embedding: compare the greatest one with "
    "the vocab_size that the model was built with.",
    "Double and Float": "Convert the data with .float(), or the model with .double().",
    "": "Compare shapes and types with what the model was built for.",
}


def _shown(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    kind = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    is_ids = value.dtype is torch.int64 and value.device.type == "cpu" and value.numel() > 0
    return f"{kind} from {value.min()} to {value.max()}" if is_ids else kind


def make_plan(model: nn.Module, keys: tuple[str, ...]) -> Plan:
    """Decide what becomes of each key of a batch.

    Raises:
        BatchError: a ValueError; there are no labels, or a required parameter has no key.
    """
    label_key = next((key for key in LABEL_KEYS if key in keys), None)
    if label_key is None:
        raise BatchError(
            f"The batch holds {', '.join(map(str, keys))} and no labels; add 'labels' to each "
            "sample, or use the task's collator."
        )
    loss_keys = tuple(key for key in _LOSS_KEYS if key in keys)
    return Plan(plan_call(model, keys), label_key, loss_keys)


def plan_call(model: nn.Module, keys: tuple[str, ...]) -> Call:
    """Decide which key of a batch goes to which parameter of the model's ``forward``.

    Raises:
        BatchError: a ValueError; a required parameter has no key.
    """
    parameters = inspect.signature(_forward_of(model)).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in named}
    offered = [key for key in keys if key not in LABEL_KEYS]
    plan = {key: key for key in offered if takes_all or key in names}
    required = [p.name for p in named if p.default is p.empty]
    missing = [name for name in required if name not in plan and name not in LABEL_KEYS]
    if not plan and not missing and named:
        missing = [named[0].name]
    primary = _primary(offered, set(plan))
    if len(missing) == 1 and primary is not None:
        plan[missing[0]] = primary
    elif missing:
        raise BatchError(
            f"The model's forward needs {', '.join(missing)}, and the batch holds "
            f"{', '.join(keys)}; name the batch's keys as the model's parameters."
        )
    return tuple(plan.items())


def _forward_of(model: nn.Module) -> Callable[..., Any]:
    """Look through wrappers whose own ``forward`` only passes on (PEFT, DDP)."""
    if hasattr(model, "get_base_model"):
        return _forward_of(model.get_base_model())  # type: ignore[operator]
    inner = getattr(model, "module", None)
    return _forward_of(inner) if isinstance(inner, nn.Module) else model.forward


def _primary(offered: list[str], taken: set[str]) -> str | None:
    free = [key for key in offered if key not in taken]
    known = [key for key in PRIMARY_KEYS if key in free]
    return next(iter([*known, *free]), None)
