"""A payload by the codec that a mission names: (base, target, codec) -> payload.

`compact` is the usual one; a third party's codec of one tensor takes the float matrices that it can write, and leaves the rest
to the usual choice. A planner with residuals of its own calls `compact.pack_compact`. What to change is the trainer's, whether
it is better the gate's; the gate must judge what flies: `apply.apply_delta(base, payload)`.
"""

from __future__ import annotations

from collections.abc import Mapping

from orbitloop.delta.apply import apply_delta
from orbitloop.delta.blocks import Block
from orbitloop.delta.choice import USUAL_BITS, USUAL_STEP, exactly, usual
from orbitloop.delta.codecs import BUILT_IN, Exact, Zstd
from orbitloop.delta.compact import changed, make_compact
from orbitloop.delta.residuals import Tensor
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec

_ALONE = "tensor"


class Compact:
    """The entropy-coded form of all tensors together; alone, of one.

    Args:
        step: see `choice.usual`.
        bits: see `choice.usual`.
    """

    summary = "Residual in steps of a share of each output channel's rms, entropy-coded over all tensors; the smallest."

    def __init__(self, step: float = USUAL_STEP, bits: int = USUAL_BITS) -> None:
        self.residual_for = usual(step, bits)

    def encode(self, base: Tensor, target: Tensor) -> bytes:
        """Write one tensor's change as a payload of its own.

        Raises:
            UpdateError: shapes or dtypes differ.
        """
        return make_compact({_ALONE: base}, {_ALONE: target}, residual_for=self.residual_for)

    def decode(self, base: Tensor, data: bytes) -> Tensor:
        """Return the new tensor, of the base's shape and dtype.

        Raises:
            UpdateError: malformed, or it does not fit the base.
        """
        return apply_delta({_ALONE: base}, data)[_ALONE]


def make_delta(
    base: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    codec: DeltaCodec | None = None,
    *,
    codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN,
) -> bytes:
    """Return the payload that turns `base` into `target`, as far as the codec goes. Equal tensors cost next to nothing.

    Args:
        base: all tensors that the satellite holds.
        target: the new ones; a name that is left out does not change.
        codec: `Compact()` if not given. A third party's is asked for float32 tensors of two and more dimensions; one that it
            refuses goes up with every bit.
        codecs: names of third parties' codecs; the satellite must know them too.

    Raises:
        UpdateError: a tensor is not in the base, of another shape or dtype, or of a dtype that nothing can write; or a third
            party's codec has no name.
    """
    if codec is None or type(codec) is Exact:
        return make_compact(base, target, residual_for=exactly if codec else usual())
    if isinstance(codec, Compact | Zstd):
        return make_compact(base, target, residual_for=codec.residual_for, coded=isinstance(codec, Compact))
    named = [name for name, kind in codecs.items() if kind is type(codec)]
    if not named:
        raise UpdateError(f"codec {type(codec).__name__} has no name on board", remedy="install it at both ends")
    blocks = []
    for name in changed(base, target):
        old, new = base[name], target[name]
        if old.ndim > 1 and old.dtype.kind == "f":
            blocks.append(_block(name, named[0], codec, old, new))
    written = {block.name for block in blocks}
    rest = {name: tensor for name, tensor in target.items() if name not in written}
    return make_compact(base, rest, others=blocks)


def _block(name: str, codec_name: str, codec: DeltaCodec, base: Tensor, target: Tensor) -> Block:
    try:
        data = codec.encode(base, target)
        codec.decode(base, data)  # nothing goes up that the ground has not read back itself
    except UpdateError:
        return Block(name, "exact", base.shape, Exact().encode(base, target))
    return Block(name, codec_name, base.shape, data)
