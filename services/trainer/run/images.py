"""A folder of images, one subfolder a class, read as the served model's own preprocessing does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from services.trainer.run.errors import DataError
from utils.training.task_spec import TaskSpec

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
_BYTE = 255.0


class ImageFolder(Dataset[dict[str, Tensor]]):
    """Images as ``pixel_values`` [channels, height, width] in 0..1, with their ``labels``.

    A class is a folder: by its name in the task's ``class_names``, or by its number.

    Raises:
        DataError: a ValueError; there is no image, or a folder is no class of the task.
    """

    def __init__(self, folder: Path, task_spec: TaskSpec, label: str = "labels") -> None:
        inner = folder / label
        self.folder = inner if inner.is_dir() else folder
        self.task_spec = task_spec
        self.files = [
            path
            for path in sorted(self.folder.glob("*/*"))
            if path.is_file() and path.suffix.lower() in _SUFFIXES
        ]
        if not self.files:
            raise DataError(
                f"The folder '{folder.name}' holds no images; put them into a subfolder a class."
            )
        classes = {path.parent.name for path in self.files}
        self._numbers = {name: self._number(name) for name in sorted(classes)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.files[index]
        return {
            "pixel_values": self._pixels(path),
            "labels": torch.tensor(self._numbers[path.parent.name]),
        }

    def _number(self, name: str) -> int:
        names = self.task_spec.class_names
        count = self.task_spec.num_classes or len(names)
        if name in names:
            return names.index(name)
        if not names and name.isdecimal() and int(name) < count:
            return int(name)
        allowed = ", ".join(names) or f"0 to {count - 1}"
        raise DataError(f"The folder '{name}' is no class of the task; allowed are {allowed}.")

    def _pixels(self, path: Path) -> Tensor:
        from PIL import Image, UnidentifiedImageError

        height, width = self.task_spec.image_size
        channels = self.task_spec.image_channels
        try:
            with Image.open(path) as image:
                wanted = image.convert("L" if channels == 1 else "RGB").resize((width, height))
                pixels = np.asarray(wanted, dtype=np.float32) / _BYTE
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise DataError(f"The image '{path.name}' can't be read: {error}.") from error
        return torch.from_numpy(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1).copy())
