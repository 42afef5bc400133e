"""flowseg: 2D vessel segmentation by flow matching, conditioned by a vision-language model.

import flowseg

model = flowseg.load("runs/vlm_film-...")
found = model.segment(image)  # a NumPy array; found.probability, found.mask, found.uncertainty
"""

from flowseg.errors import UserError

# The program imports this before it can answer a Ctrl-C (flowseg/__main__.py), and importing typing takes a while.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from flowseg.api import Model, Prediction, load

__version__ = "0.1.0"
__all__ = ["Model", "Prediction", "UserError", "__version__", "load"]


def __getattr__(name: str) -> "Any":
    """Imports flowseg.api, and with it JAX, only when it is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flowseg import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
