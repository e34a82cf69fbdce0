"""Between a user's input and the model's tensors: what training did, with NumPy alone.

It stands by itself: it reads the bundle's own configuration and needs nothing of the project that
trained the model.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

KINDS = {"INT64": np.int64, "FP32": np.float32}  # the protocol's names
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # read by Pillow alone
MAX_PIXELS = 25_000_000  # of an image that is sent: a small file may unpack to gigabytes
NUM_BEST = 5  # next tokens, or classes, that an answer names


class InputError(ValueError):
    """An input that the model can't take; the message says what it can."""


class Task:
    """A bundle's task: how its inputs are encoded and its outputs read.

    Args:
        task_spec: the path of ``task_spec.json``.
        signature: the path of ``signature.json``.
        tokenizer: the path of ``tokenizer.json``, which only a text task has.
    """

    def __init__(self, task_spec: Path, signature: Path, tokenizer: Path | None) -> None:
        self.spec = json.loads(task_spec.read_text(encoding="utf-8"))
        self.signature = json.loads(signature.read_text(encoding="utf-8"))
        self.tokenizer = None
        if tokenizer is not None and tokenizer.exists():
            from tokenizers import Tokenizer

            self.tokenizer = Tokenizer.from_file(str(tokenizer))

    @property
    def modality(self) -> str:
        """``text``, ``vision`` or ``tabular``."""
        return self.spec["modality"]

    def encode(self, examples: list) -> dict[str, np.ndarray]:
        """Turn examples into the model's input tensors, one row an example.

        An example is a text or a list of token ids, an image (path, bytes, base64 text or array),
        or a row of features (an object by name, or a list in the model's order).

        Raises:
            InputError: there is no example, or one can't be taken.
        """
        if not examples:
            raise InputError("There is no example in the input; give at least one.")
        if self.modality == "text":
            arrays = self._encode_text(examples)
        elif self.modality == "vision":
            arrays = {"pixel_values": np.stack([self._encode_image(e) for e in examples])}
        else:
            arrays = {"features": np.stack([self._encode_row(e) for e in examples])}
        return {spec["name"]: arrays[spec["name"]] for spec in self.signature["inputs"]}

    def decode(self, logits: np.ndarray, inputs: dict[str, np.ndarray]) -> list[dict]:
        """Read logits as one answer an example: a label with its probability, or next tokens."""
        if self.spec["task_type"] in ("language_modeling", "causal_lm"):
            return [self._decode_text(row, inputs, i) for i, row in enumerate(logits)]
        if logits.ndim == 3:  # noqa: PLR2004 - [batch, seq, classes]: the last token decides
            logits = logits[np.arange(len(logits)), self._last_tokens(inputs)]
        if logits.ndim == 4:  # noqa: PLR2004 - [batch, classes, height, width]: a class a pixel
            return [{"mask": row.argmax(axis=0).tolist()} for row in logits]
        return [self._decode_class(row) for row in softmax(logits)]

    def _encode_text(self, examples: list) -> dict[str, np.ndarray]:
        limit = self.spec["max_seq_len"]
        rows = [self._token_ids(example)[:limit] for example in examples]
        if not all(rows):
            raise InputError("An example has no token in it; give a text that is not empty.")
        length = max(len(row) for row in rows)
        pad = self.spec["pad_token_id"] or 0
        ids = np.full((len(rows), length), pad, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for i, row in enumerate(rows):
            place = slice(length - len(row), None)
            if self.spec["padding_side"] == "right":
                place = slice(0, len(row))
            ids[i, place] = row
            mask[i, place] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def _token_ids(self, example: object) -> list[int]:
        if isinstance(example, dict) and "text" in example:
            example = example["text"]
        if isinstance(example, str):
            if self.tokenizer is None:
                raise InputError("This model has no tokenizer; give lists of token ids as JSON.")
            return list(self.tokenizer.encode(example).ids)
        size = self.spec["vocab_size"]
        if isinstance(example, list) and all(
            isinstance(i, int) and not isinstance(i, bool) and 0 <= i < size for i in example
        ):
            return example
        raise InputError(f"A text example is a text or a list of token ids from 0 to {size - 1}.")

    def _encode_image(self, example: object) -> np.ndarray:
        height, width = self.spec["image_size"]
        channels = self.spec["image_channels"]
        pixels = self._pixels(example, height, width, channels)
        if pixels.shape != (channels, height, width):
            raise InputError(
                f"An image has the shape {list(pixels.shape)}, the model takes "
                f"{[channels, height, width]} (channels, height, width)."
            )
        mean, std = self.spec["image_mean"], self.spec["image_std"]
        if mean is not None:
            pixels = pixels - np.asarray(mean, dtype=np.float32)[:, None, None]
        if std is not None:
            pixels = pixels / np.asarray(std, dtype=np.float32)[:, None, None]
        return pixels.astype(np.float32)

    def _pixels(self, example: object, height: int, width: int, channels: int) -> np.ndarray:
        """An image as [channels, height, width] in 0..1."""
        if isinstance(example, dict) and "image" in example:
            example = example["image"]
        if isinstance(example, list | np.ndarray):
            try:
                pixels = np.asarray(example, dtype=np.float32)
            except (ValueError, TypeError, OverflowError):
                raise InputError("An image's rows differ in length or hold no numbers.") from None
            if not np.isfinite(pixels).all():
                raise InputError("An image holds NaN or Inf; give finite numbers.")
            return pixels[None] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - grey
        from PIL import Image

        file = _image_file(example)
        try:
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                _check_pixels(*image.size)
                image = image.convert("L" if channels == 1 else "RGB").resize((width, height))  # noqa: PLW2901
                pixels = np.asarray(image, dtype=np.float32) / 255
        except InputError:
            raise
        except Exception as error:  # damaged bytes make Pillow raise anything
            raise InputError(f"An image can't be read: {error}.") from error
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)

    def _encode_row(self, example: object) -> np.ndarray:
        names = self.spec["feature_names"]
        width = self.signature["inputs"][0]["shape"][1]
        if isinstance(example, dict):
            missing = [name for name in names if name not in example]
            if missing or not names:
                raise InputError(f"A row lacks the features {missing or 'by position'}.")
            example = [example[name] for name in names]
        try:
            row = np.asarray(example, dtype=np.float32)
        except (ValueError, TypeError, OverflowError):
            raise InputError("A row holds something that is no number.") from None
        if row.shape != (width,):
            raise InputError(f"A row has the shape {list(row.shape)}, the model takes [{width}].")
        if not np.isfinite(row).all():
            raise InputError("A row holds NaN or Inf; give finite numbers.")
        return row

    def _decode_class(self, probabilities: np.ndarray) -> dict:
        best = probabilities.argsort()[::-1][:NUM_BEST]
        top = [{"label": self._label(i), "probability": float(probabilities[i])} for i in best]
        return {**top[0], "class": int(best[0]), "top": top}

    def _label(self, index: int) -> str:
        names = self.spec["class_names"]
        return names[index] if names else str(int(index))

    def _decode_text(self, logits: np.ndarray, inputs: dict[str, np.ndarray], i: int) -> dict:
        mask = inputs.get("attention_mask")
        real = np.flatnonzero(mask[i]) if mask is not None else np.arange(len(logits))
        ids = inputs["input_ids"][i][real]
        rows = softmax(logits[real])
        best = rows[-1].argsort()[::-1][:NUM_BEST]
        answer = {
            "next_tokens": [
                {"id": int(t), "token": self._token(t), "probability": float(rows[-1][t])}
                for t in best
            ]
        }
        if len(ids) > 1:
            chances = rows[np.arange(len(ids) - 1), ids[1:]]
            answer["perplexity"] = float(np.exp(-np.log(np.maximum(chances, 1e-30)).mean()))
        return answer

    def _token(self, token_id: int) -> str:
        return self.tokenizer.decode([int(token_id)]) if self.tokenizer else str(int(token_id))

    @staticmethod
    def _last_tokens(inputs: dict[str, np.ndarray]) -> np.ndarray:
        mask = inputs.get("attention_mask")
        if mask is None:
            return np.full(len(inputs["input_ids"]), -1)
        return mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)


