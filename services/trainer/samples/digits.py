"""Handwritten digits: 8 x 8 grey scans, 10 classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from services.trainer.samples.sample import Sample
from utils.service.digits import Scans, read_digits
from utils.training.task_spec import TaskSpec


class Digits(Dataset[dict[str, Tensor]]):
    """Scans as ``pixel_values`` [1, 8, 8] in 0..1, with their ``labels``.

    Training scans are shifted by up to one pixel, another way each time they are seen.
    """

    def __init__(self, scans: Scans, *, augment: bool = False) -> None:
        self.images = torch.as_tensor(scans.images, dtype=torch.float32).unsqueeze(1)
        self.labels = torch.as_tensor(scans.labels, dtype=torch.int64)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.images[index]
        if self.augment:
            down, right = torch.randint(-1, 2, (2,)).tolist()
            image = shift(image, down, right)
        return {"pixel_values": image, "labels": self.labels[index]}


def shift(image: Tensor, down: int, right: int) -> Tensor:
    """Move an image [channels, height, width] by whole pixels; what comes in is background."""
    height, width = image.shape[-2:]
    moved = torch.zeros_like(image)
    moved[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = image[
        ..., max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


class DigitNet(nn.Module):
    """A small convolutional classifier: about 10,000 parameters."""

    def __init__(self, num_classes: int = 10, dropout: float = 0.2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Flatten(), nn.Linear(32 * 4 * 4, num_classes)
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Classify [batch, 1, 8, 8] into logits [batch, classes]."""
        logits: Tensor = self.classifier(self.features(pixel_values))
        return logits


def build_model() -> nn.Module:
    """A fresh network."""
    return DigitNet()


def load_digits() -> Sample:
    """All 1,797 scans: 70 % to train on, 15 % to validate, 15 % held out."""
    scans = read_digits()
    return Sample(
        task_spec=TaskSpec(
            name="digits",
            modality="vision",
            num_classes=10,
            class_names=tuple(str(digit) for digit in range(10)),
            image_size=(8, 8),
            image_channels=1,
            image_mean=(0.3,),
            image_std=(0.35,),
        ),
        train=Digits(scans["train"], augment=True),
        validation=Digits(scans["validation"]),
        test=Digits(scans["test"]),
        build_model=build_model,
    )
