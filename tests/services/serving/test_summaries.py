"""What the monitor is told: the columns of the reference profile, at no request's cost."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import redis
import torch

from services.serving.backends.protocol import UnavailableError, Version
from services.serving.gateway.contract import Contract
from services.serving.gateway.features import request_columns
from services.serving.gateway.forms import Examples
from services.trainer.samples import load_sample
from tests.services.serving.served_gateway import Gateway
from tests.waiting import wait_until
from utils.service.contracts.predictions import STREAM, SUMMARY, PredictionSummary
from utils.service.embedded.valkey import ValkeyServer
from utils.training.drift_metrics import DatasetProfiler, profile_dataset
from utils.training.drift_metrics.columns import columns_of
from utils.training.export_utilities import create_export_bundle
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

INFER = "/v2/models/digits/infer"
PREDICT = "/v1/models/digits/predict"
ROWS = 8


@pytest.fixture
def stream(valkey):
    with redis.Redis.from_url(valkey.url()) as client:
        client.delete(STREAM)
        yield client


@pytest.fixture
def told(tmp_path, versions, valkey, stream):
    """A gateway that tells Valkey of the digits' version 1."""
    gateway = Gateway(tmp_path, valkey.url())
    gateway.serve(versions[0])
    yield gateway
    gateway.close()


def read(stream, count, seconds=10):
    """Wait for so many summaries, and read them."""
    deadline = time.monotonic() + seconds
    while stream.xlen(STREAM) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    entries = [fields[SUMMARY.encode()] for _, fields in stream.xrange(STREAM)]
    assert len(entries) == count
    return [PredictionSummary.model_validate_json(entry) for entry in entries]


def scans():
    sample = load_sample("digits")
    return sample.task_spec, torch.stack(
        [sample.train[row]["pixel_values"] for row in range(ROWS)]
    ).numpy()


def tensors(pixels):
    return {
        "inputs": [
            {
                "name": "pixel_values",
                "shape": list(pixels.shape),
                "datatype": "FP32",
                "data": pixels.ravel().tolist(),
            }
        ]
    }


def normalized(pixels, spec):
    for values, apply in ((spec.image_mean, np.subtract), (spec.image_std, np.divide)):
        if values is not None:
            pixels = apply(pixels, np.array(values, dtype=np.float32)[:, None, None])
    return pixels


def as_fields(summary):
    """A summary as the columns that a window's profile counts."""
    predictions = {
        "prediction.class": summary.predicted,
        "prediction.confidence": summary.confidence,
        "prediction.entropy": summary.entropy,
    }
    return {**summary.features, **{name: column for name, column in predictions.items() if column}}


def test_both_forms_give_the_columns_of_the_training_datas_profile(told, stream, versions):
    spec, pixels = scans()
    told.post(PREDICT, {"instances": pixels.tolist()})
    answer = told.post(INFER, tensors(normalized(pixels, spec)))
    logits = np.array(answer.json()["outputs"][0]["data"]).reshape(ROWS, 10)
    samples = [
        {"pixel_values": image, "logits": row} for image, row in zip(pixels, logits, strict=True)
    ]
    _, columns = columns_of(samples, spec, {})
    for summary in read(stream, 2):
        fields = as_fields(summary)
        assert set(fields) == set(columns)
        for name, column in columns.items():
            if column.kind == "numeric":
                np.testing.assert_allclose(fields[name], column.values, atol=1e-5, err_msg=name)
            else:
                assert fields[name] == [str(value) for value in column.values]
        assert (summary.model_name, summary.model_version, summary.rows) == ("digits", "1", ROWS)
        assert summary.latency_ms > 0
        assert not summary.error


@pytest.mark.parametrize("form", ["examples", "tensors"])
def test_a_window_of_summaries_is_the_window_of_the_data(told, stream, form):
    spec, pixels = scans()
    reference = profile_dataset([{"pixel_values": image} for image in pixels], spec)
    if form == "examples":
        told.post(PREDICT, {"instances": pixels.tolist()})
    else:
        told.post(INFER, tensors(normalized(pixels, spec)))
    (summary,) = read(stream, 1)
    profiler = DatasetProfiler(spec, reference)
    profiler.update(summary.features)
    wanted = profile_dataset([{"pixel_values": i} for i in pixels], spec, reference=reference)
    assert profiler.result() == wanted


def test_normalization_is_undone(tmp_path):
    spec = TaskSpec(
        name="colours",
        modality="vision",
        image_size=(4, 4),
        num_classes=2,
        image_mean=(0.485, 0.456, 0.406),
        image_std=(0.229, 0.224, 0.225),
    )
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    contract = contract_of(tmp_path, model, spec)
    pixels = np.random.default_rng(0).random((5, 3, 4, 4), dtype=np.float32)
    assert_same_columns(contract, spec, pixels.tolist(), {"pixel_values": pixels})


def test_rows_keep_their_features_names(tmp_path):
    spec = TaskSpec(name="rows", modality="tabular", num_classes=2, feature_names=("a", "b"))
    contract = contract_of(tmp_path, torch.nn.Linear(2, 2), spec)
    rows = np.array([[1.0, 2.0], [3.0, -4.0]], dtype=np.float32)
    by_name = [{"b": b, "a": a} for a, b in rows.tolist()]
    assert_same_columns(contract, spec, by_name, {"features": rows})


