"""Images and tensors that are made to break the gateway: 400 in a sentence, nothing more."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image


def png(width=8, height=8):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).resize((width, height)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def bomb(width, height):
    """A small file that announces, and holds, a picture of gigapixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def saved(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/tmp/evil) (w) file closefile\n"
IMAGES = {
    "a bomb of 100 million pixels": bomb(10_000, 10_000),
    "a bomb of 4 thousand million pixels": bomb(65_000, 65_000),
    "no pixel": bomb(0, 0),
    "PostScript": POSTSCRIPT,
    "a file's first bytes": b"\x89PNG\r\n\x1a\n",
    "a TIFF of nonsense": b"II*\0\x08\0\0\0" + b"\xff" * 200,
    "a GIF of nonsense": b"GIF89a" + b"\xff" * 200,
    "a WebP of nonsense": b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 200,
    "a BMP of nonsense": b"BM" + b"\xff" * 200,
}
EXAMPLES = {
    "a path": "/etc/passwd",
    "a URL": "http://127.0.0.1:1/",
    "an object with a path": {"image": "/etc/passwd"},
    "a nested object": {"image": {"image": {"image": 1}}},
    "null": None,
    "true": True,
    "rows of different lengths": [[1], [1, 2]],
    "texts in rows": [["a"] * 8] * 8,
    "numbers beyond floats": [[1e300] * 8] * 8,
    "an empty text": "",
    "half a surrogate pair": "\\ud800",
}


def predict(platform, examples):
    return platform.send(
        "serving", "POST", "/v1/models/digits/predict", "reader", json={"instances": examples}
    )


@pytest.mark.parametrize("kind", IMAGES)
def test_a_hostile_image_is_the_clients_fault(kind, served, tried):
    response = predict(served, [base64.b64encode(IMAGES[kind]).decode()])
    assert response.status_code == 400, response.text
    assert response.json()["detail"].endswith(".")
    tried("hostile inputs", "images")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_damaged_image_makes_nothing_fail(kind, served, tried):
    whole = saved(kind)
    random = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in random.integers(4, len(whole), 4):
            damaged[place] = random.integers(256)
        cut = damaged[: random.integers(8, len(whole) + 1)]
        response = predict(served, [base64.b64encode(bytes(cut)).decode()])
        assert response.status_code in {200, 400}, response.text
        tried("hostile inputs", "images")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_odd_example_is_the_clients_fault(kind, served, tried):
    response = predict(served, [EXAMPLES[kind]])
    assert response.status_code == 400, response.text
    assert "root:" not in response.text
    tried("hostile inputs", "examples")


TENSORS = {
    "a huge shape": {"shape": [10**12, 10**12], "data": [1]},
    "a negative shape": {"shape": [-1, 1, 8, 8], "data": [1] * 64},
    "a shape of floats": {"shape": [1.0, 1, 8, 8], "data": [1] * 64},
    "another datatype": {"datatype": "BYTES", "data": ["a"] * 64},
    "numbers beyond floats": {"data": [1e300] * 64},
    "texts": {"data": ["1"] * 64},
    "truths": {"data": [True] * 64},
    "nested deeper than an array can be": {"data": eval("[" * 70 + "1" + "]" * 70)},
    "a name that is a list": {"name": ["pixel_values"]},
}


@pytest.mark.parametrize("kind", TENSORS)
def test_an_odd_tensor_is_the_clients_fault(kind, served, tried):
    tensor = {"name": "pixel_values", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0] * 64}
    body = {"inputs": [tensor | TENSORS[kind]]}
    response = served.send("serving", "POST", "/v2/models/digits/infer", "reader", json=body)
    assert response.status_code == 400, response.text
    tried("hostile inputs", "tensors")


def test_a_good_image_is_answered_all_the_same(served):
    response = predict(
        served, [base64.b64encode(png()).decode(), base64.b64encode(png(90, 9)).decode()]
    )
    assert response.status_code == 200, response.text
