"""What a satellite's battery will do: a forecast over days, revolution by revolution, and what to change where it falls short.

The physics is `energy`'s, step by step between the edges of shadows and loads. Here are the loads of a plan (what always flows,
a share of computing, sending in every contact), the books of each revolution, warnings with a remedy in numbers, and the
seasons: a revolution every few days over a year, since the sun's angle over the orbit's plane changes with months, not hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.energy import J_PER_WH, Harvest, Ledger, Load, PowerModel, Row, panel_power_w, settle, total
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.propagate import states
from orbitloop.orbit.sun import SUN_RADIUS_KM, beta_angle_deg, shadow_depth_rad, sun_position_km

_DAY_S = 86_400.0
_SEASON_POINTS = 720  # a revolution in steps of 8 s


@dataclass(frozen=True, slots=True)
class Revolution:
    """One revolution's books. `depth` is the greatest share of the capacity that was out of the battery."""

    number: int
    start_s: float
    end_s: float
    beta_deg: float
    sunlit_s: float
    ledger: Ledger
    min_soc: float
    end_soc: float

    @property
    def balance_wh(self) -> float:
        """What the panels could bring less what loads and losses take; below zero the battery ends lower by that much."""
        return (
            self.ledger.harvested_wh
            + self.ledger.spilled_wh
            - self.ledger.drawn_wh
            - self.ledger.unmet_wh
            - self.ledger.lost_wh
        )

    @property
    def depth(self) -> float:
        return 1.0 - self.min_soc


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Charge at `times_s` (T,), and means between them (each (T - 1,)): power offered by the panels, asked for by the loads,
    spilled and lost in the battery, and light.
    """

    power: PowerModel
    times_s: FloatArray
    battery_wh: FloatArray
    offered_w: FloatArray
    wanted_w: FloatArray
    spilled_w: FloatArray
    lost_w: FloatArray
    light: FloatArray
    revolutions: tuple[Revolution, ...]
    ledger: Ledger

    @property
    def soc(self) -> FloatArray:
        return np.asarray(self.battery_wh / self.power.battery_wh, np.float64)

    @property
    def worst(self) -> Revolution:
        """The whole revolution with the lowest charge."""
        return min(self.revolutions, key=lambda one: one.min_soc)

    @property
    def poorest(self) -> Revolution:
        """The whole revolution with the least balance."""
        return min(self.revolutions, key=lambda one: one.balance_wh)


def forecast(
    power: PowerModel, elements: Elements, sun: Harvest, loads: Sequence[Load], start_s: float, end_s: float
) -> Forecast:
    """Return the battery's course over [start_s, end_s], from `initial_soc` on.

    Args:
        power: the satellite.
        elements: its orbit, for revolutions and the sun's angle.
        sun: its harvest over at least that time.
        loads: what is drawn on top of what always flows; the share of computing is added here.
        start_s: first time, UTC seconds.
        end_s: last time.

    Raises:
        ValueError: there is no time between the two.
        ElementsError: the elements cannot be propagated over it.
    """
    if not end_s > start_s:
        raise ValueError(f"no time to forecast: from {start_s} to {end_s}")
    edges = [edge for load in loads for edge in (load.start_s, load.end_s)]
    whole = int((end_s - start_s) / elements.period_s + 1e-9)
    turns = np.minimum(start_s + elements.period_s * np.arange(whole + 1, dtype=np.float64), end_s)
    times = np.unique(np.concatenate([sun.times_s, turns, edges, [start_s, end_s]]))
    times = times[(times >= start_s) & (times <= end_s)]
    seconds, middle = np.diff(times), (times[1:] + times[:-1]) / 2
    offered = (np.interp(times[1:], sun.times_s, sun.power_w) + np.interp(times[:-1], sun.times_s, sun.power_w)) / 2
    light = (np.interp(times[1:], sun.times_s, sun.light) + np.interp(times[:-1], sun.times_s, sun.light)) / 2
    wanted = power.base_w + power.compute_duty * power.compute_w + power.heater_w * (1.0 - light)
    for load in loads:
        wanted[np.searchsorted(middle, load.start_s) : np.searchsorted(middle, load.end_s)] += load.power_w
    charge, rows = _walk(power, seconds, offered, wanted)
    revolutions = _revolutions(power, elements, times, turns, light, charge, rows)
    _, _, lost_wh, _, spilled_wh, _ = np.array(rows).T
    spilled, lost = (column * J_PER_WH / seconds for column in (spilled_wh, lost_wh))
    return Forecast(power, times, charge, offered, wanted, spilled, lost, light, revolutions, total(rows))


def _walk(power: PowerModel, seconds: FloatArray, offered_w: FloatArray, wanted_w: FloatArray) -> tuple[FloatArray, list[Row]]:
    charge_wh, course, rows = power.initial_wh, [power.initial_wh], []
    columns = (seconds * offered_w / J_PER_WH, seconds * wanted_w / J_PER_WH, seconds)
    for offered_wh, wanted_wh, length_s in zip(*(column.tolist() for column in columns), strict=True):
        charge_wh, row = settle(power, charge_wh, offered_wh, wanted_wh, length_s)
        course.append(charge_wh)
        rows.append(row)
    return np.array(course), rows


def _revolutions(
    power: PowerModel,
    elements: Elements,
    times: FloatArray,
    turns: FloatArray,
    light: FloatArray,
    charge: FloatArray,
    rows: list[Row],
) -> tuple[Revolution, ...]:
    """Cut the course at each turn; where not even one fits, all of it counts as one."""
    if turns.size < 2:
        turns = np.array([times[0], times[-1]])
    beta = beta_angle_deg(elements, (turns[1:] + turns[:-1]) / 2)
    lit = np.concatenate([[0.0], np.cumsum(light * np.diff(times))])
    at = np.searchsorted(times, turns)
    out = []
    for number, (first, last) in enumerate(pairwise(at.tolist())):
        soc = charge[first : last + 1] / power.battery_wh
        books = total(rows[first:last])
        sunlit_s = float(lit[last] - lit[first])
        span = (float(times[first]), float(times[last]))
        out.append(Revolution(number, *span, float(beta[number]), sunlit_s, books, float(soc.min()), float(soc[-1])))
    return tuple(out)


# --- what to change ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Something that the forecast holds against the satellite: what, since when, and what would help."""

    kind: str
    at_s: float
    what: str
    remedy: str


