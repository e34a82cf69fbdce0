"""The demonstration's steps; each says what it saw, and whether it held."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import nn

from services.trainer.demo.child import READY
from services.trainer.demo.task import DemoTask
from utils.training.dashboard import Dashboard
from utils.training.drift_metrics import profile_dataset
from utils.training.engine import CheckpointManager
from utils.training.experiment_db import ExperimentDB
from utils.training.export_utilities import create_export_bundle
from utils.training.model_registry import ModelRegistry

_INTERRUPTED = 143  # 128 + SIGTERM, the engine's documented code


@dataclass(frozen=True)
class Said:
    """What a step saw, in one sentence, and whether it is what was promised."""

    sentence: str
    holds: bool = True


def train(demo: DemoTask, folder: Path) -> dict[str, Any]:
    """Train without a break."""
    return demo.trainer(folder).train(demo.sample.train, demo.sample.validation)


def interrupt_and_resume(demo: DemoTask, folder: Path) -> Iterator[Said]:
    """Stop a run by SIGTERM, resume it in another process, and compare it with the first."""
    stopped_at = demo.config(folder).epochs // 2
    code = _run_child(demo, folder / "resumed", stopped_at, interrupt=True)
    written = CheckpointManager(folder / "resumed" / "checkpoints").latest()
    yield Said(
        f"SIGTERM in epoch {stopped_at + 1}: exit code {code}, "
        f"newest checkpoint {written.name if written else 'none'}",
        code == _INTERRUPTED and written is not None,
    )
    code = _run_child(demo, folder / "resumed", stopped_at, interrupt=False)
    differing = _differing_tensors(folder / "straight", folder / "resumed")
    yield Said(
        f"resumed to the end: exit code {code}, {differing} tensors differ from the run that was "
        "never stopped",
        code == 0 and differing == 0,
    )


def _run_child(demo: DemoTask, folder: Path, stop_epoch: int, *, interrupt: bool) -> int:
    command = [sys.executable, "-m", "services.trainer.demo.child"]
    command += [demo.name, str(folder), str(stop_epoch if interrupt else -1)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            if line.strip() == READY:
                child.send_signal(signal.SIGTERM)
    return child.returncode


def _differing_tensors(one: Path, other: Path) -> int:
    """Tensors of the last checkpoints' weights that are not equal bit for bit."""
    states = []
    for folder in (one, other):
        manager = CheckpointManager(folder / "checkpoints")
        states.append(manager.load(manager.latest(), restore_rng=False)["model_state_dict"])
    return sum(not torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def best_model(demo: DemoTask, checkpoint: Path) -> nn.Module:
    """A fresh model with the best epoch's weights, averaged where the run averages."""
    state = CheckpointManager(checkpoint.parent).load(checkpoint, restore_rng=False)
    model = demo.sample.build_model()
    model.load_state_dict(state["model_state_dict"])
    averages = state["custom_state"].get("average", {}).get("averages", {})
    model.load_state_dict(averages, strict=False)
    return model.eval()


def draw(results: dict[str, Any], demo: DemoTask, folder: Path) -> Said:
    """Save the dashboard."""
    dashboard = Dashboard()
    dashboard.plot(results["metrics_summary"], demo.config(folder), title=f"Training: {demo.name}")
    path = dashboard.save(folder / "dashboard.png")
    return Said(f"dashboard: {path}", path.stat().st_size > 0)


def compare(results: dict[str, Any], demo: DemoTask, folder: Path) -> Table:
    """Log both runs, and set them side by side."""
    database = ExperimentDB(folder / "experiments.db")
    config = demo.config(folder).to_dict()
    manager = CheckpointManager(folder / "resumed" / "checkpoints")
    rows = {
        "straight": results["metrics_summary"].iloc[-1].to_dict(),
        "stopped and resumed": manager.load(manager.latest(), restore_rng=False)["metrics"],
    }
    ids = []
    for name, metrics in rows.items():
        run_id = database.log_run(name, config, notes="demonstration")
        kept = {k: v for k, v in metrics.items() if k in ("train_loss", "val_loss", "val_accuracy")}
        database.log_metrics(run_id, kept, epoch=demo.config(folder).epochs - 1)
        database.update_run_status(run_id, "completed")
        ids.append(run_id)
    return _table("Two runs, compared", database.compare_runs(ids))


def _table(title: str, frame: Any) -> Table:
    shown = frame[[c for c in frame.columns if frame[c].notna().any()]]
    names = [c for c in shown.columns if c in ("run_id", "name", "run_name", "status")]
    names += [c for c in shown.columns if c.endswith(("loss", "accuracy"))]
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name)
    for row in shown[names].itertuples(index=False):
        table.add_row(*(f"{v:.6f}" if isinstance(v, float) else str(v) for v in row))
    return table


def export(model: nn.Module, demo: DemoTask, folder: Path) -> Path:
    """Write the bundle, with the profile that drift will be measured against."""
    sample = demo.sample
    return create_export_bundle(
        model=model,
        config=getattr(model, "config", None),
        task_spec=sample.task_spec,
        training_config=demo.config(folder),
        tokenizer=sample.tokenizer,
        reference_profile=profile_dataset(sample.train, sample.task_spec),
    )


def register(results: dict[str, Any], bundle: Path, demo: DemoTask, folder: Path) -> Said:
    """Register the bundle as version 1, and promote it."""
    with ModelRegistry(folder / "models.db") as registry:
        model_id = registry.register_model(
            name=demo.sample.task_spec.name,
            version="1.0.0",
            checkpoint_path=str(bundle),
            task_type=demo.sample.task_spec.task_type,
            metrics={"val_loss": results["best_value"]},
            export_formats=["onnx", "torchscript"],
        )
        registry.promote_model(model_id, "production", reason="demonstration")
        model = registry.get_model(tag="production")
    found = model is not None and model.model_id == model_id
    digest = (model.artifact_digest or "")[:12] if model else ""
    return Said(
        f"registered and promoted: {demo.sample.task_spec.name} 1.0.0, digest {digest}", found
    )


def verify(bundle: Path) -> Said:
    """Let the bundle check itself."""
    done = _run_in(bundle, "verify.py")
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()]
    return Said(f"verify.py: {'; '.join(lines)}", done.returncode == 0)


def infer(bundle: Path, demo: DemoTask) -> Said:
    """Run the bundle's own inference script on a held-out example."""
    if demo.name == "vision":
        example = bundle.parent / "scan.png"
        pixels = demo.sample.test[0]["pixel_values"][0].numpy()
        Image.fromarray((pixels * 255).astype(np.uint8)).save(example)
    else:
        example = bundle.parent / "text.txt"
        example.write_text("The for statement is used to\n", encoding="utf-8")
    done = _run_in(bundle, "inference.py", "--input", str(example), "--format", "onnx")
    answer = done.stdout.strip() or done.stderr.strip()
    return Said(f"inference.py {example.name}: {answer[:160]}", done.returncode == 0)


def _run_in(bundle: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=bundle, capture_output=True, text=True, check=False
    )
