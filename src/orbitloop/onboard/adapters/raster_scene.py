"""A scene in a raster file, read piece by piece by rasterio (GDAL): GeoTIFF and COG, PNG, JPEG.

Role: a `SceneSource` whose memory does not grow with the scene. It leaves the fence around GDAL to `raster_fence`, bands and
values to `onboard.scene_values`, and the place on Earth to `raster_place`.

How it reads. A tiled file is read in chunks of about 2048 px square; a block on the border of two chunks is decoded again
unless GDAL's block cache still has it. A file of strips or scanlines (every PNG and JPEG) is read once, from top to bottom:
one row of tiles, full width, is kept; its lower rows, which overlap with the next row of tiles, are carried over and never
decoded again; chunks are copied out of it. Should such a band be over `SceneLimits.band_bytes`, strips are read in narrower
chunks (each strip as often as there are chunks side by side), and a PNG or JPEG is refused, since it would have to start from
the top each time.

What bounds it. Memory: one chunk or band, a slice of 4 MB of raw values with its conversions, one decoded block
(`SceneLimits.block_bytes`), GDAL's cache of 32 MB. Time: each block is decoded a bounded number of times, and the claimed size
is limited; a bomb costs no more than an honest scene of its claimed size, and the caller may stop after any chunk.

No value. `valid` is False where a mask or transparency band is 0, where all bands in use hold nodata, or any of them is not
finite. Blocks that a sparse TIFF leaves out read as nodata, or 0 when it names none.

Not for use by two threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.tiling import PAD_VALUE
from orbitloop.errors import ImageError
from orbitloop.onboard.adapters.raster_fence import fence, jpeg_damage_is_an_error, open_dataset
from orbitloop.onboard.adapters.raster_place import capture_time_s, mapping_of
from orbitloop.onboard.scene_values import Scale, check_stretch, choose_bands, stretch_limits
from orbitloop.onboard.scenes import CHUNK_PX, Chunk, ChunkPlan, SceneLimits, plan_chunks
from orbitloop.records.scene import GeoMapping

SLICE_BYTES = 4 << 20
_SAMPLE_PLACES = 5
_SAMPLES_A_PLACE = 4096
_Pixels = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the reader must know of a file's pixels.

    `bands` are numbers from 1, one or three. `block_rows` x `block_columns` is what is decoded at once. `nodata` has a value
    per band in use, None where it has none. `masked` says that a mask or transparency band exists. `palette` (N, 4) RGBA turns
    a band of indices into colours, else None.
    """

    width_px: int
    height_px: int
    dtype: np.dtype[Any]
    bands: tuple[int, ...]
    block_rows: int
    block_columns: int
    nodata: tuple[float | None, ...]
    masked: bool
    palette: _Pixels | None

    @property
    def by_rows(self) -> bool:
        """True when a block is as wide as the scene: strips and scanlines."""
        return self.block_columns >= self.width_px

    @property
    def partial(self) -> bool:
        """True when pixels without a value can occur."""
        some_nodata = any(value is not None for value in self.nodata)
        return self.masked or some_nodata or self.dtype.kind == "f" or self.palette is not None


def open_raster(
    path: Path,
    driver: Literal["GTiff", "PNG", "JPEG"],
    *,
    scene_id: str,
    bands: tuple[int, ...] | None,
    stretch: tuple[float, float] | None,
    limits: SceneLimits,
    bad_geo: Literal["refuse", "pixels"],
) -> RasterSource:
    """Open a resolved path as a scene; see `scene_files.open_scene` for the arguments.

    Raises:
        ImageError: the file is damaged, over a limit, of a kind of value that has no brightness, or lies nowhere on Earth.
    """
    where = str(path)
    if stretch is not None:
        stretch = check_stretch(stretch, where)
    dataset = open_dataset(path, driver)
    try:
        layout = _layout(dataset, bands, limits, where)
        try:
            geo = mapping_of(dataset, where)
        except ImageError:
            if bad_geo == "refuse":
                raise
            geo = None
        tags = _tags(dataset, where)
        return RasterSource(dataset, layout, where, scene_id, geo, capture_time_s(tags), stretch, limits, driver == "GTiff")
    except BaseException:
        _close(dataset, where)
        raise