def shortfalls(found: Forecast) -> list[Shortfall]:
    """Return where the battery falls below its floor or deeper than its life allows, or cannot give what is asked."""
    power, soc, out = found.power, found.soc, []
    low = np.flatnonzero(soc < power.min_soc)
    if low.size:
        what = f"state of charge falls below minSoc {power.min_soc:.0%}, to {soc.min():.0%}"
        out.append(Shortfall("low charge", float(found.times_s[low[0]]), what, _remedy(found)))
    if power.max_depth is not None and 1.0 - soc.min() > power.max_depth + 1e-9:
        at_s = float(found.times_s[int(np.argmax(1.0 - soc > power.max_depth))])
        need_wh = (1.0 - float(soc.min())) * power.battery_wh / power.max_depth
        what = f"depth of discharge reaches {1.0 - soc.min():.0%}, and maxDepth is {power.max_depth:.0%}"
        remedy = _remedy(found) if _short_w(found) > 0 else f"a battery of {need_wh:.0f} Wh would stay within it"
        out.append(Shortfall("deep discharge", at_s, what, remedy))
    if found.ledger.unmet_wh > 1e-6:
        empty = float(found.times_s[int(np.argmin(soc))])
        out.append(
            Shortfall("empty battery", empty, f"{found.ledger.unmet_wh:.1f} Wh are asked for and not there", _remedy(found))
        )
    return out


