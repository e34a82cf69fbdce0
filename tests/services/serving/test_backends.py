"""What every back end does, whatever runs the models."""

from __future__ import annotations

import json
import threading
from contextlib import closing

import numpy as np
import pytest

from services.serving.backends.onnx import OnnxBackend
from services.serving.backends.protocol import InputRefusedError, LoadError, UnavailableError
from services.serving.backends.torchserve import TorchServeBackend
from services.serving.catalogue import Catalogue

BACKENDS = {
    "onnx": lambda _: OnnxBackend(),
    "torchserve": lambda folder: TorchServeBackend(folder / "torchserve", load_seconds=60),
}


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request, tmp_path_factory):
    with closing(BACKENDS[request.param](tmp_path_factory.mktemp(request.param))) as backend:
        yield backend


@pytest.fixture(scope="module")
def loaded(backend, versions):
    """The back end with both versions, which stay."""
    for version in versions:
        backend.load(version)
    return backend


def logits(backend, version, document):
    return backend.answer(version, document)["outputs"][0]["data"]


def image(brightness=0.5):
    return [[brightness] * 8] * 8


def test_tensors_get_the_output_that_the_bundle_was_exported_with(
    loaded, versions, sample_request, expected
):
    answer = loaded.answer(versions[0], sample_request)
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"]) == ("logits", "FP32")
    assert output["shape"] == [len(output["data"]) // 10, 10]
    np.testing.assert_allclose(output["data"], expected["1"], atol=1e-4)


def test_checked_tensors_get_the_same_logits(loaded, versions, sample_request, expected):
    (tensor,) = sample_request["inputs"]
    array = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    for version in versions:
        found = loaded.infer(version, {"pixel_values": array})
        assert (found.shape, found.dtype) == ((len(array), 10), np.float32)
        np.testing.assert_allclose(found.ravel(), expected[version.version], atol=1e-4)
        turned = loaded.infer(version, {"pixel_values": array[::-1]})
        np.testing.assert_allclose(turned, found[::-1], atol=1e-4)


def test_instances_get_a_prediction_each(loaded, versions):
    predictions = loaded.answer(versions[0], {"instances": [image(), image(1.0)]})["predictions"]
    assert len(predictions) == 2
    assert {"label", "probability", "class", "top"} <= set(predictions[0])
    assert len(predictions[0]["top"]) == 5


def test_versions_answer_side_by_side(loaded, versions, sample_request, expected):
    for version in versions:
        found = logits(loaded, version, sample_request)
        np.testing.assert_allclose(found, expected[version.version], atol=1e-4)
    assert not np.allclose(expected["1"], expected["2"], atol=1e-3)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, 'lacks "inputs" and "instances"'),
        ({"inputs": 3}, "a list of tensors"),
        ({"inputs": [{"name": ["pixel_values"]}]}, "pixel_values is missing"),
        ({"instances": []}, "no example"),
        ({"instances": [[[1, 2], [3]]]}, "differ in length"),
        ({"instances": [[[10**400] * 8] * 8]}, "hold no numbers|exceeds 64-bit"),
        ({"instances": ["äöü"]}, "no base64"),
        ({"instances": [[[0.5] * 9] * 9]}, r"shape \[1, 9, 9\], the model takes \[1, 8, 8\]"),
    ],
)
def test_a_clients_fault_is_told_in_a_sentence(loaded, versions, document, reason):
    with pytest.raises(InputRefusedError, match=reason):
        loaded.answer(versions[0], document)


def test_a_version_can_be_loaded_unloaded_and_loaded_again(
    loaded, versions, own_versions, sample_request
):
    version = own_versions[0]
    for _ in range(2):
        with pytest.raises(UnavailableError, match="digits 1 is not loaded"):
            loaded.answer(version, sample_request)
        with pytest.raises(UnavailableError, match="digits 1 is not loaded"):
            loaded.infer(version, {})
        loaded.load(version)
        assert logits(loaded, version, sample_request)
        loaded.unload(version)
        loaded.unload(version)
    assert logits(loaded, versions[0], sample_request)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete_models(folder):
    for path in (folder / "artifacts").glob("model.*"):
        path.unlink()


def expect_something_else(folder):
    path = folder / "expected_output.json"
    document = json.loads(path.read_text())
    document["tensors"][0]["data"][0] += 1
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (delete_models, "no onnx model|neither"),
        (lambda folder: cut(folder / "artifacts" / "model.onnx"), "can't be loaded"),
        (lambda folder: cut(folder / "signature.json"), "can't be loaded"),
        (expect_something_else, "differs from its expected output by 1"),
    ],
    ids=["no model", "half a model", "half a signature", "other weights"],
)
def test_a_broken_bundle_leaves_nothing_and_the_others_answer(
    loaded, versions, own_versions, sample_request, damage, reason
):
    broken = own_versions[1]
    damage(broken.folder)
    with pytest.raises(LoadError, match=reason):
        loaded.load(broken)
    with pytest.raises(UnavailableError):
        loaded.answer(broken, sample_request)
    assert logits(loaded, versions[0], sample_request)
    loaded.check()


def test_switches_under_load_lose_no_request(backend, own_versions, sample_request, expected):
    catalogue, stopping = Catalogue(), threading.Event()
    backend.load(own_versions[0])
    catalogue.switch(own_versions[0])
    answered, faults = [], []

    def ask():
        while not stopping.is_set():
            try:
                with catalogue.using("digits") as version:
                    found = logits(backend, version, sample_request)
                np.testing.assert_allclose(found, expected[version.version], atol=1e-4)
                answered.append(version)
            except Exception as error:  # noqa: BLE001 - every kind counts
                faults.append(error)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in [own_versions[1], own_versions[0], own_versions[1]]:
        backend.load(version)
        before = catalogue.switch(version)
        assert catalogue.retire(before, 30)
        backend.unload(before)
    stopping.set()
    for thread in threads:
        thread.join(30)
    backend.unload(own_versions[1])
    assert not faults
    assert set(answered) == set(own_versions)
