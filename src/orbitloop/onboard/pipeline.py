"""Scene -> tiles -> detections -> hard samples: what a satellite does with one capture.

Role: run an engine over a scene's tiles, merge what it found into scene pixels, and make samples of what a miner calls hard. It
leaves the network to the engine, the grid to `algorithms.tiling`, the merge to `algorithms.boxes`, and what is kept and sent to
`onboard.storage` and the selectors. The same seed-free steps run on the ground to measure what flies.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import clip_to
from orbitloop.algorithms.merging import merge_tiles
from orbitloop.algorithms.tiling import cut_tile, tile_windows
from orbitloop.onboard.engine import Engine
from orbitloop.plugins.kinds import Miner
from orbitloop.records.pixels import encode_image
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample import HardSample
from orbitloop.records.scene import Scene, TileWindow

MAX_SENT_DETECTIONS = 64


@dataclass(frozen=True, slots=True, eq=False)
class SceneResult:
    """What the model said of a scene.

    `tiles` are the windows in grid order with their predictions (candidates, tile pixels); `detections` are merged, in scene
    pixels, of the model's report score or more. `pad_value` is what tiles over the border were filled with.
    """

    tiles: tuple[tuple[TileWindow, Prediction], ...]
    detections: Detections
    pad_value: int


def detect_scene(engine: Engine, pixels: npt.NDArray[np.uint8], batch: int = 8) -> SceneResult:
    """Detect in a whole scene, by the tile size, overlap and thresholds of the model's own metadata.

    Args:
        engine: the running model.
        pixels: (height, width, 3) uint8 RGB.
        batch: tiles per inference; bounds memory, does not change the result.

    Raises:
        ModelError: the engine fails.
    """
    rules = engine.metadata.preprocessing
    height_px, width_px = pixels.shape[:2]
    windows = tile_windows(width_px, height_px, rules.tile_px, rules.overlap_px)
    tiles: list[tuple[TileWindow, Prediction]] = []
    for start in range(0, len(windows), batch):
        some = windows[start : start + batch]
        cut = np.stack([cut_tile(pixels, window, rules.pad_value) for window in some])
        tiles += zip(some, engine.infer(cut), strict=True)
    reported = [(window, prediction.detections.above(rules.report_score)) for window, prediction in tiles]
    merged = clip_to(merge_tiles(reported, rules.nms_iou), width_px, height_px)
    return SceneResult(tuple(tiles), merged, rules.pad_value)


def sample_id(satellite: str, scene_id: str, window: TileWindow) -> str:
    """Return the name of a tile: 16 hex digits of the SHA-256 of who saw it, in which scene, and where."""
    place = ",".join(str(v) for v in window.to_json())
    return hashlib.sha256(f"{satellite}|{scene_id}|{place}".encode()).hexdigest()[:16]


def make_samples(
    scene: Scene,
    result: SceneResult,
    miner: Miner,
    *,
    satellite: str,
    model_digest: str,
    image_format: str = "webp",
    quality: int = 80,
) -> list[HardSample]:
    """Return a sample for each tile that the miner calls hard, in grid order, its picture encoded.

    A sample carries at most the 64 best candidates: more would weigh as much as the picture.

    Raises:
        ImageError: the image format is unknown.
    """
    samples = []
    for window, prediction in result.tiles:
        verdict = miner.mine(prediction)
        if not verdict.hard:
            continue
        found = prediction.detections
        best = slice(0, MAX_SENT_DETECTIONS)
        samples.append(
            HardSample(
                sample_id=sample_id(satellite, scene.scene_id, window),
                satellite=satellite,
                scene_id=scene.scene_id,
                domain=scene.domain,
                window=window,
                captured_at_s=scene.captured_at_s,
                model_digest=model_digest,
                mining=verdict,
                detections=Detections(found.boxes_xyxy_px[best], found.scores[best], found.classes[best]),
                embedding=prediction.embedding,
                image=encode_image(cut_tile(scene.pixels, window, result.pad_value), format=image_format, quality=quality),
            )
        )
    return samples
