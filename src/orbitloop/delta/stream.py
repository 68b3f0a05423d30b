"""All tensors of an update in one coded stream. Names, shapes and dtypes are the base's, which both sides hold: none goes up.

In ascending order of the base's names, each as one chain of coded symbols:

    changed?                          a hundredth of a bit where many in a row do not
    kind                              integer, stepped or relative (`residuals`)
    steps                             one for all rows; or for each whether it changes, and the jump from the last
    the matrix of integers            `symbols`

and 16 bits of a fixed mark at the end. Counts are shared by all tensors that are alike (matrix or vector, kind of
residual; flags by the last part of their name), so that the first teaches the next.

A decoder makes nothing larger than a tensor of the base, and takes no longer than for a full update, whatever the data says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orbitloop.delta.rangecoder import Coder, Counts, Decoder, Encoder, Meter
from orbitloop.delta.residuals import INTEGER, RELATIVE, Residual, Tensor, check_residual, matrix_shape, rebuild
from orbitloop.delta.symbols import Contexts, code_matrix
from orbitloop.errors import UpdateError

_MARK = 0xA5C3
_RUN = 64
"""A vector is coded by so many values at a time, each with its own mean magnitude."""
_JUMPS = 64
"""Differences of step codes up to half of this are symbols of their own: four octaves."""


@dataclass(slots=True)
class _State:
    """What both sides have learnt so far of an update."""

    changed: dict[tuple[str, int], Counts] = field(default_factory=dict)
    kinds: dict[str, Counts] = field(default_factory=dict)
    uniform: dict[tuple[bool, int], Counts] = field(default_factory=dict)
    active: dict[tuple[bool, int], Counts] = field(default_factory=dict)
    jumps: dict[tuple[bool, int], Counts] = field(default_factory=dict)
    contexts: dict[tuple[bool, int], Contexts] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


def write_stream(base: Mapping[str, Tensor], residuals: Mapping[str, Residual]) -> bytes:
    """Return the stream.

    Raises:
        UpdateError: a residual does not fit its tensor.
    """
    coder = Encoder()
    for _ in _write(coder, base, residuals):
        pass
    return coder.data()


def measure_stream(base: Mapping[str, Tensor], residuals: Mapping[str, Residual]) -> dict[str, float]:
    """Return what each tensor of the base costs in a stream, in bits, in the order of names; without writing it.

    Raises:
        UpdateError: as `write_stream`.
    """
    meter, costs, before = Meter(), {}, 0.0
    for name in _write(meter, base, residuals):
        costs[name], before = meter.bits - before, meter.bits
    return costs


def read_stream(base: Mapping[str, Tensor], data: bytes) -> dict[str, Tensor]:
    """Return the tensors that change.

    Raises:
        UpdateError: malformed, or it does not fit the base. Never anything else.
    """
    result: dict[str, Tensor] = {}
    for name, residual in read_residuals(base, data):
        try:
            result[name] = rebuild(base[name], residual)
        except UpdateError as error:
            raise UpdateError(error.what, where=name) from error
    return result


def read_residuals(base: Mapping[str, Tensor], data: bytes) -> Iterator[tuple[str, Residual]]:
    """Yield name and residual of each tensor that changes, one at a time.

    Raises:
        UpdateError: as `read_stream`.
    """
    coder, state = Decoder(data), _State()
    for name in sorted(base):
        try:
            residual = _code_tensor(coder, state, name, base[name], None)
            if residual is not None:
                check_residual(residual, base[name])
        except UpdateError as error:
            raise UpdateError(error.what, where=name, remedy=error.remedy) from error
        if residual is not None:
            yield name, residual
    if int(coder.raw(16, np.zeros(1, np.int32))[0]) != _MARK:
        raise UpdateError("coded stream does not end where it should")
    coder.finish()


def _write(coder: Coder, base: Mapping[str, Tensor], residuals: Mapping[str, Residual]) -> Iterator[str]:
    strange = sorted(set(residuals) - set(base))
    if strange:
        raise UpdateError("tensor is not in the base", where=strange[0])
    state = _State()
    for name in sorted(base):
        residual = residuals.get(name)
        if residual is not None:
            try:
                check_residual(residual, base[name])
            except UpdateError as error:
                raise UpdateError(error.what, where=name) from error
            # Coding writes to the arrays that it is given, if nothing new.
            residual = Residual(residual.kind, residual.symbols.copy(), residual.steps.copy())
        _code_tensor(coder, state, name, base[name], residual)
        yield name
    coder.raw(16, np.array([_MARK], np.int32))


def _code_tensor(coder: Coder, state: _State, name: str, base: Tensor, residual: Residual | None) -> Residual | None:
    """Code one tensor: `residual` goes in at an encoder, and comes out at both."""
    part = name.rpartition(".")[2] + (".m" if base.ndim > 1 else ".v")
    held = state.changed.setdefault((part, state.last.get(part, 0)), Counts(np.array([24, 24], np.int64)))
    changed = _one(coder, held, int(residual is not None))
    state.last[part] = changed
    if not changed:
        return None
    kind = _one(
        coder, state.kinds.setdefault(part, Counts(np.array([1, 1, 1], np.int64), 96)), residual.kind if residual else 0
    )
    rows, columns, taps = matrix_shape(base.shape)
    if residual is None:
        symbols = np.zeros((rows, columns), np.int16 if kind == INTEGER else np.int32)
        residual = Residual(kind, symbols, np.zeros(1 if kind == RELATIVE else rows, np.int32))
    if kind == RELATIVE:
        residual.steps[:] = coder.raw(5, residual.steps)
    else:
        _code_steps(coder, state, base.ndim > 1, kind, residual.steps)
    contexts = state.contexts.setdefault((base.ndim > 1, kind), Contexts())
    if kind != RELATIVE and not residual.steps.all():
        active = np.flatnonzero(residual.steps)
        moved = residual.symbols[active]
        code_matrix(coder, contexts, moved, taps)
        residual.symbols[active] = moved
    elif base.ndim > 1:
        code_matrix(coder, contexts, residual.symbols, taps)
    else:
        for start in range(0, columns, _RUN):
            code_matrix(coder, contexts, residual.symbols[:, start : start + _RUN], 1)
    return residual


def _code_steps(coder: Coder, state: _State, matrix: bool, kind: int, codes: npt.NDArray[np.int32]) -> None:
    """Code steps: one for all; or for each row whether it has one, and the jump from the last; far jumps in 11 plain bits."""
    start = np.ones(_JUMPS + 1, np.int64)
    start[_JUMPS // 2] = 8
    jumps = state.jumps.setdefault((matrix, kind), Counts(start))
    uniform = state.uniform.setdefault((matrix, kind), Counts(np.array([12, 12], np.int64)))
    if len(codes) > 1 and _one(coder, uniform, int((codes == codes[0]).all())):
        _code_steps(coder, state, matrix, kind, codes[:1])
        codes[:] = codes[0]
        return
    last, active = (1 if kind == INTEGER else 0), 1
    for i in range(len(codes)):
        held = state.active.setdefault((matrix, active), Counts(np.array([12, 12], np.int64)))
        active = _one(coder, held, int(codes[i] != 0))
        if not active:
            codes[i] = 0
            continue
        jump = int(codes[i]) - last + _JUMPS // 2
        symbol = _one(coder, jumps, jump if 0 <= jump < _JUMPS else _JUMPS)
        if symbol == _JUMPS:
            codes[i : i + 1] = coder.raw(11, codes[i : i + 1])
        else:
            codes[i] = last + symbol - _JUMPS // 2
        last = int(codes[i])


def _one(coder: Coder, counts: Counts, symbol: int) -> int:
    return int(coder.code(counts, np.array([symbol], np.int32))[0])
