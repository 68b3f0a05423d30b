"""Weights as safetensors: named tensors of few dtypes, read within limits, written in one way.

float32 is what trains; int8, uint8 and int32 belong to the form that flies.

The header is held against its own file before the library builds anything: its length, its JSON, each dtype, and that no name
stands twice. The library (Rust) then checks that offsets neither overlap nor leave a gap. No pickle is ever read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from orbitloop.errors import ModelError

MAX_HEADER_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 200 << 20
_DTYPES = {"F32": "<f4", "I8": "|i1", "U8": "|u1", "I32": "<i4"}


def load_weights(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors by name, in order of name; arrays are read-only.

    Raises:
        ModelError: not safetensors, a lying header, over the limits, or a dtype that no model has. Never anything else.
    """
    if len(data) > MAX_WEIGHTS_BYTES:
        raise ModelError(f"weights of {len(data)} bytes are over the limit of {MAX_WEIGHTS_BYTES}", where="weights")
    header_bytes = int.from_bytes(data[:8], "little")
    if len(data) < 10 or header_bytes > min(MAX_HEADER_BYTES, len(data) - 8):
        raise ModelError("not a safetensors file, or its header length lies", where="weights")
    try:
        header: Any = json.loads(data[8 : 8 + header_bytes], object_pairs_hook=_unique)
        kinds = {name: row["dtype"] for name, row in header.items() if name != "__metadata__"}
        odd = sorted(str(name) for name, kind in kinds.items() if kind not in _DTYPES)  # TypeError: a dtype that is a list
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"safetensors header is malformed ({error})", where="weights") from error
    if odd:
        raise ModelError(f"tensor {odd[0]!r} is none of {', '.join(_DTYPES)}", where="weights")
    try:
        rows = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
        tensors = {name: np.frombuffer(row["data"], _DTYPES[kinds[name]]).reshape(row["shape"]) for name, row in rows}
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"safetensors file is malformed ({error})", where="weights") from error
    for array in tensors.values():
        array.flags.writeable = False
    return {name: tensors[name] for name in sorted(tensors)}


def save_weights(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the safetensors file; equal tensors give equal bytes.

    Raises:
        ModelError: a tensor is of a dtype that no model has, or the file would be over the limits.
    """
    for name, array in tensors.items():
        if array.dtype.newbyteorder("<").str not in _DTYPES.values():
            raise ModelError(f"tensor is {array.dtype}, none of {', '.join(_DTYPES)}", where=name)
    ordered = {n: np.array(tensors[n], dtype=tensors[n].dtype.newbyteorder("<"), order="C") for n in sorted(tensors)}
    data: bytes = safetensors.numpy.save(ordered)
    if len(data) > MAX_WEIGHTS_BYTES:
        raise ModelError(f"weights of {len(data)} bytes are over the limit of {MAX_WEIGHTS_BYTES}", where="weights")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value
