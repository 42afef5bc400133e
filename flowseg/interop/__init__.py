"""Weights from and to other software."""

from flowseg.interop.torch_weights import import_torch

__all__ = ["import_torch"]
