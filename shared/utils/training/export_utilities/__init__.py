"""Export bundles: a trained model with everything it takes to run, check and serve it elsewhere."""

from utils.training.export_utilities.bundle import create_export_bundle
from utils.training.export_utilities.errors import ExportError, FormatError

__all__ = ["ExportError", "FormatError", "create_export_bundle"]