def _layout(dataset: Any, asked: tuple[int, ...] | None, limits: SceneLimits, where: str) -> Layout:
    with fence(where, "read its header"):
        width, height, count = dataset.width, dataset.height, dataset.count
        limits.check_size(width, height, where)
        if count > limits.bands:
            raise ImageError(f"scene of {count} bands is over the limit of {limits.bands}", where=where)
        bands = choose_bands(asked, [c.name for c in dataset.colorinterp], dataset.descriptions, where)
        names = sorted({dataset.dtypes[band - 1] for band in bands})
        shapes = {dataset.block_shapes[band - 1] for band in bands}
        if len(names) != 1 or len(shapes) != 1 or not _is_real(name := names[0]):
            raise ImageError(
                f"values of {', '.join(names)} have no brightness, or the bands differ in type",
                where=where,
                remedy="make them real and of one type (gdal_translate -ot UInt16)",
            )
        rows, columns = shapes.pop()
        dtype = np.dtype(name)
        masked = any("per_dataset" in {flag.name for flag in dataset.mask_flag_enums[band - 1]} for band in bands)
        nodata = tuple(_comparable(dataset.nodatavals[band - 1], dtype) for band in bands)
        palette = None
        if len(bands) == 1 and dataset.colorinterp[bands[0] - 1].name == "palette" and dtype.kind == "u":
            palette = _palette(dataset.colormap(bands[0]), 1 << (8 * dtype.itemsize))
    block_bytes = rows * columns * dtype.itemsize * count
    if block_bytes > limits.block_bytes:
        raise ImageError(
            f"blocks of {columns} x {rows} px decode to {block_bytes} bytes, over the limit of {limits.block_bytes}",
            where=where,
            remedy="rewrite it as tiled (gdal_translate -co TILED=YES)",
        )
    if -(-width // columns) * -(-height // rows) > limits.blocks:
        raise ImageError(f"blocks of {columns} x {rows} px are too many", where=where, remedy="rewrite it with larger tiles")
    return Layout(width, height, dtype, bands, rows, columns, nodata, masked, palette)


def _is_real(name: str) -> bool:
    try:
        return np.dtype(name).kind in "iuf"
    except TypeError:
        return False  # GDAL's complex integers have no numpy type


def _comparable(nodata: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return a nodata value that a value of `dtype` can equal, else None; not-a-number is invalid by itself."""
    if nodata is None or not np.isfinite(nodata):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(nodata))
    info = np.iinfo(dtype)
    return nodata if float(nodata).is_integer() and info.min <= nodata <= info.max else None


def _palette(colours: dict[int, tuple[int, int, int, int]], size: int) -> _Pixels:
    table = np.zeros((size, 4), np.uint8)
    for index, colour in colours.items():
        if 0 <= index < size:
            table[index] = np.clip(colour, 0, 255)
    return table


def _tags(dataset: Any, where: str) -> dict[str, str]:
    try:
        with fence(where, "read its tags"):
            return {**dataset.tags(), **dataset.tags(ns="IMAGERY")}
    except ImageError:
        return {}  # a text that is not UTF-8: all that is lost is the time


def _close(dataset: Any, where: str) -> None:
    with fence(where, "close it"):
        dataset.close()


class RasterSource:
    """A raster file as a `SceneSource`; made by `open_raster`."""

    def __init__(
        self,
        dataset: Any,
        layout: Layout,
        where: str,
        scene_id: str,
        geo: GeoMapping | None,
        captured_at_s: float | None,
        stretch: tuple[float, float] | None,
        limits: SceneLimits,
        restartable: bool,
    ) -> None:
        self._dataset = dataset
        self._layout = layout
        self._where = where
        self._limits = limits
        self._restartable = restartable
        self.scene_id = scene_id
        self.width_px = layout.width_px
        self.height_px = layout.height_px
        self.geo = geo
        self.captured_at_s = captured_at_s
        self._stretch = stretch
        self._scale: Scale | None = None

    @property
    def bands(self) -> tuple[int, ...]:
        """The bands that are red, green and blue, or the one that is grey, numbered from 1."""
        return self._layout.bands

    @property
    def stretch(self) -> tuple[float, float] | None:
        """Black and white of this scene, in its own values; None where values are taken as they are. May read samples."""
        scale = self._ready_scale()
        return None if scale is None else (scale.low, scale.high)

    def chunks(self, tile_px: int, overlap_px: int) -> Iterator[Chunk]:
        """Yield the scene in chunks; see `SceneSource.chunks`.

        Raises:
            ImageError: a part cannot be read (the message names its rows and columns), or a row of tiles of a PNG or JPEG is
            over the limit of memory. ValueError: there is no grid of such tiles.
        """
        layout = self._layout
        size = (layout.width_px, layout.height_px, tile_px, overlap_px)
        if not layout.by_rows:
            return self._squares(plan_chunks(*size))
        row_bytes = min(tile_px, layout.height_px) * (4 if layout.partial else 3)
        if row_bytes * layout.width_px <= self._limits.band_bytes:
            return self._bands(plan_chunks(*size, chunk_height_px=tile_px), min(tile_px, layout.height_px))
        if not self._restartable:
            raise ImageError(
                f"a row of {tile_px} px tiles of {layout.width_px} px is over the limit of {self._limits.band_bytes} bytes",
                where=self._where,
                remedy="rewrite it as tiled GeoTIFF",
            )
        width = max(CHUNK_PX, self._limits.band_bytes // (2 * row_bytes))
        return self._squares(plan_chunks(*size, chunk_width_px=width, chunk_height_px=tile_px))

    def close(self) -> None:
        """Let go of the file; twice does no harm."""
        if not self._dataset.closed:
            _close(self._dataset, self._where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self.close()

    def _squares(self, plans: Iterator[ChunkPlan]) -> Iterator[Chunk]:
        for plan in plans:
            pixels, valid = self._room(plan.height_px, plan.width_px)
            self._fill(plan.x_px, plan.y_px, pixels, valid)
            yield Chunk(plan.windows, plan.x_px, plan.y_px, pixels, valid)
            del pixels, valid  # so that this chunk's memory is free, as far as we go, before the next one's is taken

    def _bands(self, plans: Iterator[ChunkPlan], rows: int) -> Iterator[Chunk]:
        pixels, valid = self._room(rows, self.width_px)
        top, end = 0, 0  # the rows of the scene that the band holds
        for plan in plans:
            if plan.y_px + plan.height_px > end:
                kept = max(0, end - plan.y_px)
                for row in range(kept):  # row by row: numpy would copy the overlapping part first
                    pixels[row] = pixels[row + plan.y_px - top]
                    if valid is not None:
                        valid[row] = valid[row + plan.y_px - top]
                top, end = plan.y_px, plan.y_px + plan.height_px
                fresh = slice(kept, plan.height_px)
                self._fill(0, top + kept, pixels[fresh], None if valid is None else valid[fresh])
            part = (slice(0, plan.height_px), slice(plan.x_px, plan.x_px + plan.width_px))
            copy = None if valid is None else valid[part].copy()
            yield Chunk(plan.windows, plan.x_px, plan.y_px, pixels[part].copy(), copy)

    def _room(self, rows: int, columns: int) -> tuple[_Pixels, _Mask | None]:
        valid = np.empty((rows, columns), np.bool_) if self._layout.partial else None
        return np.empty((rows, columns, 3), np.uint8), valid

    def _fill(self, x_px: int, y_px: int, pixels: _Pixels, valid: _Mask | None) -> None:
        """Read a rectangle of the scene into `pixels` and `valid`, slice by slice, each ending where a block ends if it can."""
        scale = self._ready_scale()
        layout = self._layout
        height, width = pixels.shape[:2]
        step = max(1, SLICE_BYTES // (width * len(layout.bands) * layout.dtype.itemsize))
        row = 0
        while row < height:
            stop = y_px + row + step
            if step >= layout.block_rows:
                stop -= stop % layout.block_rows
            stop = min(stop - y_px, height)
            raw, known = self._read(x_px, y_px + row, width, stop - row)
            part = pixels[row:stop]
            _colour(raw, scale, layout.palette, part)
            if known is not None and valid is not None:
                valid[row:stop] = known
                part[~known] = PAD_VALUE
            row = stop

    def _read(self, x_px: int, y_px: int, width: int, height: int) -> tuple[npt.NDArray[Any], _Mask | None]:
        """Return raw values (bands, height, width), and where they mean something (None: everywhere)."""
        layout = self._layout
        place = f"{self._where}, rows {y_px}..{y_px + height}, columns {x_px}..{x_px + width}"
        with fence(place, "read the scene"), jpeg_damage_is_an_error(place):
            from rasterio.windows import Window

            window = Window(x_px, y_px, width, height)
            raw = self._dataset.read(list(layout.bands), window=window)
            mask = self._dataset.read_masks(layout.bands[0], window=window) if layout.masked else None
        return raw, _known(raw, mask, layout) if layout.partial else None

    def _ready_scale(self) -> Scale | None:
        """Return how values become 8 bit, None for as they are; reads samples the first time, if it must."""
        layout = self._layout
        if layout.palette is not None or (self._stretch is None and layout.dtype == np.uint8):
            return None
        if self._scale is None:
            low, high = self._stretch or stretch_limits(self._samples(), layout.dtype)
            self._scale = Scale.of(low, high, layout.dtype)
        return self._scale

    def _samples(self) -> npt.NDArray[np.float64]:
        """Return values of 25 places, 4096 pixels at most each, evenly spread: the same ones each time."""
        layout = self._layout
        parts = []
        for x, y, width, height in _sample_windows(layout):
            raw, known = self._read(x, y, width, height)
            flat = raw.reshape(len(layout.bands), -1)
            if known is not None:
                flat = flat[:, known.ravel()]
            parts.append(flat[:, :: max(1, -(-flat.shape[1] // _SAMPLES_A_PLACE))].astype(np.float64).ravel())
        return np.concatenate(parts)


def _sample_windows(layout: Layout) -> list[tuple[int, int, int, int]]:
    """Return x, y, width and height of 25 places: spread over a tiled scene, or full rows from top to bottom."""
    if layout.by_rows:
        rows = max(1, min(4, _SAMPLES_A_PLACE // layout.width_px))
        ys = np.linspace(0, max(0, layout.height_px - rows), _SAMPLE_PLACES**2).astype(int)
        return [(0, int(y), layout.width_px, min(rows, layout.height_px)) for y in np.unique(ys)]
    width, height = min(256, layout.width_px, layout.block_columns), min(256, layout.height_px, layout.block_rows)
    # starts of blocks, so that a place is one block and no more
    places = []
    for y in np.linspace(0, (layout.height_px - 1) // layout.block_rows, _SAMPLE_PLACES).astype(int):
        for x in np.linspace(0, (layout.width_px - 1) // layout.block_columns, _SAMPLE_PLACES).astype(int):
            left, top = int(x) * layout.block_columns, int(y) * layout.block_rows
            places.append((left, top, min(width, layout.width_px - left), min(height, layout.height_px - top)))
    return sorted(set(places), key=lambda place: (place[1], place[0]))


def _known(raw: npt.NDArray[Any], mask: npt.NDArray[np.uint8] | None, layout: Layout) -> _Mask:
    known = np.ones(raw.shape[1:], np.bool_) if mask is None else mask != 0
    if layout.dtype.kind == "f":
        for band in raw:
            known &= np.isfinite(band)
    if layout.palette is not None:
        known &= layout.palette[raw[0], 3] != 0
    if all(value is not None for value in layout.nodata):
        absent = np.ones(raw.shape[1:], np.bool_)
        for band, value in zip(raw, layout.nodata, strict=True):
            absent &= band == layout.dtype.type(value)
        known &= ~absent
    return known


def _colour(raw: npt.NDArray[Any], scale: Scale | None, palette: _Pixels | None, out: _Pixels) -> None:
    """Write raw values (1 or 3, h, w) as RGB into `out` (h, w, 3)."""
    if palette is not None:
        out[...] = palette[raw[0], :3]
        return
    for channel in range(3):
        if channel < len(raw):
            out[..., channel] = raw[channel] if scale is None else scale.apply(raw[channel])
        else:
            out[..., channel] = out[..., 0]
