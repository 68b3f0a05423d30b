"""From passes to a planning problem: windows on ticks, what each carries, batteries as steps of power.

A window's profile of capacity comes from the geometry of a circular orbit with the pass's height, mask and highest elevation:
the satellite moves evenly along an arc that comes as near to the station as that elevation says, and the link's rate at each
elevation along it adds up. Earth's turning during a pass is in the pass's own length, which is taken as measured. The sum is
within a per cent or two of the integral along the true path; whoever needs the bytes of one contact exactly takes
`link_budget.window_capacity_bytes`. Profiles are shared by passes that are alike (a degree of culmination, 25 km of height).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from orbitloop.errors import PlanningError
from orbitloop.orbit.earth import WGS72_MU_KM3_S2
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.energy import J_PER_WH, PowerModel
from orbitloop.orbit.fleet_passes import PassTable
from orbitloop.orbit.frames import EARTH_RADIUS_KM
from orbitloop.orbit.link_budget import LinkRates
from orbitloop.orbit.passes import Pass, Station
from orbitloop.orbit.schedule.problem import Energy, FloatArray, Problem, Request, Supply

KNOTS = 8
_HEIGHT_STEP_KM = 25.0
_ELEVATION_STEP_DEG = 1.0

_SILENT = LinkRates(0.0, 0.0)

Rates = Mapping[tuple[str, str], LinkRates | None] | Sequence[LinkRates]


def mean_height_km(elements: Elements) -> float:
    """Return the height of the semi-major axis over the equatorial radius, km."""
    motion_rad_s = elements.mean_motion_rev_day * 2 * math.pi / 86_400.0
    return float((WGS72_MU_KM3_S2 / motion_rad_s**2) ** (1 / 3) - EARTH_RADIUS_KM)


def elevation_profile(
    height_km: float, mask_deg: float, highest_deg: float, rates: LinkRates, knots: int = KNOTS
) -> tuple[float, FloatArray]:
    """Return (mean share of the rate over the pass, cumulative shares (knots + 1,) from 0 to 1)."""
    ratio = EARTH_RADIUS_KM / (EARTH_RADIUS_KM + max(height_km, 100.0))

    def arc(elevation_deg: float) -> float:
        angle = math.radians(elevation_deg)
        return math.acos(ratio * math.cos(angle)) - angle

    nearest, edge = arc(highest_deg), arc(min(mask_deg, highest_deg))
    half = math.acos(min(1.0, math.cos(edge) / math.cos(nearest)))
    place = np.linspace(-half, half, 32 * knots + 1)
    central = np.arccos(np.clip(math.cos(nearest) * np.cos(place), -1.0, 1.0))
    elevation = np.degrees(np.arctan2(np.cos(central) - ratio, np.sin(central)))
    share = rates.share(elevation)
    passed = np.concatenate([[0.0], np.cumsum((share[1:] + share[:-1]) / 2)])
    mean = float(passed[-1]) / (share.size - 1)
    if passed[-1] <= 0:
        return 0.0, np.linspace(0.0, 1.0, knots + 1)
    return mean, np.asarray(passed[::32] / passed[-1], np.float64)


def table_of(passes: Sequence[Pass], satellites: Sequence[str], stations: Sequence[str]) -> PassTable:
    """Return passes as columns, by rising AOS; they must be of the satellites and stations named."""
    by_name = ({n: k for k, n in enumerate(satellites)}, {n: k for k, n in enumerate(stations)})
    rows = sorted(passes, key=lambda p: (p.aos_s, p.satellite, p.station))
    return PassTable(
        np.array([by_name[0][p.satellite] for p in rows], np.int32),
        np.array([by_name[1][p.station] for p in rows], np.int32),
        np.array([p.aos_s for p in rows], np.float64),
        np.array([p.tca_s for p in rows], np.float64),
        np.array([p.los_s for p in rows], np.float64),
        np.array([p.max_elevation_deg for p in rows], np.float32),
        np.array([p.aos_azimuth_deg for p in rows], np.float32),
        np.array([p.los_azimuth_deg for p in rows], np.float32),
        np.zeros(len(rows), np.uint8),
    )


def problem_of(
    table: PassTable,
    elements: Sequence[Elements],
    stations: Sequence[Station],
    rates: Rates,
    supply: Supply,
    start_s: float,
    end_s: float,
    *,
    names: Sequence[str] | None = None,
    tick_s: float = 1.0,
    guard_s: float = 5.0,
    min_contact_s: float = 0.0,
    energy: Energy | None = None,
    requests: Sequence[Request] = (),
    tenants: Sequence[str] = ("all",),
    uplink_share: float = 0.01,
) -> Problem:
    """Return the planning problem of passes.

    Args:
        table: passes, indices into `elements` and `stations`.
        elements: N satellites.
        stations: S stations, with their antennas and set-up times.
        rates: by (satellite's name, station's name), None where they do not hear each other; or one entry a satellite.
        supply: what they have to send.
        start_s: the horizon, UTC seconds.
        end_s: its end.
        names: of the satellites, if not those of the elements.
        tick_s: grain of the plan.
        guard_s: time at both ends of a contact in which nothing is sent; rounded up to ticks.
        min_contact_s: shortest contact, guards included; rounded up likewise.
        energy: batteries, if they limit sending.
        requests: what has a deadline.
        tenants: their names.
        uplink_share: bytes up for each byte down.

    Raises:
        PlanningError: a pair has no rates, or the columns do not fit each other.
    """
    called = list(names) if names is not None else [e.name for e in elements]
    opened = np.ceil((table.aos_s - start_s) / tick_s - 1e-6).astype(np.int64)
    closed = np.floor((table.los_s - start_s) / tick_s + 1e-6).astype(np.int64)
    horizon = math.floor((end_s - start_s) / tick_s + 1e-6)
    opened, closed = np.maximum(opened, 0), np.minimum(closed, horizon)
    guard = math.ceil(guard_s / tick_s - 1e-9)
    shortest = max(1, 2 * guard + 1, math.ceil(min_contact_s / tick_s - 1e-9))
    rows = np.flatnonzero(closed - opened >= shortest)
    rows = rows[np.lexsort((table.station_index[rows], table.satellite_index[rows], opened[rows]))]
    full_bps, profile, profiles = _capacity(
        table.max_elevation_deg[rows],
        table.satellite_index[rows],
        table.station_index[rows],
        elements,
        stations,
        rates,
        called,
    )
    heard = full_bps > 0
    rows, full_bps, profile = rows[heard], full_bps[heard], profile[heard]
    satellite, station = table.satellite_index[rows], table.station_index[rows]
    opened, closed = opened[rows], closed[rows]
    return Problem(
        start_s,
        tick_s,
        horizon,
        tuple(called),
        tuple(s.name for s in stations),
        np.array([s.antennas for s in stations], np.int32),
        np.array([math.ceil(s.setup_s / tick_s - 1e-9) for s in stations], np.int32),
        satellite.astype(np.int32),
        station.astype(np.int32),
        opened.astype(np.int32),
        closed.astype(np.int32),
        full_bps / 8 * np.maximum(0, closed - opened - 2 * guard) * tick_s,
        profile,
        profiles,
        supply,
        guard,
        shortest,
        energy,
        tuple(requests),
        tuple(tenants),
        uplink_share,
        table.max_elevation_deg[rows].astype(np.float64),
    )


def _capacity(
    highest_deg: npt.NDArray[np.float32],
    satellite: npt.NDArray[np.int32],
    station: npt.NDArray[np.int32],
    elements: Sequence[Elements],
    stations: Sequence[Station],
    rates: Rates,
    called: Sequence[str],
) -> tuple[FloatArray, npt.NDArray[np.int16], FloatArray]:
    """Return (mean rate over each window (M,) bit/s, profile (M,), profiles (P, KNOTS + 1))."""
    links: dict[LinkRates, int] = {}
    link = np.zeros((len(called), len(stations)), np.int64)
    for j, name in enumerate(called):
        for s, place in enumerate(stations):
            if isinstance(rates, Mapping) and (name, place.name) not in rates:
                raise PlanningError(f"no link rates for satellite {name!r} over station {place.name!r}")
            pair = rates[name, place.name] if isinstance(rates, Mapping) else rates[j]
            link[j, s] = links.setdefault(pair or _SILENT, len(links))
    by_number = list(links)
    heights = np.array([round(mean_height_km(e) / _HEIGHT_STEP_KM) for e in elements], np.int64)
    masks = np.array([round(s.min_elevation_deg * 2) for s in stations], np.int64) + 20
    key = (link[satellite, station] * 4096 + heights[satellite].clip(0, 4095)) * 256 + masks[station]
    key = key * 128 + np.rint(highest_deg / _ELEVATION_STEP_DEG).astype(np.int64).clip(0, 90)
    kinds, which = np.unique(key, return_inverse=True)
    if kinds.size > 32_000:
        raise PlanningError(f"the passes are of {kinds.size} kinds, too many", remedy="give satellites the same rates")
    means, profiles = np.zeros(kinds.size), np.zeros((max(1, kinds.size), KNOTS + 1))
    profiles[0] = np.linspace(0.0, 1.0, KNOTS + 1)
    for n, kind in enumerate(kinds.tolist()):
        rest, elevation = divmod(kind, 128)
        rest, mask = divmod(rest, 256)
        number, height = divmod(rest, 4096)
        pair = by_number[number]
        mask_deg, highest = (mask - 20) / 2, max(elevation * _ELEVATION_STEP_DEG, (mask - 20) / 2 + 0.25)
        share, profiles[n] = elevation_profile(height * _HEIGHT_STEP_KM, mask_deg, min(highest, 90.0), pair)
        means[n] = share * pair.downlink_bps
    return means[which] if kinds.size else np.zeros(0), which.astype(np.int16), profiles


def energy_of(
    models: Sequence[PowerModel],
    eclipses: Sequence[Sequence[tuple[float, float]]],
    start_s: float,
    horizon_ticks: int,
    tick_s: float = 1.0,
) -> Energy:
    """Return batteries as the planner sees them: `panel_w` in the sun, idle and attitude loads always, heaters in shadow.

    Panels by area are taken at what `panel_w` says; whoever has a forecast puts its mean harvest there.
    """
    edges: list[int] = []
    powers: list[float] = []
    pointer = [0]
    for model, dark in zip(models, eclipses, strict=True):
        now, base = 0, -model.idle_w - model.aocs_w
        for begin_s, until_s in dark:
            begin = min(max(round((begin_s - start_s) / tick_s), now), horizon_ticks)
            until = min(max(round((until_s - start_s) / tick_s), begin), horizon_ticks)
            for edge, power in ((begin, base + model.panel_w), (until, base - model.heater_w)):
                if edge > now:
                    edges.append(edge)
                    powers.append(power)
                    now = edge
        if now < horizon_ticks:
            edges.append(horizon_ticks)
            powers.append(base + model.panel_w)
        pointer.append(len(edges))
    full = np.array([m.battery_wh * m.max_soc for m in models]) * J_PER_WH
    return Energy(
        full,
        np.array([m.battery_wh * m.min_soc for m in models]) * J_PER_WH,
        np.minimum(np.array([m.battery_wh * m.initial_soc for m in models]) * J_PER_WH, full),
        np.array([m.transmit_w for m in models]),
        np.array(pointer, np.int64),
        np.array(edges, np.int32),
        np.array(powers),
    )
