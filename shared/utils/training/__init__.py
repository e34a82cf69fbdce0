"""A modular PyTorch training engine, and the stores, export and triggers around it.

Importing this package imports nothing else: each module stands alone, and only those
that compute with tensors need torch.
"""

__version__ = "4.0.0"
