"""The gateway over HTTP: both forms, every refusal, switches, and bodies that mean harm."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.serving.backends.protocol import BackendBusyError, UnavailableError
from tests.waiting import wait_until

IMAGE = [[0.5] * 8] * 8
INFER = "/v2/models/digits/infer"
PREDICT = "/v1/models/digits/predict"


def tensor(**changes):
    given = {"name": "pixel_values", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
    return {key: value for key, value in (given | changes).items() if value is not None}


def infer(**changes):
    return {"inputs": [tensor(**changes)]}


def test_tensors_get_the_output_that_the_bundle_was_exported_with(
    gateway, versions, sample_request, expected
):
    gateway.serve(versions[0])
    answer = gateway.post(INFER, {"id": "a-1", **sample_request})
    assert answer.status_code == 200
    document = answer.json()
    assert (document["model_name"], document["model_version"]) == ("digits", "1")
    assert document["id"] == "a-1"
    (output,) = document["outputs"]
    assert (output["name"], output["datatype"], output["shape"][1]) == ("logits", "FP32", 10)
    np.testing.assert_allclose(output["data"], expected["1"], atol=1e-4)
    assert answer.headers["X-Model-Name"] == "digits"
    assert answer.headers["X-Model-Version"] == "1"


def test_nested_data_and_flat_data_get_the_same_answer(gateway, versions):
    gateway.serve(versions[0])
    flat = gateway.post(INFER, infer()).json()
    nested = gateway.post(INFER, infer(data=[[IMAGE]])).json()
    assert flat == nested
    assert "id" not in flat


def test_the_plain_form_gets_what_the_bundles_own_code_predicts(gateway, versions):
    gateway.serve(versions[0])
    examples = [IMAGE, [[0.0] * 8] * 8]
    answer = gateway.post(PREDICT, {"instances": examples})
    assert answer.status_code == 200
    wanted = gateway.parts.backend.answer(versions[0], {"instances": examples})
    assert answer.json() == wanted
    assert answer.headers["X-Model-Version"] == "1"


def test_a_client_may_name_its_trace_and_its_request(gateway, versions):
    gateway.serve(versions[0])
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-Id": "mine"}
    answer = gateway.post(INFER, infer(), headers=headers)
    assert answer.headers["X-Trace-Id"] == trace
    assert answer.headers["X-Request-Id"] == "mine"


def test_metadata_tell_what_a_model_takes_and_gives(gateway, versions):
    gateway.serve(versions[0])
    wanted = {
        "name": "digits",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
    }
    assert gateway.get("/v2/models/digits").json() == wanted
    assert gateway.get("/v2/models/digits/versions/1").json() == wanted
    assert gateway.get("/v2/models/digits/ready").json()["ready"]
    assert gateway.get("/v2/models/digits/versions/2/ready").status_code == 404
    assert gateway.get("/v2").json()["name"] == "training-engine serving"
    (listed,) = gateway.get("/v1/models").json()["items"]
    assert (listed["name"], listed["version"]) == ("digits", "1")


REFUSED_TENSORS = [
    (infer(name="x"), "The tensor 'x' is unknown; the model takes pixel_values."),
    ({"inputs": []}, "The tensor pixel_values is missing."),
    ({"inputs": [tensor(), tensor()]}, "The tensor pixel_values is given twice; give it once."),
    ({"inputs": 3}, '"inputs" is a list of tensors, each with name, shape, datatype and data.'),
    ({}, 'The body lacks "inputs", a list of tensors.'),
    ([], 'The body is no JSON object with "inputs" or "instances".'),
    (infer(datatype="FP64"), "pixel_values has the datatype FP64, expected FP32."),
    (infer(shape=None), "pixel_values's shape is a list of whole numbers from 0 up."),
    (infer(shape=[-1, 1, 8, 8]), "pixel_values's shape is a list of whole numbers from 0 up."),
    (infer(shape=[True, 1, 8, 8]), "pixel_values's shape is a list of whole numbers from 0 up."),
    (infer(data=None), "pixel_values lacks its data, a list of numbers, flat or nested."),
    (infer(data=[[1, 2], [3]]), "pixel_values's data are lists of different lengths."),
    (infer(data=["1"] * 64), "pixel_values's data hold something that is no FP32."),
    (infer(data=[None] * 64), "pixel_values's data hold something that is no FP32."),
    (infer(data=[True] * 64), "pixel_values's data hold something that is no FP32."),
    (
        infer(data=[0.5] * 63),
        "pixel_values's data have the shape [63], which does not fit [1, 1, 8, 8].",
    ),
    (
        infer(data=[IMAGE]),
        "pixel_values's data have the shape [1, 8, 8], which does not fit [1, 1, 8, 8].",
    ),
    (
        infer(shape=[1, 64]),
        "pixel_values has the shape [1, 64], expected ['batch', 1, 8, 8].",
    ),
    (infer(data=[1e300] * 64), "pixel_values holds NaN or Inf."),
    (infer() | {"id": 3}, '"id" is a text of at most 200 characters.'),
    (
        infer() | {"outputs": [{"name": "x"}]},
        "The output 'x' is unknown; the model gives logits.",
    ),
    (
        infer() | {"outputs": ["logits"]},
        '"outputs" is a list of objects, each with the name of an output.',
    ),
    (
        infer(shape=[300, 1, 8, 8], data=[0.5] * 64 * 300),
        "The request holds 300 examples, allowed are 256; send them in several.",
    ),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED_TENSORS)
def test_tensors_that_do_not_fit_are_refused_in_one_sentence(gateway, versions, body, sentence):
    gateway.serve(versions[0])
    answer = gateway.post(INFER, body)
    assert (answer.status_code, answer.json()["detail"]) == (400, sentence)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, 'The body lacks "instances", a list of examples.'),
        ({"instances": 3}, 'The body lacks "instances", a list of examples.'),
        ({"instances": []}, "There is no example in the input; give at least one."),
        ({"instances": [[[1, 2], [3]]]}, "An image's rows differ in length or hold no numbers."),
        ({"instances": ["äöü"]}, "An image's text is no base64."),
        ({"instances": [[[1e300] * 8] * 8]}, "An image holds NaN or Inf; give finite numbers."),
        (
            {"instances": [IMAGE] * 257},
            "The request holds 257 examples, allowed are 256; send them in several.",
        ),
    ],
)
def test_examples_that_do_not_fit_are_refused_in_one_sentence(gateway, versions, body, sentence):
    gateway.serve(versions[0])
    answer = gateway.post(PREDICT, body)
    assert (answer.status_code, answer.json()["detail"]) == (400, sentence)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"inputs": NaN}', b"[" * 100_000, b'"\\ud800"']
)
def test_a_body_that_is_no_json_is_refused(gateway, versions, content):
    gateway.serve(versions[0])
    answer = gateway.post(INFER, content=content)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("The body is no JSON: ")


def test_a_body_over_the_limit_is_refused(gateway, versions):
    gateway.serve(versions[0])
    answer = gateway.post(INFER, content=b" " * (8 * 1024**2 + 1))
    assert (answer.status_code, answer.json()["status"]) == (413, 413)


def test_what_is_not_served_is_not_found(gateway, versions):
    gateway.serve(versions[0])
    for path in ("/v2/models/other/infer", "/v2/models/digits/versions/7/infer"):
        answer = gateway.post(path, infer())
        assert answer.status_code == 404
        assert "is not served here; served are:" in answer.json()["detail"]


def test_a_name_that_is_expected_is_not_ready_before_its_first_version(gateway):
    answer = gateway.post("/v2/models/awaited/infer", infer())
    assert answer.status_code == 503
    assert answer.json()["detail"] == "No version of awaited is loaded yet; try again."
    assert answer.headers["Retry-After"] == "1"


def test_only_callers_with_a_token_ask_and_anybody_asks_for_health(gateway, versions):
    gateway.serve(versions[0])
    for path in ("/v2", "/v1/models", "/v2/models/digits", "/v2/models/digits/ready"):
        assert httpx.get(gateway.url + path, trust_env=False).status_code == 401
    for path in (INFER, PREDICT):
        assert httpx.post(gateway.url + path, json={}, trust_env=False).status_code == 401
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert httpx.get(gateway.url + path, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "fault", [UnavailableError("It is away."), BackendBusyError("It is full.")]
)
def test_a_back_end_that_cannot_answer_now_is_503_and_counted(
    gateway, versions, monkeypatch, fault
):
    def fail(*_):
        raise fault

    gateway.serve(versions[0])
    monkeypatch.setattr(gateway.parts.backend, "infer", fail)
    answer = gateway.post(INFER, infer())
    assert (answer.status_code, answer.json()["detail"]) == (503, str(fault))
    assert answer.headers["Retry-After"] == "1"
    assert gateway.sample("serving_requests_total", code="503") == 1


def test_requests_are_measured_by_version_and_status(gateway, versions):
    gateway.serve(versions[0])
    gateway.post(INFER, infer())
    gateway.post(INFER, infer(name="x"))
    assert gateway.sample("serving_requests_total", code="200") == 1
    assert gateway.sample("serving_requests_total", code="400") == 1
    assert gateway.sample("serving_request_seconds_count") == 2
    assert (
        gateway.parts.metrics.registry.get_sample_value(
            "serving_requests_in_flight", {"model_name": "digits"}
        )
        == 0
    )


def test_a_version_that_went_is_asked_for_once_more_on_the_current_one(gateway, versions):
    first, second = versions
    gateway.serve(first)
    gateway.parts.backend.load(second)
    asked = gateway.parts.backend.infer

    def go_and_ask(version, document):
        if version == first:
            gateway.parts.catalogue.switch(second)
            gateway.parts.backend.unload(first)
        return asked(version, document)

    gateway.parts.backend.infer = go_and_ask
    answer = gateway.post(INFER, infer())
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "2")
    del gateway.parts.backend.infer
    named = gateway.post("/v2/models/digits/versions/1/infer", infer())
    assert named.status_code == 503


def test_a_switch_under_load_fails_no_request(gateway, versions, sample_request, expected):
    first, second = versions
    gateway.serve(first)
    stopping, faults, seen = threading.Event(), [], set()

    def ask():
        with httpx.Client(headers=gateway.headers, trust_env=False) as client:
            while not stopping.is_set():
                answer = client.post(gateway.url + INFER, json=sample_request)
                if answer.status_code != 200:
                    faults.append(answer.text)
                    return
                number = answer.json()["model_version"]
                output = answer.json()["outputs"][0]["data"]
                np.testing.assert_allclose(output, expected[number], atol=1e-4)
                seen.add(number)

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for version, before in ((second, first), (first, second), (second, first)):
                wait_until(lambda number=before.version: faults or number in seen)
                seen.clear()
                gateway.serve(version)
                assert gateway.parts.catalogue.retire(before, 30)
                gateway.parts.backend.unload(before)
        finally:
            stopping.set()
        for one in asking:
            one.result(30)
    assert not faults


def test_the_openapi_document_has_every_route_and_the_shape_of_bodies(gateway):
    document = httpx.get(f"{gateway.url}/docs/openapi.json", trust_env=False).json()
    assert document["openapi"].startswith("3.1")
    versioned = "/v2/models/{name}/versions/{version}"
    assert set(document["paths"]) == {
        *("/v1/models", "/v1/models/{name}/predict", "/v2", "/v2/health/live", "/v2/health/ready"),
        *("/v2/models/{name}", "/v2/models/{name}/ready", "/v2/models/{name}/infer"),
        *(versioned, f"{versioned}/ready", f"{versioned}/infer"),
    }
    asked = document["paths"]["/v2/models/{name}/infer"]["post"]
    schema = asked["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/InferenceRequest"}
    assert {"InferenceRequest", "Tensor", "PredictionRequest"} <= set(
        document["components"]["schemas"]
    )
    assert {"200", "400", "404", "413", "503"} <= set(asked["responses"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "instances", "name", "shape", "datatype", "data", "image", "id"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
HOSTILE_TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("pixel_values") | JSON,
        "shape": st.just([1, 1, 8, 8]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | JSON,
        "data": st.just([0.5] * 64) | st.lists(JSON, min_size=64, max_size=64) | JSON,
    },
)


@settings(max_examples=80)
@given(
    body=st.fixed_dictionaries({"inputs": st.lists(HOSTILE_TENSOR, max_size=2)})
    | st.fixed_dictionaries({"instances": st.lists(JSON, max_size=3)})
    | JSON
)
def test_hostile_bodies_never_are_the_servers_fault(gateway, versions, body):
    gateway.serve(versions[0])
    content = json.dumps(body).encode("utf-8", errors="surrogatepass")
    for path in (INFER, PREDICT):
        status = gateway.post(path, content=content).status_code
        assert status == 200 or 400 <= status < 500
