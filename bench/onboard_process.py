"""What a process weighs: ours while it detects, the peers' with the same network, and ours on scenes of any size.

Each figure is of a fresh process that does nothing else. `peak` is the kernel's own high-water mark (VmHWM), so nothing is
missed between two looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onboard_detector import Detector
from onboard_models import Subject, real_tiles, write_scenes
from onboard_pool import Side, Worker, WorkerFailed
from onboard_tiff import BLOCK_PX, write_huge
from onboard_tiles import model_folders
from orbitloop.errors import OrbitloopError
from orbitloop.onboard.service_wire import Found
from orbitloop.reports.figures import Figure, figure_of

AIM_RSS_MB = 100.0
AIM_OVER_MB = 150.0
AIM_GROWTH_MB = 10.0
QUICK_SIDES = (1_500, 3_000)
FULL_SIDES = (20_000, 40_000)


@dataclass(frozen=True, slots=True)
class Weight:
    """Memory of a process, MB: when it had done its work, and at its highest."""

    rss_mb: float
    peak_mb: float


def measure(
    subject: Subject, tile_sides: Sequence[Side], scene_sides: Sequence[Side], work: Path, *, quick: bool
) -> list[Figure]:
    """Measure our process and, unless quick, the peers'; then ours on huge scenes."""
    scenes = [file.name for file in write_scenes(subject.held_out[:3], work / "scenes")]
    models = model_folders(subject, work / "models")
    form = "int8" if "int8" in models else "float32"
    tiles = real_tiles(subject.held_out, subject.float32.metadata.preprocessing.tile_px, 1)
    np.save(work / "tiles.npy", tiles)
    try:
        alone, _ = _detect(models[form], work, tiles=tiles)
        figures = [_own_figure("on-board process, detecting in tiles", alone, f"{form} model, socket, 100 tiles one by one")]
        reading, _ = _detect(models[form], work, scenes=scenes)
        how = f"{form} model, socket, scene reader (rasterio), 3 GeoTIFF scenes from file to boxes"
        figures.append(_own_figure("on-board process, detecting in scene files", reading, how))
    except OrbitloopError as error:
        return [Figure("on-board process", "not measured", "MB", note=str(error))]
    if not quick:
        figures += _peers(subject, alone, reading, tile_sides, scene_sides, models, work)
    return figures + _huge(subject, models[form], alone, work, quick=quick)


def _peers(
    subject: Subject,
    alone: Weight,
    reading: Weight,
    tile_sides: Sequence[Side],
    scene_sides: Sequence[Side],
    models: Mapping[str, Path],
    work: Path,
) -> list[Figure]:
    """Weigh each peer at the work that it is timed at: a tile, or a scene's file."""
    rules = subject.float32.metadata.preprocessing
    run = ("run", {"file": str(work / "tiles.npy"), "repeats": 3})
    figures = [_peer_figure(side, alone, models, [run]) for side in tile_sides if side.kind != "ours" or side.load]
    slicing = {"tile_px": rules.tile_px, "overlap_px": rules.overlap_px, "threshold": rules.report_score, "merge": "GREEDYNMM"}
    for side in scene_sides:
        if side.kind == "sahi":
            file = next(iter(sorted((work / "scenes").iterdir())))
            how = {"file": str(file), "metric": "IOS", "whole": False, "remember": False, **slicing}
            figures.append(_peer_figure(side, reading, models, [("scene", how)] * 3))
    return figures


def _detect(
    model: Path, work: Path, *, tiles: npt.NDArray[np.uint8] | None = None, scenes: Sequence[str] = ()
) -> tuple[Weight, Found | None]:
    """Weigh a fresh resident detector that has looked at a tile a hundred times, or at scenes; and its last answer.

    Raises:
        OrbitloopError: it does not start, or refuses a scene.
    """
    found: Found | None = None
    with Detector(model, work / "socket", "--scenes", str(work / "scenes")) as detector, detector.client() as client:
        if tiles is not None:
            found = [client.detect(tiles) for _ in range(100)][-1]
        for name in scenes:
            found = client.scene(name)
        state = client.status()
    return Weight(state["rss_bytes"] / 1e6, state["peak_rss_bytes"] / 1e6), found


