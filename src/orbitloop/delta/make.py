"""Make an update on the ground: (base, target, which codec for which tensor) -> payload.

It leaves to the trainer what to change and to the gate whether it is better. The gate must judge what will fly, which is not
the target but what the codecs leave of it: `reconstruct`, equal to `apply_delta(base, make_delta(base, target))` bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orbitloop.delta.codecs import BUILT_IN, F32, HALF_MAX, Exact, Half, Quantised
from orbitloop.delta.format import Block, write_payload
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec

CodecFor = Callable[[str, F32], DeltaCodec]
"""(name, target tensor) -> the codec that writes it."""

QUANTISABLE_MAX = 1e6


def plan(step: float = 0.3) -> CodecFor:
    """Return the usual choice: vectors in half precision, the rest quantised, and exact what fits neither.

    Args:
        step: quantisation step in units of each output channel's residual rms.
    """
    quantised, half, exact = Quantised(step), Half(), Exact()

    def choose(name: str, target: F32) -> DeltaCodec:
        peak = float(np.abs(target).max()) if target.size else 0.0
        if target.ndim <= 1:
            return half if peak <= HALF_MAX else exact
        return quantised if peak <= QUANTISABLE_MAX else exact

    return choose


def make_delta(
    base: Mapping[str, F32],
    target: Mapping[str, F32],
    *,
    codec_for: CodecFor | None = None,
    codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN,
) -> bytes:
    """Return the payload that turns `base` into `target`, as far as the codecs go. Equal tensors cost nothing.

    Args:
        base: all tensors that the satellite holds, float32.
        target: the new ones; a name that is left out does not change.
        codec_for: `plan()` if not given.
        codecs: names of the codecs that `codec_for` may choose; the satellite must know them too.

    Raises:
        UpdateError: a tensor is not in the base, of another shape or dtype, or its codec cannot write it.
    """
    names = {kind: name for name, kind in codecs.items()}
    blocks: list[Block] = []
    for name, old, new, codec in _changes(base, target, codec_for or plan()):
        if type(codec) not in names:
            raise UpdateError(f"codec {type(codec).__name__} has no name on board", where=name)
        block = Block(name, names[type(codec)], old.shape, codec.encode(old, new))
        codec.decode(old, block.data)  # nothing goes up that the ground has not read back itself
        blocks.append(block)
    return write_payload(blocks)


def reconstruct(base: Mapping[str, F32], target: Mapping[str, F32], *, codec_for: CodecFor | None = None) -> dict[str, F32]:
    """Return the weights that will fly: what the codecs say of their own result, without the payload.

    Raises:
        UpdateError: as `make_delta`.
    """
    result = dict(base)
    for name, old, new, codec in _changes(base, target, codec_for or plan()):
        if isinstance(codec, Quantised | Half | Exact):
            result[name] = codec.reconstruct(old, new)
        else:
            result[name] = codec.decode(old, codec.encode(old, new))
    return result


def _changes(base: Mapping[str, F32], target: Mapping[str, F32], codec_for: CodecFor) -> list[tuple[str, F32, F32, DeltaCodec]]:
    """Return (name, base, target, codec) of each tensor that differs in a bit."""
    changed: list[tuple[str, F32, F32, DeltaCodec]] = []
    for name in sorted(target):
        if name not in base:
            raise UpdateError("tensor is not in the base", where=name, remedy="a new graph needs a full model, not an update")
        old, new = base[name], target[name]
        if old.dtype != np.float32 or new.dtype != np.float32:
            raise UpdateError(f"tensors are {old.dtype} and {new.dtype}, and must be float32", where=name)
        if old.shape != new.shape:
            raise UpdateError(f"shapes differ: base {old.shape}, target {new.shape}", where=name)
        if not np.array_equal(np.ascontiguousarray(old).view(np.uint32), np.ascontiguousarray(new).view(np.uint32)):
            changed.append((name, old, new, codec_for(name, new)))
    return changed
