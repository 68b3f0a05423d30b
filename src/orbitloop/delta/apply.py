"""Apply an update in orbit: (base, payload) -> all weights, the same bits on every machine, or one typed refusal.

It leaves to `onboard` whether the base is the right one and the result the promised one (digests in the signed manifest).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orbitloop.delta.blocks import read_table
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.delta.compact import split_compact
from orbitloop.delta.residuals import Tensor
from orbitloop.delta.stream import measure_stream, read_residuals, read_stream
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec

KINDS = ("integer", "stepped", "relative")
"""Names of a residual's kinds, where a block has that of its codec."""


@dataclass(frozen=True, slots=True)
class TensorCost:
    """What one tensor takes of a payload: its codec, shape, elements and bytes (a share of the stream, so no whole number)."""

    name: str
    codec: str
    shape: tuple[int, ...]
    bytes: float

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def length(self) -> int:
        """Return the bytes, rounded."""
        return round(self.bytes)


def inspect_delta(payload: bytes, base: Mapping[str, Tensor]) -> list[TensorCost]:
    """Return what a payload would change: name, codec, shape, elements and bytes of each tensor, in order of name.

    Args:
        payload: of an update.
        base: the tensors that it changes; a coded stream names none, and cannot be listed without them.

    Raises:
        UpdateError: the payload is malformed, or does not fit the base.
    """
    section, stream = split_compact(payload)
    costs = [TensorCost(e.name, e.codec, e.shape, e.length) for e in (read_table(section) if section else ())]
    if stream is not None:
        residuals = dict(read_residuals(base, stream))
        for name, bits in measure_stream(base, residuals).items():
            if name in residuals:
                costs.append(TensorCost(name, KINDS[residuals[name].kind], base[name].shape, bits / 8))
    return sorted(costs, key=lambda cost: cost.name)


def apply_delta(
    base: Mapping[str, Tensor], payload: bytes, *, codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN
) -> dict[str, Tensor]:
    """Return all tensors after the update; those that do not change are shared with `base`, which is left as it is.

    Memory is bounded by the tensors of the base: every entry must be one of them, in its shape.

    Raises:
        UpdateError: the payload is malformed or does not fit the base. Never anything else.
    """
    section, stream = split_compact(payload)
    result = _apply_blocks(base, section, codecs) if section else dict(base)
    for name, tensor in (read_stream(base, stream) if stream is not None else {}).items():
        if result[name] is not base[name]:
            raise UpdateError("tensor stands in both parts of the payload", where=name)
        result[name] = tensor
    return result


def _apply_blocks(base: Mapping[str, Tensor], data: bytes, codecs: Mapping[str, type[DeltaCodec]]) -> dict[str, Tensor]:
    entries = read_table(data)
    for entry in entries:
        held = base.get(entry.name)
        if held is None:
            raise UpdateError("tensor is not in the base", where=entry.name)
        if held.shape != entry.shape:
            raise UpdateError(f"base is {held.shape}, update {entry.shape}", where=entry.name)
        if entry.codec not in codecs:
            raise UpdateError(f"codec {entry.codec!r} is not known on board", where=entry.name)
    result = dict(base)
    for entry in entries:
        try:
            new = codecs[entry.codec]().decode(base[entry.name], data[entry.offset : entry.offset + entry.length])
        except UpdateError as error:
            raise UpdateError(error.what, where=entry.name, remedy=error.remedy) from error
        except Exception as error:  # a third party's codec may raise anything, and an update must never stop a satellite
            what = f"codec {entry.codec!r} fails on it ({type(error).__name__}: {error})"
            raise UpdateError(what, where=entry.name, remedy="tell its author") from error
        held = base[entry.name]
        if new.shape != held.shape or new.dtype != held.dtype:
            raise UpdateError(f"became {new.dtype} {new.shape}, and was {held.dtype} {held.shape}", where=entry.name)
        result[entry.name] = new
    return result
