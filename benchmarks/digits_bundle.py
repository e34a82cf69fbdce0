"""A bundle of the digits' model, and its way into a registry."""

from __future__ import annotations

from pathlib import Path

from services.trainer.samples import load_sample
from utils.service.clients.registry import RegistryClient
from utils.service.contracts.models import ModelRegistration, PromotionRequest
from utils.service.packing import pack
from utils.training.export_utilities import create_export_bundle
from utils.training.training_config import TrainingConfig

MODEL = "digits"


def export(folder: Path) -> Path:
    """A bundle of the untrained model, which computes as long as a trained one."""
    sample = load_sample("digits")
    return create_export_bundle(
        model=sample.build_model(),
        config=None,
        task_spec=sample.task_spec,
        training_config=TrainingConfig(export_dir=str(folder), export_formats=["onnx"]),
        reference_profile={"version": 1},
    )


def put_into_production(bundle: Path, trainer: RegistryClient, admin: RegistryClient) -> None:
    """Upload, register and promote a bundle."""
    packed = bundle.with_suffix(".tar")
    pack(bundle, packed)
    model = trainer.register(
        ModelRegistration(
            name=MODEL,
            bundle_digest=trainer.upload(packed),
            task_type="vision_classification",
        )
    )
    admin.promote(model.model_id, PromotionRequest(force=True, reason="to be measured"))
