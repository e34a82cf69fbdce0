"""The documented call of the export, and the documented command of its bundle."""

import subprocess
import sys

from services.trainer.samples import load_sample
from utils.training.export_utilities import create_export_bundle
from utils.training.training_config import TrainingConfig


def test_a_bundle_is_made_and_its_inference_script_runs(tmp_path):
    sample = load_sample("text")
    trained_model = sample.build_model()
    export_dir = create_export_bundle(
        model=trained_model,
        config=trained_model.config,
        task_spec=sample.task_spec,
        training_config=TrainingConfig(export_bundle=True, export_formats=["onnx", "torchscript"]),
        tokenizer=sample.tokenizer,
    )
    assert export_dir.parent.name == "exports"
    assert export_dir.name.startswith("model_")
    for name in (
        "artifacts/model.onnx",
        "artifacts/model.torchscript.pt",
        "artifacts/model.pytorch.pt",
        "configs/task_spec.json",
        "configs/training_config.json",
        "configs/torchserve_config.json",
        "inference.py",
        "README.md",
        "Dockerfile",
        "requirements.txt",
    ):
        assert (export_dir / name).is_file()
    (export_dir / "test.txt").write_text("An exception is raised when\n")
    subprocess.run(
        [sys.executable, "inference.py", "--input", "test.txt", "--format", "onnx"],
        cwd=export_dir,
        check=True,
        timeout=120,
    )
