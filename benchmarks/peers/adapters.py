"""The same job for each peer: its own loop, AdamW, a schedule, clipping, no checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.workloads import CLIP_NORM, Job, as_it_is


def run_accelerate(job: Job) -> None:
    """Run Accelerate's own objects in a hand-written loop, as its documentation shows."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=job.accumulation_steps)
    optimizer = job.optimizer()
    scheduler = job.scheduler(optimizer)
    model, optimizer, loader, scheduler = accelerator.prepare(
        job.model, optimizer, job.loader(), scheduler
    )
    for batch in loader:
        with accelerator.accumulate(model):
            accelerator.backward(model(**batch)["loss"])
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()


def run_fabric(job: Job) -> None:
    """Run Lightning Fabric's own objects in a hand-written loop."""
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    plain = job.optimizer()
    scheduler = job.scheduler(plain)
    model, optimizer = fabric.setup(job.model, plain)
    for index, batch in enumerate(fabric.setup_dataloaders(job.loader())):
        closes_window = (index + 1) % job.accumulation_steps == 0
        with fabric.no_backward_sync(model, enabled=not closes_window):
            fabric.backward(model(**batch)["loss"] / job.accumulation_steps)
        if closes_window:
            fabric.clip_gradients(model, optimizer, max_norm=CLIP_NORM, error_if_nonfinite=False)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()


def run_ignite(job: Job) -> None:
    """Run PyTorch-Ignite's engine over an update function."""
    from ignite.engine import Engine

    optimizer = job.optimizer()
    scheduler = job.scheduler(optimizer)
    parameters = list(job.model.parameters())

    def update(engine: Engine, batch: Any) -> float:
        loss = job.model(**batch)["loss"]
        (loss / job.accumulation_steps).backward()
        if engine.state.iteration % job.accumulation_steps == 0:
            nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    Engine(update).run(job.loader(), max_epochs=1)


def run_lightning(job: Job) -> None:
    """Run Lightning's Trainer with bar, summary, logger and checkpoints off."""
    import lightning.pytorch as lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model

        def training_step(self, batch: Any, _batch_idx: int) -> torch.Tensor:
            return self.model(**batch)["loss"]

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = job.optimizer()
            schedule = {"scheduler": job.scheduler(optimizer), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=job.num_steps,
        max_epochs=-1,
        accumulate_grad_batches=job.accumulation_steps,
        gradient_clip_val=CLIP_NORM,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    ).fit(Module(), job.loader())


def run_hugging_face(job: Job) -> None:
    """Run the Trainer of transformers with reports, bar and checkpoints off."""
    import transformers

    transformers.logging.set_verbosity_error()
    optimizer = job.optimizer()
    arguments = transformers.TrainingArguments(
        output_dir=str(job.folder),
        max_steps=job.num_steps,
        per_device_train_batch_size=job.workload.batch_size,
        gradient_accumulation_steps=job.accumulation_steps,
        max_grad_norm=CLIP_NORM,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    transformers.Trainer(
        model=job.model,
        args=arguments,
        train_dataset=job.dataset,
        data_collator=as_it_is,
        optimizers=(optimizer, job.scheduler(optimizer)),
    ).train()


ADAPTERS: dict[str, Callable[[Job], None]] = {
    "Ignite": run_ignite,
    "Fabric": run_fabric,
    "Accelerate": run_accelerate,
    "HF Trainer": run_hugging_face,
    "Lightning": run_lightning,
}
