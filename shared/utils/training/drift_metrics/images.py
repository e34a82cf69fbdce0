"""From images to brightness, contrast, size, and the statistics of each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.training.drift_metrics.column import Column
from utils.training.drift_metrics.samples import to_array

_MAX_CHANNELS = 16  # with statistics of their own


def image_columns(images: Any, channels: int) -> dict[str, Column]:
    """Statistics of each image, in the scale of its pixels.

    ``brightness`` and ``contrast`` are the mean and the standard deviation over all pixels,
    ``height`` and ``width`` are in pixels, ``channel_<k>.mean`` and ``.std`` are of one channel.

    Args:
        images: each [channels, height, width], [height, width, channels] or [height, width]; an
            array, a tensor or a PIL image. None is missing.
        channels: of the task, which tell the first two forms apart.
    """
    rows = [{} if image is None else _statistics(to_array(image), channels) for image in images]
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: Column("numeric", np.array([row.get(name, np.nan) for row in rows])) for name in names
    }


def _statistics(image: NDArray[Any], channels: int) -> dict[str, float]:
    planes = _channels_first(image, channels)
    pixels = planes.reshape(len(planes), -1).astype(np.float64)
    row = {
        "brightness": float(pixels.mean()),
        "contrast": float(pixels.std()),
        "height": float(planes.shape[1]),
        "width": float(planes.shape[2]),
    }
    for number, channel in enumerate(pixels[:_MAX_CHANNELS]):
        row[f"channel_{number}.mean"] = float(channel.mean())
        row[f"channel_{number}.std"] = float(channel.std())
    return row


def _channels_first(image: NDArray[Any], channels: int) -> NDArray[Any]:
    if image.ndim == 2:  # noqa: PLR2004 - [height, width]
        return image[None]
    if image.ndim != 3:  # noqa: PLR2004 - and channels
        raise ValueError(
            f"An image has the shape {list(image.shape)}; give [channels, height, width], "
            "[height, width, channels] or [height, width]."
        )
    is_last = image.shape[0] != channels and image.shape[2] == channels
    return np.moveaxis(image, 2, 0) if is_last else image
