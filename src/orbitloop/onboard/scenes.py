"""Where the pipeline's pixels come from, as a port: a scene that is read piece by piece.

Role: the `SceneSource` Protocol, the `Chunk` that it hands out, the plan of chunks over a scene, the limits on what is
accepted, and `ArraySource` for pixels that are already in memory. It leaves files and their formats to
`onboard.adapters.scene_files`, the tile grid to `algorithms.tiling`, and what is done with a tile to `onboard.pipeline`.

The order of chunks. Rows of tiles are grouped into bands, columns of tiles into stretches; a chunk is the rectangle that covers
one band's and one stretch's tiles. Chunks come band by band from top to bottom, and in a band from left to right. So after the
last chunk of a band nothing above the next band's first row is seen again, and what must be kept is bounded by a band, whatever
the scene's size. Neighbouring chunks share the pixels by which tiles overlap; no window comes twice.

Padding. A chunk holds real pixels only. A tile that reaches over the scene's right or bottom border is padded when it is cut
(`Chunk.cut`, by `algorithms.tiling.cut_tile`). Pixels without a value (nodata, masked, not a number) are marked in `valid`, and
hold `PAD_VALUE`, so that a network sees there what it sees beyond the border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.tiling import PAD_VALUE, cut_tile, tile_starts
from orbitloop.errors import ImageError
from orbitloop.records.scene import GeoMapping, TileWindow

CHUNK_PX = 2048
"""Side of a chunk, unless one tile is larger: 12.6 MB of RGB, 36 tiles of 416 px with an overlap of 64."""


@dataclass(frozen=True, slots=True)
class SceneLimits:
    """What a scene file may ask for; the defaults take a 100,000 x 100,000 mosaic and refuse what cannot be read in pieces.

    `side_px` and `pixels` bound the claimed size, and with it the time; `bands` the channels; `block_bytes` what one strip or
    tile of a TIFF may decode to, since it is decoded at once; `blocks` how many of them there may be (their index is held in
    memory); `whole_bytes` what a picture may take that can only be decoded as a whole (progressive JPEG, interlaced PNG, and
    every picture when the extra `geo` is not installed); `band_bytes` the rows that are kept of a file that is read from top to
    bottom.
    """

    side_px: int = 200_000
    pixels: int = 10_000_000_000
    bands: int = 64
    block_bytes: int = 64 << 20
    blocks: int = 4_000_000
    whole_bytes: int = 96 << 20
    band_bytes: int = 96 << 20

    def check_size(self, width_px: int, height_px: int, where: str) -> None:
        """See that a claimed size is one that we read.

        Raises:
            ImageError: it is empty or over a limit.
        """
        if width_px < 1 or height_px < 1:
            raise ImageError(f"scene of {width_px} x {height_px} px has no pixels", where=where)
        if max(width_px, height_px) > self.side_px or width_px * height_px > self.pixels:
            raise ImageError(
                f"scene of {width_px} x {height_px} px is over the limit of {self.side_px} px a side, {self.pixels} px in all",
                where=where,
                remedy="cut it into parts, or raise the limit if the file can be trusted",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A rectangle of a scene, read at once, and the tile windows that it covers.

    `windows` are in scene pixels, row by row. `x_px`, `y_px` is where `pixels` (h, w, 3) uint8 RGB begin in the scene. `valid`
    is (h, w) bool, False where the scene has no value; None when every pixel has one.
    """

    windows: tuple[TileWindow, ...]
    x_px: int
    y_px: int
    pixels: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.bool_] | None = None

    def cut(self, window: TileWindow, pad_value: int = PAD_VALUE) -> npt.NDArray[np.uint8]:
        """Return one of the chunk's windows as a contiguous (height, width, 3) copy, padded where it leaves the scene.

        Raises:
            ValueError: the window does not start inside the chunk.
        """
        return cut_tile(self.pixels, self._inside(window), pad_value)

    def valid_share(self, window: TileWindow) -> float:
        """Return the share, 0..1, of a window's pixels that lie in the scene and have a value."""
        here = self._inside(window)
        rows = slice(here.y_px, here.y_px + here.height_px)
        columns = slice(here.x_px, here.x_px + here.width_px)
        seen = self.pixels[rows, columns, 0].size if self.valid is None else int(np.count_nonzero(self.valid[rows, columns]))
        return seen / (window.width_px * window.height_px)

    def _inside(self, window: TileWindow) -> TileWindow:
        return TileWindow(window.x_px - self.x_px, window.y_px - self.y_px, window.width_px, window.height_px)


