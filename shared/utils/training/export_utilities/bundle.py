"""Make an export bundle: every format, checked against the model, with what it takes to run it."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from utils.training.arguments import described, require_instance
from utils.training.errors import InvalidArgumentError, WrongTypeError
from utils.training.export_utilities import formats
from utils.training.export_utilities.archive import TEMPLATES, archive_members, write_archive
from utils.training.export_utilities.errors import ExportError, FormatError
from utils.training.export_utilities.manifest import installed_versions, write_json, write_manifest
from utils.training.export_utilities.parity import greatest_difference
from utils.training.export_utilities.signature import (
    LogitsOnly,
    Signature,
    output_dynamic,
    signature_of,
)
from utils.training.export_utilities.templates.runtimes import FILES
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

log = logging.getLogger(__name__)

_RUNNERS = ("inference.py", "preprocessing.py", "runtimes.py", "serve.py", "verify.py")


def create_export_bundle(
    model: nn.Module,
    config: Any,
    task_spec: TaskSpec,
    training_config: TrainingConfig,
    *,
    tokenizer: Any = None,
    reference_profile: dict[str, Any] | None = None,
    sample_batch: dict[str, Tensor] | None = None,
    model_version: str = "1",
) -> Path:
    """Write ``<export_dir>/model_<timestamp>/`` and return its path.

    The PyTorch format is always written, ONNX and TorchScript as ``training_config.export_formats``
    asks. Each is run, on several batch and sequence sizes, and compared with the model before it
    counts.

    Args:
        model: the trained model; it is left as it is.
        config: the model's own configuration, kept for the record where it can be written as JSON.
        task_spec: what the model takes and what its output means.
        training_config: formats and folder; kept in the bundle.
        tokenizer: of a text task: a transformers fast tokenizer or a ``tokenizers.Tokenizer``.
        reference_profile: the profile of the training data that drift is measured against.
        sample_batch: inputs by name, where the task alone does not tell their shapes.
        model_version: the version in the TorchServe archive.

    Raises:
        ExportError: a RuntimeError; a format failed. ``error.bundle`` has all the others.
        InvalidArgumentError: a ValueError; the model can't run on what the task describes, or its
            output is not finite. Nothing is written.
        InvalidConfigError: a ValueError; ``training_config`` has faults.
        WrongTypeError: a TypeError; an argument is of the wrong kind.
    """
    _refuse_kinds(model, task_spec, training_config, tokenizer, sample_batch)
    training_config.validate()
    wrapped = _for_export(model, task_spec, sample_batch)
    signature = signature_of(model, task_spec, sample_batch)
    output = _output_of(wrapped, signature)
    final = _new_folder(Path(training_config.export_dir))
    folder = final.with_name(f".{final.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "artifacts").mkdir(parents=True)
    written, failures = _write_formats(wrapped, signature, folder, training_config.export_formats)
    _write_data(folder, output, signature, task_spec, reference_profile)
    _write_configs(folder, config, task_spec, training_config)
    _write_tokenizer(folder, tokenizer)
    _write_runners(folder, task_spec, written)
    _write_archive(folder, task_spec, model_version)
    write_manifest(folder, written, failures)
    folder.rename(final)
    if failures:
        raise ExportError(final, failures)
    return final


def _for_export(
    model: nn.Module, task_spec: TaskSpec, sample: dict[str, Tensor] | None
) -> LogitsOnly:
    """A copy on the CPU, in evaluation mode, that gives logits alone."""
    copied = copy.deepcopy(model).cpu().float().eval().requires_grad_(requires_grad=False)
    names = list(signature_of(model, task_spec, sample).samples)
    return LogitsOnly(copied, names).eval()


def _refuse_kinds(
    model: Any, task_spec: Any, training_config: Any, tokenizer: Any, sample_batch: Any
) -> None:
    require_instance("model", model, nn.Module, "an nn.Module")
    require_instance("task_spec", task_spec, TaskSpec, "a TaskSpec")
    require_instance("training_config", training_config, TrainingConfig, "a TrainingConfig")
    if tokenizer is not None and not hasattr(_inner(tokenizer), "save"):
        allowed = "a transformers fast tokenizer or a tokenizers.Tokenizer"
        raise WrongTypeError("tokenizer", described(tokenizer), allowed)
    require_instance("sample_batch", sample_batch, (dict, NoneType), "a dict of tensors, or None")
    for name, value in (sample_batch or {}).items():
        require_instance(f"sample_batch['{name}']", value, Tensor, "a tensor")


def _output_of(model: LogitsOnly, signature: Signature) -> Tensor:
    """What the model in memory answers to the sample; every format is held against it."""
    given = ", ".join(f"{n} {list(t.shape)}" for n, t in signature.samples.items())
    try:
        with torch.inference_mode():
            output = model(*signature.samples.values())
    except Exception as error:
        raise InvalidArgumentError(
            f"The model can't run on a sample of its task ({given}): {error}. Compare the TaskSpec "
            "with what the model was built for, or give a sample_batch."
        ) from error
    if not output.isfinite().all():
        raise InvalidArgumentError(
            f"The model answers a sample of its task ({given}) with NaN or Inf; export the weights "
            "of a good checkpoint."
        )
    return output


def _new_folder(parent: Path) -> Path:
    """``model_<YYYYMMDD>_<HHMMSS>`` (UTC), with a number behind it where that is taken."""
    if parent.exists() and not parent.is_dir():
        raise NotADirectoryError(f"export_dir is {parent}, which is a file; give a folder.")
    parent.mkdir(parents=True, exist_ok=True)
    stem = f"model_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    candidates = (parent / f"{stem}{'' if n == 1 else f'_{n}'}" for n in range(1, 1000))
    return next(path for path in candidates if not path.exists())


def _write_formats(
    model: LogitsOnly, signature: Signature, folder: Path, wanted: Iterable[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write and check each format; what holds, and why the rest does not."""
    artifacts = folder / "artifacts"
    written: dict[str, Any] = {}
    failures: dict[str, str] = {}
    program: list[torch.export.ExportedProgram] = []

    def captured() -> torch.export.ExportedProgram:
        if not program:
            program.append(formats.export_program(model, signature))
        return program[0]

    def pytorch(path: Path) -> dict[str, Any]:
        formats.write_pytorch(captured(), path)
        return {}

    def onnx(path: Path) -> dict[str, Any]:
        return {"opset": formats.write_onnx(captured(), list(signature.samples), path)}

    def torchscript(path: Path) -> dict[str, Any]:
        formats.write_torchscript(model, list(signature.samples.values()), path)
        return {}

    writers: dict[str, Callable[[Path], dict[str, Any]]] = {
        "pytorch": pytorch,
        "onnx": onnx,
        "torchscript": torchscript,
    }
    for kind, write in writers.items():
        if kind != "pytorch" and kind not in wanted:
            continue
        path = artifacts / FILES[kind]
        try:
            facts = write(path)
            facts |= greatest_difference(model, signature, artifacts, kind)
        except FormatError as error:
            log.error("The %s format failed and is left out. %s", kind, error)  # noqa: TRY400 - said in full
            failures[kind] = str(error)
            path.unlink(missing_ok=True)
        else:
            written[kind] = {"file": f"artifacts/{path.name}", **facts}
    return written, failures


