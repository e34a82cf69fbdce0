"""What a task is: its modality, its kind of loss, and the shapes that data and export need."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from utils.training.arguments import described, is_whole, with_known_fields
from utils.training.errors import InvalidConfigError, UnknownNameError

Modality = Literal["text", "vision", "tabular"]
Side = Literal["left", "right"]

# Of red, green and blue, for inputs in 0..1 (torchvision's published ImageNet statistics).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_DEFAULT_TASK_TYPES: dict[str, str] = {
    "text": "language_modeling",
    "vision": "vision_classification",
    "tabular": "classification",
}
_OPTIONAL_SEQUENCES = ("image_mean", "image_std")
_SEQUENCES = {
    "class_names": "names",
    "image_size": "pixels",
    "image_mean": "numbers",
    "image_std": "numbers",
    "feature_names": "names",
}


@with_known_fields
@dataclass(frozen=True)
class TaskSpec:
    """A task's data and loss, in plain values that JSON can hold.

    ``task_type`` names a loss strategy; left out, it follows from the modality. Image sizes are
    [height, width] in pixels, ``image_mean`` and ``image_std`` one value a channel, for inputs
    in 0..1.
    """

    name: str
    modality: Modality = "text"
    task_type: str = ""
    max_seq_len: int = 512  # tokens
    vocab_size: int = 50257
    pad_token_id: int | None = 0  # None: no id means padding
    padding_side: Side = "right"
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    image_size: tuple[int, int] = (224, 224)
    image_channels: int = 3
    image_mean: tuple[float, ...] | None = None  # None: ImageNet's
    image_std: tuple[float, ...] | None = None
    feature_names: tuple[str, ...] = ()  # the columns of a tabular task, in the model's order

    def __post_init__(self) -> None:
        """Fill in what follows from the rest, and refuse what can't be."""
        for name in _SEQUENCES:
            value = getattr(self, name)
            if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
                object.__setattr__(self, name, tuple(value))
        faults = [*self._number_faults(), *self._sequence_faults(), *self._name_faults()]
        if self.modality not in get_args(Modality):
            unknown = UnknownNameError("modality", self.modality, get_args(Modality))
            if not faults:
                raise unknown
            faults.append(str(unknown))
        if faults:
            raise InvalidConfigError(faults)
        if not self.task_type:
            object.__setattr__(self, "task_type", _DEFAULT_TASK_TYPES[self.modality])

    def _number_faults(self) -> list[str]:
        lowest = {"max_seq_len": 1, "vocab_size": 1, "image_channels": 1}
        optional = {"pad_token_id": 0, "num_classes": 1}
        return [
            f"{name} is {value!r}, allowed is a whole number from {low} up"
            f"{', or None' if name in optional else ''}."
            for name, low in {**lowest, **optional}.items()
            if not is_whole(value := getattr(self, name), low)
            and not (value is None and name in optional)
        ]

    def _sequence_faults(self) -> list[str]:
        faults = [
            f"{name} is {value!r}, allowed is a list or tuple of {kind}."
            for name, kind in _SEQUENCES.items()
            if not isinstance(value := getattr(self, name), tuple)
            and not (value is None and name in _OPTIONAL_SEQUENCES)
        ]
        return faults or [*self._class_faults(), *self._image_faults()]

    def _class_faults(self) -> list[str]:
        count = len(self.class_names)
        if not count or self.num_classes in (None, count):
            return []
        fault = f"class_names has {count} names and num_classes is {self.num_classes}"
        return [f"{fault}; give one name a class."]

    def _image_faults(self) -> list[str]:
        faults = []
        height_and_width = [side for side in self.image_size if is_whole(side, 1)]
        if not len(height_and_width) == len(self.image_size) == 2:  # noqa: PLR2004 - height, width
            faults.append(
                f"image_size is {self.image_size}, allowed is (height, width), each 1 or more."
            )
        for name in _OPTIONAL_SEQUENCES:
            value = getattr(self, name)
            if value is not None and len(value) != self.image_channels:
                faults.append(
                    f"{name} has {len(value)} values, allowed is one for each of "
                    f"{self.image_channels} channels."
                )
            if value is not None and not all(_is_finite(entry) for entry in value):
                faults.append(f"{name} is {value}, allowed are finite numbers.")
            elif name == "image_std" and value and min(value) <= 0:
                faults.append(f"image_std is {value}, allowed are numbers greater than 0.")
        return faults

    def _name_faults(self) -> list[str]:
        faults = [
            f"{name} is {getattr(self, name)!r}, allowed is a string."
            for name in ("name", "task_type")
            if not isinstance(getattr(self, name), str)
        ]
        if self.padding_side not in get_args(Side):
            faults.append(f"padding_side is {self.padding_side!r}, allowed are 'left' and 'right'.")
        return faults

    def with_normalization(self) -> TaskSpec:
        """The same task with its image mean and deviation spelled out.

        Three channels without any are normalised as ImageNet is; other counts not at all.
        """
        given = self.image_mean is not None or self.image_std is not None
        if self.modality != "vision" or given or self.image_channels != len(IMAGENET_MEAN):
            return self
        return replace(self, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: tuples as lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TaskSpec:
        """Build a spec from :meth:`to_dict`'s form.

        Raises:
            InvalidConfigError: a ValueError that names every unknown field, and every fault.
            UnknownNameError: a ValueError; the modality alone is at fault.
        """
        if not isinstance(values, Mapping):
            raise InvalidConfigError([f"The task is {described(values)}, allowed is a dict."])
        known = {f.name for f in fields(cls)}
        faults = [
            str(UnknownNameError("field", name, known)) for name in values if name not in known
        ]
        if "name" not in values:
            faults.append("name is missing, allowed is a string.")
        if not faults:
            return cls(**values)
        sound = {"name": "", **{k: v for k, v in values.items() if k in known}}
        try:
            cls(**sound)
        except InvalidConfigError as error:
            faults += error.faults
        except UnknownNameError as error:
            faults.append(str(error))
        raise InvalidConfigError(faults)

    @classmethod
    def language_modeling_tiny(cls) -> TaskSpec:
        """Next-token prediction over a small vocabulary: 512 ids, 64 tokens."""
        return cls(name="language-modeling-tiny", modality="text", max_seq_len=64, vocab_size=512)

    @classmethod
    def vision_tiny(cls) -> TaskSpec:
        """Images of 32 x 32 pixels in 3 channels, 10 classes."""
        return cls(name="vision-tiny", modality="vision", image_size=(32, 32), num_classes=10)

    @classmethod
    def classification_tiny(cls) -> TaskSpec:
        """Two classes of short texts: 512 ids, 64 tokens."""
        return cls(
            name="classification-tiny",
            modality="text",
            task_type="classification",
            max_seq_len=64,
            vocab_size=512,
            num_classes=2,
        )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
