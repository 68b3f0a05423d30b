"""Collision probability by counting: orbits drawn from both clouds, flown through the encounter, first collisions counted.

Nothing is assumed but what the covariance says at closest approach and two-body motion: elements are drawn normally (as Hall
et al. 2018, AAS 18-244, draw them), and whether a pair collides is decided by bounds, not by a time step (`sampling.kernels`).
Unlike Nc of `pc3d`, this is the probability of at least one collision. The interval is Clopper & Pearson's (1934), exact
for a count. It converges as one over the root of the hits: a relative error of 10 % wants 400 hits, so 4e7 draws at 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.cloud import cloud_of, half_revolution_s, risk_window_s
from orbitloop.orbit.conjunction.covariance import root_of
from orbitloop.orbit.conjunction.encounter import Encounter
from orbitloop.orbit.frames import FloatArray

_CHUNK = 20_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class CountedProbability:
    """What the count says: `value` with its interval at 95 %.

    `hits` of `samples` collided; `unbound` draws were on no orbit and count as no collision. `hit_times_s` (hits,) are seconds
    after closest approach. `window_s` is what was flown.
    """

    value: float
    low: float
    high: float
    hits: int
    samples: int
    unbound: int
    hit_times_s: FloatArray
    window_s: tuple[float, float]


def pc_monte_carlo(
    encounter: Encounter,
    rng: np.random.Generator,
    *,
    samples: int = 1_000_000,
    relative_error: float | None = None,
    half_window_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CountedProbability:
    """Draw and count.

    Args:
        encounter: with both covariances.
        rng: where chance comes from.
        samples: pairs drawn, at most.
        relative_error: stop as soon as half of the 95 % interval is below this share of the value.
        half_window_s: as for `pc3d`.
        progress: called with (drawn, samples) now and then.

    Raises:
        ConjunctionError: an object has no covariance, or is not on an orbit around the Earth; numba is not installed; or
            `samples` is below one.
    """
    if samples < 1:
        raise ConjunctionError(f"{samples} samples say nothing", remedy="draw at least some thousands")
    try:
        from orbitloop.orbit.conjunction.sampling import kernels
    except ImportError as error:
        raise ConjunctionError("Monte Carlo needs numba", remedy="pip install 'orbitloop[space]'") from error
    first, second = cloud_of(encounter.primary), cloud_of(encounter.secondary)
    half_s = half_revolution_s(first, second) if half_window_s is None else half_window_s
    window = risk_window_s(encounter, first, second, half_s)
    root1, root2 = root_of(first.covariance), root_of(second.covariance)
    hits: list[FloatArray] = []
    count, drawn, unbound = 0, 0, 0
    times = np.empty(_CHUNK)
    while drawn < samples:
        part = min(_CHUNK, samples - drawn)
        kernels.first_hits(
            rng.standard_normal((part, 12)), first.mean, root1, float(first.sign), second.mean, root2, float(second.sign),
            window[0], window[1], encounter.hard_body_radius_km, times[:part],
        )  # fmt: skip
        found = times[:part]
        hits.append(found[np.isfinite(found)])
        count += len(hits[-1])
        unbound += int(np.isneginf(found).sum())
        drawn += part
        if progress is not None:
            progress(drawn, samples)
        if relative_error is not None and count:
            low, high = clopper_pearson(count, drawn)
            if (high - low) / 2 <= relative_error * count / drawn:
                break
    low, high = clopper_pearson(count, drawn)
    return CountedProbability(count / drawn, low, high, count, drawn, unbound, np.concatenate(hits), window)


def clopper_pearson(hits: int, samples: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval of a probability of which `hits` of `samples` came true (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, samples - hits + 1, tail))
    high = 1.0 if hits == samples else float(betaincinv(hits + 1, samples - hits, 1 - tail))
    return low, high


def samples_for(probability: float, relative_error: float) -> int:
    """Return how many draws bring half of the 95 % interval below a share of the value."""
    if not 0 < probability <= 1:
        raise ValueError(f"a probability of {probability} cannot be counted")
    return math.ceil((1.96 / relative_error) ** 2 * (1 - probability) / probability) if probability < 1 else 1
