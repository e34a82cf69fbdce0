"""Losses by the name of their task."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

from utils.training.arguments import is_defined_again, require_name
from utils.training.engine.loss.inputs import LossError
from utils.training.engine.loss.strategies import (
    ClassificationLoss,
    LanguageModelingLoss,
    VisionLoss,
)
from utils.training.engine.loss.terms import LossStrategy
from utils.training.errors import UnknownNameError

StrategyClass = TypeVar("StrategyClass", bound=type)


class LossStrategyRegistry:
    """Maps a task type to the class that computes its loss."""

    _strategies: ClassVar[dict[str, type]] = {
        "language_modeling": LanguageModelingLoss,
        "causal_lm": LanguageModelingLoss,
        "classification": ClassificationLoss,
        "vision_classification": VisionLoss,
        "segmentation": VisionLoss,
    }

    @classmethod
    def register(
        cls, task_type: str, *, overwrite: bool = False
    ) -> Callable[[StrategyClass], StrategyClass]:
        """Decorate a class with ``compute_loss`` to make it the loss of ``task_type``.

        A class that is defined again, as by a notebook's cell, replaces itself.

        Raises:
            LossError: a ValueError; another class has the name and ``overwrite`` is False, or the
                class has no ``compute_loss``.
            WrongTypeError: a TypeError; ``task_type`` is no name.
        """
        require_name("task_type", task_type, '@LossStrategyRegistry.register("my_task")')

        def add(strategy: StrategyClass) -> StrategyClass:
            if not callable(getattr(strategy, "compute_loss", None)):
                raise LossError(f"{strategy!r} has no compute_loss(inputs); give it one.")
            known = cls._strategies.get(task_type, strategy)
            if not (overwrite or is_defined_again(known, strategy)):
                raise LossError(
                    f"task_type '{task_type}' already has {known.__name__}; choose another name, "
                    "or pass overwrite=True."
                )
            cls._strategies[task_type] = strategy
            return strategy

        return add

    @classmethod
    def get(cls, task_type: str) -> LossStrategy:
        """Build the strategy of ``task_type``.

        Raises:
            UnknownNameError: a ValueError that offers the nearest name.
        """
        if not isinstance(task_type, str) or task_type not in cls._strategies:
            raise UnknownNameError("task_type", task_type, cls._strategies)
        strategy: LossStrategy = cls._strategies[task_type]()
        return strategy

    @classmethod
    def list_available(cls) -> list[str]:
        """Return the built-in names, then the registered ones in their order."""
        return list(cls._strategies)


def get_loss_strategy(task_type: str) -> LossStrategy:
    """Build the strategy of ``task_type``, such as ``"language_modeling"``.

    Raises:
        UnknownNameError: a ValueError that offers the nearest name.
    """
    return LossStrategyRegistry.get(task_type)
