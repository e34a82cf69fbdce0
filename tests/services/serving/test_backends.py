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


@pytest.fixture
def loaded(backend, versions):
    """The back end with both versions."""
    for version in versions:
        backend.load(version)
    yield backend
    for version in versions:
        backend.unload(version)


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
    np.testing.assert_allclose(output["data"], expected[versions[0]], atol=1e-4)


def test_instances_get_a_prediction_each(loaded, versions):
    predictions = loaded.answer(versions[0], {"instances": [image(), image(1.0)]})["predictions"]
    assert len(predictions) == 2
    assert {"label", "probability", "class", "top"} <= set(predictions[0])
    assert len(predictions[0]["top"]) == 5


def test_versions_answer_side_by_side(loaded, versions, sample_request, expected):
    for version in versions:
        found = logits(loaded, version, sample_request)
        np.testing.assert_allclose(found, expected[version], atol=1e-4)
    assert not np.allclose(expected[versions[0]], expected[versions[1]], atol=1e-3)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, 'lacks "inputs" and "instances"'),
        ({"inputs": 3}, "a list of tensors"),
        ({"inputs": [{"name": ["pixel_values"]}]}, "pixel_values is missing"),
        ({"instances": []}, "no example"),
        ({"instances": [[[1, 2], [3]]]}, "differ in length"),
        ({"instances": [[[10**400] * 8] * 8]}, "hold no numbers"),
        ({"instances": ["äöü"]}, "no base64"),
        ({"instances": [[[0.5] * 9] * 9]}, r"shape \[1, 9, 9\], the model takes \[1, 8, 8\]"),
    ],
)
def test_a_clients_fault_is_told_in_a_sentence(loaded, versions, document, reason):
    with pytest.raises(InputRefusedError, match=reason):
        loaded.answer(versions[0], document)


def test_a_version_that_is_not_loaded_is_unavailable(backend, versions, sample_request):
    with pytest.raises(UnavailableError, match="digits 1 is not loaded"):
        backend.answer(versions[0], sample_request)
    backend.unload(versions[0])


def test_an_unloaded_version_is_gone_and_others_stay(loaded, versions, sample_request):
    loaded.unload(versions[0])
    with pytest.raises(UnavailableError):
        loaded.answer(versions[0], sample_request)
    assert logits(loaded, versions[1], sample_request)
    loaded.load(versions[0])
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
    backend, versions, sample_request, damage, reason
):
    whole, broken = versions
    damage(broken.folder)
    backend.load(whole)
    with pytest.raises(LoadError, match=reason):
        backend.load(broken)
    with pytest.raises(UnavailableError):
        backend.answer(broken, sample_request)
    assert logits(backend, whole, sample_request)
    backend.check()
    backend.unload(whole)


def test_switches_under_load_lose_no_request(backend, versions, sample_request, expected):
    catalogue, stopping = Catalogue(), threading.Event()
    backend.load(versions[0])
    catalogue.switch(versions[0])
    answered, faults = [], []

    def ask():
        while not stopping.is_set():
            try:
                with catalogue.using("digits") as version:
                    found = logits(backend, version, sample_request)
                np.testing.assert_allclose(found, expected[version], atol=1e-4)
                answered.append(version)
            except Exception as error:  # noqa: BLE001 - every kind counts
                faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in [versions[1], versions[0], versions[1]]:
        backend.load(version)
        before = catalogue.switch(version)
        assert catalogue.retire(before, 30)
        backend.unload(before)
    stopping.set()
    for thread in threads:
        thread.join(30)
    backend.unload(versions[1])
    assert not faults
    assert set(answered) == set(versions)
