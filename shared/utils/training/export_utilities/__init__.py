"""Export bundles: a trained model with everything it takes to run, check and serve it elsewhere.

What serves a bundle needs no torch: it comes with ``create_export_bundle``, at its first use.
"""

from typing import TYPE_CHECKING, Any

from utils.training.export_utilities.errors import ExportError, FormatError

if TYPE_CHECKING:
    from utils.training.export_utilities.bundle import create_export_bundle

__all__ = ["ExportError", "FormatError", "create_export_bundle"]


def __getattr__(name: str) -> Any:
    if name != "create_export_bundle":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from utils.training.export_utilities.bundle import create_export_bundle

    return create_export_bundle