def weigh(side: Side, models: Mapping[str, Path], commands: Sequence[tuple[str, Mapping[str, Any]]]) -> Weight:
    """Start a side, let it do some work, and weigh it.

    Raises:
        WorkerFailed: it does not run.
    """
    with Worker(side, models) as worker:
        for op, arguments in commands:
            worker.call(op, **arguments)
        return Weight(**worker.call("memory").value)


def _own_figure(name: str, weight: Weight, how: str) -> Figure:
    return figure_of(
        name,
        round(weight.peak_mb, 1),
        "MB",
        at_most=AIM_RSS_MB,
        note=f"Highest resident set of the resident detector: Python, ONNX Runtime, {how}; {weight.rss_mb:.1f} MB afterwards.",
    )


def _peer_figure(
    side: Side, ours: Weight, models: Mapping[str, Path], commands: Sequence[tuple[str, Mapping[str, Any]]]
) -> Figure:
    title = "process, scene files" if side.kind == "sahi" else "process, tiles"
    name = "SAHI + torch" if side.kind == "sahi" else side.name
    try:
        weight = weigh(side, models, commands)
    except WorkerFailed as error:
        return Figure(title, round(ours.peak_mb, 1), "MB", peer=name, peer_value="not measured", note=str(error))
    note = f"{name}: {weight.rss_mb:.1f} MB afterwards. Highest resident sets."
    return Figure(title, round(ours.peak_mb, 1), "MB", peer=name, peer_value=round(weight.peak_mb, 1), note=note)


def _huge(subject: Subject, model: Path, alone: Weight, work: Path, *, quick: bool) -> list[Figure]:
    """Weigh our process on huge scenes: the second has four times the pixels of the first."""
    sides_px = QUICK_SIDES if quick else FULL_SIDES
    blocks = real_blocks(subject)
    file = work / "scenes" / "huge.tif"
    figures: list[Figure] = []
    peaks: list[float] = []
    for side_px in sides_px:
        write_huge(file, side_px, blocks, lambda y, x: (7 * y + 3 * x) % len(blocks))
        title = f"memory, scene of {side_px:,} x {side_px:,}"
        begin_s = time.monotonic()
        try:
            weight, found = _detect(model, work, scenes=[file.name])
        except OrbitloopError as error:
            return [*figures, Figure(title, "not measured", "MB", note=str(error))]
        note = (
            f"Highest {weight.peak_mb:.1f} MB, {weight.rss_mb:.1f} MB afterwards; 3 bands of real imagery, deflate; "
            f"{_counts(found)}; {time.monotonic() - begin_s:.0f} s, start included."
        )
        over_mb = round(weight.peak_mb - alone.peak_mb, 1)
        figures.append(figure_of(title, over_mb, "MB more than with tiles", at_most=AIM_OVER_MB, note=note))
        peaks.append(weight.peak_mb)
    growth = figure_of(
        "memory, {1:,} x {1:,} against {0:,} x {0:,}".format(*sides_px),
        round(peaks[1] - peaks[0], 1),
        "MB more",
        at_most=None if quick else AIM_GROWTH_MB,
        note="Four times the pixels; the aim is no more, and what two runs of the same differ by is allowed.",
    )
    return [*figures, growth]


def _counts(found: Found | None) -> str:
    if found is None or found.about is None:
        return "not counted"
    tiles = found.about.get("tiles", {})
    dropped = sum(tiles.get("dropped", {}).values())
    boxes = len(found.detections[0])
    return f"{tiles.get('seen')} of {tiles.get('tiles')} tiles through the network, {dropped} dropped, {boxes} boxes"


def real_blocks(subject: Subject, count: int = 8) -> list[npt.NDArray[np.uint8]]:
    """Return some blocks (512, 512, 3) of real imagery, from as many scenes as there are."""
    blocks = []
    for number in range(count):
        pixels = subject.held_out[number % len(subject.held_out)].load().pixels
        y, x = (BLOCK_PX // 2 * (number % 3) % max(1, side - BLOCK_PX + 1) for side in pixels.shape[:2])
        block = pixels[y : y + BLOCK_PX, x : x + BLOCK_PX]
        blocks.append(np.pad(block, ((0, BLOCK_PX - block.shape[0]), (0, BLOCK_PX - block.shape[1]), (0, 0)), mode="symmetric"))
    return blocks
