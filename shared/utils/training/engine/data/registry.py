"""Collators by name, and the one that fits a task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, ClassVar

from utils.training.arguments import (
    described,
    is_defined_again,
    require_instance,
    require_name,
)
from utils.training.engine.data.default_collator import DefaultCollator
from utils.training.engine.data.text_collator import LanguageModelingDataCollator
from utils.training.engine.data.vision_collator import VisionDataCollator
from utils.training.errors import UnknownNameError, WrongTypeError
from utils.training.task_spec import TaskSpec

Collator = Callable[[Sequence[Any]], Any]
CollatorFactory = Callable[..., Collator]


@dataclass(frozen=True)
class CollatorInfo:
    """What is registered under a name."""

    name: str
    modality: str
    description: str


class CollatorRegistry:
    """Makes collators by name, or by a task's modality.

    A collator that is named like a modality is the automatic choice for it; where there is none,
    ``default`` is. :meth:`get_instance` gives the registry that the engine uses.
    """

    _instance: ClassVar[CollatorRegistry | None] = None

    def __init__(self) -> None:
        self._factories: dict[str, CollatorFactory] = {}
        self._infos: dict[str, CollatorInfo] = {}
        _register_built_in(self)

    @classmethod
    def get_instance(cls) -> CollatorRegistry:
        """Give the registry that all callers in this process share."""
        if CollatorRegistry._instance is None:
            CollatorRegistry._instance = cls()
        return CollatorRegistry._instance

    def register(
        self, name: str, modality: str = "any", description: str = "", *, overwrite: bool = False
    ) -> Callable[[CollatorFactory], CollatorFactory]:
        """Decorate a factory: a function (or class) that returns a collator.

        It is called with the keywords of :meth:`get_collator`, and with ``task_spec`` if it has
        a parameter of that name. A factory that is defined again, as by a notebook's cell,
        replaces itself.

        Raises:
            ValueError: another factory has the name and ``overwrite`` is False.
            WrongTypeError: a TypeError; the name is none, or the factory can't be called.
        """
        require_name("name", name, '@registry.register("my_data", modality="text")')

        def keep(factory: CollatorFactory) -> CollatorFactory:
            if not callable(factory):
                raise WrongTypeError("The factory", described(factory), "a function or a class")
            if not (overwrite or is_defined_again(self._factories.get(name, factory), factory)):
                raise ValueError(
                    f"A collator named '{name}' is registered already; choose another name, or "
                    "pass overwrite=True."
                )
            self._factories[name] = factory
            self._infos[name] = CollatorInfo(name, modality, description)
            return factory

        return keep

    def get_collator(
        self,
        task_spec: TaskSpec | None = None,
        collator_name: str | None = None,
        **kwargs: Any,
    ) -> Collator:
        """Make a collator: the one named, else the one for the task's modality, else ``default``.

        Args:
            task_spec: a task.
            collator_name: a registered name; wins over the task's modality.
            **kwargs: passed to the factory, such as ``tokenizer``.

        Raises:
            UnknownNameError: a ValueError that offers the nearest name.
            WrongTypeError: a TypeError; ``task_spec`` is none, or the factory made no collator.
        """
        advice = "a name is given as collator_name"
        require_instance("task_spec", task_spec, (TaskSpec, NoneType), "a TaskSpec", advice)
        name = collator_name or self._name_for(task_spec)
        if name not in self._factories:
            raise UnknownNameError("collator", name, self._factories)
        factory = self._factories[name]
        if "task_spec" in inspect.signature(factory).parameters:
            kwargs["task_spec"] = task_spec
        collator = factory(**kwargs)
        if not callable(collator):
            what, advice = f"What collator '{name}' made", "return it from the factory"
            raise WrongTypeError(what, described(collator), "a function of a list", advice)
        return collator

    def list_collators(self) -> list[CollatorInfo]:
        """List what is registered, in the order of registration."""
        return list(self._infos.values())

    def _name_for(self, task_spec: TaskSpec | None) -> str:
        has_own = task_spec is not None and task_spec.modality in self._factories
        return task_spec.modality if has_own and task_spec is not None else "default"


def _register_built_in(registry: CollatorRegistry) -> None:
    text, vision = "Text collator with dynamic padding", "Vision collator with normalization"
    registry.register("text", "text", text)(LanguageModelingDataCollator)

    @registry.register("vision", "vision", vision)
    def make_vision(task_spec: TaskSpec | None = None, **kwargs: Any) -> Collator:
        kwargs.pop("tokenizer", None)  # images have no use for the one a caller passes to all
        return VisionDataCollator(task_spec, **kwargs)

    @registry.register("default", "any", "HuggingFace default collator")
    def make_default(**_: Any) -> Collator:
        return DefaultCollator()