class SceneSource(Protocol):
    """A scene that can be read; a context manager, which closes it."""

    @property
    def scene_id(self) -> str:
        """The scene's name."""

    @property
    def width_px(self) -> int:
        """Columns, above 0."""

    @property
    def height_px(self) -> int:
        """Rows, above 0."""

    @property
    def captured_at_s(self) -> float | None:
        """When it was taken, UTC seconds, if the source knows."""

    @property
    def geo(self) -> GeoMapping | None:
        """Where it lies, if the source knows."""

    def chunks(self, tile_px: int, overlap_px: int) -> Iterator[Chunk]:
        """Yield the scene in chunks, in the order of the module's docstring; each window of the tile grid comes exactly once.

        Iterating again reads again from the top. One iteration at a time.

        Raises:
            ImageError: a part of the scene cannot be read.
            ValueError: there is no grid of such tiles.
        """

    def close(self) -> None:
        """Let go of the file; twice does no harm."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """One chunk to be read: its windows, and the rectangle of real pixels that covers them."""

    windows: tuple[TileWindow, ...]
    x_px: int
    y_px: int
    width_px: int
    height_px: int


def plan_chunks(
    width_px: int,
    height_px: int,
    tile_px: int,
    overlap_px: int,
    *,
    chunk_width_px: int = CHUNK_PX,
    chunk_height_px: int = CHUNK_PX,
) -> Iterator[ChunkPlan]:
    """Yield the chunks of a scene in reading order; none is larger than asked for, unless one tile is.

    Raises:
        ValueError: a size is not positive, or the overlap is not in 0 .. `tile_px` - 1.
    """
    columns = _groups(tile_starts(width_px, tile_px, overlap_px), tile_px, chunk_width_px)
    for ys in _groups(tile_starts(height_px, tile_px, overlap_px), tile_px, chunk_height_px):
        for xs in columns:
            yield ChunkPlan(
                windows=tuple(TileWindow(x, y, tile_px, tile_px) for y in ys for x in xs),
                x_px=xs[0],
                y_px=ys[0],
                width_px=min(xs[-1] + tile_px, width_px) - xs[0],
                height_px=min(ys[-1] + tile_px, height_px) - ys[0],
            )


def _groups(starts: tuple[int, ...], tile_px: int, span_px: int) -> list[tuple[int, ...]]:
    """Group the ascending starts of one axis so that each group's tiles span `span_px` at most, and at least one tile."""
    groups: list[list[int]] = []
    for start in starts:
        if groups and start + tile_px - groups[-1][0] <= span_px:
            groups[-1].append(start)
        else:
            groups.append([start])
    return [tuple(group) for group in groups]


@dataclass(frozen=True, slots=True, eq=False)
class ArraySource:
    """A scene whose pixels are in memory; its chunks are views of them.

    Args:
        pixels: (height, width, 3) uint8 RGB.
        scene_id: the scene's name.
        geo: where it lies, or None.
        captured_at_s: when it was taken, UTC seconds, or None.
        valid: (height, width) bool, False where there is no value; None when every pixel has one.

    Raises:
        ImageError: an array has another shape or type, or no pixels.
    """

    pixels: npt.NDArray[np.uint8]
    scene_id: str
    geo: GeoMapping | None = None
    captured_at_s: float | None = None
    valid: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ImageError(f"pixels of {self.pixels.dtype} {shape} are no RGB scene", where=self.scene_id)
        if self.valid is not None and (self.valid.dtype != np.bool_ or self.valid.shape != shape[:2]):
            raise ImageError(f"mask of {self.valid.dtype} {self.valid.shape} does not fit {shape}", where=self.scene_id)

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])

    def chunks(self, tile_px: int, overlap_px: int) -> Iterator[Chunk]:
        for plan in plan_chunks(self.width_px, self.height_px, tile_px, overlap_px):
            rows = slice(plan.y_px, plan.y_px + plan.height_px)
            columns = slice(plan.x_px, plan.x_px + plan.width_px)
            valid = None if self.valid is None else self.valid[rows, columns]
            yield Chunk(plan.windows, plan.x_px, plan.y_px, self.pixels[rows, columns], valid)

    def close(self) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.close()
