"""Images from any source in one normalised batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.training.arguments import described, require_instance
from utils.training.engine.data.stacking import (
    LABEL_KEYS,
    CollateError,
    is_number_like,
    pair,
    refuse_no_samples,
    refuse_other_keys,
    refuse_text_labels,
    stack,
    to_tensor,
)
from utils.training.errors import WrongTypeError
from utils.training.task_spec import IMAGENET_MEAN, IMAGENET_STD, TaskSpec

logger = logging.getLogger(__name__)

_IMAGE_KEYS = ("pixel_values", "image", "images", "img")
_CHANNEL_COUNTS = (1, 3, 4)
_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_COLOR = 3


class VisionDataCollator:
    """Makes ``pixel_values`` [batch, channels, height, width] in float32, and ``labels``.

    A sample is a mapping with an image (``pixel_values``, ``image``, ``images`` or ``img``), a
    tuple of image and label, or an image alone. An image is a tensor [channels, height, width]
    or [height, width], an array or nested list of either or of [height, width, channels], or a
    PIL image. Whole numbers are bytes, 0..255, and scaled to 0..1; floats are taken as 0..1.
    Labels are [batch], or [batch, height, width] for segmentation. Other numbers are stacked.

    Args:
        task_spec: gives channels, mean and standard deviation.
        mean: one value a channel, for inputs in 0..1. None: the task's; else ImageNet's for 3
            channels, and none for other counts.
        std: as ``mean``.
        normalize: False only scales to 0..1.
    """

    draws_nothing = True

    def __init__(
        self,
        task_spec: TaskSpec | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        normalize: bool = True,
    ) -> None:
        require_instance("task_spec", task_spec, (TaskSpec, NoneType), "a TaskSpec")
        self.num_channels = None if task_spec is None else task_spec.image_channels
        self.mean = _first("mean", mean, None if task_spec is None else task_spec.image_mean)
        self.std = _first("std", std, None if task_spec is None else task_spec.image_std)
        self.normalize = normalize
        self._has_seen_range = False  # the first batch tells
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}; give one a channel."
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(math.isfinite(value) for value in values or ()):
                raise ValueError(f"{name} is {values}, allowed are finite numbers.")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std is {self.std}, allowed are values greater than 0.")

    def __call__(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Make a batch.

        Raises:
            CollateError: a ValueError; there is no sample, or two differ in keys or shapes.
        """
        refuse_no_samples(samples)
        fields = [_as_mapping(sample, n) for n, sample in enumerate(samples)]
        refuse_other_keys(fields)
        refuse_text_labels(fields[0])
        images = stack([self._image(f["pixel_values"]) for f in fields], "the image [C, H, W]")
        batch = {"pixel_values": self._finish(images)}
        for name, value in fields[0].items():
            if name != "pixel_values" and is_number_like(value):
                batch[name] = _labels([f[name] for f in fields], name)
        return batch

    def from_columns(self, columns: list[Tensor]) -> dict[str, Tensor]:
        """Take images [batch, channels, height, width] and, perhaps, labels [batch, ...]."""
        batch: dict[str, Tensor] = pair(columns, "pixel_values")
        images = batch["pixel_values"]
        batch["pixel_values"] = self._finish(
            images.unsqueeze(1) if images.ndim == _COLOR else images
        )
        return batch

    def _image(self, image: Any) -> Tensor:
        """Read one image as [channels, height, width], its values untouched."""
        is_tensor = isinstance(image, Tensor)
        tensor = image if is_tensor else to_tensor(self._array(image), "the image")
        if tensor.ndim == 2:  # noqa: PLR2004 - height and width
            return tensor.unsqueeze(0)
        if tensor.ndim != _COLOR:
            raise CollateError(
                f"An image has the shape {list(tensor.shape)}, allowed are [channels, height, "
                "width], [height, width] and, for arrays, [height, width, channels]."
            )
        return (
            tensor if is_tensor or not self._is_channels_last(tensor) else tensor.permute(2, 0, 1)
        )

    def _array(self, image: Any) -> Any:
        if isinstance(image, str | bytes | PurePath):
            raise CollateError(
                f"An image is the path {str(image)!r}; open it first, as PIL.Image.open does."
            )
        if hasattr(image, "convert"):  # a PIL image
            mode = _PIL_MODES.get(self.num_channels or 0)
            is_palette = image.mode not in {"L", "RGB", "RGBA", "F", "I;16"}
            wanted = mode or ("RGB" if is_palette else image.mode)
            image = image if image.mode == wanted else image.convert(wanted)
        return np.array(image)

    def _is_channels_last(self, tensor: Tensor) -> bool:
        counts = _CHANNEL_COUNTS if self.num_channels is None else (self.num_channels,)
        return tensor.shape[2] in counts

    def _finish(self, images: Tensor) -> Tensor:
        """Scale to 0..1 and normalise, [batch, channels, height, width]."""
        channels = images.shape[1]
        if self.num_channels not in (None, channels):
            raise CollateError(
                f"The images have the shape {list(images.shape[1:])} and the task's is "
                f"[{self.num_channels}, height, width]; set image_channels in the TaskSpec."
            )
        pixels = self._scaled(images)
        mean, std = self._statistics(channels)
        if mean is not None:
            pixels = pixels - torch.tensor(mean).view(-1, 1, 1)
        return pixels if std is None else pixels / torch.tensor(std).view(-1, 1, 1)

    def _scaled(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            top = 65535 if images.dtype == torch.uint16 else 255
            return images.float() / top
        if self.normalize and not self._has_seen_range and images.numel():
            self._has_seen_range = True
            self._warn_of_range(*(bound.item() for bound in images.aminmax()))
        return images.float()

    def _warn_of_range(self, low: float, high: float) -> None:
        if low < 0 or high > 1:
            logger.warning(
                "Float images are taken as 0..1, and these hold %.3g to %.3g: scale them, or "
                "switch normalisation off (normalize=False) if they are normalised already.",
                low,
                high,
            )

    def _statistics(
        self, channels: int
    ) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        if not self.normalize:
            return None, None
        if self.mean is None and self.std is None and channels == _COLOR:
            return IMAGENET_MEAN, IMAGENET_STD
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != channels:
                raise CollateError(
                    f"{name} has {len(values)} values and the images {channels} channels; give "
                    "one a channel."
                )
        return self.mean, self.std


def _first(name: str, *options: Sequence[float] | None) -> tuple[float, ...] | None:
    given = next((option for option in options if option is not None), None)
    if given is None:
        return None
    if not isinstance(given, Iterable):
        raise WrongTypeError(name, described(given), "a list with one number a channel")
    return tuple(given)


def _as_mapping(sample: Any, position: int) -> Mapping[str, Any]:
    if isinstance(sample, tuple):
        return pair(sample, "pixel_values")
    if not isinstance(sample, Mapping):
        return {"pixel_values": sample}
    names: dict[str, str] = {key: "pixel_values" for key in _IMAGE_KEYS if key in sample}
    if len(names) != 1:
        found = " and ".join(names) or ", ".join(map(str, sample))
        raise CollateError(
            f"Sample {position} of the batch holds {found}; give its image under one of "
            f"{', '.join(_IMAGE_KEYS)}."
        )
    names.update(dict.fromkeys(LABEL_KEYS, "labels"))
    return {names.get(str(name), str(name)): value for name, value in sample.items()}


def _labels(values: list[Any], name: str) -> Tensor:
    arrays = [np.array(value) if hasattr(value, "convert") else value for value in values]
    column = stack(arrays, name)
    is_class = name == "labels" and not column.is_floating_point()
    return column.long() if is_class else column
