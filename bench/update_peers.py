"""Peers of the update codec: given a base, a target and a number of bytes, what does each make of it?

    at(base, target, budget_bytes, importance) -> the tensors that come out and the bytes they took, or None where nothing fits

Each peer gets its best try, and more than its users would give it:

- **NNC** codes the residual, with trellis-coded quantisation and its own rate-distortion term in several strengths, a step for
  each tensor by what an error there costs, scales as ratios to the base, and names of a letter or two.
- **zstd --patch-from** and **bsdiff4** see only the tensors that change. They are lossless; what they are given is chosen for
  them: the rows that gain most per byte, exact or in steps (`update_forms`), whichever comes out best.
- **fp16 + zstd** is half precision of the chosen rows (int8 stays int8), and a bit for each row.
- **int + zstd** is the residual of the chosen rows in integers with a step per output channel, 2 to 8 bits.

Every result is decoded from its bytes, and what comes out is what is judged. Times are CPU seconds of the last encoding and of
the decoding alone, not of the search.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import zstandard

import update_env
from onboard_pool import WorkerFailed
from peer_env import NoEnvironment
from update_forms import (
    SHARES,
    Change,
    Importance,
    PeerResult,
    Row,
    Tensor,
    Tensors,
    best,
    change_of,
    coarse,
    matrix,
    rows_by_worth,
    with_rows,
)
from update_processes import Bsdiff, Nnc

LEVEL = 19
TRIES = 5
WINDOW_LOG = 27


class Peer(Protocol):
    """A codec of updates."""

    name: str
    lossless: bool

    def at(self, base: Tensors, target: Tensors, budget_bytes: int, importance: Importance | None = None) -> PeerResult | None:
        """Return its best result within a budget, None where it has none."""

    def exactly(self, base: Tensors, result: Tensors) -> PeerResult | None:
        """Return what a lossless peer needs for the very result of another codec; None of a peer that is not lossless."""


def available(*, make: bool = False) -> tuple[list[Peer], str]:
    """Return the peers that there are, and why others are absent.

    Args:
        make: make the environment of NNC and bsdiff4 where it is absent.
    """
    here: list[Peer] = [Patch("zstd --patch-from", _Zstd()), FewBits(), Half()]
    try:
        python = update_env.python(make=make)
        return [Nnc(python), Patch("bsdiff4", Bsdiff(python)), *here], ""
    except (NoEnvironment, WorkerFailed) as error:
        return here, f"NNC and bsdiff4 are absent: {error}"


# -- peers that take rows ------------------------------------------------------------------------------------------------


class _Bytes(Protocol):
    """Bytes against bytes."""

    def diff(self, old: bytes, new: bytes) -> tuple[bytes, float]:
        """Return the patch and its CPU seconds."""

    def patch(self, old: bytes, patch: bytes) -> tuple[bytes, float]:
        """Return the new bytes and the CPU seconds."""


class Patch:
    """A lossless patch of the bytes of those tensors that change."""

    lossless = True

    def __init__(self, name: str, tool: _Bytes) -> None:
        self.name, self._tool = name, tool

    def at(self, base: Tensors, target: Tensors, budget_bytes: int, importance: Importance | None = None) -> PeerResult | None:
        """Return its best result within a budget, None where it has none."""
        change = change_of(base, target, importance)

        def tries() -> Iterator[tuple[PeerResult, str]]:
            for share in SHARES:
                form = coarse(change, share)
                yield from _by_rows(change, form, budget_bytes, self._once, _said(share))

        return best(change, tries(), budget_bytes)

    def exactly(self, base: Tensors, result: Tensors) -> PeerResult | None:
        """Return what it needs for the very result of another codec."""
        return self._once(change_of(base, result), dict(result), [])

    def _once(self, change: Change, new: dict[str, Tensor], rows: Sequence[Row]) -> PeerResult:
        names = [name for name in sorted(new) if new[name].tobytes() != change.base[name].tobytes()]
        old = b"".join(change.base[name].tobytes() for name in names)
        patch, encode_s = self._tool.diff(old, b"".join(new[name].tobytes() for name in names))
        data, decode_s = self._tool.patch(old, patch)
        made, at = dict(change.base), 0
        for name in names:
            held = change.base[name]
            made[name] = np.frombuffer(data[at : at + held.nbytes], held.dtype).reshape(held.shape)
            at += held.nbytes
        return PeerResult(len(patch), made, "", encode_s, decode_s)


class Half:
    """New values in half precision, integers as they are, and zstd."""

    name = "fp16 + zstd"
    lossless = False

    def at(self, base: Tensors, target: Tensors, budget_bytes: int, importance: Importance | None = None) -> PeerResult | None:
        """Return its best result within a budget, None where it has none."""
        change = change_of(base, target, importance)
        form = {name: self._narrow(target[name]).astype(target[name].dtype) for name in change.weights}
        return best(change, _by_rows(change, form, budget_bytes, self._once, "new values"), budget_bytes)

    def exactly(self, base: Tensors, result: Tensors) -> PeerResult | None:
        """Return None: it is not lossless."""
        return None

    @staticmethod
    def _narrow(tensor: Tensor) -> Tensor:
        return np.clip(tensor, -65504, 65504).astype(np.float16) if tensor.dtype.kind == "f" else tensor

    def _once(self, change: Change, new: dict[str, Tensor], rows: Sequence[Row]) -> PeerResult:
        begin = time.process_time()
        parts = [self._narrow(matrix(new[row.name])[row.row]).tobytes() for row in _in_order(rows)]
        data = _bitmap(change, rows) + zstandard.ZstdCompressor(level=LEVEL).compress(b"".join(parts))
        encoded = time.process_time()
        zstandard.ZstdDecompressor().decompress(data[len(_bitmap(change, rows)) :], max_output_size=sum(map(len, parts)) + 1)
        return PeerResult(len(data), new, "", encoded - begin, time.process_time() - encoded)


class FewBits:
    """The residual in integers of 2 to 8 bits, with a step for each output channel, and zstd."""

    name = "int + zstd"
    lossless = False
    LEVELS = (127, 31, 7, 3, 1)

    def at(self, base: Tensors, target: Tensors, budget_bytes: int, importance: Importance | None = None) -> PeerResult | None:
        """Return its best result within a budget, None where it has none."""
        change = change_of(base, target, importance)

        def tries() -> Iterator[tuple[PeerResult, str]]:
            for levels in self.LEVELS:
                symbols, steps = self._symbols(change, levels)
                form = {name: _moved(change.base[name], symbols[name], steps[name]) for name in change.weights}

                def once(
                    change: Change,
                    new: dict[str, Tensor],
                    rows: Sequence[Row],
                    symbols: dict[str, Tensor] = symbols,
                    steps: dict[str, Tensor] = steps,
                ) -> PeerResult:
                    begin = time.process_time()
                    parts = [steps[r.name][r.row].tobytes() + symbols[r.name][r.row].tobytes() for r in _in_order(rows)]
                    coded = zstandard.ZstdCompressor(level=LEVEL).compress(b"".join(parts))
                    encoded = time.process_time()
                    zstandard.ZstdDecompressor().decompress(coded)
                    size = len(coded) + len(_bitmap(change, rows))
                    return PeerResult(size, new, "", encoded - begin, time.process_time() - encoded)

                yield from _by_rows(change, form, budget_bytes, once, f"{2 * levels + 1} levels")

        return best(change, tries(), budget_bytes)

    def exactly(self, base: Tensors, result: Tensors) -> PeerResult | None:
        """Return None: it is not lossless."""
        return None

    def _symbols(self, change: Change, levels: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        symbols, steps = {}, {}
        for name in change.weights:
            gap = matrix(change.target[name]).astype(np.float64) - matrix(change.base[name])
            # With few levels the largest change must not set the step: 2.5 rms is near the least squared error for them.
            peak = np.abs(gap).max(axis=1)
            reach = np.minimum(peak, (6.0 if levels > 7 else 2.5) * np.sqrt(np.mean(gap**2, axis=1)))
            step = np.nextafter((reach / levels).astype(np.float16), np.float16(np.inf)).astype(np.float64)
            if change.base[name].dtype.kind in "iu":
                step = np.maximum(np.rint(step), 1)
            symbols[name] = np.clip(np.rint(gap / step[:, None]), -127, 127).astype(np.int8)
            steps[name] = step.astype(np.float16)
        return symbols, steps


def _moved(base: Tensor, symbols: Tensor, steps: Tensor) -> Tensor:
    result = matrix(base).astype(np.float64) + symbols * steps.astype(np.float64)[:, None]
    if base.dtype.kind in "iu":
        result = np.clip(np.rint(result), np.iinfo(base.dtype).min, np.iinfo(base.dtype).max)
    return result.astype(base.dtype).reshape(base.shape)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.name, row.row))


def _bitmap(change: Change, rows: Sequence[Row]) -> bytes:
    """Return which rows of the changed tensors are sent, a bit each, packed."""
    picked = {(row.name, row.row) for row in rows}
    flags = [(name, i) in picked for name in change.weights for i in range(len(matrix(change.base[name])))]
    return zstandard.ZstdCompressor(level=LEVEL).compress(np.packbits(flags).tobytes())


def _by_rows(
    change: Change,
    form: Tensors,
    budget_bytes: int,
    once: Callable[[Change, dict[str, Tensor], Sequence[Row]], PeerResult],
    said: str,
) -> Iterator[tuple[PeerResult, str]]:
    """Yield what fits of a form, with more and more of its rows."""
    rows = rows_by_worth(change, form)
    ends = np.cumsum([row.elements for row in rows])
    low, high, per_element = 0, len(rows), 1.0
    for _ in range(TRIES):  # a secant: what a codec writes grows about in proportion to what moves
        if low >= high:
            return
        count = min(max(int(np.searchsorted(ends, budget_bytes / per_element)), low + 1), high)
        result = once(change, with_rows(change, form, rows[:count]), rows[:count])
        if result.bytes <= budget_bytes:
            low = count
            yield result, f"{said}, {count} of {len(rows)} rows"
        else:
            high = count - 1
        per_element = max(result.bytes / max(int(ends[count - 1]), 1) * 1.02, 1e-3)


def _said(share: float) -> str:
    return f"steps of {share:g} rms" if share else "exact values"


class _Zstd:
    """zstd with the base as a prefix, as `zstd --patch-from` does: a long window, level 19."""

    def diff(self, old: bytes, new: bytes) -> tuple[bytes, float]:
        begin = time.process_time()
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, source_size=len(new), dict_size=len(old), window_log=WINDOW_LOG, enable_ldm=True
        )
        coder = zstandard.ZstdCompressor(compression_params=parameters, dict_data=self._prefix(old))
        return coder.compress(new), time.process_time() - begin

    def patch(self, old: bytes, patch: bytes) -> tuple[bytes, float]:
        begin = time.process_time()
        reader = zstandard.ZstdDecompressor(dict_data=self._prefix(old), max_window_size=1 << WINDOW_LOG)
        return reader.decompress(patch), time.process_time() - begin

    @staticmethod
    def _prefix(old: bytes) -> zstandard.ZstdCompressionDict:
        return zstandard.ZstdCompressionDict(old or b"\0", dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def main() -> None:
    """Show what each peer makes of one change: `update_peers.py BASE_DIR TARGET_DIR BYTES ...`."""
    from orbitloop.ground.adapters.model_store import load_model

    (_, base), (_, target) = (load_model(Path(folder)) for folder in sys.argv[1:3])
    peers, absent = available()
    print(absent)
    for budget, peer in itertools.product(map(int, sys.argv[3:]), peers):
        begin = time.monotonic()
        result = peer.at(base, target, budget)
        took = time.monotonic() - begin
        if result is None:
            print(f"{budget:8d} {peer.name:18} nothing fits ({took:.1f} s)", flush=True)
            continue
        change = change_of(base, target)
        share = change.error(result.tensors) / change.error(base)
        times = f"encode {result.encode_s:.2f} s, decode {result.decode_s:.3f} s, search {took:.1f} s"
        print(f"{budget:8d} {peer.name:18} {result.bytes:8d} B, error {share:.4f}, {result.note}; {times}", flush=True)


if __name__ == "__main__":
    main()
