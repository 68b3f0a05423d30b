"""Content digests and canonical JSON: how two ends agree that they mean the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def digest_bytes(data: bytes | memoryview) -> str:
    """Return `sha256:<64 hex digits>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Serialise to the one JSON form that is signed and hashed: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: the value holds NaN or infinity.
        TypeError: the value holds something that JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_json(value: Any) -> str:
    """Return the digest of the canonical JSON form."""
    return digest_bytes(canonical_json(value))


def digest_tensors(tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the digest of named tensors: names in order, dtype, shape and little-endian bytes of each.

    It does not depend on a file layout, so that ground and satellite agree whatever wrote their files.
    """
    state = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(canonical_json([name, little.dtype.str.replace("=", "<"), list(array.shape)]))
        state.update(little.tobytes())
    return "sha256:" + state.hexdigest()
