"""The two forms of a request: tensors for tensors, and predictions for examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from services.serving.backends.protocol import InputRefusedError, Version
from services.serving.gateway.contract import Contract
from services.serving.gateway.tensors import Arrays, read_output, read_tensors, write_tensors
from utils.training.export_utilities.templates.preprocessing import InputError

_LONGEST_ID = 200  # characters

Document = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A request that was found good.

    ``document`` is what the back end is asked, ``inputs`` are the same as arrays, ``rows`` how
    many examples it has; ``examples`` are these where they came as such.
    """

    document: Document
    inputs: Arrays
    rows: int
    examples: list[Any] | None = None


class Form(Protocol):
    """How a request is read and its answer is written."""

    def read(self, document: Document, contract: Contract) -> Question:
        """Check a request against a version's contract.

        Raises:
            InputRefusedError: a ValueError; the client's fault.
        """

    def write(
        self,
        document: Document,
        question: Question,
        answer: Document,
        version: Version,
        contract: Contract,
    ) -> Document:
        """The answer to a request, from what the back end answered."""


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
        tensors = [
            {key: tensor[key] for key in ("name", "shape", "datatype", "data")}
            for tensor in document["inputs"]
        ]
        rows = len(next(iter(arrays.values())))
        _check_batch(rows, self.max_batch)
        return Question({"inputs": tensors}, arrays, rows)

    def write(
        self,
        document: Document,
        question: Question,
        answer: Document,
        version: Version,
        contract: Contract,
    ) -> Document:
        """The tensors asked for, under the request's id."""
        del question
        tensors = {tensor["name"]: tensor for tensor in answer["outputs"]}
        named = {"id": document["id"]} if "id" in document else {}
        return {
            "model_name": version.name,
            "model_version": version.version,
            **named,
            "outputs": [tensors[name] for name in _outputs_asked(document, contract)],
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
                arrays: Arrays = contract.task.encode(instances)
        except InputError as fault:
            raise InputRefusedError(str(fault)) from fault
        asked = (
            {"inputs": write_tensors(arrays)}
            if contract.gives_class_logits
            else {"instances": instances}
        )
        return Question(asked, arrays, len(instances), instances)

    def write(
        self,
        document: Document,
        question: Question,
        answer: Document,
        version: Version,
        contract: Contract,
    ) -> Document:
        """One prediction an example."""
        del document, version
        if not contract.gives_class_logits:
            return {"predictions": answer["predictions"]}
        logits = read_output(answer["outputs"][0])
        return {"predictions": contract.task.decode(logits, question.inputs)}


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