def _write_data(
    folder: Path,
    output: Tensor,
    signature: Signature,
    task_spec: TaskSpec,
    reference_profile: dict[str, Any] | None,
) -> None:
    document = signature.to_dict(output, output_dynamic(task_spec, output))
    write_json(folder / "signature.json", document)
    write_json(folder / "sample_input.json", _tensors(signature.samples))
    write_json(folder / "expected_output.json", _tensors({"logits": output}))
    if reference_profile is not None:
        write_json(folder / "reference_profile.json", reference_profile)


def _tensors(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors in the Open Inference Protocol's JSON form."""
    return {
        "tensors": [
            {
                "name": name,
                "shape": list(tensor.shape),
                "datatype": "INT64" if tensor.dtype is torch.int64 else "FP32",
                "data": tensor.flatten().tolist(),
            }
            for name, tensor in tensors.items()
        ]
    }


def _write_configs(
    folder: Path, config: Any, task_spec: TaskSpec, training_config: TrainingConfig
) -> None:
    configs = folder / "configs"
    configs.mkdir()
    write_json(configs / "task_spec.json", task_spec.with_normalization().to_dict())
    write_json(configs / "training_config.json", training_config.to_dict())
    write_json(configs / "torchserve_config.json", _torchserve_config(task_spec))
    described = _described(config)
    if described is not None:
        write_json(configs / "model_config.json", described)


def _torchserve_config(task_spec: TaskSpec) -> dict[str, Any]:
    return {
        "model_name": task_spec.name,
        "min_workers": 1,
        "max_workers": 1,
        "batch_size": 8,
        "max_batch_delay_ms": 5,
        "response_timeout_seconds": 30,
    }


def _described(config: Any) -> dict[str, Any] | None:
    """A model configuration as plain values; None where it holds anything else."""
    if hasattr(config, "to_dict"):
        values = config.to_dict()
    elif isinstance(config, dict):
        values = config
    else:
        values = dict(getattr(config, "__dict__", {}))
    plain = {k: v for k, v in values.items() if isinstance(v, str | int | float | bool | None)}
    return plain or None


def _write_tokenizer(folder: Path, tokenizer: Any) -> None:
    if tokenizer is None:
        return
    target = folder / "tokenizer"
    target.mkdir()
    _inner(tokenizer).save(str(target / "tokenizer.json"))


def _inner(tokenizer: Any) -> Any:
    return getattr(tokenizer, "backend_tokenizer", tokenizer)


def _write_runners(folder: Path, task_spec: TaskSpec, written: dict[str, Any]) -> None:
    for name in (*_RUNNERS, "Dockerfile"):
        shutil.copyfile(TEMPLATES / name, folder / name)
    (folder / "requirements.txt").write_text(_requirements(task_spec), encoding="utf-8")
    readme = (TEMPLATES / "README.md").read_text(encoding="utf-8")
    rows = "\n".join(
        f"| {kind} | `{facts['file']}` | {facts['greatest_difference']:.2g} |"
        for kind, facts in written.items()
    )
    filled = readme.replace("{name}", task_spec.name).replace("{rows}", rows)
    (folder / "README.md").write_text(
        filled.replace("{example}", _EXAMPLES[task_spec.modality]), encoding="utf-8"
    )


_EXAMPLES = {"text": "texts.txt", "vision": "image.png", "tabular": "rows.csv"}


def _requirements(task_spec: TaskSpec) -> str:
    """Exactly what this bundle was checked with."""
    from importlib.metadata import version

    needed = ["numpy", "onnxruntime"]
    needed += {"text": ["tokenizers"], "vision": ["pillow"], "tabular": []}[task_spec.modality]
    pinned = [f"{library}=={version(library)}" for library in needed]
    pinned.append(f"torch=={installed_versions()['torch'].partition('+')[0]}")
    return "".join(f"{line}\n" for line in sorted(pinned))


def _write_archive(folder: Path, task_spec: TaskSpec, model_version: str) -> None:
    """The TorchServe archive; without ONNX and TorchScript there is nothing to serve."""
    members = archive_members(folder)
    if members is not None:
        name = _file_name(task_spec.name)
        write_archive(folder / "artifacts" / f"{name}.mar", name, model_version, members)


def _file_name(name: str) -> str:
    """A name without anything that a file system or a URL takes amiss."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip(".") or "model"
