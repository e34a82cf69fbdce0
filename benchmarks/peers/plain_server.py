"""A model served with nothing around it: Flask and ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime
from flask import Flask, jsonify, request

app = Flask(__name__)
_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_session = onnxruntime.InferenceSession(os.environ["PLAIN_SERVER_MODEL"], _options)


@app.get("/")
def health() -> str:
    """Say that it answers."""
    return "ok"


@app.post("/v2/models/digits/infer")
def infer() -> Any:
    """Answer one tensor with one."""
    (tensor,) = request.get_json()["inputs"]
    array = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    logits = _session.run(None, {tensor["name"]: array})[0]
    output = {"name": "logits", "shape": logits.shape, "datatype": "FP32"}
    return jsonify(outputs=[{**output, "data": logits.ravel().tolist()}])
