"""Apply an update in orbit: (base, payload) -> all weights, the same bits on every machine, or one typed refusal.

It leaves to `onboard` whether the base is the right one and the result the promised one (digests in the signed manifest).
"""

from __future__ import annotations

from collections.abc import Mapping

from orbitloop.delta.codecs import BUILT_IN, Tensor
from orbitloop.delta.compact import TensorCost, inspect_compact, is_compact, split_compact
from orbitloop.delta.format import TensorEntry, read_table
from orbitloop.delta.stream import read_stream
from orbitloop.errors import UpdateError
from orbitloop.plugins.kinds import DeltaCodec


def inspect_delta(payload: bytes, base: Mapping[str, Tensor] | None = None) -> list[TensorEntry] | list[TensorCost]:
    """Return what a payload would change: name, codec, shape, elements and bytes of each tensor.

    Args:
        payload: of either version.
        base: the tensors that it changes. Version 2 names none, and cannot be listed without them.

    Raises:
        UpdateError: the payload is malformed, does not fit the base, or needs one.
    """
    if not is_compact(payload):
        return read_table(payload)
    if base is None:
        raise UpdateError("payload names no tensor: the base does", remedy="give the model that the update is for")
    return inspect_compact(payload, base)


def apply_delta(
    base: Mapping[str, Tensor], payload: bytes, *, codecs: Mapping[str, type[DeltaCodec]] = BUILT_IN
) -> dict[str, Tensor]:
    """Return all tensors after the update; those that do not change are shared with `base`, which is left as it is.

    Memory is bounded by the tensors of the base: every entry must be one of them, in its shape.

    Raises:
        UpdateError: the payload is malformed or does not fit the base. Never anything else.
    """
    if is_compact(payload):
        section, stream = split_compact(payload)
        listed = _apply_table(base, section, codecs) if section else dict(base)
        streamed = read_stream(base, stream)
        twice = sorted(name for name in streamed if listed[name] is not base[name])
        if twice:
            raise UpdateError("tensor stands in both parts of the payload", where=twice[0])
        return listed | streamed
    return _apply_table(base, payload, codecs)


def _apply_table(base: Mapping[str, Tensor], payload: bytes, codecs: Mapping[str, type[DeltaCodec]]) -> dict[str, Tensor]:
    """Apply a payload of version 1."""
    entries = read_table(payload)
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
            new = codecs[entry.codec]().decode(base[entry.name], payload[entry.offset : entry.offset + entry.length])
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
