"""The first stage: which tiles are not worth the network's time. Numpy only, a hundredth of the network's cost or so.

Role: built-in screens (`plugins.kinds.Screen`). It leaves to the pipeline what becomes of a dropped tile (it is counted, and
has no detections) and when the memory is reset, and to `bench/bench_screening.py` what the rules cost in objects.

The rules look at a small picture of the tile: the mean grey of blocks of `BLOCK_PX` x `BLOCK_PX` pixels, in which noise is
small and an object of a block's size still stands out. They use extremes of it, never means, for a tile of open water with one
small bright spot is a ship. A tile that would go is looked at once more pixel by pixel: a ship of two pixels is a twentieth of
its brightness in a mean over blocks.

- Blank: too few pixels are picture (`min_valid_share`), or no block differs from one up to two blocks away by more than
  `blank_contrast`, and no pixel, in any channel, from the one two away by more than `blank_speck`.
- Cloud: nearly all blocks are bright, nearly all pixels colourless, and neither blocks nor pixels differ like that by more than
  `cloud_contrast`. Opaque cloud is soft at this scale; a roof, an apron or an object under thin cloud has an edge, and is
  kept. So is a cloud that leaves a part of the tile open. Whiteness as a test of cloud is Fmask's (Zhu and Woodcock 2012),
  whose infrared bands are not here: snow or salt without any structure is dropped as cloud too.
- Duplicate: every block is within `repeat_levels` of the same block of a tile kept before. An object that moved by a block
  fails that; the same scene read twice, or hardly changed by another encoding, does not.

Default thresholds were chosen on the base domains of the aircraft and ship missions and on cloud rendered over them:
`blank_contrast` and `blank_speck` where a higher one would drop hardly more empty tiles, a fifth of the weakest contrast of
any tile with an object there (42 levels, a ship); `cloud_brightness` where no such tile is as bright all over. What they cost
on the other domains stands in `docs/benchmarks.md`. A noisier sensor needs a higher `blank_speck`; with the default it keeps
more. Known limit: a spot of less than `cloud_contrast` on a bright, colourless and otherwise smooth ground is dropped as cloud.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orbitloop.records.screening import BLANK, CLOUD, DUPLICATE, KEPT, Screening

Tile = npt.NDArray[np.uint8]
Blocks = npt.NDArray[np.int16]

BLOCK_PX = 4
_SUMMED = 3 * BLOCK_PX * BLOCK_PX
"""Samples that one block's sum is of: three channels, so that a sum is `_SUMMED` times a grey level and fits int16."""
_DARK_SHARE = 0.02
_COLOURED_SHARE = 0.05
"""Shares of a clouded tile that may be dark or coloured all the same: speckles, a damaged line."""
_PROBES = 4
"""The memory is searched by `_PROBES` x `_PROBES` blocks of a tile, and compared in full where these agree."""

_BLANK, _CLOUD, _DUPLICATE = (Screening(False, reason) for reason in (BLANK, CLOUD, DUPLICATE))


