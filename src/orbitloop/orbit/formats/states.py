"""What OPM and OEM share: frames, units, and the lower triangle of a covariance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from orbitloop.errors import OrbitloopError
from orbitloop.orbit.formats.fields import FieldReader
from orbitloop.orbit.formats.ndm import COVARIANCE_KEYWORDS, Field
from orbitloop.orbit.frames import FloatArray

POSITION_UNITS: Final[Mapping[str, float]] = {"km": 1.0}
VELOCITY_UNITS: Final[Mapping[str, float]] = {"km/s": 1.0}
STATE_KEYWORDS: Final = ("X", "Y", "Z", "X_DOT", "Y_DOT", "Z_DOT")
_COVARIANCE_UNITS = ("km**2", "km**2/s", "km**2/s**2")
LIMIT: Final = 1e12
"""Numbers beyond this in a state or a covariance are refused: no orbit and no doubt is so large."""


@dataclass(frozen=True, slots=True, eq=False)
class StateCovariance:
    """Covariance (6, 6) of position and velocity, km and km/s, in `frame` (that of the states, or RTN, RSW, TNW)."""

    epoch_s: float
    frame: str
    matrix: FloatArray


def covariance_of(reader: FieldReader, epoch_s: float, default_frame: str) -> StateCovariance:
    """Read the 21 keywords of a covariance.

    Raises:
        OrbitloopError: of the reader's class: a keyword is missing, or its number is out of range.
    """
    values = [
        reader.number(keyword, -LIMIT, LIMIT, units={_unit(at): 1.0})
        for at, keyword in zip(_PLACES, COVARIANCE_KEYWORDS, strict=True)
    ]
    return StateCovariance(epoch_s, reader.text("COV_REF_FRAME", default_frame), from_triangle(values))


def covariance_fields(covariance: StateCovariance, states_frame: str) -> Iterator[Field]:
    """Yield a covariance as fields; the frame only where it is not that of the states."""
    group = "covarianceMatrix"
    if covariance.frame != states_frame:
        yield Field("COV_REF_FRAME", covariance.frame, group=group)
    for at, keyword in zip(_PLACES, COVARIANCE_KEYWORDS, strict=True):
        yield Field(keyword, repr(float(covariance.matrix[at])), _unit(at), group=group)


_PLACES = tuple((row, column) for row in range(6) for column in range(row + 1))


def _unit(at: tuple[int, int]) -> str:
    return _COVARIANCE_UNITS[(at[0] >= 3) + (at[1] >= 3)]


def from_triangle(values: list[float]) -> FloatArray:
    """Return the symmetric matrix (6, 6) of the 21 numbers of its lower triangle, row by row."""
    matrix = np.zeros((6, 6))
    for (row, column), value in zip(_PLACES, values, strict=True):
        matrix[row, column] = matrix[column, row] = value
    return matrix


def triangle_rows(matrix: FloatArray) -> Iterator[str]:
    """Yield the lower triangle as the six lines of an OEM in KVN."""
    for row in range(6):
        yield " ".join(repr(float(matrix[row, column])) for column in range(row + 1))


def checked(values: list[float], fail: Callable[[str], OrbitloopError]) -> list[float]:
    """Return the numbers when all are in bounds.

    Raises:
        OrbitloopError: what `fail` returns.
    """
    for value in values:
        if not abs(value) < LIMIT:
            raise fail(f"{value:g} is out of range")
    return values
