"""Is the satellite still there? Suspicion that grows with each pass in which it was not heard, not with the hours between.

A phi-accrual failure detector (Hayashibara et al. 2004): phi = -log10 P(this silence | alive). There a heartbeat may come at
any time and P is the tail of the intervals between heartbeats. A satellite can only be heard in a planned pass, so here each
pass is one chance, heard with its own probability p, and the silence is a run of missed passes:

    phi = - sum over the missed passes of log10(1 - u p)

where u is the probability that the station works, given all that was heard through it. A station that fails makes all
satellites silent at once and must accuse none of them. Each station is a two-state chain, up and down, with an outage rate
and a repair rate: u relaxes to its rest value between passes; a pass that is heard sets u = 1; a missed one lowers it, for
the satellite itself under the hypothesis that it lives (Bayes: u (1 - p) / (1 - u p)), for all others by how much that
satellite is believed to live. So a satellite with one station is not declared dead by that station's outage until the outage
itself is improbably long.

Threshold from a wished false-alarm rate: a run of misses that begins at a given pass ever reaches phi >= F with probability
at most 10^-F when the probabilities are right (it reaches F first at one length only), so over N passes a year at most N
10^-F false alarms come: F = log10(N / wished). It errs to the safe side, as the increments are coarse.

p comes from the elevation and the link's loss, corrected by history: a Beta count for each elevation band with the prior's
weight. Verdicts: alive, suspected, failed; the first pass that is heard makes it alive again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.health.packing import pack_array, unpack_array
from orbitloop.errors import TelemetryError

FloatArray = npt.NDArray[np.float64]
BANDS_DEG = (0.0, 15.0, 30.0, 90.1)
"""Bands of a pass's highest elevation, within which passes are alike."""
MOST_CERTAIN = 0.995
"""No pass is trusted more than this: the antenna may be on another target."""


class Verdict(StrEnum):
    """What is thought of a satellite."""

    ALIVE = "alive"
    """Heard, or missed no more than chance would have it."""
    SUSPECTED = "suspected"
    """More silent than a living one should be: look, do not act."""
    FAILED = "failed"
    """As silent as a living one is once in years: plan without it."""


@dataclass(frozen=True, slots=True)
class BeaconSettings:
    """What is wished and what is assumed.

    Raises:
        ValueError: a number is out of range.
    """

    suspected_per_year: float = 0.5
    """Wished false suspicions per satellite-year."""
    failed_per_year: float = 0.02
    """Wished false declarations of failure per satellite-year."""
    heard: tuple[float, float, float] = (0.85, 0.93, 0.97)
    """Probability that a pass is heard, by band of elevation, before there is history."""
    prior_weight: float = 20.0
    """Passes that the numbers above are worth."""
    outages_per_year: float = 6.0
    """Outages of a station per year."""
    outage_hours: float = 12.0
    """Mean length of one, hours."""

    def __post_init__(self) -> None:
        rates = (self.suspected_per_year, self.failed_per_year, self.prior_weight, self.outages_per_year, self.outage_hours)
        if not all(math.isfinite(r) and r > 0 for r in rates) or not all(0 < p < 1 for p in self.heard):
            raise ValueError("rates and weights lie over 0, probabilities in 0..1")
        if self.failed_per_year > self.suspected_per_year:
            raise ValueError("a failure must be rarer than a suspicion")


@dataclass(frozen=True, slots=True)
class PassOutcome:
    """A planned pass that is over: whose, over which station, how high, and whether anything was heard.

    `weight` scales the probability of being heard (a pass cut short, a link with loss); `tried` is false where the station did
    not even listen, so that the pass says nothing.
    """

    satellite: str
    station: str
    at_s: float
    max_elevation_deg: float
    heard: bool
    weight: float = 1.0
    tried: bool = True


@dataclass(frozen=True, slots=True)
class BeaconState:
    """What is thought of one satellite after a pass."""

    satellite: str
    at_s: float
    phi: float
    verdict: Verdict
    missed: int
    """Passes missed in a row."""
    changed: bool
    """Whether the verdict is another one than before this pass."""


