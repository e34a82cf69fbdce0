"""What a rank of the tests does: trains as it is told, and leaves what came of it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from utils.training.engine import Trainer, TrainingInterrupted
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

SPEC = TaskSpec(name="ranks", modality="tabular", num_classes=4)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.tanh(self.linear(x))


class Net(nn.Module):
    """Repeated blocks, odd sizes that no number of ranks divides, and dropout where wanted."""

    def __init__(self, width=7, dropout=0.0):
        super().__init__()
        self.stem = nn.Linear(5, width)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.dropout(x))


class Samples:
    """Rows labelled by their greatest value; some count nothing, so that ranks weigh unalike."""

    def __init__(self, count, faulty_rank=None, seconds=0.0, raised=None):
        generator = torch.Generator().manual_seed(count)
        self.rows = torch.randn(count, 5, generator=generator)
        self.labels = self.rows[:, :4].argmax(1)
        self.labels[::3] = -100
        self.faulty_rank = faulty_rank
        self.seconds = seconds
        self.raised = raised  # a file whose time tells when

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if self.faulty_rank is not None and self.faulty_rank == int(os.environ.get("RANK", "0")):
            self.raised.touch()
            raise ValueError("sample 7 is torn")
        time.sleep(self.seconds)
        return {"x": self.rows[index], "labels": self.labels[index]}


class Progress:
    """Writes down each batch, for the test that kills; asks to stop after one, where told to."""

    def __init__(self, folder, stop_after):
        self.path = folder / "progress"
        self.stop_after = stop_after
        self.trainer = None

    def on_batch_end(self, batch_idx, loss):
        with self.path.open("a") as file:
            file.write(f"{batch_idx}\n")
        if batch_idx == self.stop_after:
            self.trainer.request_stop()


def run(order):
    """Train once, and return the results."""
    folder = Path(order["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    rank = os.environ.get("RANK", "0")
    (folder / f"pid{rank}").write_text(str(os.getpid()))
    torch.manual_seed(int(rank) if order.get("own_weights") else 0)
    model = Net(dropout=order.get("dropout", 0.0))
    if order.get("own_weights") and rank == "0":
        torch.manual_seed(0)
        model = Net(dropout=order.get("dropout", 0.0))
    config = TrainingConfig(
        checkpoint_dir=str(folder / "checkpoints"),
        progress_bar=False,
        device="cpu",
        **order["config"],
    )
    train = Samples(
        order["samples"], order.get("faulty_rank"), order.get("seconds", 0.0), folder / "raised"
    )
    progress = Progress(folder, order.get("stop_after"))
    progress.trainer = trainer = Trainer(model, None, config, SPEC, hooks=progress)
    try:
        results = trainer.train(train, Samples(23), resume_from=order.get("resume_from"))
    except TrainingInterrupted:
        if "stop_after" not in order:
            raise
        return
    weights = {
        name: tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    summary = results["metrics_summary"]
    columns = [c for c in summary if "duration" not in c and "per_second" not in c]
    torch.save(
        {
            "weights": weights,
            "metrics": {c: summary[c].tolist() for c in columns},
            "step": results["global_step"],
            "checkpoint_path": str(results["checkpoint_path"]),
            "export_path": str(results.get("export_path")),
            "weights_path": str(results.get("weights_path")),
        },
        folder / f"result{rank}.pt",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for order in json.loads(Path(sys.argv[1]).read_text()):
        run(order)
