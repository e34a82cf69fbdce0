"""Train on the digits, alone or over ranks: the same script, with no change.

::

    python -m services.trainer.demo.ranks
    python -m torch.distributed.run --standalone --nproc-per-node 2 -m services.trainer.demo.ranks

``--strategy fsdp`` shards the weights; ``--epochs`` and ``--folder`` say how long and where.
"""

from __future__ import annotations

import argparse
import logging
import os

import torch

from services.trainer.samples import load_sample
from utils.training.engine import Trainer
from utils.training.training_config import TrainingConfig

GLOBAL_BATCH = 32  # samples of a step, over all ranks


def main() -> None:
    """Train, and say how good the model is on data that it has not seen."""
    parser = argparse.ArgumentParser(description="Train on the digits, alone or over ranks.")
    parser.add_argument("--strategy", choices=["auto", "ddp", "fsdp"], default="auto")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", default="./digits")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sample = load_sample("digits")
    config = TrainingConfig(
        strategy=arguments.strategy,
        epochs=arguments.epochs,
        batch_size=GLOBAL_BATCH // int(os.environ.get("WORLD_SIZE", "1")),
        learning_rate=3e-3,
        checkpoint_dir=arguments.folder,
        progress_bar=False,
    )
    trainer = Trainer(sample.build_model(), None, config, sample.task_spec)
    results = trainer.train(sample.train, sample.validation)
    if os.environ.get("RANK", "0") == "0":
        last = results["metrics_summary"].iloc[-1]
        logging.info("Validation accuracy %.4f, loss %.4f.", last["val_accuracy"], last["val_loss"])


if __name__ == "__main__":
    main()
