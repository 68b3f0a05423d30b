"""Arrays as JSON values, for saved state: little-endian bytes in base64 with their shape. Bounded and checked when read."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import TelemetryError

MAX_VALUES = 1 << 22


def pack_array(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a JSON value of a float32 or float64 array."""
    dtype = "<f4" if values.dtype == np.float32 else "<f8"
    data = base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")
    return {"dtype": dtype, "shape": list(values.shape), "data": data}


def unpack_array(value: Any, shape: tuple[int | None, ...], where: str) -> npt.NDArray[Any]:
    """Read what `pack_array` wrote, a fresh array of the expected shape (None = any length).

    Raises:
        TelemetryError: malformed, too large, of another shape, or not finite.
    """
    try:
        dtype, found = value["dtype"], tuple(int(n) for n in value["shape"])
        if dtype not in ("<f4", "<f8") or len(found) != len(shape):
            raise ValueError(f"{dtype!r} of shape {found}")
        if any(n < 0 or (want is not None and n != want) for n, want in zip(found, shape, strict=True)):
            raise ValueError(f"its shape is {found}")
        if math.prod(found) > MAX_VALUES:
            raise ValueError(f"it holds over {MAX_VALUES} values")
        raw = base64.b64decode(value["data"], validate=True)
        array = np.frombuffer(raw, dtype).reshape(found).copy()
        if not np.isfinite(array).all():
            raise ValueError("it holds what is not finite")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, binascii.Error) as error:
        raise TelemetryError(f"a saved array is malformed ({error})", where=where) from error
    return array
