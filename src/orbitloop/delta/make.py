"""Make an update on the ground: (base, target, which codec for which tensor) -> payload.

It leaves to the trainer what to change and to the gate whether it is better. The gate must judge what will fly, which is not
the target but what the codecs leave of it: `reconstruct`, equal to `apply_delta(base, make_delta(base, target))` bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orbitloop.delta.codecs import BUILT_IN, HALF_MAX, HALF_TINY, Exact, Half, Quantised, Tensor
from orbitloop.delta.format import Block, write_payload
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec

CodecFor = Callable[[str, Tensor, Tensor], DeltaCodec]
"""(name, base, target) -> the codec that writes the change."""

QUANTISABLE_MAX = 1e6


def plan(large: DeltaCodec | None = None, small: DeltaCodec | None = None) -> CodecFor:
    """Return the usual choice by what a tensor is; what fits its codec badly, and every integer, is written exactly.

    Args:
        large: for float tensors of two and more dimensions; `Quantised()` if not given.
        small: for scalars and vectors (batch-norm, biases, scales), where a step per channel would cost more than the values;
            `Half()` if not given.
    """
    big, vector, exact = large or Quantised(), small or Half(), Exact()

    def choose(name: str, base: Tensor, target: Tensor) -> DeltaCodec:
        if target.dtype != np.float32 or not target.size:
            return exact
        peak = float(np.max([np.abs(tensor).max() for tensor in (base, target)]))  # NaN stays NaN, and fits nothing
        if target.ndim > 1:
            return big if peak <= QUANTISABLE_MAX else exact
        # Scales must be good to the last of half's bits; a bias near zero may lose some.
        fine = not name.endswith(".scale") or float(np.abs(target).min()) >= HALF_TINY
        return vector if peak <= HALF_MAX and fine else exact

    return choose


def make_delta(
    base: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    codec_for: CodecFor | None = None,
    codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN,
) -> bytes:
    """Return the payload that turns `base` into `target`, as far as the codecs go. Equal tensors cost nothing.

    Args:
        base: all tensors that the satellite holds.
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


def reconstruct(
    base: Mapping[str, Tensor], target: Mapping[str, Tensor], *, codec_for: CodecFor | None = None
) -> dict[str, Tensor]:
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


def _changes(
    base: Mapping[str, Tensor], target: Mapping[str, Tensor], codec_for: CodecFor
) -> list[tuple[str, Tensor, Tensor, DeltaCodec]]:
    """Return (name, base, target, codec) of each tensor that differs in a bit."""
    changed: list[tuple[str, Tensor, Tensor, DeltaCodec]] = []
    for name in sorted(target):
        if name not in base:
            raise UpdateError("tensor is not in the base", where=name, remedy="a new graph needs a full model, not an update")
        old, new = base[name], target[name]
        if old.dtype != new.dtype:
            raise UpdateError(f"dtypes differ: base {old.dtype}, target {new.dtype}", where=name)
        if old.shape != new.shape:
            raise UpdateError(f"shapes differ: base {old.shape}, target {new.shape}", where=name)
        if old.tobytes() != new.tobytes():
            changed.append((name, old, new, codec_for(name, old, new)))
    return changed
