"""Scene -> tiles -> detections -> hard samples: what a satellite does with one capture.

Role: run an engine over a scene's tiles, merge what it found into scene pixels, and make samples of what a miner calls hard. It
leaves the network to the engine, pixels and their order to `onboard.scenes`, the grid to `algorithms.tiling`, the merge to
`algorithms.merging`, which tiles are worth a look to a `Screen`, what may be spent to `onboard.budget`, and what is kept and
sent to `onboard.storage` and the selectors. The same seed-free steps run on the ground to measure what flies.

Everything streams: a chunk of the scene is read, its tiles are cut into one batch that is allocated once, and what has become
final is handed out when the rows of tiles above the next chunk are done. So memory does not grow with the scene. A scene has
one model: an engine that can be swapped is pinned from the first tile to the last.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.boxes import clip_to
from orbitloop.algorithms.merging import TileMerger
from orbitloop.algorithms.tiling import cut_into, cut_tile, tile_starts
from orbitloop.onboard.budget import Ledger
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.scenes import ArraySource, Chunk, SceneSource
from orbitloop.plugins.kinds import Miner, Screen
from orbitloop.records.model import Preprocessing
from orbitloop.records.pixels import encode_image
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample import HardSample
from orbitloop.records.scene import Scene, TileWindow

MAX_SENT_DETECTIONS = 64
NO_DATA = "nodata"
"""Why a tile without a single valid pixel is dropped, whatever the screen: there is nothing to see."""


@dataclass(frozen=True, slots=True)
class TileCounts:
    """What became of a scene's tiles.

    `tiles` are those of its grid; `seen` went through the network; `dropped` were not worth it, by reason; `refused` were left
    when the budget was spent. While a scene is being looked at the rest has not been reached yet.
    """

    tiles: int = 0
    seen: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0

    @property
    def cut_short(self) -> bool:
        """Whether the budget ended before the scene did."""
        return self.refused > 0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"tiles": self.tiles, "seen": self.seen, "dropped": dict(sorted(self.dropped.items())), "refused": self.refused}


@dataclass(frozen=True, slots=True, eq=False)
class SceneResult:
    """What the model said of a scene.

    `tiles` are the windows that it saw in grid order with their predictions (candidates, tile pixels); `detections` are merged,
    in scene pixels, of the model's report score or more. `pad_value` is what tiles over the border were filled with.
    """

    tiles: tuple[tuple[TileWindow, Prediction], ...]
    detections: Detections
    pad_value: int
    counts: TileCounts = TileCounts()


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """How a scene is looked at; see `detect_source`."""

    batch: int
    least_score: float | None
    screen: Screen | None
    ledger: Ledger | None
    cpu_clock: Callable[[], float] | None
    progress: Callable[[int, int], None] | None
    on_tile: Callable[[TileWindow, Prediction], None] | None


def detect_source(
    engine: Engine,
    source: SceneSource,
    *,
    batch: int = 8,
    least_score: float | None = None,
    screen: Screen | None = None,
    ledger: Ledger | None = None,
    cpu_clock: Callable[[], float] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_tile: Callable[[TileWindow, Prediction], None] | None = None,
) -> SceneRun:
    """Detect in a scene piece by piece, by the tile size, overlap and thresholds of the model's own metadata.

    Iterate over what is returned: it yields the final detections in parts, in scene pixels, each part best first. Its `counts`
    say at any time what has become of the tiles. Nothing is read before the first step.

    Args:
        engine: the running model.
        source: the scene; it stays open.
        batch: tiles per inference, 1 or more; bounds memory, does not change the result.
        least_score: replaces the model's report score; nothing comes below its candidate score.
        screen: the first stage; None looks at every tile that has a valid pixel. The caller resets it.
        ledger: asked before each batch and charged after it. When it allows no more, the scene is cut short there.
        cpu_clock: the CPU seconds that the ledger is charged with, reading, cutting and screening included; without it 0 s.
        progress: told how many of how many tiles are done, after each batch and each chunk; what it raises ends the scene.
        on_tile: given each tile's prediction, in the order in which they are looked at.

    Raises:
        ValueError: the batch is empty.
        ModelError: the engine fails (while iterating).
        ImageError: a part of the scene cannot be read (while iterating).
    """
    if batch < 1:
        raise ValueError(f"no batch of {batch} tiles")
    return SceneRun(engine, source, _Look(batch, least_score, screen, ledger, cpu_clock, progress, on_tile))


class SceneRun:
    """One scene being looked at; iterate it once, all in one thread. Who leaves early closes the iterator, and so the pin."""

    def __init__(self, engine: Engine, source: SceneSource, look: _Look) -> None:
        self._engine, self._source, self._look = engine, source, look
        self._tiles = self._seen = self._refused = 0
        self._dropped: Counter[str] = Counter()

    @property
    def counts(self) -> TileCounts:
        return TileCounts(self._tiles, self._seen, dict(self._dropped), self._refused)

    def __iter__(self) -> Iterator[Detections]:
        with _pinned(self._engine) as engine:
            yield from self._detect(engine)

    def _detect(self, engine: Engine) -> Iterator[Detections]:
        rules = engine.metadata.preprocessing
        width_px, height_px = self._source.width_px, self._source.height_px
        columns, rows = (tile_starts(n, rules.tile_px, rules.overlap_px) for n in (width_px, height_px))
        self._tiles = len(columns) * len(rows)
        bench = _Bench(engine, rules, self._look, (0, 0, columns[-1] + rules.tile_px, rows[-1] + rules.tile_px))
        frontier_px = 0
        for chunk in self._source.chunks(rules.tile_px, rules.overlap_px):
            top_px = min(window.y_px for window in chunk.windows)
            if top_px > frontier_px:
                frontier_px = top_px
                self._run(bench)
                yield clip_to(bench.merger.advance(top_px), width_px, height_px)
            if not self._take(bench, chunk) or self._is_spent(bench):
                break
            self._tell()
        self._run(bench)
        bench.charge(0)  # what was read, cut and dropped since the last batch
        yield clip_to(bench.merger.finish(), width_px, height_px)

    def _take(self, bench: _Bench, chunk: Chunk) -> bool:
        """Look at a chunk's tiles as batches fill up; say whether the budget goes on."""
        for window in chunk.windows if not self._refused else ():
            reason = bench.cut(chunk, window)
            if reason:
                self._dropped[reason] += 1
            elif bench.full and not self._run(bench):
                return False
        return not self._refused

    def _is_spent(self, bench: _Bench) -> bool:
        """Say whether reading and screening alone have used up the budget; a batch that waits asks by itself."""
        ledger = self._look.ledger
        if ledger is None or len(bench):
            return False
        bench.charge(0)
        if ledger.may(1):
            return False
        self._refused = self._tiles - self._seen - self._dropped.total()
        return self._refused > 0

    def _run(self, bench: _Bench) -> bool:
        """Look at the waiting batch as far as the budget allows; say whether it allowed all of it."""
        if self._refused:
            return False
        wanted = len(bench)
        granted = self._look.ledger.may(wanted) if self._look.ledger and wanted else wanted
        bench.infer(granted)
        self._seen += granted
        if granted < wanted:
            self._refused = self._tiles - self._seen - self._dropped.total()
        self._tell()
        return granted == wanted

    def _tell(self) -> None:
        if self._look.progress:
            self._look.progress(self._seen + self._dropped.total(), self._tiles)


