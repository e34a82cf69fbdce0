"""Questions to the served version of a model, and its answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from services.cli.errors import UsageError
from services.cli.output import number, print_json, print_table, say
from utils.service.http import ServiceClient


def read_instances(file: Path | None, sample: str | None, count: int) -> list[Any]:
    """What is asked about.

    Raises:
        UsageError: a ValueError; neither or both were given, or the file is not as it should be.
    """
    if (file is None) == (sample is None):
        raise UsageError("Give a file with instances, or --sample digits.")
    if file is None:
        return _of_sample(str(sample), count)
    text = sys.stdin.read() if str(file) == "-" else _text(file)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}.") from error
    instances = content.get("instances") if isinstance(content, dict) else content
    if not isinstance(instances, list):
        raise UsageError(f'{file} has neither a list nor {{"instances": [...]}} in it.')
    return instances


def predict(serving: ServiceClient, name: str, instances: list[Any], *, as_json: bool) -> None:
    """Ask, and print the answers with the version that gave them."""
    answer = serving.call("POST", f"/v1/models/{name}/predict", body={"instances": instances})
    predictions = answer.json()["predictions"]
    version = answer.headers.get("X-Model-Version")
    if as_json:
        print_json({"model": name, "version": version, "predictions": predictions})
        return
    say(f"{name} {version} answers:")
    columns = tuple(dict.fromkeys(key for one in predictions for key in one))
    rows = (
        (position, *(_cell(one.get(column)) for column in columns))
        for position, one in enumerate(predictions)
    )
    print_table((">", *columns), rows, "Nothing was asked.")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read: {error}.") from error


def _of_sample(sample: str, count: int) -> list[Any]:
    if sample != "digits":
        raise UsageError(f"The sample is {sample!r}, allowed is digits.")
    from utils.service.digits import read_digits

    return list(read_digits()["test"].images[:count].tolist())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return ", ".join(_choice(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value)


def _choice(one: dict[str, Any]) -> str:
    """A label or a token with its probability."""
    return f"{one.get('label', one.get('token'))} {one.get('probability', 0):.1%}"
