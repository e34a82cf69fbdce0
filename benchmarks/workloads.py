"""Two small models with their data, and the loop that a careful person writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

CLIP_NORM = 1.0
LOG_INTERVAL_STEPS = 10
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01


class Columns(Dataset[Any]):
    """Samples as rows of tensors, fetched a batch at a time, so that the loader costs little."""

    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Fetch a whole batch."""
        rows = torch.as_tensor(indices)
        return {name: column[rows] for name, column in self.columns.items()}


class Mlp(nn.Module):
    """Two layers, 64 inputs, 10 classes; computes its own loss where labels are given."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        logits = self.head(torch.relu(self.hidden(x)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


@dataclass(frozen=True)
class Workload:
    """A model, its data, and its task's names."""

    name: str
    batch_size: int
    create_model: Callable[[], nn.Module]
    create_data: Callable[[int], Columns]
    task_type: str
    modality: str


def _mlp_data(num_samples: int) -> Columns:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_samples, 64, generator=generator)
    return Columns(x=inputs, labels=torch.randint(0, 10, (num_samples,), generator=generator))


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 512, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, use_cache=False))


def _gpt2_data(num_samples: int) -> Columns:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 512, (num_samples, 64), generator=generator)
    return Columns(input_ids=ids, labels=ids.clone())


MLP = Workload("MLP", 32, Mlp, _mlp_data, "classification", "tabular")
GPT2 = Workload("GPT-2", 8, _gpt2, _gpt2_data, "language_modeling", "text")
WORKLOADS = {workload.name: workload for workload in (MLP, GPT2)}


@dataclass
class Job:
    """One timed run: ``num_steps`` optimizer steps of ``accumulation_steps`` micro-batches each."""

    workload: Workload
    num_steps: int
    accumulation_steps: int
    is_logging: bool
    folder: Path
    model: nn.Module = field(init=False)
    dataset: Columns = field(init=False)

    def __post_init__(self) -> None:
        """Make the model and the data, the same for every runner."""
        torch.manual_seed(0)
        self.model = self.workload.create_model().train()
        num_samples = self.workload.batch_size * self.accumulation_steps * self.num_steps
        self.dataset = self.workload.create_data(num_samples)

    def loader(self) -> DataLoader[Any]:
        """Load the data as every runner does."""
        return DataLoader(self.dataset, self.workload.batch_size, shuffle=True, collate_fn=as_it_is)

    def optimizer(self, **options: Any) -> torch.optim.AdamW:
        """Make the peers' optimizer: AdamW as PyTorch sets it up."""
        return torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, **options
        )

    def scheduler(self, optimizer: torch.optim.Optimizer) -> LambdaLR:
        """Make the peers' schedule: a line down to zero."""
        return LambdaLR(optimizer, lambda step: 1.0 - step / self.num_steps)


def as_it_is(batch: Any) -> Any:
    """Collate nothing: the dataset hands out whole batches."""
    return batch


def run_by_hand(job: Job) -> None:
    """Train with the loop that a careful person writes: accumulate, clip, step, log."""
    optimizer = job.optimizer()
    scheduler = job.scheduler(optimizer)
    model, accumulation_steps = job.model, job.accumulation_steps
    parameters = list(model.parameters())
    writer = _writer(job)
    running = torch.zeros(())
    step = 0
    for index, batch in enumerate(job.loader()):
        loss = model(**batch)["loss"]
        (loss / accumulation_steps).backward()
        running += loss.detach()
        if (index + 1) % accumulation_steps:
            continue
        norm = nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if writer is not None and step % LOG_INTERVAL_STEPS == 0:
            mean = running.item() / (LOG_INTERVAL_STEPS * accumulation_steps)
            writer.add_scalar("loss", mean, step)
            writer.add_scalar("gradient_norm", norm.item(), step)
            writer.add_scalar("learning_rate", scheduler.get_last_lr()[0], step)
            running.zero_()
    if writer is not None:
        writer.close()


def _writer(job: Job) -> Any:
    if not job.is_logging:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(job.folder))
