"""A service's settings: read once from the environment at start, frozen from then on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.service.rates import RATE
from utils.training.errors import InvalidConfigError, UnknownNameError

_FILE_SUFFIX = "_FILE"


class Settings(BaseModel):
    """The base of every service's settings; a secret's field says ``repr=False``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class WebSettings(Settings):
    """What every HTTP service is told."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    tokens_file: Path  # who may call, and in which role
    max_body_bytes: int = Field(1024 * 1024, ge=1024)  # of a JSON request
    rate_limit: str = Field("600/minute", pattern=RATE)  # of one caller, on one route
    threads: int = Field(8, ge=1, le=256)


S = TypeVar("S", bound=Settings)


def words(value: object) -> object:
    """Read a list as the environment has it: words with commas between them."""
    if isinstance(value, str):
        return tuple(word for word in (part.strip() for part in value.split(",")) if word)
    return value


def read_settings(kind: type[S], prefix: str, environ: Mapping[str, str] = os.environ) -> S:
    """Read ``<prefix>_<FIELD>``, or the file that ``<prefix>_<FIELD>_FILE`` names, for each field.

    Raises:
        InvalidConfigError: a ValueError that lists every unknown, missing or wrong variable.
    """
    names = {f"{prefix}_{field.upper()}": field for field in kind.model_fields}
    values, faults = {}, []
    for variable, text in environ.items():
        if not variable.startswith(f"{prefix}_"):
            continue
        if variable in names:
            values[names[variable]] = text
        elif variable.removesuffix(_FILE_SUFFIX) in names:
            try:
                content = Path(text).read_text(encoding="utf-8").strip()
            except OSError as error:
                faults.append(f"{variable} names {text!r}, which can't be read: {error.strerror}.")
            else:
                values[names[variable.removesuffix(_FILE_SUFFIX)]] = content
        else:
            faults.append(str(UnknownNameError("setting", variable, names)))
    try:
        settings = kind(**values)
    except ValidationError as error:
        faults += [_sentence(prefix, fault["loc"], fault["msg"]) for fault in error.errors()]
    if faults:
        raise InvalidConfigError(faults)
    return settings


def _sentence(prefix: str, location: tuple[int | str, ...], message: str) -> str:
    return f"{prefix}_{'_'.join(str(part).upper() for part in location)}: {message}."
