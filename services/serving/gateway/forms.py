"""The two forms of a request: tensors for tensors, and predictions for examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.serving.backends.protocol import Arrays, Backend, InputRefusedError, Version
from services.serving.gateway.contract import Contract
from services.serving.gateway.tensors import read_tensors
from utils.training.export_utilities.templates.preprocessing import (
    InputError,
    check_tensors,
    output,
)

_LONGEST_ID = 200  # characters

Document = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A request that was found good.

    ``inputs`` are its tensors, ``rows`` how many examples it has; ``examples`` are these where they
    came as such.
    """

    inputs: Arrays
    rows: int
    examples: list[Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What a version answered: its logits, or predictions where the back end read these itself."""

    logits: NDArray[np.float32] | None
    predictions: list[Any] | None = None


class Form(Protocol):
    """How a request is read, asked and answered."""

    def read(self, document: Document, contract: Contract) -> Question:
        """Check a request against a version's contract.

        Raises:
            InputRefusedError: a ValueError; the client's fault.
        """

    def ask(
        self, question: Question, backend: Backend, version: Version, contract: Contract
    ) -> Answer:
        """Let a version answer.

        Raises:
            InputRefusedError: a ValueError; the client's fault.
            UnavailableError: a RuntimeError; no answer can be had now.
        """

    def write(
        self,
        document: Document,
        question: Question,
        answer: Answer,
        version: Version,
        contract: Contract,
    ) -> Document:
        """The document that a request is answered with."""


@dataclass(frozen=True)
class Tensors:
    """``inputs`` get ``outputs``: the Open Inference Protocol."""

    max_batch: int  # examples

    def read(self, document: Document, contract: Contract) -> Question:
        """Check the tensors, the id and the outputs asked for."""
        request_id = document.get("id", "")
        if not isinstance(request_id, str) or len(request_id) > _LONGEST_ID:
            raise InputRefusedError(f'"id" is a text of at most {_LONGEST_ID} characters.')
        _outputs_asked(document, contract)
        if "inputs" not in document:
            raise InputRefusedError('The body lacks "inputs", a list of tensors.')
        arrays = read_tensors(document["inputs"], contract.inputs)
        rows = len(next(iter(arrays.values())))
        _check_batch(rows, self.max_batch)
        return Question(arrays, rows)

    def ask(
        self, question: Question, backend: Backend, version: Version, contract: Contract
    ) -> Answer:
        """Ask for the logits."""
        del contract
        return Answer(backend.infer(version, question.inputs))

    def write(
        self,
        document: Document,
        question: Question,
        answer: Answer,
        version: Version,
        contract: Contract,
    ) -> Document:
        """The tensors asked for, under the request's id."""
        del question
        assert answer.logits is not None
        tensor = output(answer.logits)
        named = {"id": document["id"]} if "id" in document else {}
        return {
            "model_name": version.name,
            "model_version": version.version,
            **named,
            "outputs": [
                tensor for name in _outputs_asked(document, contract) if name == tensor["name"]
            ],
        }


@dataclass(frozen=True)
class Examples:
    """``instances`` get ``predictions``: texts, images or rows as users have them.

    Examples become tensors here, so that a model which classifies is asked for its logits, and
    its summary tells of all classes. Other models' logits are large: their back end reads them.
    """

    max_batch: int  # examples

    def read(self, document: Document, contract: Contract) -> Question:
        """Encode the examples as training did."""
        instances = document.get("instances")
        if not isinstance(instances, list):
            raise InputRefusedError('The body lacks "instances", a list of examples.')
        _check_batch(len(instances), self.max_batch)
        try:
            with np.errstate(over="ignore"):  # what is too large becomes Inf, which is refused
                arrays = check_tensors(contract.task.encode(instances), contract.inputs)
        except InputError as fault:
            raise InputRefusedError(str(fault)) from fault
        return Question(arrays, len(instances), instances)

    def ask(
        self, question: Question, backend: Backend, version: Version, contract: Contract
    ) -> Answer:
        """Ask for the logits where they are a few classes, else for the predictions."""
        if contract.gives_class_logits:
            return Answer(backend.infer(version, question.inputs))
        answer = backend.answer(version, {"instances": question.examples})
        return Answer(None, answer["predictions"])

    def write(
        self,
        document: Document,
        question: Question,
        answer: Answer,
        version: Version,
        contract: Contract,
    ) -> Document:
        """One prediction an example."""
        del document, version
        if answer.logits is None:
            return {"predictions": answer.predictions}
        return {"predictions": contract.task.decode(answer.logits, question.inputs)}


def _check_batch(rows: int, limit: int) -> None:
    if rows > limit:
        raise InputRefusedError(
            f"The request holds {rows} examples, allowed are {limit}; send them in several."
        )


def _outputs_asked(document: Document, contract: Contract) -> list[str]:
    """The names of the outputs that a request selects, all where it selects none."""
    known = [spec["name"] for spec in contract.outputs]
    asked = document.get("outputs")
    if asked is None or asked == []:
        return known
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise InputRefusedError('"outputs" is a list of objects, each with the name of an output.')
    names = [one.get("name") for one in asked]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None or None in names:
        raise InputRefusedError(
            f"The output {str(unknown)[:100]!r} is unknown; the model gives {', '.join(known)}."
        )
    return [name for name in known if name in names]
