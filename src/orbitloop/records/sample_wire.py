"""A hard sample as bytes, and back.

Kind `sample`, version 1, in the container of `records.wire`. Blobs, little-endian: `boxes` int16 (N, 4) in eighths of a pixel,
`scores` uint16 in 1/65535, `classes` uint16, `embedding` float16, `image` as encoded. So a detection costs 12 bytes and is
rounded by 1/16 px and 1/131070 at most; what was read once is written again to the same bytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import WireError
from orbitloop.records.prediction import Detections
from orbitloop.records.sample import HardSample, Mining
from orbitloop.records.scene import TileWindow
from orbitloop.records.wire import Packed, pack, unpack

KIND = "sample"
VERSION = 1
_PER_PX = 8
_PER_ONE = 65535
_TEXTS = ("sample_id", "satellite", "scene_id", "domain", "model_digest")
_BLOBS = ("boxes", "scores", "classes", "embedding", "image")
_MAX_TEXT = 512
_MAX_PX = 1 << 31


def sample_to_bytes(sample: HardSample) -> bytes:
    """Serialise a sample.

    Raises:
        ValueError: a number is not finite, or a class index does not fit 16 bits.
    """
    found = sample.detections
    for array in (found.boxes_xyxy_px, found.scores, sample.embedding):
        if not np.isfinite(array).all():
            raise ValueError(f"sample {sample.sample_id} holds a number that is not finite")
    if len(found) and not 0 <= int(found.classes.min()) <= int(found.classes.max()) <= 0xFFFF:
        raise ValueError(f"sample {sample.sample_id} has a class index outside of 16 bits")
    boxes = np.clip(np.rint(found.boxes_xyxy_px.astype(np.float64) * _PER_PX), -0x8000, 0x7FFF)
    scores = np.rint(np.clip(found.scores.astype(np.float64), 0, 1) * _PER_ONE)
    # A float16 overflows to infinity above 65504; embeddings have length 1.
    embedding = np.clip(sample.embedding, -65504, 65504).astype("<f2")
    fields: dict[str, Any] = {name: getattr(sample, name) for name in _TEXTS}
    fields |= {"window": sample.window.to_json(), "captured_at_s": float(sample.captured_at_s)}
    fields["mining"] = {"hard": sample.mining.hard, "score": float(sample.mining.score), "reason": sample.mining.reason}
    blobs = {
        "boxes": boxes.astype("<i2").tobytes(),
        "scores": scores.astype("<u2").tobytes(),
        "classes": found.classes.astype("<u2").tobytes(),
        "embedding": embedding.tobytes(),
        "image": sample.image,
    }
    return pack(KIND, VERSION, fields, blobs)


def sample_from_bytes(data: bytes) -> HardSample:
    """Read a sample from outside bytes. The picture is not looked into: `records.pixels.decode_image` does that.

    Raises:
        WireError: the bytes are not what `sample_to_bytes` writes. Never anything else.
    """
    try:
        packed = unpack(data, expect=KIND)
        if packed.version < 1 or not set(_BLOBS) <= packed.blobs.keys():
            raise WireError("a sample lacks one of its parts", where=KIND)
        return _read(packed)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"sample is malformed ({type(error).__name__}: {error})", where=KIND) from error


def _read(packed: Packed) -> HardSample:
    fields, blobs = packed.fields, packed.blobs
    texts = {name: _text(fields[name]) for name in _TEXTS}
    x, y, width, height = (_whole(v) for v in fields["window"])
    if width < 1 or height < 1:
        raise ValueError("the window is empty")
    mining = fields["mining"]
    if not isinstance(mining["hard"], bool):
        raise TypeError("mining.hard is not true or false")
    embedding = _array(blobs["embedding"], "<f2").astype(np.float32)
    if not np.isfinite(embedding).all():
        raise ValueError("the embedding is not finite")
    return HardSample(
        sample_id=texts["sample_id"],
        satellite=texts["satellite"],
        scene_id=texts["scene_id"],
        domain=texts["domain"],
        window=TileWindow(x, y, width, height),
        captured_at_s=_number(fields["captured_at_s"]),
        model_digest=texts["model_digest"],
        mining=Mining(mining["hard"], _number(mining["score"]), _text(mining["reason"])),
        detections=_detections(blobs),
        embedding=embedding,
        image=blobs["image"],
    )


def _detections(blobs: dict[str, bytes]) -> Detections:
    boxes = _array(blobs["boxes"], "<i2")
    if boxes.size % 4:
        raise ValueError("the boxes are not rows of four")
    scores = _array(blobs["scores"], "<u2").astype(np.float32) / np.float32(_PER_ONE)
    classes = _array(blobs["classes"], "<u2").astype(np.int32)
    return Detections((boxes.reshape(-1, 4) / _PER_PX).astype(np.float32), scores.astype(np.float32), classes)


def _array(data: bytes, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(data, dtype)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise TypeError(f"not a text of at most {_MAX_TEXT} characters")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a finite number")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -_MAX_PX <= value < _MAX_PX:
        raise TypeError("not a whole number of pixels")
    return value
