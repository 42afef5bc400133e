"""Weights from and to other software."""

from flowseg.interop.export_torch import export_torch
from flowseg.interop.torch_weights import import_torch

__all__ = ["export_torch", "import_torch"]