def _short_w(found: Forecast) -> float:
    """Return by how much the mean load is above what the panels could bring; below zero, by how much they could bring more."""
    books, seconds = found.ledger, float(found.times_s[-1] - found.times_s[0])
    wanted_wh = books.drawn_wh + books.unmet_wh + books.lost_wh
    return (wanted_wh - books.harvested_wh - books.spilled_wh) * J_PER_WH / seconds


def _remedy(found: Forecast) -> str:
    """Say by how much loads or panels would have to change for the books of the mean revolution to close."""
    books, power, short_w = found.ledger, found.power, _short_w(found)
    if short_w <= 0:
        return "the mean revolution is balanced: start with more charge (initialSoc), or take a larger battery (batteryWh)"
    brought_w = (books.harvested_wh + books.spilled_wh) * J_PER_WH / float(found.times_s[-1] - found.times_s[0])
    parts = [f"draw {short_w:.1f} W less"]
    if power.compute_duty * power.compute_w > short_w:
        parts.append(f"compute {power.compute_duty - short_w / power.compute_w:.0%} of the time, not {power.compute_duty:.0%}")
    if brought_w > 0:
        parts.append(f"give the panels {short_w / brought_w:.0%} more")
    lacks_wh = short_w * (found.revolutions[0].end_s - found.revolutions[0].start_s) / J_PER_WH
    return f"{' or '.join(parts)}: the mean revolution lacks {lacks_wh:.1f} Wh"


# --- seasons -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Season:
    """One revolution each at `times_s` (T,): the sun's angle, share of it in sunlight, Wh that panels bring and loads want."""

    times_s: FloatArray
    beta_deg: FloatArray
    sunlit_share: FloatArray
    offered_wh: FloatArray
    wanted_wh: FloatArray

    @property
    def balance_wh(self) -> FloatArray:
        """What is left of a revolution before the battery's losses (T,)."""
        return self.offered_wh - self.wanted_wh

    @property
    def worst(self) -> int:
        return int(np.argmin(self.balance_wh))


def season(
    power: PowerModel, elements: Elements, start_s: float, mean_load_w: float, days: float = 365.0, every_days: float = 5.0
) -> Season:
    """Look at a revolution every few days of a year.

    `mean_load_w` is what sending takes on average. Elements are propagated far beyond what they are good for in position; the
    plane, which is what counts here, is right to a degree for a satellite without drag, and drag is left out.

    Raises:
        ElementsError: the elements cannot be propagated that far.
    """
    calm = Elements(**{name: getattr(elements, name) for name in elements.__dataclass_fields__} | {"bstar_per_er": 0.0})
    starts = start_s + np.arange(0.0, days + 1e-9, every_days) * _DAY_S
    within = np.linspace(0.0, elements.period_s, _SEASON_POINTS, endpoint=False)
    times = (starts[:, None] + within[None, :]).ravel()
    r_km, v_km_s = states(calm, times)
    light = sunlight(r_km, times)
    watts = (light * panel_power_w(power, r_km, v_km_s, times, start_s)).reshape(starts.size, -1).mean(axis=1)
    share = light.reshape(starts.size, -1).mean(axis=1)
    hours = elements.period_s / J_PER_WH
    wanted_w = power.base_w + power.compute_duty * power.compute_w + mean_load_w + power.heater_w * (1.0 - share)
    return Season(starts, beta_angle_deg(calm, starts), share, watts * hours, wanted_w * hours)


def sunlight(r_km: npt.ArrayLike, times_s: npt.ArrayLike) -> FloatArray:
    """Return the share of the sun's disc (T,) that positions (T, 3) TEME see: straight through the penumbra."""
    depth = shadow_depth_rad(r_km, times_s)
    sun_rad = SUN_RADIUS_KM / np.linalg.norm(sun_position_km(times_s) - np.asarray(r_km, np.float64), axis=-1)
    return np.asarray(np.clip(-depth / (2 * sun_rad), 0.0, 1.0), np.float64)
