"""Two ranks: a DDP step against a loop by hand and peers; FSDP2's memory and its save's stall.

Each rank runs this file too, with Lightning where `python -m benchmarks.peers engines` was run. On
GPUs the ranks take one each, and NCCL carries the gradients.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import repeat
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from benchmarks.figures import Figure
from benchmarks.peers import ENVIRONMENT, ROOT
from utils.training.engine.distributed import Ranks, join_world
from utils.training.engine.distributed.assembly import spread
from utils.training.engine.epoch_sums import EpochSums
from utils.training.engine.interrupt import StopSwitch
from utils.training.engine.loss import get_loss_strategy
from utils.training.training_config import TrainingConfig

NUM_RANKS = 2
NUM_TURNS, NUM_WARMUP, STEPS_IN_TURN = 44, 4, 6
NUM_SAVES = 12
WIDTH, NUM_BLOCKS, NUM_CLASSES, BATCH_SIZE = 512, 8, 10, 64
CLIP_NORM = 1.0


class Block(nn.Module):
    """A residual layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, width] to the same."""
        return x + torch.relu(self.linear(x))


class Net(nn.Module):
    """Eight equal blocks: 2.1 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(NUM_BLOCKS))
        self.head = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Classify [batch, width] into logits [batch, classes]."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


def run() -> list[Figure]:
    """Start the ranks, and read the first one's figures."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "shared")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    with_peers = ENVIRONMENT / "bin" / "python"  # on top of this one: its torch is the same
    python = str(with_peers) if with_peers.exists() else sys.executable
    start = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    done = subprocess.run(
        [*start, str(NUM_RANKS), "-m", "benchmarks.distributed"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Figure(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def measure() -> list[dict[str, Any]]:
    """Measure as one of the ranks; each gets the same figures."""
    logging.getLogger("utils.training").setLevel(logging.ERROR)
    config = TrainingConfig(strategy="ddp")
    world = join_world(config)
    assert isinstance(world, Ranks)
    device = world.device("auto")
    return [*_steps(world, device, config), *_shards(device)]


def _steps(world: Ranks, device: torch.device, config: TrainingConfig) -> list[dict[str, Any]]:
    runners = {
        "by hand": _by_hand(device),
        "ours": _engine(world, device, config),
        "Accelerate": _accelerate(device),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runners}

    def take_turns(turn: int) -> None:
        for name in list(runners) if turn % 2 else reversed(runners):
            seconds[name].append(_timed(runners[name], device))

    if find_spec("lightning") is not None:
        seconds["Lightning"] = _lightning(device, take_turns)
    else:
        for turn in range(NUM_TURNS):
            take_turns(turn)
    base = statistics.median(seconds["by hand"][NUM_WARMUP:])
    return [
        {"what": f"DDP step, {name}", "value": _ratio(seconds[name], seconds["by hand"])}
        | {"against": f"DDP by hand, {1e3 * base / STEPS_IN_TURN:.1f} ms"}
        | ({"at_most": 1.02} if name == "ours" else {})
        for name in seconds
        if name != "by hand"
    ]


def _timed(step: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a turn, which all ranks begin together."""
    start = _start_together()
    for _ in range(STEPS_IN_TURN):
        step()
    return _seconds_since(start, device)


def _start_together() -> float:
    dist.barrier()
    return time.perf_counter()


