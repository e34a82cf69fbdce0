"""Real data that needs no download, each with a model that learns it in a minute on two cores.

``digits`` are 1,797 scans of handwritten digits (scikit-learn), ``text`` is the English of Python's
own manual, ``cells`` are 569 measured tumours (scikit-learn).
"""

from __future__ import annotations

from collections.abc import Callable

from services.trainer.samples.cells import load_cells
from services.trainer.samples.digits import load_digits
from services.trainer.samples.sample import Sample
from services.trainer.samples.text import load_text
from utils.training.errors import UnknownNameError

LOADERS: dict[str, Callable[[], Sample]] = {
    "cells": load_cells,
    "digits": load_digits,
    "text": load_text,
}


def load_sample(name: str) -> Sample:
    """Load a built-in sample.

    Raises:
        UnknownNameError: a ValueError that offers the nearest name.
    """
    if name not in LOADERS:
        raise UnknownNameError("sample", name, LOADERS)
    return LOADERS[name]()
