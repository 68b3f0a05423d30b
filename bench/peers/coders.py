"""The peers' codecs of updates, in their own environment: NNC (ISO/IEC 15938-17, nncodec) and bsdiff4.

Arrays come and go as .npz files, coded bytes as files. nncodec's `framework` package (torch models, data sets) is not loaded:
arrays go straight to its coder, which is all of the standard that a comparison needs.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np


def qp_of(step: float) -> int:
    """Return the quantisation parameter of the nearest step: 4 to the octave, 0 is 1."""
    octave = int(np.floor(np.log2(step)))
    part = round((step / 2.0**octave - 1) * 4)
    return max(-128, min(127, 4 * octave + part))


class Nnc:
    """NNC: dependent (trellis-coded) quantisation, DeepCABAC with optimised parameters, row skipping."""

    def load(self, folder: str) -> str:
        """Import its coder."""
        for name in ("framework", "framework.tensorflow_model", "framework.pytorch_model", "framework.use_case_init"):
            sys.modules[f"nncodec.{name}"] = types.ModuleType(f"nncodec.{name}")
        for name in ("tensorflow_model", "pytorch_model", "use_case_init"):
            setattr(sys.modules["nncodec.framework"], name, sys.modules[f"nncodec.framework.{name}"])
        from nncodec import nnc  # type: ignore[import-not-found]

        self._nnc = nnc
        return folder

    def encode(self, arrays: str, steps: dict[str, float], trellis: bool, scale: float, out: str) -> int:
        """Code float32 arrays with a step each; `scale` is that of its own rate-distortion term. Return the bytes."""
        with np.load(arrays, allow_pickle=False) as held:
            tensors = {name: held[name] for name in held.files}
        qps = {name: np.int32(qp_of(steps[name])) for name in tensors}
        stream = self._nnc.compress(
            tensors,
            bitstream_path=None,
            qp=0,
            nonweight_qp=0,
            qp_per_tensor=qps,
            use_dq=trellis,
            lambda_scale=scale,
            param_opt=True,
            row_skipping=True,
            return_bitstream=True,
        )
        Path(out).write_bytes(stream)
        return len(stream)

    def decode(self, coded: str, out: str) -> int:
        """Decode to a file of arrays; return how many."""
        tensors: dict[str, Any] = self._nnc.decompress(bytearray(Path(coded).read_bytes()))
        np.savez(out, **tensors)
        return len(tensors)


class Bsdiff:
    """bsdiff4 of two files."""

    def load(self, folder: str) -> str:
        """Import it."""
        import bsdiff4  # type: ignore[import-not-found]

        self._bsdiff4 = bsdiff4
        return folder

    def diff(self, old: str, new: str, out: str) -> int:
        """Write a patch; return its bytes."""
        patch = self._bsdiff4.diff(Path(old).read_bytes(), Path(new).read_bytes())
        Path(out).write_bytes(patch)
        return len(patch)

    def patch(self, old: str, patch: str, out: str) -> int:
        """Apply a patch; return the bytes that come out."""
        data = self._bsdiff4.patch(Path(old).read_bytes(), Path(patch).read_bytes())
        Path(out).write_bytes(data)
        return len(data)


SIDES = {"nnc": Nnc, "bsdiff4": Bsdiff}