class Cheap:
    """Drop tiles that are blank, clouded over, or repeats of one kept before."""

    summary = "Drops tiles that are blank, wholly clouded, or near-exact repeats of one of the last tiles kept."

    def __init__(
        self,
        min_valid_share: float = 0.01,
        blank_contrast: float = 8.0,
        blank_speck: float = 16.0,
        cloud_brightness: float = 140.0,
        cloud_colour: float = 30.0,
        cloud_contrast: float = 40.0,
        remember: int = 256,
        repeat_levels: int = 2,
    ) -> None:
        """Set the thresholds.

        Args:
            min_valid_share: a tile with a smaller share of picture is blank; 0..1.
            blank_contrast: grey levels; a tile whose blocks differ by no more from those up to two blocks away may be blank.
            blank_speck: levels of a channel; and is, when its pixels differ by no more from those two pixels away.
            cloud_brightness: grey levels that the blocks of a clouded tile reach.
            cloud_colour: most that the channels of a clouded pixel differ, grey levels.
            cloud_contrast: as `blank_contrast` and `blank_speck`, for a tile that is bright and grey.
            remember: tiles kept that repeats are looked for among, the oldest going first; 0 = look for none.
            repeat_levels: most that a block of a repeat differs from the same block of its first, grey levels.

        Raises:
            ValueError: a threshold is out of its range.
        """
        levels = (blank_contrast, blank_speck, cloud_brightness, cloud_colour, cloud_contrast, repeat_levels)
        if not (0 <= min_valid_share <= 1 and all(0 <= level <= 255 for level in levels)):
            raise ValueError("min_valid_share is in 0..1, and every threshold of contrast, brightness or colour in 0..255")
        if not 0 <= remember <= 65_536:
            raise ValueError("remember is in 0..65536")
        self.min_valid_share = min_valid_share
        self.blank_speck, self.cloud_colour, self.cloud_contrast = blank_speck, cloud_colour, cloud_contrast
        self._blank_sum, self._cloud_sum = blank_contrast * _SUMMED, cloud_contrast * _SUMMED
        self._bright_sum = cloud_brightness * _SUMMED
        self._memory = _Memory(remember, repeat_levels)

    def judge(self, tile: Tile, valid_share: float) -> Screening:
        """Judge one (S, S, 3) uint8 tile; a tile that is kept is remembered."""
        if valid_share < self.min_valid_share:
            return _BLANK
        blocks = block_sums(tile)
        contrast = contrast_sum(blocks)
        if contrast <= self._cloud_sum and self._clouded(tile, blocks):
            return _CLOUD
        if contrast <= self._blank_sum and speck(tile) <= self.blank_speck:
            return _BLANK
        return _DUPLICATE if self._memory.seen(blocks) else KEPT

    def judge_many(self, tiles: Tile, valid_shares: npt.NDArray[np.float64]) -> list[Screening]:
        """Judge (B, S, S, 3) uint8 tiles, one after the other: a batch has nothing to share."""
        return [self.judge(tile, float(share)) for tile, share in zip(tiles, valid_shares, strict=True)]

    def reset(self) -> None:
        """Forget the tiles that were kept."""
        self._memory.clear()

    def _clouded(self, tile: Tile, blocks: Blocks) -> bool:
        if np.count_nonzero(blocks < self._bright_sum) > _DARK_SHARE * blocks.size:
            return False
        pixels = tile[BLOCK_PX // 2 :: 2 * BLOCK_PX, BLOCK_PX // 2 :: 2 * BLOCK_PX]
        red, green, blue = (np.ascontiguousarray(pixels[:, :, channel]) for channel in range(3))
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        if np.count_nonzero(spread > self.cloud_colour) > _COLOURED_SHARE * spread.size:
            return False
        return speck(tile) <= self.cloud_contrast


class KeepAll:
    """Keep every tile: no first stage."""

    summary = "Keeps every tile."

    def judge(self, tile: Tile, valid_share: float) -> Screening:
        """Keep the tile."""
        return KEPT

    def judge_many(self, tiles: Tile, valid_shares: npt.NDArray[np.float64]) -> list[Screening]:
        """Keep the tiles."""
        return [KEPT] * len(tiles)

    def reset(self) -> None:
        """Nothing is remembered."""


def block_sums(tile: Tile) -> Blocks:
    """Return the sums over blocks of a (S, S, 3) tile and its channels: (S // 4, S // 4) int16, 48 times the mean level.

    Up to three rows and columns of pixels at the right and bottom are left out when S is no multiple of four; a tile smaller
    than a block is one block, filled up with its own last row and column.
    """
    if min(tile.shape[:2]) < BLOCK_PX:
        missing = [(0, max(0, BLOCK_PX - side)) for side in tile.shape[:2]]
        tile = np.pad(tile, (*missing, (0, 0)), mode="edge")
    height_px, width_px = (side // BLOCK_PX * BLOCK_PX for side in tile.shape[:2])
    # Whole rows first: there numpy adds long runs of memory, where a sum over little blocks would take it ten times as long.
    rows = tile[0:height_px:BLOCK_PX, :width_px].astype(np.int16)
    for offset in range(1, BLOCK_PX):
        rows += tile[offset:height_px:BLOCK_PX, :width_px]
    grey = rows[:, :, 0] + rows[:, :, 1]
    grey += rows[:, :, 2]
    blocks = grey[:, 0::BLOCK_PX] + grey[:, 1::BLOCK_PX]
    for offset in range(2, BLOCK_PX):
        blocks += grey[:, offset::BLOCK_PX]
    return blocks


def contrast_sum(blocks: Blocks) -> int:
    """Return the largest difference of two blocks that lie one or two apart in a row or a column; 0 for a single block."""
    largest = 0
    for apart in (1, 2):
        for difference in (blocks[apart:] - blocks[:-apart], blocks[:, apart:] - blocks[:, :-apart]):
            if difference.size:
                largest = max(largest, int(difference.max()), -int(difference.min()))
    return largest


def speck(tile: Tile) -> int:
    """Return the largest difference, in one channel, of two pixels two apart in a row or a column; 0 where there are none."""
    rows = tile.reshape(tile.shape[0], -1)  # a step of one pixel is three samples; long runs again
    largest = 0
    for one, other in ((rows[2:], rows[:-2]), (rows[:, 6:], rows[:, :-6])):
        if one.size:
            # Unsigned samples have no negative difference.
            largest = max(largest, int((np.maximum(one, other) - np.minimum(one, other)).max()))
    return largest


@dataclass(slots=True)
class _Memory:
    """The last `size` tiles kept, as mean levels of their blocks, in a ring that is overwritten from its oldest entry on."""

    size: int
    levels: int
    count: int = 0
    next: int = 0
    blocks: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    probes: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros((0, 0), np.int16))

    def seen(self, sums: Blocks) -> bool:
        """Say whether a tile repeats a remembered one; remember it if not."""
        if not self.size:
            return False
        levels = (sums // _SUMMED).astype(np.uint8)
        if levels.shape != self.blocks.shape[1:]:
            self._allot(levels.shape)
        # A few blocks of a repeat must agree if all do, so that this turns away no repeat.
        probe = levels[self._steps(levels.shape)].ravel().astype(np.int16)
        near = (np.abs(self.probes[: self.count] - probe) <= self.levels).all(axis=1)
        for i in np.flatnonzero(near):
            if (np.abs(self.blocks[i].astype(np.int16) - levels) <= self.levels).all():
                return True
        self.blocks[self.next], self.probes[self.next] = levels, probe
        self.next = (self.next + 1) % self.size
        self.count = min(self.count + 1, self.size)
        return False

    def clear(self) -> None:
        self.count = self.next = 0

    def _allot(self, shape: tuple[int, ...]) -> None:
        """Make room for tiles of another size; what was remembered cannot repeat in it."""
        self.clear()
        self.blocks = np.zeros((self.size, *shape), np.uint8)
        probe = self.blocks[0][self._steps(shape)]
        self.probes = np.zeros((self.size, probe.size), np.int16)

    @staticmethod
    def _steps(shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Choose the probed blocks, spread over the tile and off its border."""
        return tuple(slice(side // (2 * _PROBES), None, max(1, side // _PROBES)) for side in shape)