class TextModel(torch.nn.Module):
    """Classes of texts by their mean embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 4)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask):
        weights = attention_mask.unsqueeze(-1).float()
        mean = (self.embedding(input_ids) * weights).sum(1) / weights.sum(1).clamp(min=1)
        return self.head(mean)


def test_texts_are_told_by_length_and_by_tokens_that_can_only_be_counted(tmp_path):
    spec = TaskSpec(
        name="texts",
        modality="text",
        task_type="classification",
        vocab_size=50,
        max_seq_len=6,
        num_classes=3,
    )
    contract = contract_of(tmp_path, TextModel(), spec)
    texts = [[7, 3, 9], [5], [1, 2, 3, 4, 5, 6]]
    samples = [{"input_ids": torch.tensor(text)} for text in texts]
    _, wanted = columns_of(samples, spec, {})
    question = Examples(10).read({"instances": texts}, contract)
    found = request_columns(contract, question, None)
    assert found["length"].values.tolist() == wanted["length"].values.tolist()
    assert [t.tolist() for t in found["tokens"].values] == texts
    assert set(found) == set(wanted)


def contract_of(folder, model, spec):
    bundle = create_export_bundle(
        model=model,
        config=None,
        task_spec=spec,
        training_config=TrainingConfig(export_dir=str(folder), export_formats=["onnx"]),
        reference_profile={"version": 1},
    )
    return Contract.of(
        Version(name=spec.name, version="1", model_id=1, digest="0" * 64, folder=bundle)
    )


def assert_same_columns(contract, spec, instances, fields):
    """The columns of a request equal those of the data that it was made of."""
    question = Examples(10).read({"instances": instances}, contract)
    found = request_columns(contract, question, None)
    names = list(fields)
    samples = [
        dict(zip(names, values, strict=True)) for values in zip(*fields.values(), strict=True)
    ]
    _, wanted = columns_of(samples, spec, {})
    assert set(found) == set(wanted)
    for name, column in wanted.items():
        np.testing.assert_allclose(found[name].values, column.values, atol=1e-6, err_msg=name)


def test_a_fault_of_the_client_is_not_told_and_one_of_the_model_is(told, stream, monkeypatch):
    def fail(*_):
        raise UnavailableError("It is away.")

    _, pixels = scans()
    told.post(PREDICT, {"instances": [3]})
    monkeypatch.setattr(told.parts.backend, "infer", fail)
    told.post(PREDICT, {"instances": pixels.tolist()})
    (summary,) = read(stream, 1)
    assert summary.error
    assert (summary.rows, summary.features, summary.predicted) == (0, {}, [])


def test_requests_go_on_while_redis_is_dead_and_summaries_when_it_is_back(tmp_path, versions):
    _, pixels = scans()
    body = {"instances": pixels.tolist()}
    with ValkeyServer(tmp_path / "valkey") as server:
        gateway = Gateway(tmp_path, server.url())
        gateway.serve(versions[0])
        assert gateway.post(PREDICT, body).status_code == 200
        wait_until(lambda: gateway.summaries("sent") == 1)
    statuses = [gateway.post(PREDICT, body).status_code for _ in range(5)]
    assert statuses == [200] * 5
    wait_until(lambda: gateway.summaries("failed") > 0)
    gateway.close()
    outcomes = {o: gateway.summaries(o) for o in ("sent", "failed", "dropped")}
    assert outcomes["sent"] == 1
    assert outcomes["failed"] + outcomes["dropped"] == 5


def test_a_full_queue_drops_summaries_and_no_request(tmp_path, versions, monkeypatch):
    gateway = Gateway(tmp_path, "redis://127.0.0.1:9", summary_queue=1)
    monkeypatch.setattr(
        "services.serving.gateway.summaries.summary_of",
        lambda _: time.sleep(0.5) or SimpleNamespace(model_dump_json=lambda: "{}"),
    )
    gateway.serve(versions[0])
    _, pixels = scans()
    for _ in range(5):
        assert gateway.post(PREDICT, {"instances": pixels.tolist()}).status_code == 200
    assert gateway.summaries("dropped") >= 1
    gateway.close()


def test_what_waits_is_sent_on_stop(tmp_path, versions, valkey, stream, monkeypatch):
    monkeypatch.setattr("services.serving.gateway.summaries._PATIENCE_SECONDS", 30)
    gateway = Gateway(tmp_path, valkey.url())
    gateway.serve(versions[0])
    _, pixels = scans()
    for _ in range(20):
        gateway.post(PREDICT, {"instances": pixels.tolist()})
    gateway.close()
    assert len(read(stream, 20, seconds=0)) == 20


def test_a_share_of_requests_is_told(tmp_path, versions, valkey, stream):
    gateway = Gateway(tmp_path, valkey.url(), sample_rate=0.0)
    gateway.serve(versions[0])
    _, pixels = scans()
    gateway.post(PREDICT, {"instances": pixels.tolist()})
    gateway.close()
    assert stream.xlen(STREAM) == 0
