"""A TorchServe process beside the service: its models in processes of their own.

TorchServe is no longer maintained. It is given only archives that this service made of verified
bundles, listens on the loopback address alone, and nothing outside this folder knows its API.
"""

from services.serving.backends.torchserve.backend import TorchServeBackend

__all__ = ["TorchServeBackend"]
