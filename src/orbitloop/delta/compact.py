"""The payload of an update, version 2: one coded stream over the base's tensors, and a small section for what it cannot hold.

Layout:

    magic `OLD2` | varint n | n bytes: a payload of version 1 (`format`), absent where n is 0 | the stream (`stream`)

Version 1 spells out names, shapes and codecs; it carries the tensors of a third party's codec and those that must keep every
bit of a float. All others are in the stream, which names nothing: some ten bytes in all beyond the integers themselves. No
tensor is in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orbitloop.delta.codecs import BUILT_IN, Exact
from orbitloop.delta.format import Block, read_table, write_payload
from orbitloop.delta.residuals import Residual, Tensor, integer, rebuild, relative, stepped
from orbitloop.delta.stream import measure_stream, read_residuals, write_stream
from orbitloop.errors import UpdateError

MAGIC = b"OLD2"
KINDS = ("integer", "stepped", "relative")
ResidualFor = Callable[[str, Tensor, Tensor], Residual | None]
"""(name, base, target) -> the change in integers; None where only all bits will do."""

USUAL_SHARE = 0.3
USUAL_BITS = 10
_RATIOS = (".scale", ".var")


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
        """Return the bytes, rounded: what `format.TensorEntry` calls so."""
        return round(self.bytes)


def usual(share: float = USUAL_SHARE, bits: int = USUAL_BITS) -> ResidualFor:
    """Return the usual choice by what a tensor is.

    Args:
        share: step of float tensors of two and more dimensions, in shares of each output channel's residual rms.
        bits: of float vectors and scalars. Scales and variances are good to 2^-(bits + 1) of each value, all others have steps
            of the base's rms by 2^(bits - 1/2): the mean squared error of as many bits of mantissa. 10 is what binary16 keeps.
    """

    def choose(name: str, base: Tensor, target: Tensor) -> Residual | None:
        try:
            if base.dtype.kind == "f" and not (np.isfinite(base).all() and np.isfinite(target).all()):
                return None
            if base.dtype.kind in "iu":
                return integer(base, target) if base.itemsize == 1 else None
            if base.ndim > 1:
                return stepped(base, target, share * _row_rms(target.astype(np.float64) - base))
            if name.endswith(_RATIOS):
                return relative(base, target, bits)
            rms = float(np.sqrt(np.mean(np.maximum(base.astype(np.float64) ** 2, 0)))) if base.size else 0.0
            change = float(np.abs(target.astype(np.float64) - base).max(initial=0.0))
            return stepped(base, target, max(rms, change) * 2.0 ** (0.5 - bits))
        except UpdateError:
            return None

    return choose


def make_compact(base: Mapping[str, Tensor], target: Mapping[str, Tensor], *, residual_for: ResidualFor | None = None) -> bytes:
    """Return the payload that turns `base` into `target`, as far as the steps go. Equal tensors cost next to nothing.

    Args:
        base: all tensors that the satellite holds.
        target: the new ones; a name that is left out does not change.
        residual_for: `usual()` if not given.

    Raises:
        UpdateError: a tensor is not in the base, of another shape or dtype, or of a dtype that nothing can write.
    """
    choose, residuals, whole = residual_for or usual(), dict[str, Residual](), dict[str, Tensor]()
    for name in sorted(target):
        if name not in base:
            raise UpdateError("tensor is not in the base", where=name, remedy="a new graph needs a full model, not an update")
        old, new = base[name], target[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            raise UpdateError(f"base is {old.dtype} {old.shape}, target {new.dtype} {new.shape}", where=name)
        if old.tobytes() == new.tobytes():
            continue
        residual = choose(name, old, new)
        if residual is None or not _lands(old, residual):
            whole[name] = new
        elif residual.symbols.any():
            residuals[name] = residual
    return pack_compact(base, residuals, whole)


def pack_compact(
    base: Mapping[str, Tensor],
    residuals: Mapping[str, Residual],
    whole: Mapping[str, Tensor],
    others: Sequence[Block] = (),
) -> bytes:
    """Return the payload of a planned update.

    Args:
        base: all tensors that the satellite holds.
        residuals: changes in integers. One-byte integers take the shorter of the stream's form and zstd's.
        whole: tensors of which every bit goes up.
        others: what a third party's codec wrote.

    Raises:
        UpdateError: something does not fit the base, or a name stands in two of them.
    """
    blocks = [*others, *(_exact(name, base[name], new) for name, new in whole.items())]
    twice = sorted(set(residuals) & {block.name for block in blocks})
    if twice:
        raise UpdateError("tensor is coded and whole", where=twice[0])
    kept = dict(residuals)
    for name, bits in measure_stream(base, residuals).items():
        if name in residuals and base[name].dtype.kind in "iu" and bits > 8 * _WORTH_A_TRY:
            block = _exact(name, base[name], rebuild(base[name], residuals[name]))
            if 8 * (len(block.data) + len(name) + _ROW) < bits:
                blocks.append(block)
                del kept[name]
    section = write_payload(blocks) if blocks else b""
    payload = MAGIC + _varint(len(section)) + section + write_stream(base, kept)
    for name, residual in read_residuals(base, _split(payload)[1]):  # nothing goes up that was not read back
        if not np.array_equal(residual.symbols, kept[name].symbols) or not np.array_equal(residual.steps, kept[name].steps):
            raise UpdateError("a coded change does not read back", where=name, remedy="report this as a defect")
        if not _lands(base[name], residual):
            raise UpdateError("a result is not finite", where=name, remedy="send the tensor whole")
    return payload


def split_compact(payload: bytes) -> tuple[bytes, bytes]:
    """Return the section of version 1, empty where there is none, and the stream.

    Raises:
        UpdateError: malformed.
    """
    return _split(payload)


def is_compact(payload: bytes) -> bool:
    """Return whether a payload is of version 2."""
    return payload[: len(MAGIC)] == MAGIC


def inspect_compact(payload: bytes, base: Mapping[str, Tensor]) -> list[TensorCost]:
    """Return what a payload changes and what each tensor costs, in order of name.

    Raises:
        UpdateError: malformed, or it does not fit the base.
    """
    section, stream = _split(payload)
    costs = [TensorCost(e.name, e.codec, e.shape, e.length) for e in (read_table(section) if section else ())]
    residuals = dict(read_residuals(base, stream))
    for name, bits in measure_stream(base, residuals).items():
        if name in residuals:
            costs.append(TensorCost(name, KINDS[residuals[name].kind], base[name].shape, bits / 8))
    return sorted(costs, key=lambda cost: cost.name)


_WORTH_A_TRY = 64
_ROW = 24
"""Bytes that a row of the table of version 1 takes beyond the name, at most."""


def _exact(name: str, base: Tensor, new: Tensor) -> Block:
    codec = next(name for name, kind in BUILT_IN.items() if kind is Exact)
    return Block(name, codec, base.shape, Exact().encode(base, new))


def _lands(base: Tensor, residual: Residual) -> bool:
    """Return whether a change leads to finite values: at the end of float32's range a rounded step may go beyond it."""
    try:
        rebuild(base, residual)
    except UpdateError:
        return False
    return True


def _row_rms(change: Tensor) -> Tensor:
    rows = change.reshape(len(change), -1)
    return np.sqrt(np.mean(rows**2, axis=1)) if rows.size else np.zeros(len(change))


def _split(payload: bytes) -> tuple[bytes, bytes]:
    if not is_compact(payload):
        raise UpdateError("payload is not an update of version 2 (bad magic)")
    length, shift, at = 0, 0, len(MAGIC)
    while True:
        if at >= len(payload) or shift > 28:
            raise UpdateError("payload is truncated in its head")
        octet = payload[at]
        length |= (octet & 127) << shift
        at, shift = at + 1, shift + 7
        if octet < 128:
            break
    if length > len(payload) - at or (octet == 0 and shift > 7):
        raise UpdateError(f"a section of {length} bytes does not fit")
    return payload[at : at + length], payload[at + length :]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes((number,)))
