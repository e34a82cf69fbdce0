"""Export bundles: complete, checked, the same each time, and useful on their own."""

import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from services.trainer.samples import load_sample
from utils.training.export_utilities import ExportError, create_export_bundle
from utils.training.export_utilities.templates.binary_tensors import HEADER, pack, unpack
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

FORMATS = ("onnx", "torchscript", "pytorch")
TREE = {
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
    "MANIFEST.json",
    "signature.json",
    "sample_input.json",
    "expected_output.json",
    "verify.py",
    "reference_profile.json",
}


def export(name, folder, **options):
    sample = load_sample(name)
    torch.manual_seed(0)
    model = sample.build_model()
    config = TrainingConfig(export_dir=str(folder))
    return create_export_bundle(
        model=model,
        config=getattr(model, "config", None),
        task_spec=sample.task_spec,
        training_config=config,
        tokenizer=sample.tokenizer,
        reference_profile={"version": 1},
        **options,
    )


@pytest.fixture(scope="module", params=["digits", "cells", "text"])
def bundle(request, tmp_path_factory):
    return export(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return export("digits", tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return export("text", tmp_path_factory.mktemp("text"))


def run(bundle, script, *arguments, python=sys.executable, **options):
    return subprocess.run(
        [str(python), "-I", script, *map(str, arguments)],
        cwd=bundle,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def answers(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_bundle_holds_the_whole_tree_and_a_digest_of_every_file(bundle):
    found = {str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file()}
    assert found >= TREE
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    assert set(manifest["files"]) == found - {"MANIFEST.json"}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == entry["sha256"]
    assert set(manifest["formats"]) == set(FORMATS)
    assert manifest["formats"]["onnx"]["opset"] >= 18
    assert all(f["greatest_difference"] <= f["tolerance"] for f in manifest["formats"].values())
    assert manifest["failed_formats"] == {}


def test_no_bundle_names_a_folder_of_this_machine(bundle):
    naming = [
        path.name
        for path in bundle.rglob("*")
        if path.is_file() and b"site-packages" in path.read_bytes()
    ]
    assert naming == []


def test_the_signature_tells_free_dimensions_by_name(text, digits):
    inputs = json.loads((text / "signature.json").read_text())["inputs"]
    assert [i["name"] for i in inputs] == ["input_ids", "attention_mask"]
    assert inputs[0]["shape"] == ["batch", "sequence"]
    assert inputs[0]["limits"] == {"sequence": 64}
    outputs = json.loads((digits / "signature.json").read_text())["outputs"]
    assert outputs == [{"name": "logits", "datatype": "FP32", "shape": ["batch", 10]}]


@pytest.mark.parametrize("name", ["digits", "text"])
def test_a_model_exported_twice_has_the_same_digests(name, tmp_path, request):
    first = request.getfixturevalue(name)
    again = export(name, first.parent)
    assert again != first
    assert (again / "MANIFEST.json").read_bytes() == (first / "MANIFEST.json").read_bytes()


def test_the_model_is_left_as_it_was(tmp_path):
    sample = load_sample("digits")
    model = sample.build_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = TrainingConfig(export_dir=str(tmp_path), export_formats=["onnx"])
    bundle = create_export_bundle(model, None, sample.task_spec, config)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not (bundle / "artifacts" / "model.torchscript.pt").exists()


def test_verify_passes_on_a_whole_bundle_and_names_what_was_changed(digits, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(digits, copy)
    whole = run(copy, "verify.py")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("greatest difference") == 3
    onnx = copy / "artifacts" / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"x")
    (copy / "README.md").unlink()
    broken = run(copy, "verify.py")
    assert broken.returncode == 1
    assert "artifacts/model.onnx has other bytes" in broken.stderr
    assert "README.md is missing" in broken.stderr


def test_verify_finds_a_model_that_answers_otherwise(digits, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(digits, copy)
    expected = json.loads((copy / "expected_output.json").read_text())
    expected["tensors"][0]["data"][0] += 1
    (copy / "expected_output.json").write_text(json.dumps(expected))
    manifest = json.loads((copy / "MANIFEST.json").read_text())
    digest = hashlib.sha256((copy / "expected_output.json").read_bytes()).hexdigest()
    manifest["files"]["expected_output.json"]["sha256"] = digest
    (copy / "MANIFEST.json").write_text(json.dumps(manifest))
    done = run(copy, "verify.py")
    assert done.returncode == 1
    assert "onnx differs by 1" in done.stderr


@pytest.mark.parametrize("kind", FORMATS)
def test_inference_reads_an_image(digits, tmp_path, kind):
    pixels = load_sample("digits").test.images[0, 0].numpy()
    Image.fromarray((pixels * 255).astype(np.uint8)).save(tmp_path / "scan.png")
    (answer,) = answers(
        run(digits, "inference.py", "--input", tmp_path / "scan.png", "--format", kind)
    )
    assert 0 <= answer["probability"] <= 1
    assert answer["label"] == str(answer["class"])
    assert sum(entry["probability"] for entry in answer["top"]) <= 1.0001


@pytest.mark.parametrize("kind", FORMATS)
def test_inference_reads_lines_of_text(text, tmp_path, kind):
    (tmp_path / "test.txt").write_text("The for statement is used\n\nA class\n")
    found = answers(run(text, "inference.py", "--input", tmp_path / "test.txt", "--format", kind))
    assert len(found) == 2
    assert len(found[0]["next_tokens"]) == 5
    assert found[0]["perplexity"] > 1


def test_all_formats_answer_alike_whatever_the_padding(text, tmp_path):
    (tmp_path / "a.txt").write_text("The for statement\n")
    (tmp_path / "b.txt").write_text("The for statement\nA much longer line that makes it pad\n")
    alone = answers(run(text, "inference.py", "--input", tmp_path / "a.txt"))[0]
    for kind in FORMATS:
        done = run(text, "inference.py", "--input", tmp_path / "b.txt", "--format", kind)
        assert answers(done)[0]["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-4)


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_inference_reads_rows(tmp_path, tmp_path_factory, kind):
    bundle = export("cells", tmp_path_factory.mktemp("cells"))
    sample = load_sample("cells")
    names = sample.task_spec.feature_names
    rows = [dict(zip(names, row.tolist(), strict=True)) for row in sample.test.features[:3]]
    path = tmp_path / f"rows.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text(
            json.dumps(rows) if kind == "json" else "\n".join(json.dumps(r) for r in rows)
        )
    found = answers(run(bundle, "inference.py", "--input", path))
    assert [entry["label"] in ("malignant", "benign") for entry in found] == [True] * 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "no example"),
        ("{", "can't be read"),
        ('[{"image": [[1, 2], [3]]}]', "differ in length"),
        ('[{"image": [[1, 2], [3, 4]]}]', "the model takes [1, 8, 8]"),
        ('[{"image": "%%%"}]', "no base64"),
        ("[7]", "An image is a file"),
    ],
)
def test_inference_refuses_what_it_cant_take_in_one_sentence(digits, tmp_path, content, reason):
    (tmp_path / "in.json").write_text(content)
    done = run(digits, "inference.py", "--input", tmp_path / "in.json")
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_missing_file_and_a_missing_format_are_said(digits, tmp_path):
    assert "There is no file" in run(digits, "inference.py", "--input", "nowhere.png").stderr
    copy = tmp_path / "bundle"
    shutil.copytree(digits, copy)
    (copy / "artifacts" / "model.onnx").unlink()
    (tmp_path / "in.json").write_text(json.dumps([np.zeros((8, 8)).tolist()]))
    done = run(copy, "inference.py", "--input", tmp_path / "in.json")
    assert done.returncode == 2
    assert "holds no onnx model; it holds torchscript, pytorch" in done.stderr


class Branching(nn.Module):
    """What no graph can hold: a branch on the data."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, features):
        return self.linear(features) * (2 if features.sum() > 0 else 1)


class Noisy(nn.Module):
    """A model whose answers differ from call to call."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, features):
        return self.linear(features) + torch.rand(())


TASK = TaskSpec(name="rows", modality="tabular", feature_names=("a", "b", "c"), num_classes=2)


def test_a_format_that_cant_hold_the_model_says_why_and_the_others_are_there(tmp_path, caplog):
    config = TrainingConfig(export_dir=str(tmp_path))
    with pytest.raises(ExportError) as caught:
        create_export_bundle(Branching(), None, TASK, config)
    failures = caught.value.failures
    assert set(failures) == {"onnx", "pytorch"}
    assert "graph can't be captured" in failures["onnx"]
    assert (caught.value.bundle / "artifacts" / "model.torchscript.pt").exists()
    assert not (caught.value.bundle / "artifacts" / "model.onnx").exists()
    manifest = json.loads((caught.value.bundle / "MANIFEST.json").read_text())
    assert manifest["failed_formats"] == failures
    assert "The onnx format failed" in caplog.text


def test_a_model_that_answers_otherwise_than_in_memory_is_no_export(tmp_path):
    config = TrainingConfig(export_dir=str(tmp_path), export_formats=["onnx"])
    with pytest.raises(ExportError, match="differs from the model in memory"):
        create_export_bundle(Noisy(), None, TASK, config)


def test_a_tabular_task_without_names_wants_a_sample(tmp_path):
    bare = TaskSpec(name="rows", modality="tabular", num_classes=2)
    config = TrainingConfig(export_dir=str(tmp_path), export_formats=["onnx"])
    with pytest.raises(ValueError, match="names no features"):
        create_export_bundle(nn.Linear(3, 2), None, bare, config)
    batch = {"features": torch.randn(1, 3), "labels": torch.zeros(1)}
    bundle = create_export_bundle(nn.Linear(3, 2), None, bare, config, sample_batch=batch)
    (tmp_path / "in.json").write_text("[[1, 2, 3]]")
    (answer,) = answers(run(bundle, "inference.py", "--input", tmp_path / "in.json"))
    assert answer["label"] in ("0", "1")


def test_a_tokenizer_that_cant_be_written_is_refused(tmp_path):
    sample = load_sample("text")
    config = TrainingConfig(export_dir=str(tmp_path), export_formats=["onnx"])
    with pytest.raises(TypeError, match="allowed is a transformers fast tokenizer"):
        create_export_bundle(
            sample.build_model(), None, sample.task_spec, config, tokenizer=object()
        )


def load_handler(bundle, folder):
    """The archive's handler, as TorchServe loads it."""
    (archive,) = (bundle / "artifacts").glob("*.mar")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
        manifest = json.loads(file.read("MAR-INF/MANIFEST.json"))
    script = (
        "import base64, json, sys\n"
        "sys.path.insert(0, '.')\n"
        "from types import SimpleNamespace\n"
        "from handler import BundleHandler\n"
        "statuses, answered = {}, {}\n"
        "requests = json.load(sys.stdin)\n"
        "headers = [request.pop('headers', {}) for request in requests]\n"
        "for request in requests:\n"
        "    if 'base64' in request:\n"
        "        request['body'] = bytearray(base64.b64decode(request.pop('base64')))\n"
        "context = SimpleNamespace(system_properties={'model_dir': '.'},\n"
        "    get_all_request_header=headers.__getitem__,\n"
        "    set_response_header=lambda idx, name, value: answered.__setitem__(idx, value),\n"
        "    set_response_status=lambda code, idx: statuses.__setitem__(idx, code))\n"
        "handler = BundleHandler()\n"
        "handler.initialize(context)\n"
        "replies = handler.handle(requests, context)\n"
        "replies = [r if isinstance(r, str) else base64.b64encode(r).decode() for r in replies]\n"
        "print(json.dumps([replies, statuses, answered]))\n"
    )
    return manifest, script


def test_the_archives_handler_answers_each_request_of_a_batch_on_its_own(digits, tmp_path):
    manifest, script = load_handler(digits, tmp_path)
    assert manifest["model"]["modelName"] == "digits"
    image = np.zeros((8, 8)).tolist()
    tensor = {
        "name": "pixel_values",
        "shape": [2, 1, 8, 8],
        "datatype": "FP32",
        "data": [0.0] * 128,
    }
    requests = [
        {"body": {"instances": [image]}},
        {"body": {"inputs": [tensor]}},
        {"body": {"inputs": [tensor | {"shape": [2, 1, 8, 9]}]}},
        {"body": {"inputs": [tensor | {"datatype": "INT64"}]}},
        {"body": {"inputs": []}},
        {"body": {}},
        {"body": "no json"},
    ]
    replies, statuses, _ = handled(script, tmp_path, requests)
    replies = [json.loads(reply) for reply in replies]
    assert replies[0]["predictions"][0]["label"] in "0123456789"
    assert replies[1]["outputs"][0]["shape"] == [2, 10]
    assert statuses == {str(i): 400 for i in range(2, 7)}
    assert all(len(reply["detail"]) > 10 for reply in replies[2:])


def handled(script, folder, requests):
    """What the handler answers: the replies, the statuses set, the lengths of JSON in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_archives_handler_answers_bytes_with_bytes(digits, tmp_path):
    _, script = load_handler(digits, tmp_path)
    body, length = pack("inputs", {"pixel_values": np.zeros((2, 1, 8, 8), np.float32)})
    as_bytes = {"base64": base64.b64encode(body).decode()}
    requests = [
        as_bytes | {"headers": {HEADER.lower(): str(length)}},
        as_bytes | {"headers": {HEADER: str(length - 1)}},
        as_bytes | {"headers": {HEADER: "none"}},
        {"body": {"inputs": []}, "headers": {HEADER: "3"}},
    ]
    replies, statuses, lengths = handled(script, tmp_path, requests)
    found = unpack("outputs", base64.b64decode(replies[0]), int(lengths["0"]))
    assert found["logits"].shape == (2, 10)
    assert statuses == {str(i): 400 for i in range(1, 4)}
    assert all(len(json.loads(reply)["detail"]) > 10 for reply in replies[1:])


def test_a_configuration_is_kept_as_far_as_it_is_plain(tmp_path):
    config = TrainingConfig(export_dir=str(tmp_path), export_formats=["onnx"])
    described = SimpleNamespace(width=3, net=nn.Linear(1, 1))
    bundle = create_export_bundle(nn.Linear(3, 2), described, TASK, config)
    assert json.loads((bundle / "configs" / "model_config.json").read_text()) == {"width": 3}


NO_NETWORK = """
import socket
def refuse(*_):
    raise OSError("the network was used")
socket.socket.connect = refuse
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_bundle_runs_in_a_fresh_environment_of_its_own(kind, tmp_path, tmp_path_factory):
    text = export("text", tmp_path_factory.mktemp("text"))
    home = tmp_path_factory.getbasetemp().parent / "bundle-environment"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "-r", text / "requirements.txt"], check=True
        )
        site = next((home / "lib").glob("python*/site-packages"))
        (site / "sitecustomize.py").write_text(NO_NETWORK)
    (tmp_path / "test.txt").write_text("The for statement is used\n")
    done = run(
        text, "inference.py", "--input", tmp_path / "test.txt", "--format", kind, python=python
    )
    assert len(answers(done)) == 1
    assert run(text, "verify.py", python=python).returncode == 0
    assert run(text, "-c", "import utils.training", python=python).returncode != 0
    assert Path(python).exists()
