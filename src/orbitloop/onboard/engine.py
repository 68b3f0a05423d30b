"""What runs the network on board, as a port; and the pure steps on either side of it.

Role: the `Engine` Protocol, the reading of a graph's own metadata, and the turning of raw outputs into a `Prediction`. It
leaves the runtime to `onboard.adapters` and tiles and scenes to `onboard.pipeline`.

The graph's contract. Input by the model's form, S = `tile_px`: `image` float32 (B, 3, S, S), RGB, pixel / 255; or, in int8,
`blocks` uint8 (B, S/2 + 1, S/2 + 1, 12), see `to_blocks`. Outputs: `pred` float32 (B, A, 5 + C), already decoded: centre x,
centre y, width, height in tile pixels, chance of an object, chance of each class given an object; `embedding` float32 (B, D). A
detection's score is object x best class.
"""

from __future__ import annotations

import json
import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import clip_to, suppress
from orbitloop.errors import ModelError
from orbitloop.records.model import FORMS, INT8, ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction

MAX_TILE_PX = 8192


class Engine(Protocol):
    """A loaded model."""

    @property
    def metadata(self) -> ModelMetadata:
        """What the model says of itself."""

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        """Return one prediction per tile, in tile pixels, down to the candidate score, after suppression.

        Args:
            tiles: (B, H, W, 3) uint8 RGB with H = W = the model's `tile_px`; B may be 0.

        Raises:
            ModelError: the tiles do not fit the model, the runtime fails, or an output is not finite.
        """


def to_input(tiles: npt.NDArray[np.uint8], metadata: ModelMetadata) -> dict[str, npt.NDArray[Any]]:
    """Return the network's one input by its name, in the model's form, of tiles (B, S, S, 3) uint8.

    Raises:
        ModelError: shape or dtype is another.
    """
    size = metadata.preprocessing.tile_px
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[1:] != (size, size, 3):
        raise ModelError(f"tiles of {tiles.dtype} {tiles.shape} do not fit a model of uint8 (B, {size}, {size}, 3)")
    return {"blocks": to_blocks(tiles)} if metadata.form == INT8 else {"image": to_planes(tiles)}


def to_planes(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return tiles (B, S, S, 3) uint8 as (B, 3, S, S) float32 in 0..1."""
    planes = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)).astype(np.float32)
    planes /= np.float32(255)
    return planes


def to_blocks(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return tiles (B, S, S, 3) uint8, S even, as (B, S/2 + 1, S/2 + 1, 12): framed by one black pixel, in 2 x 2 blocks.

    Two pixels are three 16-bit words: six strided copies of words take a twentieth of a millisecond, a transpose of bytes ten
    times as long.
    """
    count, height, width, _ = tiles.shape
    framed = np.zeros((count, height + 2, width + 2, 3), np.uint8)
    framed[:, 1:-1, 1:-1] = tiles
    rows, columns = height // 2 + 1, width // 2 + 1
    pairs = framed.reshape(count, height + 2, (width + 2) * 3).view(np.uint16).reshape(count, rows, 2, columns, 3)
    blocks = np.empty((count, rows, columns, 2, 3), np.uint16)
    for row in range(2):
        for word in range(3):
            blocks[..., row, word] = pairs[:, :, row, :, word]
    return blocks.view(np.uint8).reshape(count, rows, columns, 12)


def to_predictions(
    pred: npt.NDArray[np.float32], embedding: npt.NDArray[np.float32], metadata: ModelMetadata
) -> list[Prediction]:
    """Turn raw outputs (B, A, 5 + C) and (B, D) into predictions.

    Raises:
        ModelError: a shape does not fit the metadata, or a value is not finite.
    """
    columns = 5 + len(metadata.classes)
    if pred.ndim != 3 or pred.shape[2] != columns or embedding.ndim != 2 or embedding.shape[0] != pred.shape[0]:
        raise ModelError(f"outputs {pred.shape} and {embedding.shape} do not fit {columns - 5} classes")
    if not (np.isfinite(pred).all() and np.isfinite(embedding).all()):
        raise ModelError("the network's output is not finite", remedy="the weights are damaged: go back to the last good ones")
    return [
        Prediction(_detections(rows, metadata.preprocessing), _unit(vector))
        for rows, vector in zip(pred.astype(np.float32, copy=False), embedding, strict=True)
    ]


def _detections(rows: npt.NDArray[np.float32], rules: Preprocessing) -> Detections:
    """Score, threshold, clip to the tile and suppress one tile's rows (A, 5 + C)."""
    # The score is at most the objectness, so this loses nothing, and leaves nothing to do for most tiles.
    index = np.flatnonzero(rows[:, 4] >= rules.candidate_score)
    if not index.size:
        return Detections.empty()
    near = rows[index]
    best = near[:, 5:].argmax(axis=1)
    scores = near[:, 4] * near[np.arange(len(near)), 5 + best]
    keep = scores >= rules.candidate_score
    centre, half = near[keep, :2], near[keep, 2:4] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    found = Detections(boxes, np.clip(scores[keep], 0, 1), best[keep].astype(np.int32))
    return suppress(clip_to(found, rules.tile_px, rules.tile_px), rules.nms_iou, rules.max_detections)


def _unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length if length > 0 else vector).astype(np.float32)


def read_metadata(text: str | None) -> ModelMetadata:
    """Read the metadata that travels inside a graph, and see that a pipeline can be built by it.

    Raises:
        ModelError: it is absent, no JSON, or a field is missing, of the wrong kind or out of range. Never anything else.
    """
    if text is None:
        raise ModelError("the graph carries no orbitloop metadata", remedy="export it with orbitloop")
    try:
        metadata = ModelMetadata.from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"the graph's metadata is malformed ({type(error).__name__}: {error})") from error
    _check_rules(metadata.preprocessing)
    if not metadata.classes:
        raise ModelError("the graph's metadata names no classes")
    if metadata.form not in FORMS:
        raise ModelError(f"the graph's metadata has form = {metadata.form!r}", remedy=f"it must be one of {', '.join(FORMS)}")
    if metadata.form == INT8 and metadata.preprocessing.tile_px % 2:
        raise ModelError(f"an int8 model reads 2 x 2 blocks, and its tiles have {metadata.preprocessing.tile_px} px")
    return metadata


def _check_rules(rules: Preprocessing) -> None:
    limits: dict[str, tuple[Any, float, float]] = {
        "tile_px": (int, 1, MAX_TILE_PX),
        "overlap_px": (int, 0, MAX_TILE_PX),
        "pad_value": (int, 0, 255),
        "candidate_score": ((int, float), 0, 1),
        "report_score": ((int, float), 0, 1),
        "nms_iou": ((int, float), 0, 1),
        "max_detections": (int, 1, 100_000),
    }
    for name, (kind, low, high) in limits.items():
        value: Any = getattr(rules, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value) or not low <= value <= high:
            raise ModelError(f"the graph's metadata has {name} = {value!r}", remedy=f"it must lie in {low}..{high}")
    if rules.overlap_px >= rules.tile_px:
        raise ModelError(f"the graph's metadata has an overlap of {rules.overlap_px} px for tiles of {rules.tile_px} px")
