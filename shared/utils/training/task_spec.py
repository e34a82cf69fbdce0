"""What a task is: its modality, its kind of loss, and the shapes that data and export need."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from utils.training.errors import InvalidConfigError, UnknownNameError

Modality = Literal["text", "vision", "tabular"]

# Of red, green and blue, for inputs in 0..1 (torchvision's published ImageNet statistics).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_DEFAULT_TASK_TYPES: dict[str, str] = {
    "text": "language_modeling",
    "vision": "vision_classification",
    "tabular": "classification",
}


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
    padding_side: Literal["left", "right"] = "right"
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    image_size: tuple[int, int] = (224, 224)
    image_channels: int = 3
    image_mean: tuple[float, ...] | None = None  # None: ImageNet's
    image_std: tuple[float, ...] | None = None
    feature_names: tuple[str, ...] = ()  # the columns of a tabular task, in the model's order

    def __post_init__(self) -> None:
        """Fill in what follows from the rest, and refuse what can't be."""
        if self.modality not in get_args(Modality):
            raise UnknownNameError("modality", str(self.modality), get_args(Modality))
        if not self.task_type:
            object.__setattr__(self, "task_type", _DEFAULT_TASK_TYPES[self.modality])
        for sequence in ("class_names", "image_size", "image_mean", "image_std", "feature_names"):
            value = getattr(self, sequence)
            object.__setattr__(self, sequence, None if value is None else tuple(value))
        faults = self._faults()
        if faults:
            raise InvalidConfigError(faults)

    def _faults(self) -> list[str]:
        faults = [
            f"{name} is {getattr(self, name)}, allowed is a whole number from 1 up."
            for name in ("max_seq_len", "vocab_size", "image_channels")
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        if self.num_classes is not None and self.num_classes < 1:
            faults.append(f"num_classes is {self.num_classes}, allowed is 1 or more, or None.")
        if self.class_names and self.num_classes not in (None, len(self.class_names)):
            faults.append(
                f"class_names has {len(self.class_names)} names and num_classes is "
                f"{self.num_classes}; give one name a class."
            )
        if self.padding_side not in ("left", "right"):
            faults.append(f"padding_side is {self.padding_side!r}, allowed are 'left' and 'right'.")
        if len(self.image_size) != 2 or min(self.image_size) < 1:  # noqa: PLR2004 - height and width
            faults.append(
                f"image_size is {self.image_size}, allowed is (height, width), each 1 or more."
            )
        for name in ("image_mean", "image_std"):
            value = getattr(self, name)
            if value is not None and len(value) != self.image_channels:
                faults.append(
                    f"{name} has {len(value)} values, allowed is one for each of "
                    f"{self.image_channels} channels."
                )
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
            InvalidConfigError: a ValueError that names every unknown field.
        """
        known = {f.name for f in fields(cls)}
        unknown = [str(UnknownNameError("field", k, known)) for k in values if k not in known]
        if unknown:
            raise InvalidConfigError(unknown)
        return cls(**values)

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
