"""Every setting of a training run, in one dataclass that knows what is allowed."""

from __future__ import annotations

import json
import math
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from utils.training.arguments import described, with_known_fields
from utils.training.errors import InvalidConfigError, UnknownNameError

CONFIG_VERSION = "4.0"

EXPORT_FORMATS = ("onnx", "torchscript", "pytorch")


def _allowed(**bounds: float) -> Any:
    """Metadata of a number's range: ``gt``, ``ge``, ``lt``, ``le``."""
    return bounds


@with_known_fields
@dataclass
class TrainingConfig:
    """What a :class:`~utils.training.engine.Trainer` is told.

    Durations are in the unit that a name ends with; rates and decays are per optimizer step.
    """

    # Hyperparameters
    learning_rate: float = field(default=5e-5, metadata=_allowed(gt=0))
    batch_size: int = field(default=4, metadata=_allowed(ge=1))  # samples in a micro-batch
    epochs: int = field(default=10, metadata=_allowed(ge=1))
    max_steps: int | None = field(
        default=None, metadata=_allowed(ge=1)
    )  # optimizer steps; ends earlier
    weight_decay: float = field(default=0.01, metadata=_allowed(ge=0))

    # Model architecture: carried for the record, read by whoever builds the model
    vocab_size: int = field(default=50257, metadata=_allowed(ge=1))
    d_model: int = field(default=768, metadata=_allowed(ge=1))
    num_layers: int = field(default=12, metadata=_allowed(ge=1))
    num_heads: int = field(default=12, metadata=_allowed(ge=1))
    max_seq_len: int = field(default=512, metadata=_allowed(ge=1))
    dropout: float = field(default=0.1, metadata=_allowed(ge=0, lt=1))

    # Reproducibility
    random_seed: int = field(default=42, metadata=_allowed(ge=0, lt=2**32))
    deterministic: bool = False  # bit-exact kernels, a little slower

    # Optimization
    optimizer: Literal["adamw", "sgd", "adafactor"] = "adamw"
    fused_optimizer: bool = True  # one fused kernel a step, where optimizer and device have it
    momentum: float = field(default=0.9, metadata=_allowed(ge=0, lt=1))  # of SGD
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = field(default=0, metadata=_allowed(ge=0))
    gradient_accumulation_steps: int = field(default=1, metadata=_allowed(ge=1))
    gradient_clip_norm: float | None = field(
        default=1.0, metadata=_allowed(gt=0)
    )  # None: no clipping
    vanishing_threshold: float = field(default=1e-7, metadata=_allowed(ge=0))
    explosion_threshold: float = field(default=10.0, metadata=_allowed(gt=0))
    max_consecutive_failures: int = field(default=3, metadata=_allowed(ge=1))
    ema_decay: float | None = field(default=None, metadata=_allowed(gt=0, lt=1))  # None: no average
    early_stopping_patience: int | None = field(default=None, metadata=_allowed(ge=1))  # epochs
    early_stopping_min_delta: float = field(default=0.0, metadata=_allowed(ge=0))

    # Hardware
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "mps"
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"  # over ranks; "auto" is DDP, alone plain
    mixed_precision: Literal["bf16", "fp16"] | None = None
    compile_mode: (
        Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None
    ) = None
    activation_checkpointing: bool = False

    # Data
    num_workers: int = field(default=0, metadata=_allowed(ge=0))
    pin_memory: bool = True
    drop_last: bool = False

    # Checkpoints
    checkpoint_dir: str = "./checkpoints"
    save_interval_epochs: int = field(default=1, metadata=_allowed(ge=1))
    save_interval_steps: int | None = field(
        default=None, metadata=_allowed(ge=1)
    )  # optimizer steps
    keep_best_k: int = field(default=3, metadata=_allowed(ge=0))
    keep_last_n: int = field(default=5, metadata=_allowed(ge=1))
    monitor: str = "val_loss"
    monitor_mode: Literal["min", "max"] = "min"
    async_checkpoints: bool = True  # train on while the file is written
    save_safetensors: bool = False  # the best weights as model.safetensors, too

    # Metrics and drift
    drift_threshold_warning: float = field(default=0.1, metadata=_allowed(gt=0, le=1))  # bits
    drift_threshold_critical: float = field(default=0.2, metadata=_allowed(gt=0, le=1))  # bits
    drift_samples: int = field(
        default=0, metadata=_allowed(ge=0)
    )  # of training and of validation data, compared before training; 0: not at all
    val_loss_spike_threshold: float = field(
        default=0.2, metadata=_allowed(gt=0)
    )  # share of the loss of the epoch before
    accuracy_drop_threshold: float = field(default=0.05, metadata=_allowed(gt=0))  # points
    email_alerts: bool = False  # by SMTP, where TRAINING_ALERT_... in the environment says
    slack_alerts: bool = False  # to the webhook that is set there
    log_interval_steps: int = field(default=10, metadata=_allowed(ge=1))
    progress_bar: bool = True  # on a terminal; plain log lines elsewhere
    profile: bool = False  # torch.profiler over a few early steps, into profile_dir
    profile_dir: str = "./profiles"

    # Experiment tracking
    run_name: str | None = None
    use_wandb: bool = False
    wandb_project: str = "training-engine"
    use_tensorboard: bool = False
    tensorboard_dir: str = "./runs"
    use_mlflow: bool = False
    mlflow_tracking_uri: str | None = None  # None: what MLflow itself falls back to
    mlflow_experiment: str = "training-engine"

    # Export
    export_bundle: bool = False
    export_formats: list[str] = field(default_factory=lambda: ["onnx", "torchscript"])
    export_dir: str = "./exports"

    config_version: str = CONFIG_VERSION
    notes: str = ""

    def validate(self) -> None:
        """Check every field, and that no other was set.

        Raises:
            InvalidConfigError: a ValueError that lists all faults, not just the first.
        """
        faults = [*_unknown_fields(vars(self)), *self._faults()]
        if faults:
            raise InvalidConfigError(faults)

    def _faults(self) -> list[str]:
        by_field = {f.name: self._field_faults(f.name) for f in fields(self)}
        sound = {name for name, faults in by_field.items() if not faults}
        return [fault for faults in by_field.values() for fault in faults] + [
            fault for names, fault in self._cross_faults() if sound.issuperset(names)
        ]

    def _field_faults(self, name: str) -> list[str]:
        value = getattr(self, name)
        hint = _HINTS[name]
        if not _fits(value, hint):
            return [f"{name} is {value!r}, allowed is {_describe(hint)}."]
        bounds = _BOUNDS[name]
        if value is None or not bounds:
            return []
        if isinstance(value, float) and not math.isfinite(value):
            return [f"{name} is {value}, allowed is a finite number."]
        if all(_holds(key, value, bound) for key, bound in bounds.items()):
            return []
        return [f"{name} is {value}, allowed is {' and '.join(_range_words(bounds))}."]

    def _cross_faults(self) -> Iterator[tuple[set[str], str]]:
        """Yield faults between fields, each with the fields that must be sound to tell."""
        warning, critical = self.drift_threshold_warning, self.drift_threshold_critical
        if _is_reached(warning, critical):
            fault = f"drift_threshold_warning is {warning}, allowed is less than "
            fault += f"drift_threshold_critical ({critical})."
            yield {"drift_threshold_warning", "drift_threshold_critical"}, fault
        formats = self.export_formats if isinstance(self.export_formats, list) else []
        unknown = [f for f in formats if f not in EXPORT_FORMATS]
        if unknown:
            fault = f"export_formats holds {unknown}, allowed are {', '.join(EXPORT_FORMATS)}."
            yield {"export_formats"}, fault
        if self.export_bundle and not formats:
            fault = "export_formats is empty, and export_bundle needs at least one format."
            yield {"export_bundle", "export_formats"}, fault
        if _major(self.config_version) != _major(CONFIG_VERSION):
            fault = f"config_version is {self.config_version}, allowed is {CONFIG_VERSION} or "
            yield {"config_version"}, f"{fault}another of the same major version."

    def to_dict(self) -> dict[str, Any]:
        """Plain values only: what :meth:`from_dict` takes and JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingConfig:
        """Build a config from :meth:`to_dict`'s form; a field left out has its default.

        Raises:
            InvalidConfigError: a ValueError that names every unknown field and its nearest name,
                and then every other fault too; or ``values`` is no dict.
        """
        if not isinstance(values, Mapping):
            raise InvalidConfigError([f"The config is {described(values)}, allowed is a dict."])
        config = cls(**{name: copy(value) for name, value in values.items() if name in _HINTS})
        unknown = _unknown_fields(values)
        if unknown:
            raise InvalidConfigError([*unknown, *config._faults()])
        return config

    def save(self, path: str | Path | None = None) -> Path:
        """Write the config as JSON, atomically, and return where.

        Args:
            path: a file, whose folder is made if need be; by default
                ``config_<YYYYMMDD>_<HHMMSS>.json`` (UTC) in the working folder.

        Raises:
            IsADirectoryError: the path is a folder.
            InvalidConfigError: a ValueError; a field holds what JSON can't, so nothing is written.
        """
        target = Path(path or f"config_{datetime.now(UTC):%Y%m%d_%H%M%S}.json")
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder; give the path of a file in it.")
        try:
            content = json.dumps(self.to_dict(), indent=2)
        except TypeError as error:
            raise InvalidConfigError(self._faults()) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_text(content + "\n", encoding="utf-8")
        temporary.replace(target)
        return target

    @classmethod
    def load(cls, path: str | Path) -> TrainingConfig:
        """Read a config that :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidConfigError: a ValueError; the file is not a JSON object of known fields.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"There is no config file {path}; give the path that save() returned."
            )
        content = Path(path).read_bytes()
        try:
            values = json.loads(content)
        except ValueError as error:  # not JSON, or not even text
            raise InvalidConfigError([f"{path} is not JSON: {error}."]) from error
        if not isinstance(values, dict):
            raise InvalidConfigError(
                [f"{path} holds a {type(values).__name__}, allowed is a JSON object."]
            )
        return cls.from_dict(values)


