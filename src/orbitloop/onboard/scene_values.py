"""From a sensor's values to the network's 8-bit RGB: which bands, and which value is black and which white.

Role: the choice of bands by what a file says of them, and the linear stretch to 8 bit. Pure numpy. It leaves the reading of
values to `onboard.adapters`.

Bands. Asked for by number (from 1), else by colour interpretation or by the descriptions red, green and blue, else the first
three; one band is shown as grey. A transparency band is never a colour. Two bands, or CMYK, say nothing of colour: the choice
is the caller's.

Values. uint8 is taken as it is. Every other type, and uint8 when a stretch is asked for, becomes `round(255 x (value - low) /
(high - low))`, clipped to 0..255. `low` and `high` are one pair for all bands and the whole scene: a pair per band would
change colours, a pair per chunk would draw edges into the scene that the network could see. By default they are the 2nd and
98th percentile of the samples that the reader takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ImageError

PERCENTILES = (2.0, 98.0)
_COLOURS = ("red", "green", "blue")


def choose_bands(
    asked: tuple[int, ...] | None, colours: Sequence[str], descriptions: Sequence[str | None], where: str
) -> tuple[int, ...]:
    """Return the three bands, numbered from 1, that are the model's red, green and blue; or one, which is shown as grey.

    Args:
        asked: the caller's choice, one or three numbers, or None.
        colours: colour interpretation of each band: `red`, `green`, `blue`, `alpha`, `gray`, `palette`, `undefined` ...
        descriptions: free name of each band, or None.
        where: the file, for messages.

    Raises:
        ImageError: there is no band, the asked ones do not exist, or the bands leave the choice open.
    """
    count = len(colours)
    if count == 0:
        raise ImageError("the scene has no bands", where=where)
    if asked is not None:
        if len(asked) not in (1, 3) or any(not 1 <= band <= count for band in asked):
            raise ImageError(f"bands {asked} of a scene of {count}", where=where, remedy=f"name one or three of 1..{count}")
        return asked
    for names in (list(colours), [(text or "").strip().lower() for text in descriptions]):
        if all(names.count(colour) == 1 for colour in _COLOURS):
            return tuple(names.index(colour) + 1 for colour in _COLOURS)
    usable = [band for band, colour in enumerate(colours, 1) if colour != "alpha"]
    if len(usable) in (0, 2) or {"cyan", "magenta", "yellow"} & set(colours):
        raise ImageError(
            f"cannot tell red, green and blue among {count} bands ({', '.join(colours)})",
            where=where,
            remedy="choose three, such as --bands 3,2,1, or one as grey, such as --bands 1",
        )
    return tuple(usable[:3]) if len(usable) > 2 else (usable[0],)


def check_stretch(stretch: tuple[float, float], where: str) -> tuple[float, float]:
    """Return the limits of a stretch as floats.

    Raises:
        ImageError: one is not finite, or they do not ascend.
    """
    low, high = float(stretch[0]), float(stretch[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ImageError(f"stretch from {low} to {high}", where=where, remedy="give two finite values, the lower one first")
    return low, high


def stretch_limits(samples: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return black and white of a scene by the 2nd and 98th percentile of its samples.

    Args:
        samples: (N,) finite values that mean something; N may be 0, then the limits are those of the type (0..1 for floats).
        dtype: type of the scene's values.
    """
    if samples.size == 0:
        if np.issubdtype(dtype, np.integer):
            return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
        return 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (float(value) for value in np.percentile(samples, PERCENTILES))
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return low, high
    low = low if math.isfinite(low) else 0.0  # a flat scene from here on: black, and no division by 0
    high = low + max(1.0, abs(low) * 1e-9)
    return (low, high) if math.isfinite(high) else (low / 2, low)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """A stretch, made ready for one type of value.

    `table` holds the answer for each value of an integer of 8 or 16 bit, indexed by its bits; None for wider types.
    """

    low: float
    high: float
    table: npt.NDArray[np.uint8] | None

    @classmethod
    def of(cls, low: float, high: float, dtype: np.dtype[Any]) -> Scale:
        """Make the stretch from `low` to `high` ready for values of `dtype`."""
        if not np.issubdtype(dtype, np.integer) or dtype.itemsize > 2:
            return cls(low, high, None)
        bits = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
        return cls(low, high, _stretched(bits.view(dtype).astype(np.float64), low, high))

    def apply(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """Return values of any shape as 8 bit; what is not a number comes out as some value and is masked by the caller."""
        if self.table is not None:
            looked_up: npt.NDArray[np.uint8] = self.table.take(values.view(f"u{values.dtype.itemsize}"), mode="clip")
            return looked_up
        return _stretched(values.astype(np.float64), self.low, self.high)


def _stretched(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    with np.errstate(over="ignore", invalid="ignore"):
        # halved, so that the difference of two huge values does not overflow
        shares = (values / 2 - low / 2) / (high / 2 - low / 2)
        np.nan_to_num(shares, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        grey: npt.NDArray[np.uint8] = np.rint(np.clip(shares, 0.0, 1.0, out=shares) * 255).astype(np.uint8)
    return grey
