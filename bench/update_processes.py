"""Peers that live in an environment of their own: NNC and bsdiff4, each driven as a process."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onboard_pool import Side, Worker
from update_forms import RATIOS, Change, Importance, PeerResult, Tensor, Tensors, best, change_of

PROBES = 7
NEAR = 0.98
"""A stream that fills so much of its budget is near enough."""


class _Process:
    """A worker and a folder to hand arrays over."""

    def __init__(self, kind: str, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="orbitloop-peer-")
        self.folder = Path(self._folder.name)
        self.worker = Worker(Side(kind, kind, python), {"float32": self.folder})

    def __del__(self) -> None:
        if hasattr(self, "worker"):
            self.worker.close()


class Bsdiff(_Process):
    """bsdiff4: a patch of bytes against bytes."""

    def __init__(self, python: Path) -> None:
        super().__init__("bsdiff4", python)

    def diff(self, old: bytes, new: bytes) -> tuple[bytes, float]:
        """Return the patch and its CPU seconds."""
        self._put(old=old, new=new)
        answer = self.worker.call("diff", old=self._at("old"), new=self._at("new"), out=self._at("patch"))
        return (self.folder / "patch").read_bytes(), answer.cpu_s

    def patch(self, old: bytes, patch: bytes) -> tuple[bytes, float]:
        """Return the new bytes and the CPU seconds."""
        self._put(old=old, patch=patch)
        answer = self.worker.call("patch", old=self._at("old"), patch=self._at("patch"), out=self._at("new"))
        return (self.folder / "new").read_bytes(), answer.cpu_s

    def _put(self, **files: bytes) -> None:
        for name, data in files.items():
            (self.folder / name).write_bytes(data)

    def _at(self, name: str) -> str:
        return str(self.folder / name)


class Nnc(_Process):
    """ISO/IEC 15938-17 by its authors' coder, on the residual."""

    name = "NNC"
    lossless = False
    SCALES = (0.0, 0.5, 0.75, 1.0, 1.5)
    """Strengths of its own rate-distortion term; 0 is its default."""
    RUNGS = range(-112, 145)
    """Steps are 2^(rung / 16) by the root of what an error costs. Its own are a quarter of an octave apart, but the tensors
    turn one by one."""

    def __init__(self, python: Path) -> None:
        super().__init__("nnc", python)
        self._of: tuple[int, int, int] | None = None
        self._sizes: dict[tuple[float, int], int] = {}
        self._short: dict[str, str] = {}
        self._residuals: dict[str, Any] = {}
        self._usual: dict[str, float] = {}
        self._least: dict[str, float] = {}

    def at(self, base: Tensors, target: Tensors, budget_bytes: int, importance: Importance | None = None) -> PeerResult | None:
        """Return its best result within a budget, None where it has none."""
        change = change_of(base, target, importance)
        self._give(change, (id(base), id(target), id(importance)))

        def tries() -> Iterator[tuple[PeerResult, str]]:
            for scale in self.SCALES:
                rung = self._finest(scale, budget_bytes)
                if rung is not None:
                    result = self._once(change, scale, rung)
                    if result.bytes <= budget_bytes:  # not quite monotone in the rung
                        yield result, f"trellis, its own rate-distortion term at {scale:g}"

        return best(change, tries(), budget_bytes)

    def exactly(self, base: Tensors, result: Tensors) -> PeerResult | None:
        """Return None: it is not lossless."""
        return None

    def _give(self, change: Change, of: tuple[int, int, int]) -> None:
        """Write the residuals for the worker, unless they are the last ones."""
        if of == self._of:
            return
        self._of, self._sizes = of, {}
        self._short = {name: f"{i:x}" for i, name in enumerate(change.weights)}
        residuals: dict[str, Any] = {}
        costs: dict[str, float] = {}
        for name, short in self._short.items():
            base, gap = change.base[name].astype(np.float64), change.target[name].astype(np.float64) - change.base[name]
            cost = float(np.mean(change.weights[name]))
            if name.endswith(RATIOS) and (base != 0).all():
                gap, cost = gap / base, cost * float(np.mean(base**2))
            residuals[short], costs[short] = gap.astype(np.float32), max(cost, 1e-30)
        np.savez(self.folder / "all.npz", **residuals)
        self._residuals = residuals
        # A matrix of integers needs no step below a half.
        rms = {short: float(np.sqrt(np.mean(gap.astype(np.float64) ** 2))) for short, gap in residuals.items()}
        unit = math.exp(float(np.mean([math.log(max(rms[s], 1e-30) * math.sqrt(costs[s])) for s in residuals])))
        self._usual = {short: unit / math.sqrt(costs[short]) for short in residuals}
        self._least = {
            short: 0.4 if change.base[name].dtype.kind in "iu" else max(rms[short] / 1000, 1e-9)
            for name, short in self._short.items()
        }

    def _steps(self, rung: int) -> dict[str, float]:
        return {short: max(step * 2.0 ** (rung / 16), self._least[short]) for short, step in self._usual.items()}

    def _finest(self, scale: float, budget_bytes: int) -> int | None:
        """Return the finest rung found whose stream fits: between those that were tried, its size falls with the rung."""
        for first in (self.RUNGS[0], 0, self.RUNGS[-1]):
            self._size(scale, first)
        for _ in range(PROBES):
            known = sorted((rung, size) for (at, rung), size in self._sizes.items() if at == scale)
            fits = next(((rung, size) for rung, size in known if size <= budget_bytes), None)
            over = [(rung, size) for rung, size in known if size > budget_bytes and (fits is None or rung < fits[0])]
            if fits is None or not over or fits[0] - over[-1][0] < 2 or fits[1] > NEAR * budget_bytes:
                break
            (low, large), (high, small) = over[-1], fits
            share = math.log(large / budget_bytes) / math.log(large / max(small, 1))
            self._size(scale, min(max(low + round(min(max(share, 0.25), 0.75) * (high - low)), low + 1), high - 1))
        return min((rung for (at, rung), size in self._sizes.items() if at == scale and size <= budget_bytes), default=None)

    def _size(self, scale: float, rung: int) -> int:
        """Return the bytes at a rung, all tensors in it, less what is zero throughout."""
        if (scale, rung) not in self._sizes:
            self._sizes[scale, rung] = self._encode(scale, rung)[0]
        return self._sizes[scale, rung]

    def _encode(self, scale: float, rung: int) -> tuple[int, float]:
        steps, arrays = self._steps(rung), "some.npz"
        # A tensor below half a step throughout comes out as zeros: leave it out, as a user would.
        kept: dict[str, Any] = {s: gap for s, gap in self._residuals.items() if float(np.abs(gap).max()) >= 0.5 * steps[s]}
        if not kept:
            return 0, 0.0
        np.savez(self.folder / arrays, **kept)
        answer = self.worker.call(
            "encode",
            arrays=str(self.folder / arrays),
            steps={s: steps[s] for s in kept},
            trellis=True,
            scale=scale,
            out=str(self.folder / "stream"),
        )
        return int(answer.value), answer.cpu_s

    def _once(self, change: Change, scale: float, rung: int) -> PeerResult:
        size, encode_s = self._encode(scale, rung)
        found: dict[str, Any] = {}
        decode_s = 0.0
        if size:
            answer = self.worker.call("decode", coded=str(self.folder / "stream"), out=str(self.folder / "out.npz"))
            decode_s = answer.cpu_s
            with np.load(self.folder / "out.npz", allow_pickle=False) as held:
                found = {name: held[name] for name in held.files}
        made = dict(change.base)
        for name, short in self._short.items():
            if short in found:
                made[name] = self._moved(name, change.base[name], found[short].reshape(change.base[name].shape))
        return PeerResult(size, made, "", encode_s, decode_s)

    @staticmethod
    def _moved(name: str, base: Tensor, gap: Tensor) -> Tensor:
        if base.dtype.kind in "iu":
            info = np.iinfo(base.dtype)
            gap = np.rint(gap)
            return np.asarray(np.clip(base + gap, info.min, info.max), base.dtype)
        ratio = name.endswith(RATIOS) and bool((base != 0).all())
        return np.asarray(base * (1 + gap) if ratio else base + gap, base.dtype)