def answer(task: Task, run: Callable, document: dict) -> dict:
    """Answer tensors (``inputs``) with ``outputs``, examples (``instances``) with ``predictions``.

    Args:
        task: the bundle's task.
        run: the model: named arrays to logits.
        document: one request, decoded.

    Raises:
        InputError: the request can't be taken.
    """
    if "inputs" in document:
        return {
            "outputs": [output(run(parse_tensors(document["inputs"], task.signature["inputs"])))]
        }
    if not isinstance(document.get("instances"), list):
        raise InputError('The body lacks "inputs" and "instances".')
    inputs = task.encode(document["instances"])
    return {"predictions": task.decode(run(inputs), inputs)}


def output(logits: np.ndarray) -> dict:
    """Logits as a tensor of the Open Inference Protocol."""
    return {
        "name": "logits",
        "shape": list(logits.shape),
        "datatype": "FP32",
        "data": logits.ravel().tolist(),
    }


def parse_tensors(tensors: object, specs: list[dict]) -> dict[str, np.ndarray]:
    """Read a request's tensors, in the order and of the shapes that the signature names."""
    if not isinstance(tensors, list) or not all(isinstance(t, dict) for t in tensors):
        raise InputError('"inputs" is a list of tensors, each with name, shape, datatype and data.')
    given = {str(tensor.get("name")): tensor for tensor in tensors}
    return check_tensors(
        {s["name"]: _parse(given[s["name"]], s) for s in specs if s["name"] in given}, specs
    )