def _seconds_since(start: float, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _ratio(ours: list[float], theirs: list[float]) -> float:
    turns = list(zip(ours, theirs, strict=True))[NUM_WARMUP:]
    return statistics.median(a / b for a, b in turns)


def _batch(device: torch.device) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(dist.get_rank())
    x = torch.randn(BATCH_SIZE, WIDTH, generator=generator)
    labels = torch.randint(0, NUM_CLASSES, (BATCH_SIZE,), generator=generator)
    return {"x": x.to(device), "labels": labels.to(device)}


def _by_hand(device: torch.device) -> Callable[[], object]:
    model = DistributedDataParallel(
        Net().to(device),
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batch = _batch(device)

    def step() -> None:
        loss = nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _accelerate(device: torch.device) -> Callable[[], object]:
    from accelerate import Accelerator  # type: ignore[import-untyped]

    accelerator = Accelerator(cpu=device.type == "cpu")
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    model, optimizer = accelerator.prepare(net, optimizer)
    batch = _batch(device)

    def step() -> None:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(batch["x"]), batch["labels"])
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()

    return step


def _lightning(device: torch.device, others: Callable[[int], None]) -> list[float]:
    """Return the seconds of the turns of Lightning's own loop; the others' come in between."""
    import lightning.pytorch as lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seconds: list[float] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Net()
            self.start = 0.0

        def training_step(self, batch: dict[str, Tensor], _batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(batch["x"]), batch["labels"])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)

        def on_train_start(self) -> None:
            self.start = _start_together()

        def on_train_batch_end(self, _outputs: object, _batch: object, batch_idx: int) -> None:
            if (batch_idx + 1) % STEPS_IN_TURN == 0:
                seconds.append(_seconds_since(self.start, device))
                others(len(seconds))
                self.start = _start_together()

    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=NUM_RANKS,
        strategy="ddp",
        max_epochs=1,
        gradient_clip_val=CLIP_NORM,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=False,
    )
    batches = [_batch(device)] * (NUM_TURNS * STEPS_IN_TURN)
    trainer.fit(Module(), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return seconds


def _engine(world: Ranks, device: torch.device, config: TrainingConfig) -> Callable[[], object]:
    """Return the engine's own step: weighed, measured, clipped, summed, its stop agreed on."""
    parts = spread(Net().to(device), world, device, config, StopSwitch())
    optimizer = torch.optim.AdamW(parts.parallel.model.parameters(), lr=1e-3, fused=True)
    accumulator = parts.accumulator(optimizer=optimizer, max_grad_norm=CLIP_NORM)
    loop = parts.training_loop(
        accumulator,
        optimizer=optimizer,
        loss_strategy=get_loss_strategy("classification"),
        device=device,
    )
    steps: Iterator[Any] = loop.steps(repeat(_batch(device)), EpochSums())
    return lambda: next(steps)


def _shards(device: torch.device) -> list[dict[str, Any]]:
    config = TrainingConfig(strategy="fsdp")
    world = join_world(config)
    assert isinstance(world, Ranks)
    parts = spread(Net().to(device), world, device, config, StopSwitch())
    model = parts.parallel.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    nn.functional.cross_entropy(model(_batch(device)["x"]), _batch(device)["labels"]).backward()
    optimizer.step()
    held = sum(_local_bytes(p) + _local_bytes(p.grad) for p in model.parameters())
    held += sum(_local_bytes(m) for state in optimizer.state.values() for m in state.values())
    plain = sum(p.numel() * p.element_size() for p in Net().parameters()) * 4
    folder = world.of_first(tempfile.mkdtemp())
    blocking: list[float] = []
    stall: list[float] = []
    with parts.checkpoints(optimizer, checkpoint_dir=folder, keep_last_n=1) as manager:
        for number in range(NUM_SAVES):
            for seconds, is_blocking in ((blocking, True), (stall, False)):
                dist.barrier()
                start = time.perf_counter()
                manager.save_step(
                    model=model,
                    optimizer=optimizer,
                    scheduler=None,
                    epoch=0,
                    global_step=2 * number + is_blocking,
                    custom_state={},
                    blocking=is_blocking,
                )
                seconds.append(time.perf_counter() - start)
                manager.wait()
    save = f"blocking sharded save, {statistics.median(blocking):.3f} s"
    return [
        {"what": "FSDP2: weights, gradients and moments of a rank", "value": held / plain}
        | {"at_most": 0.55, "against": f"plain, {plain / 2**20:.0f} MiB"},
        {"what": "stall of an asynchronous sharded save", "value": _ratio(stall, blocking)}
        | {"at_most": 0.3, "against": save},
    ]


def _local_bytes(tensor: Any) -> int:
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return int(local.numel() * local.element_size())


if __name__ == "__main__":
    torch.set_num_threads(1)
    figures = measure()
    if os.environ["RANK"] == "0":
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()