_HINTS: dict[str, Any] = get_type_hints(TrainingConfig)
_BOUNDS: dict[str, dict[str, float]] = {f.name: dict(f.metadata) for f in fields(TrainingConfig)}
_BOUND_WORDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def _unknown_fields(names: Iterable[Any]) -> list[str]:
    unknown = (name for name in names if name not in _HINTS)
    return [str(UnknownNameError("field", name, _HINTS)) for name in unknown]


def _holds(key: str, value: float, bound: float) -> bool:
    return {"gt": value > bound, "ge": value >= bound, "lt": value < bound, "le": value <= bound}[
        key
    ]


def _major(version: Any) -> str:
    return str(version).partition(".")[0]


def _is_reached(low: float, high: float) -> bool:
    return _fits(low, float) and _fits(high, float) and low >= high


def _range_words(bounds: dict[str, float]) -> list[str]:
    return [f"{text} {bounds[key]}" for key, text in _BOUND_WORDS.items() if key in bounds]


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, option) for option in _options(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(isinstance(v, str) for v in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    words = {
        float: "a number",
        int: "a whole number",
        str: "a string",
        bool: "True or False",
        type(None): "None",
    }
    parts = []
    for option in _options(hint):
        if get_origin(option) is Literal:
            parts += [repr(v) for v in get_args(option)]
        elif get_origin(option) is list:
            parts.append("a list of strings")
        else:
            parts.append(words[option])
    return " or ".join(parts)