def check_tensors(arrays: dict[str, np.ndarray], specs: list[dict]) -> dict[str, np.ndarray]:
    """See that arrays are what the signature names, and put them in its order."""
    for spec in specs:
        _check(arrays.get(spec["name"]), spec)
    if len({len(arrays[spec["name"]]) for spec in specs}) != 1:
        raise InputError("The tensors differ in their first dimension, the batch.")
    return {spec["name"]: arrays[spec["name"]] for spec in specs}


def _parse(tensor: dict, spec: dict) -> np.ndarray:
    if tensor.get("datatype") != spec["datatype"]:
        raise InputError(
            f"{spec['name']} has the datatype {tensor.get('datatype')}, "
            f"expected {spec['datatype']}."
        )
    try:
        return np.array(tensor["data"], dtype=KINDS[spec["datatype"]]).reshape(tensor["shape"])
    except (KeyError, ValueError, TypeError, OverflowError):
        raise InputError(f"{spec['name']}'s data does not fit its shape and datatype.") from None


def _check(array: np.ndarray | None, spec: dict) -> None:
    name = spec["name"]
    if array is None:
        raise InputError(f"The tensor {name} is missing.")
    if array.dtype != KINDS[spec["datatype"]]:
        raise InputError(f"{name} holds {array.dtype}, expected {spec['datatype']}.")
    if not fits(array.shape, spec):
        raise InputError(f"{name} has the shape {list(array.shape)}, expected {spec['shape']}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or Inf.")
    low, high = spec.get("range", (None, None))
    if low is not None and (array.min() < low or array.max() > high):
        raise InputError(f"{name} holds values outside {low} to {high}.")


def fits(shape: tuple[int, ...], spec: dict) -> bool:
    """True where the signature allows a shape; a named dimension is free up to its limit."""
    if len(shape) != len(spec["shape"]) or 0 in shape:
        return False
    limits = spec.get("limits", {})
    return all(
        size <= limits.get(wanted, size) if isinstance(wanted, str) else size == wanted
        for size, wanted in zip(shape, spec["shape"], strict=True)
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def read_examples(path: Path, modality: str) -> list:
    """Read a file as examples: a text's lines, an image, or the rows of a JSON or CSV file.

    Raises:
        InputError: the file is not there, or is not of a kind that the model takes.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    kind = path.suffix.lower()
    try:
        if kind == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, list) else [content]
        if kind == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines if line.strip()]
        if kind == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        if modality == "vision":
            return [path]
        if modality == "text":
            return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (ValueError, UnicodeError) as error:
        raise InputError(f"{path} can't be read as {kind or 'text'}: {error}.") from error
    raise InputError(f"{path} is no .json, .jsonl or .csv file, and this model takes rows.")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"An image has {width} x {height} pixels, allowed are {MAX_PIXELS:,}; "
            "send a smaller one."
        )


def _image_file(example: object) -> object:
    if isinstance(example, bytes):
        return io.BytesIO(example)
    if isinstance(example, Path):
        return example
    if isinstance(example, str):
        try:
            return io.BytesIO(base64.b64decode(example, validate=True))
        except ValueError:
            raise InputError("An image's text is no base64.") from None
    raise InputError("An image is a file, base64 text, or an array of numbers.")
