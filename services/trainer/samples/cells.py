"""Measured tumours: 30 numbers of each, benign or malignant."""

from __future__ import annotations

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.utils.data import Dataset

from services.trainer.samples.sample import Sample
from utils.service.digits import split
from utils.training.task_spec import TaskSpec


class Rows(Dataset[dict[str, Tensor]]):
    """Rows of numbers as ``features`` [columns], with their ``labels``."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.features = torch.as_tensor(features, dtype=torch.float32)
        self.labels = torch.as_tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"features": self.features[index], "labels": self.labels[index]}


class RowNet(nn.Module):
    """A two-layer classifier of rows that it standardises by the training data's statistics."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: np.ndarray, scale: np.ndarray, num_classes: int = 2) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.layers = nn.Sequential(
            nn.Linear(len(mean), 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, num_classes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Classify [batch, columns] into logits [batch, classes]."""
        logits: Tensor = self.layers((features - self.mean) / self.scale)
        return logits


def load_cells() -> Sample:
    """All 569 tumours: 70 % to train on, 15 % to validate, 15 % held out."""
    cells = datasets.load_breast_cancer()
    train, validation, test = split(len(cells.target), validation=0.15, test=0.15)
    mean, scale = cells.data[train].mean(axis=0), cells.data[train].std(axis=0)
    return Sample(
        task_spec=TaskSpec(
            name="cells",
            modality="tabular",
            num_classes=2,
            class_names=tuple(str(name) for name in cells.target_names),
            feature_names=tuple(str(name) for name in cells.feature_names),
        ),
        train=Rows(cells.data[train], cells.target[train]),
        validation=Rows(cells.data[validation], cells.target[validation]),
        test=Rows(cells.data[test], cells.target[test]),
        build_model=lambda: RowNet(mean, scale),
    )


def build_model() -> nn.Module:
    """A fresh network, standardising by the sample's training data."""
    return load_cells().build_model()
