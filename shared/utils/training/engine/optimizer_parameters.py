"""The parameters that an optimizer moves, and their gradients by layer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils.training.arguments import require_instance
from utils.training.engine.gradient_norms import layer_name

logger = logging.getLogger(__name__)


class OptimizerParameters:
    """Remembers an optimizer's parameters, so that a step need not walk the model.

    Frozen ones are among them and have no gradient, so unfreezing needs no notice; a new parameter
    group or another model is noticed at once, all else after :meth:`forget`.

    Args:
        optimizer: whose parameters they are.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._model: nn.Module | None = None
        self._num_groups = 0
        self._parameters: list[Tensor] = []
        self._names: list[str] = []
        self._has_warned = False

    def gradients(self, model: nn.Module) -> tuple[Sequence[str], list[Tensor]]:
        """Return the layer names in ``model`` and the gradients of the parameters that have one."""
        if model is not self._model or len(self._optimizer.param_groups) != self._num_groups:
            self._remember(model)
        parameters = self._parameters
        gradients = [grad for p in parameters if (grad := p.grad) is not None]
        if len(gradients) == len(parameters):
            return self._names, gradients
        if not gradients:
            self._warn_of_no_gradient()
        pairs = zip(self._names, parameters, strict=True)
        return [name for name, p in pairs if p.grad is not None], gradients

    def drop_gradients(self) -> None:
        """Set every gradient to None, as ``zero_grad`` does at ten times the cost."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def forget(self) -> None:
        """Look at model and optimizer again the next time."""
        self._model = None

    def include_fp16(self) -> bool:
        """Whether any parameter, and so its gradient, is in half precision with its small range."""
        groups = self._optimizer.param_groups
        return any(p.dtype is torch.float16 for group in groups for p in group["params"])

    def have_gradients(self) -> bool:
        """Whether any parameter has a gradient now."""
        groups = self._optimizer.param_groups
        return any(p.grad is not None for group in groups for p in group["params"])

    def _remember(self, model: nn.Module) -> None:
        require_instance("model", model, nn.Module, "the nn.Module that computed the loss")
        groups = self._optimizer.param_groups
        names = {id(p): layer_name(name) for name, p in model.named_parameters()}
        self._parameters = [p for group in groups for p in group["params"]]
        self._names = [
            names.get(id(p), f"optimizer parameter {place}")
            for place, p in enumerate(self._parameters)
        ]
        self._model, self._num_groups = model, len(groups)

    def _warn_of_no_gradient(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "No parameter of the optimizer has a gradient, so its steps change nothing; give "
                "it the parameters of the model that computes the loss."
            )
