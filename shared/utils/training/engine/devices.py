"""Which device a run is on."""

from __future__ import annotations

import torch

from utils.training.arguments import require_instance
from utils.training.errors import InvalidConfigError


def resolve_device(name: str | torch.device) -> torch.device:
    """Turn a config's device into torch's: ``auto`` is CUDA, else MPS, else the CPU.

    Raises:
        InvalidConfigError: a ValueError; torch does not know the device, or it isn't here.
        WrongTypeError: a TypeError; it is no device's name.
    """
    require_instance("device", name, (str, torch.device), "a name such as 'auto' or 'cpu'")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidConfigError(
            [f"device is '{name}', which is not here ({_first_line(error)}); use 'auto'."]
        ) from error
    return device


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