class _Bench:
    """The batch that tiles are cut into, and what is done with it. Its pixels are allocated once."""

    def __init__(self, engine: Engine, rules: Preprocessing, look: _Look, outline_px: tuple[int, int, int, int]) -> None:
        self._engine, self._rules, self._look = engine, rules, look
        self._least_score = rules.report_score if look.least_score is None else look.least_score
        self._pixels = np.empty((look.batch, rules.tile_px, rules.tile_px, 3), np.uint8)
        self._windows: list[TileWindow] = []
        self._charged_s = look.cpu_clock() if look.cpu_clock else 0.0
        self.merger = TileMerger(outline_px, rules.nms_iou)

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def full(self) -> bool:
        return len(self._windows) == self._look.batch

    def cut(self, chunk: Chunk, window: TileWindow) -> str:
        """Put a tile into the batch; return why it was left out, or nothing."""
        screen = self._look.screen
        share = chunk.valid_share(window) if screen is not None or chunk.valid is not None else 1.0
        if share == 0.0:
            return NO_DATA
        tile = self._pixels[len(self._windows)]
        cut_into(tile, chunk.pixels, window.x_px - chunk.x_px, window.y_px - chunk.y_px, self._rules.pad_value)
        if screen is not None:
            verdict = screen.judge(tile, share)
            if not verdict.keep:
                return verdict.reason
        self._windows.append(window)
        return ""

    def infer(self, count: int) -> None:
        """Look at the first `count` tiles, hand them on, and empty the batch."""
        some, self._windows = self._windows[:count], []
        if not some:
            return
        predictions = self._engine.infer(self._pixels[: len(some)])
        self.charge(len(some))
        for window, prediction in zip(some, predictions, strict=True):
            if self._look.on_tile:
                self._look.on_tile(window, prediction)
            if len(prediction.detections):
                self.merger.add(window, prediction.detections.above(self._least_score))

    def charge(self, tiles: int) -> None:
        """Charge what was done since the last time."""
        ledger, clock = self._look.ledger, self._look.cpu_clock
        if ledger is None:
            return
        now_s = clock() if clock else self._charged_s
        ledger.spend(tiles, now_s - self._charged_s)
        self._charged_s = now_s


def _pinned(engine: Engine) -> AbstractContextManager[Engine]:
    """Hold on to one model for a whole scene, where the engine can be swapped."""
    pinned: Callable[[], AbstractContextManager[Engine]] | None = getattr(engine, "pinned", None)
    return nullcontext(engine) if pinned is None else pinned()


def detect_scene(
    engine: Engine,
    pixels: npt.NDArray[np.uint8],
    batch: int = 8,
    *,
    least_score: float | None = None,
    screen: Screen | None = None,
) -> SceneResult:
    """Detect in a scene that is in memory, and keep what was said of each tile.

    Args:
        engine: the running model.
        pixels: (height, width, 3) uint8 RGB.
        batch: tiles per inference; bounds memory, does not change the result.
        least_score: replaces the model's report score; nothing comes below its candidate score.
        screen: the first stage; None looks at every tile. The caller resets it.

    Raises:
        ImageError: the pixels are of another kind, or there are none.
        ModelError: the engine fails.
    """
    with _pinned(engine) as one:
        tiles: list[tuple[TileWindow, Prediction]] = []
        source = ArraySource(pixels, "")
        run = detect_source(
            one,
            source,
            batch=batch,
            least_score=least_score,
            screen=screen,
            on_tile=lambda window, prediction: tiles.append((window, prediction)),
        )
        found = best_first(list(run))
        tiles.sort(key=lambda tile: (tile[0].y_px, tile[0].x_px))
        return SceneResult(tuple(tiles), found, one.metadata.preprocessing.pad_value, run.counts)


def best_first(parts: list[Detections]) -> Detections:
    """Join the parts of a scene into one list, best score first."""
    boxes = np.concatenate([part.boxes_xyxy_px for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    order = np.argsort(-scores, kind="stable")
    return Detections(boxes[order], scores[order], classes[order])


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
