"""Write a model in each format; a format that can't hold it fails with the reason."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from utils.training.errors import MissingDependencyError
from utils.training.export_utilities.errors import FormatError
from utils.training.export_utilities.signature import BATCH, SEQUENCE, Signature

_LARGEST_BATCH = 4096
_PROTOBUF_LIMIT_BYTES = 2_000_000_000  # above it, ONNX keeps its weights in a file beside
_MANGLED = re.compile(rb"___torch_mangle_(\d+)")


def export_program(model: nn.Module, signature: Signature) -> torch.export.ExportedProgram:
    """Capture the model as a graph with free batch and sequence dimensions.

    Raises:
        FormatError: a RuntimeError; the graph can't be captured.
    """
    sizes = {
        BATCH: torch.export.Dim(BATCH, max=_LARGEST_BATCH),
        SEQUENCE: torch.export.Dim(SEQUENCE, max=signature.limits.get(SEQUENCE)),
    }
    shapes = tuple(
        {axis: sizes[name] for axis, name in dynamic.items()}
        for dynamic in signature.dynamic.values()
    )
    with _said_once("its graph can't be captured"):
        program = torch.export.export(
            model, tuple(signature.samples.values()), dynamic_shapes=(shapes,)
        )
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it names files of this machine
    return program


def write_pytorch(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write the graph with its weights: torch alone runs it, without the model's source."""
    # By name it would want the ending .pt2.
    with _said_once("it can't be saved"), path.open("wb") as file:
        torch.export.save(program, file)


def write_onnx(program: torch.export.ExportedProgram, names: list[str], path: Path) -> int:
    """Write ONNX, and return its opset.

    Raises:
        FormatError: a RuntimeError; an operator has no ONNX form.
        MissingDependencyError: an ImportError; onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingDependencyError("onnx", "ONNX export", "export") from error

    weights = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    with _said_once("ONNX has no form for it"):
        torch.onnx.export(
            program,
            (),
            path,
            dynamo=True,
            verbose=False,
            external_data=weights > _PROTOBUF_LIMIT_BYTES,
            input_names=names,
            output_names=["logits"],
        )
    model = onnx.load(path, load_external_data=False)
    return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def write_torchscript(model: nn.Module, inputs: list[Tensor], path: Path) -> None:
    """Trace the model and write TorchScript, the same bytes each time.

    Raises:
        FormatError: a RuntimeError; the model can't be traced.
    """
    with _said_once("it can't be traced"):
        # A class traced before has a mangled name; the first trace makes that so for all of them.
        torch.jit.trace(model, inputs, check_trace=False)
        traced = torch.jit.trace(model, inputs, check_trace=False)
        torch.jit.save(traced, path)
    _renumber(path)


def _renumber(path: Path) -> None:
    """Count mangled names from zero, and drop the records that hold paths of this machine."""
    numbers: dict[bytes, int] = {}

    def rename(data: bytes) -> bytes:
        return _MANGLED.sub(
            lambda found: b"___torch_mangle_%d" % numbers.setdefault(found[1], len(numbers)), data
        )

    reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001 - torch.jit offers no other way in
    records = [
        (name, reader.get_record(name))
        for name in reader.get_all_records()
        if not name.endswith(".debug_pkl") and not name.startswith(".data/") and name != "version"
    ]
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))  # noqa: SLF001
    for name, data in records:
        kept = rename(data) if name.endswith((".py", "data.pkl")) else data
        writer.write_record(rename(name.encode()).decode(), kept, len(kept))
    writer.write_end_of_file()


@contextmanager
def _said_once(reason: str) -> Iterator[None]:
    """Turn whatever torch raises into one sentence, and keep its many warnings from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise FormatError(f"{reason[0].upper()}{reason[1:]}: {first.rstrip('.')}.") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
