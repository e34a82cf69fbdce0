"""Train, interrupt, resume, measure, draw, register, export: each on real data, each checked.

    python -m services.trainer.demo [--task vision|text] [--folder FOLDER]

Exit code 0 means that everything it claims was true.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from services.trainer.demo import steps
from services.trainer.demo.task import SAMPLE_OF_TASK, DemoTask
from utils.training.engine.progress import epochs_table

console = Console()

_SHOWN = (
    "epoch",
    "train_loss",
    "val_loss",
    "train_accuracy",
    "val_accuracy",
    "learning_rate",
    "gradient_norm",
    "epoch_duration",
)


def main() -> int:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=SAMPLE_OF_TASK, default="vision")
    parser.add_argument("--folder", type=Path, default=Path("var/demo-engine"))
    arguments = parser.parse_args()
    folder = (arguments.folder / arguments.task).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(1)
    logging.basicConfig(format="%(message)s")
    if not console.is_terminal:
        logging.getLogger("utils.training").setLevel(logging.INFO)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    started = time.monotonic()
    failed = _run(DemoTask(arguments.task), folder)
    console.rule(f"{time.monotonic() - started:.0f} s")
    for sentence in failed:
        console.print(f"FAILED: {sentence}", style="bold red")
    return 1 if failed else 0


def _run(demo: DemoTask, folder: Path) -> list[str]:
    """Every step in order; the sentences of those that did not hold."""
    data = demo.sample
    failed: list[str] = []
    console.rule(
        f"1. Train on {len(data.train)} samples, validate on {len(data.validation)}"  # type: ignore[arg-type]
    )
    results = steps.train(demo, folder / "straight")
    summary = results["metrics_summary"]
    console.print(epochs_table(summary[[c for c in _SHOWN if c in summary]]))
    _show_alerts(results["alerts"])

    console.rule("2. Interrupt a second run in the middle of an epoch, resume it")
    for said in steps.interrupt_and_resume(demo, folder):
        _show(said, failed)

    console.rule("3. Measure on held-out data")
    model = steps.best_model(demo, results["checkpoint_path"])
    verdict = demo.judge(model)
    _show(steps.Said(verdict.sentence, verdict.is_good), failed)

    console.rule("4. Draw, compare, register, export")
    _show(steps.draw(results, demo, folder), failed)
    console.print(steps.compare(results, demo, folder))
    bundle = steps.export(model, demo, folder)
    for said in (
        steps.register(results, bundle, demo, folder),
        steps.verify(bundle),
        steps.infer(bundle, demo),
    ):
        _show(said, failed)
    return failed


def _show_alerts(alerts: list[dict[str, Any]]) -> None:
    for alert in alerts:
        console.print(f"alert, epoch {alert['epoch'] + 1}: {alert['message']}", style="yellow")
    if not alerts:
        console.print("No alerts.")


def _show(said: steps.Said, failed: list[str]) -> None:
    console.print(said.sentence, style="" if said.holds else "bold red", soft_wrap=True)
    if not said.holds:
        failed.append(said.sentence)


if __name__ == "__main__":
    sys.exit(main())