class BeaconMonitor:
    """All satellites and stations of a mission, pass by pass in the order of time."""

    def __init__(
        self, satellites: Sequence[str], stations: Sequence[str], passes_per_year: float, settings: BeaconSettings | None = None
    ) -> None:
        """Watch satellites that have so many planned passes a year, each.

        Raises:
            ValueError: no satellite, no station, or no pass.
        """
        if not satellites or not stations or not passes_per_year > 0:
            raise ValueError("a satellite, a station and a pass a year are the least")
        self._settings = settings or BeaconSettings()
        self._satellites = {name: n for n, name in enumerate(satellites)}
        self._stations = {name: n for n, name in enumerate(stations)}
        self.suspected_phi = max(0.5, math.log10(passes_per_year / self._settings.suspected_per_year))
        self.failed_phi = max(self.suspected_phi, math.log10(passes_per_year / self._settings.failed_per_year))
        many, places = len(self._satellites), len(self._stations)
        down_per_s = self._settings.outages_per_year / (365.25 * 86400)
        up_per_s = 1 / (self._settings.outage_hours * 3600)
        self._rest, self._relax_per_s = up_per_s / (up_per_s + down_per_s), up_per_s + down_per_s
        self._up: FloatArray = np.full((many, places), self._rest)
        self._seen_s: FloatArray = np.full(places, np.nan)
        self._phi: FloatArray = np.zeros(many)
        self._missed = np.zeros(many)
        weight = self._settings.prior_weight
        self._heard_counts: FloatArray = np.outer(weight * np.array(self._settings.heard), np.ones(places))
        self._tried_counts: FloatArray = np.full((len(BANDS_DEG) - 1, places), weight)
        self._at_s = -math.inf

    def verdict(self, satellite: str) -> Verdict:
        """Return what is thought of a satellite now."""
        phi = self._phi[self._satellites[satellite]]
        return Verdict.FAILED if phi >= self.failed_phi else Verdict.SUSPECTED if phi >= self.suspected_phi else Verdict.ALIVE

    def phi(self, satellite: str) -> float:
        """Return a satellite's suspicion."""
        return float(self._phi[self._satellites[satellite]])

    def station_up(self, station: str) -> float:
        """Return the probability that a station works, in the eyes of the satellite that is least silent."""
        return float(self._up[int(np.argmin(self._phi)), self._stations[station]])

    def probability(self, station: str, max_elevation_deg: float) -> float:
        """Return the probability that a pass is heard, satellite and station being well: prior and history."""
        band, s = self._band(max_elevation_deg), self._stations[station]
        return min(MOST_CERTAIN, float(self._heard_counts[band, s] / self._tried_counts[band, s]))

    def take(self, outcome: PassOutcome) -> BeaconState:
        """Take the outcome of the next pass.

        Raises:
            TelemetryError: an unknown satellite or station, or a pass before the last one.
        """
        if outcome.satellite not in self._satellites or outcome.station not in self._stations:
            raise TelemetryError(f"{outcome.satellite!r} over {outcome.station!r} is not watched", where="beacons")
        if not (math.isfinite(outcome.at_s) and outcome.at_s >= self._at_s):
            raise TelemetryError("passes must come in the order of time", where="beacons", remedy="sort them by their end")
        self._at_s = outcome.at_s
        k, s = self._satellites[outcome.satellite], self._stations[outcome.station]
        was = self.verdict(outcome.satellite)
        if outcome.tried:
            self._relax(s, outcome.at_s)
            p = self.probability(outcome.station, outcome.max_elevation_deg) * min(1.0, max(0.0, outcome.weight))
            if outcome.heard:
                self._hear(k, s, outcome)
            else:
                self._miss(k, s, p, outcome)
        now = self.verdict(outcome.satellite)
        return BeaconState(outcome.satellite, outcome.at_s, float(self._phi[k]), now, int(self._missed[k]), now != was)

    def _relax(self, s: int, at_s: float) -> None:
        """Let the station's state go towards its rest between two looks at it."""
        if math.isfinite(self._seen_s[s]):
            left = math.exp(-self._relax_per_s * (at_s - self._seen_s[s]))
            self._up[:, s] = self._rest + (self._up[:, s] - self._rest) * left
        self._seen_s[s] = at_s

    def _hear(self, k: int, s: int, outcome: PassOutcome) -> None:
        self._count(s, outcome, heard=1.0, tried=1.0)
        self._up[:, s] = 1.0
        self._phi[k] = 0.0
        self._missed[k] = 0

    def _miss(self, k: int, s: int, p: float, outcome: PassOutcome) -> None:
        mine = self._up[k, s]
        lives = 1.0 / (1.0 + 10.0 ** min(self._phi[k] - self.suspected_phi, 300.0))
        # A miss counts for history as far as satellite and station were likely well.
        well = lives * mine * (1 - p) / (1 - mine * p)
        self._count(s, outcome, heard=0.0, tried=well)
        self._phi[k] -= math.log10(1.0 - mine * p)
        self._missed[k] += 1
        others = lives * p
        self._up[:, s] *= (1 - others) / (1 - self._up[:, s] * others)
        self._up[k, s] = mine * (1 - p) / (1 - mine * p)

    def _count(self, s: int, outcome: PassOutcome, heard: float, tried: float) -> None:
        if outcome.weight < 1:
            return  # a pass cut short tells of its own shortness, not of the band
        band = self._band(outcome.max_elevation_deg)
        self._heard_counts[band, s] += heard
        self._tried_counts[band, s] += tried

    def _band(self, elevation_deg: float) -> int:
        return max(0, min(len(BANDS_DEG) - 2, int(np.searchsorted(BANDS_DEG, elevation_deg, side="right")) - 1))

    def to_json(self) -> dict[str, Any]:
        arrays = {"up": self._up, "phi": self._phi, "missed": self._missed}
        arrays |= {"heard": self._heard_counts, "tried": self._tried_counts}
        packed = {name: pack_array(array) for name, array in arrays.items()}
        seen = [None if math.isnan(t) else t for t in self._seen_s.tolist()]
        at_s = self._at_s if math.isfinite(self._at_s) else None
        return packed | {"satellites": list(self._satellites), "stations": list(self._stations), "seen_s": seen, "at_s": at_s}

    def restore(self, state: Any) -> None:
        """Take up what `to_json` gave.

        Raises:
            TelemetryError: malformed, or of other satellites or stations.
        """
        where = "beacon state"
        many, places, bands = len(self._satellites), len(self._stations), len(BANDS_DEG) - 1
        try:
            if list(self._satellites) != state["satellites"] or list(self._stations) != state["stations"]:
                raise ValueError("it is of other satellites or stations")
            seen = np.array([math.nan if t is None else float(t) for t in state["seen_s"]])
            at_s = -math.inf if state["at_s"] is None else float(state["at_s"])
            if seen.shape != (places,) or np.isinf(seen).any() or math.isnan(at_s):
                raise ValueError("its times are out of range")
            wanted = {
                "up": (many, places),
                "phi": (many,),
                "missed": (many,),
                "heard": (bands, places),
                "tried": (bands, places),
            }
            packed = {name: state[name] for name in wanted}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise TelemetryError(f"saved beacons are malformed ({error})", where=where) from error
        arrays = {name: unpack_array(packed[name], shape, where).astype(np.float64) for name, shape in wanted.items()}
        if any((a < 0).any() for a in arrays.values()) or (arrays["up"] > 1).any() or (arrays["tried"] <= 0).any():
            raise TelemetryError("saved beacons hold what cannot be", where=where)
        self._up, self._phi, self._missed = arrays["up"], arrays["phi"], arrays["missed"]
        self._heard_counts, self._tried_counts = arrays["heard"], arrays["tried"]
        self._seen_s, self._at_s = seen, at_s
