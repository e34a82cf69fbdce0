"""Real data that needs no download, each with a model that learns it in a minute on two cores.

``digits`` are 1,797 scans of handwritten digits (scikit-learn), ``text`` is the English of Python's
own manual, ``cells`` are 569 measured tumours (scikit-learn).
"""

from __future__ import annotations

import importlib

from services.trainer.samples.sample import Sample
from utils.training.errors import UnknownNameError

NAMES = ("cells", "digits", "text")  # each a module here, with a loader of its name


def load_sample(name: str) -> Sample:
    """Load a built-in sample, importing no more than that one needs.

    Raises:
        UnknownNameError: a ValueError that offers the nearest name.
    """
    if name not in NAMES:
        raise UnknownNameError("sample", name, NAMES)
    module = importlib.import_module(f"{__name__}.{name}")
    sample: Sample = getattr(module, f"load_{name}")()
    return sample
