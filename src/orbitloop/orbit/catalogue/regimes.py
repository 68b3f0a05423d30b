"""What kind of orbit, what kind of object, how old is a set: the words that a catalogue is filtered by.

Regimes are those of ESA's Annual Space Environment Report (table 1.1), by heights of perigee and apogee over 6378.137 km of
the mean (Brouwer) orbit. Kinds of object are read from the name as the catalogue writes it (`DEB`, `R/B`), which is a
convention and not a fact. Ages are judged by regime: the figures are a convention of ours, after the 1 to 3 km a day by
which a set of low orbit goes wrong (Vallado & Cefola 2012, IAC-12.C1.6.12) and the much slower loss above.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.earth import WGS72_J2, WGS72_RADIUS_KM
from orbitloop.orbit.elements import DAY_S, Elements
from orbitloop.orbit.frames import EARTH_RADIUS_KM, FloatArray

Regime = Literal["LEO", "MEO", "GEO", "IGO", "GTO", "HEO", "LMO", "other"]
Kind = Literal["payload", "debris", "rocket body", "unknown"]
REGIMES: Final[tuple[Regime, ...]] = ("LEO", "MEO", "GEO", "IGO", "GTO", "HEO", "LMO", "other")
KINDS: Final[tuple[Kind, ...]] = ("payload", "debris", "rocket body", "unknown")

_KE = 0.074_366_916_133_173_42  # sqrt(GM) in Earth radii^1.5 per minute, WGS-72 (Spacetrack Report No. 3)

_OLD_D: dict[str, tuple[float, float]] = {"LEO": (3.0, 7.0), "GTO": (3.0, 7.0), "LMO": (3.0, 7.0), "HEO": (5.0, 14.0)}
_OLD_ELSEWHERE_D = (7.0, 21.0)

_DEBRIS = re.compile(r"\bDEB\b|\bDEBRIS\b")
_ROCKET = re.compile(r"R/B|\bROCKET\b|\bAKM\b|\bPKM\b")
_UNKNOWN = re.compile(r"(?:TBA\b.*|UNKNOWN.*|OBJECT [A-Z]{1,3}|\d+)")


def mean_axis_km(elements: Iterable[Elements]) -> FloatArray:
    """Return the semi-major axes of the mean orbits, (N,) km: Kozai's mean motion of the sets turned into Brouwer's, WGS-72.

    Source: Hoots & Roehrich, Spacetrack Report No. 3, section 6, as SGP4 does it.
    """
    columns = [(e.mean_motion_rev_day, e.eccentricity, e.inclination_deg) for e in elements]
    table = np.array(columns, np.float64).reshape(-1, 3)
    motion = table[:, 0] * (2 * np.pi / 1440.0)
    shape = 1.0 - table[:, 1] ** 2
    bulge = 0.75 * WGS72_J2 * (3 * np.cos(np.radians(table[:, 2])) ** 2 - 1) / shape**1.5
    axis = (_KE / motion) ** (2 / 3)
    delta = bulge / axis**2
    delta = bulge / (axis * (1 - delta**2 - delta * (1 / 3 + 134 * delta**2 / 81))) ** 2
    return np.asarray((_KE / (motion / (1 + delta))) ** (2 / 3) * WGS72_RADIUS_KM)


def heights_km(elements: Iterable[Elements]) -> tuple[FloatArray, FloatArray]:
    """Return heights of perigee and of apogee of the mean orbits over the equator's radius, each (N,) km."""
    sets = list(elements)
    axis = mean_axis_km(sets)
    eccentricity = np.array([e.eccentricity for e in sets])
    return axis * (1 - eccentricity) - EARTH_RADIUS_KM, axis * (1 + eccentricity) - EARTH_RADIUS_KM


def regimes(elements: Iterable[Elements]) -> list[Regime]:
    """Return the regime of each set."""
    sets = list(elements)
    perigee, apogee = heights_km(sets)
    return [_regime(float(p), float(a), e) for p, a, e in zip(perigee, apogee, sets, strict=True)]


def _regime(perigee_km: float, apogee_km: float, elements: Elements) -> Regime:
    axis_km = (perigee_km + apogee_km) / 2 + EARTH_RADIUS_KM
    if apogee_km <= 2000:
        return "LEO"
    if perigee_km >= 35_586 and apogee_km <= 35_986 and elements.inclination_deg <= 25:
        return "GEO"
    if 37_948 <= axis_km <= 46_380 and elements.eccentricity < 0.25:
        return "IGO"
    if perigee_km < 2000 and 31_570 <= apogee_km <= 40_002 and elements.inclination_deg <= 90:
        return "GTO"
    if perigee_km < 31_570 and apogee_km > 40_002:
        return "HEO"
    if perigee_km >= 2000 and apogee_km <= 31_570:
        return "MEO"
    return "LMO" if perigee_km < 2000 and apogee_km <= 31_570 else "other"


def kind_of(name: str) -> Kind:
    """Return the kind of object that its name speaks of."""
    upper = name.upper()
    if _DEBRIS.search(upper):
        return "debris"
    if _ROCKET.search(upper):
        return "rocket body"
    return "unknown" if _UNKNOWN.fullmatch(upper) else "payload"


def age_warning(age_s: float, regime: str) -> str:
    """Return what a user must know about a set of this age; empty when it is fresh."""
    old_d, useless_d = _OLD_D.get(regime, _OLD_ELSEWHERE_D)
    age_d = age_s / DAY_S
    if age_d < -2.0:
        return f"epoch is {-age_d:.1f} days ahead"
    if age_d > useless_d:
        return f"{age_d:.1f} days old: positions are not to be relied on"
    return f"{age_d:.1f} days old: fetch a newer set" if age_d > old_d else ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects are asked for; what is not set accepts all. Names are shell patterns, or parts of names, in any case."""

    names: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    regimes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    older_than_d: float | None = None
    younger_than_d: float | None = None

    def apply(self, sets: Iterable[Elements], at_s: float) -> Iterator[tuple[Elements, Regime]]:
        """Yield the sets that are asked for, with their regimes; ages are counted at `at_s`."""
        everything = list(sets)
        for elements, regime in zip(everything, regimes(everything), strict=True):
            if self._wanted(elements, regime, (at_s - elements.epoch_s) / DAY_S):
                yield elements, regime

    def _wanted(self, elements: Elements, regime: str, age_d: float) -> bool:
        named = (self.names or self.numbers) and not (elements.norad_id in self.numbers or self._named(elements.name))
        return not (
            named
            or (self.regimes and regime not in self.regimes)
            or (self.kinds and kind_of(elements.name) not in self.kinds)
            or (self.older_than_d is not None and age_d < self.older_than_d)
            or (self.younger_than_d is not None and age_d > self.younger_than_d)
        )

    def _named(self, name: str) -> bool:
        upper = name.upper()
        return any(fnmatch.fnmatchcase(upper, p) or p in upper for p in (pattern.upper() for pattern in self.names))


def ages_d(sets: Iterable[Elements], at_s: float) -> npt.NDArray[np.float64]:
    """Return how old each set is at `at_s`, (N,) days."""
    return (at_s - np.array([e.epoch_s for e in sets], np.float64)) / DAY_S
