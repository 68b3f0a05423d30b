"""Cut a scene into equal, overlapping square tiles: the one grid that satellite and ground share.

Training, evaluation and on-board inference must look at the same windows, so the grid is a pure function of sizes. It leaves
to others what is done with a tile: labels (`ground.datasets.load`), inference and the merge over tile borders (`onboard`).

The grid along one axis: tiles start every `tile - overlap` pixels; the last one is pulled back so that it ends at the border,
which makes its overlap larger and never leaves a sliver. An axis shorter than a tile has one window that starts at 0 and
reaches over the border; `cut_tile` pads it at the right and bottom.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.records.scene import TileWindow

PAD_VALUE = 114
"""Grey of the padding, the value that YOLO's letterbox uses; `records.model.Preprocessing.pad_value` has the same default."""


def tile_starts(length_px: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    """Return where the tiles of one axis begin, ascending; at least one.

    Raises:
        ValueError: `length_px` or `tile_px` is not positive, or the overlap is not in 0 .. `tile_px` - 1.
    """
    if length_px < 1 or tile_px < 1 or not 0 <= overlap_px < tile_px:
        raise ValueError(f"no tile grid for length {length_px}, tile {tile_px}, overlap {overlap_px} px")
    last = max(0, length_px - tile_px)
    return (*range(0, last, tile_px - overlap_px), last)


def tile_windows(width_px: int, height_px: int, tile_px: int, overlap_px: int) -> list[TileWindow]:
    """Return the windows of a scene, row by row, each `tile_px` x `tile_px`; together they cover every pixel.

    Raises:
        ValueError: a size is not positive, or the overlap is not in 0 .. `tile_px` - 1.
    """
    rows = tile_starts(height_px, tile_px, overlap_px)
    columns = tile_starts(width_px, tile_px, overlap_px)
    return [TileWindow(x, y, tile_px, tile_px) for y in rows for x in columns]


def cut_tile(pixels: npt.NDArray[np.uint8], window: TileWindow, pad_value: int = PAD_VALUE) -> npt.NDArray[np.uint8]:
    """Return the window's (height, width, 3) pixels as a contiguous copy; what lies right of or below the scene is `pad_value`.

    Args:
        pixels: (height, width, 3) uint8 of the whole scene.
        window: starts inside the scene; it may reach over its right and bottom border.
        pad_value: 0..255, the same in each channel.

    Raises:
        ValueError: the window is empty or starts outside the scene.
    """
    if window.width_px < 1 or window.height_px < 1:
        raise ValueError(f"{window} is empty")
    tile = np.empty((window.height_px, window.width_px, *pixels.shape[2:]), pixels.dtype)
    cut_into(tile, pixels, window.x_px, window.y_px, pad_value)
    return tile


def cut_into(
    tile: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8], x_px: int, y_px: int, pad_value: int = PAD_VALUE
) -> None:
    """Fill `tile` (h, w, 3) with the pixels from `x_px`, `y_px` on, as `cut_tile` does, and copy nothing else.

    Raises:
        ValueError: the place is outside the scene.
    """
    height_px, width_px = pixels.shape[:2]
    if not (0 <= x_px < width_px and 0 <= y_px < height_px):
        raise ValueError(f"a tile at {x_px}, {y_px} does not start inside a scene of {width_px} x {height_px} px")
    part = pixels[y_px : y_px + tile.shape[0], x_px : x_px + tile.shape[1]]
    height, width = part.shape[:2]
    tile[:height, :width] = part
    tile[height:] = pad_value
    tile[:height, width:] = pad_value
