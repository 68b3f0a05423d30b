"""numba's compiler where it is installed; without it the same loops run as Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _plain(**_: Any) -> Callable[[Any], Any]:
    """Leave a function as it is."""
    return lambda function: function


njit: Any = _plain
COMPILED = False
try:
    import numba
except ImportError:  # the extra `space` is not installed
    pass
else:
    njit, COMPILED = numba.njit, True
