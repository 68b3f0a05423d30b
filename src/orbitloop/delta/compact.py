"""The payload of an update: one coded stream over the base's tensors, and a small section of named blocks beside it.

Layout:

    magic `OLU1` | varint 2 x n + s | n bytes: named blocks (`blocks`), absent where n is 0 | the stream (`stream`) where s is 1

The stream names nothing: some ten bytes in all beyond the integers themselves. Blocks spell out names, shapes and codecs; they
carry tensors that must keep every bit of a float, those of a third party's codec, and those that zstd writes shorter than the
entropy coder. No tensor is in both.

A payload without a stream needs no entropy coder on board: `pack_compact(..., coded=False)` writes all residuals as blocks of
the codec `zstd`, with the same result, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from orbitloop.delta.blocks import Block, read_table, write_blocks
from orbitloop.delta.choice import ResidualFor, usual
from orbitloop.delta.codecs import Exact, Zstd
from orbitloop.delta.residuals import Residual, Tensor, check_residual, rebuild
from orbitloop.delta.stream import measure_stream, read_residuals, write_stream
from orbitloop.errors import UpdateError

MAGIC = b"OLU1"
_WORTH_A_TRY_BYTES = 64
_ROW_BYTES = 24
"""What a row of the blocks' table takes beyond the name, at most."""


def make_compact(
    base: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    residual_for: ResidualFor | None = None,
    coded: bool = True,
    others: Sequence[Block] = (),
) -> bytes:
    """Return the payload that turns `base` into `target`, as far as the steps go. Equal tensors cost next to nothing.

    Args:
        base: all tensors that the satellite holds.
        target: the new ones; a name that is left out does not change.
        residual_for: `usual()` if not given.
        coded: False for a satellite without the entropy coder.
        others: blocks of tensors that are not in the target.

    Raises:
        UpdateError: a tensor is not in the base, of another shape or dtype, or of a dtype that nothing can write.
    """
    choose, residuals, whole = residual_for or usual(), dict[str, Residual](), dict[str, Tensor]()
    for name in changed(base, target):
        residual = choose(name, base[name], target[name])
        if residual is None or not _lands(base[name], residual):
            whole[name] = target[name]
        elif residual.symbols.any():
            residuals[name] = residual
    return pack_compact(base, residuals, whole, others, coded=coded)


def pack_compact(
    base: Mapping[str, Tensor],
    residuals: Mapping[str, Residual],
    whole: Mapping[str, Tensor] | None = None,
    others: Sequence[Block] = (),
    *,
    coded: bool = True,
) -> bytes:
    """Return the payload of a planned update.

    Args:
        base: all tensors that the satellite holds.
        residuals: changes in integers (`residuals`), of any making. Each takes the shorter of the stream's form and zstd's.
        whole: tensors of which every bit goes up.
        others: what a third party's codec wrote.
        coded: False for a satellite without the entropy coder: no stream, all residuals by zstd.

    Raises:
        UpdateError: something does not fit the base, or a name stands in two of them.
    """
    blocks = [
        *others,
        *(Block(name, "exact", new.shape, Exact().encode(base[name], new)) for name, new in (whole or {}).items()),
    ]
    twice = sorted(set(residuals) & {block.name for block in blocks})
    if twice:
        raise UpdateError("tensor is coded and whole", where=twice[0])
    _check_all(base, residuals)
    kept = dict(residuals)
    costs = measure_stream(base, residuals) if coded else dict.fromkeys(residuals, math.inf)
    for name, residual in residuals.items():
        if costs[name] > 8 * _WORTH_A_TRY_BYTES:
            block = Block(name, "zstd", base[name].shape, Zstd.write(residual))
            if 8 * (len(block.data) + len(name) + _ROW_BYTES) < costs[name]:
                blocks.append(block)
                del kept[name]
    section = write_blocks(blocks) if blocks else b""
    stream = write_stream(base, kept) if coded and (kept or not blocks) else b""
    payload = MAGIC + _varint(2 * len(section) + bool(stream or not blocks)) + section + stream
    _read_back(base, payload, residuals)
    return payload


def changed(base: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that differ in a bit, sorted.

    Raises:
        UpdateError: a tensor is not in the base, or of another shape or dtype there.
    """
    names = []
    for name in sorted(target):
        if name not in base:
            raise UpdateError("tensor is not in the base", where=name, remedy="a new graph needs a full model, not an update")
        old, new = base[name], target[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            raise UpdateError(f"shapes differ: base {old.dtype} {old.shape}, target {new.dtype} {new.shape}", where=name)
        if old.tobytes() != new.tobytes():
            names.append(name)
    return names


def split_compact(payload: bytes) -> tuple[bytes, bytes | None]:
    """Return the named blocks, empty where there are none, and the stream, None where there is none.

    Raises:
        UpdateError: malformed.
    """
    if payload[: len(MAGIC)] != MAGIC:
        raise UpdateError("payload is not an update (bad magic)")
    head, shift, at = 0, 0, len(MAGIC)
    while True:
        if at >= len(payload) or shift > 28:
            raise UpdateError("payload is truncated in its head")
        octet = payload[at]
        head |= (octet & 127) << shift
        at, shift = at + 1, shift + 7
        if octet < 128:
            break
    length, streamed = head >> 1, bool(head & 1)
    if length > len(payload) - at or (octet == 0 and shift > 7):
        raise UpdateError(f"a section of {length} bytes does not fit")
    if not streamed and (not length or len(payload) > at + length):
        raise UpdateError("payload without a stream is empty, or goes on after its blocks")
    return payload[at : at + length], payload[at + length :] if streamed else None


def _check_all(base: Mapping[str, Tensor], residuals: Mapping[str, Residual]) -> None:
    for name, residual in residuals.items():
        if name not in base:
            raise UpdateError("tensor is not in the base", where=name)
        try:
            check_residual(residual, base[name])
        except UpdateError as error:
            raise UpdateError(error.what, where=name) from error


def _read_back(base: Mapping[str, Tensor], payload: bytes, residuals: Mapping[str, Residual]) -> None:
    """Read all residuals as the satellite will: nothing goes up that was not read back."""
    section, stream = split_compact(payload)
    found = dict(read_residuals(base, stream)) if stream is not None else {}
    for entry in read_table(section) if section else ():
        if entry.name in residuals:
            found[entry.name] = Zstd.read(base[entry.name], section[entry.offset : entry.offset + entry.length])
    for name, wanted in residuals.items():
        got = found.get(name)
        if got is None or not np.array_equal(got.symbols, wanted.symbols) or not np.array_equal(got.steps, wanted.steps):
            raise UpdateError("a coded change does not read back", where=name, remedy="report this as a defect")
        if not _lands(base[name], got):
            raise UpdateError("a result is not finite", where=name, remedy="send the tensor whole")


def _lands(base: Tensor, residual: Residual) -> bool:
    """Return whether a change leads to finite values: at the end of float32's range a rounded step may go beyond it."""
    try:
        rebuild(base, residual)
    except UpdateError:
        return False
    return True


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes((number,)))
