"""Range, range rate and Doppler of a satellite as a station sees it.

The range rate is the line of sight times the satellite's velocity in the Earth-fixed frame, so the station's own motion with
the turning Earth is in it. It is SGP4's velocity, which is the derivative of SGP4's position to 2 cm/s only (0.15 Hz at 2.2
GHz), and no light time, no troposphere. Doppler is one way and of first order, -f times range rate over c; what relativity adds
(v^2/2c^2) is 0.7 Hz at 2.2 GHz in low orbit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import (
    UTC_EARTH,
    EarthOrientation,
    FloatArray,
    geodetic_to_ecef,
    teme_to_ecef,
    teme_to_ecef_velocity,
    up_vector,
)
from orbitloop.orbit.passes import Station
from orbitloop.orbit.propagate import FleetPropagator, states
from orbitloop.orbit.sun import shadow_depth_rad, sun_elevation_deg

SPEED_OF_LIGHT_KM_S = 299_792.458


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """A satellite from a station at times (T,): where it stands, how it moves, and what the sun does. All (T,)."""

    times_s: FloatArray
    elevation_deg: FloatArray
    azimuth_deg: FloatArray
    range_km: FloatArray
    range_rate_km_s: FloatArray
    sunlit: npt.NDArray[np.bool_]
    station_sun_deg: FloatArray

    def shift_hz(self, carrier_hz: float) -> FloatArray:
        """Return by how much the received carrier is above the sent one, (T,)."""
        return shift_hz(carrier_hz, self.range_rate_km_s)


def shift_hz(carrier_hz: float, range_rate_km_s: npt.ArrayLike) -> FloatArray:
    """Return the Doppler shift of a carrier, of the shape of the range rate; positive while the satellite comes nearer."""
    return np.asarray(-carrier_hz / SPEED_OF_LIGHT_KM_S * np.asarray(range_rate_km_s, np.float64), np.float64)


def looks(elements: Elements, station: Station, times_s: npt.ArrayLike, earth: EarthOrientation = UTC_EARTH) -> Looks:
    """Return what a station sees of a satellite at `times_s` (T,).

    Raises:
        ElementsError: the elements cannot be propagated to one of the times.
    """
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    r_km, v_km_s = states(elements, times)
    return _looks(r_km, v_km_s, times, [station], np.zeros(times.size, np.intp), earth)


def fleet_looks(
    fleet: FleetPropagator,
    stations: Sequence[Station],
    satellite_index: npt.ArrayLike,
    station_index: npt.ArrayLike,
    times_s: npt.ArrayLike,
    earth: EarthOrientation = UTC_EARTH,
) -> Looks:
    """Return single looks (K,), each of one satellite from one station at one time; NaN where it cannot be propagated."""
    times = np.asarray(times_s, np.float64)
    r_km, v_km_s, _ = fleet.states_at(satellite_index, times)
    return _looks(r_km, v_km_s, times, stations, np.asarray(station_index, np.intp), earth)


def _looks(
    r_km: FloatArray,
    v_km_s: FloatArray,
    times_s: FloatArray,
    stations: Sequence[Station],
    which: npt.NDArray[np.intp],
    earth: EarthOrientation,
) -> Looks:
    lat, lon, height = (np.array([getattr(s, n) for s in stations]) for n in ("latitude_deg", "longitude_deg", "altitude_m"))
    up = earth.place(up_vector(lat, lon))
    east = earth.place(np.stack([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), np.zeros(lon.size)], axis=-1))
    north = np.cross(up, east)
    offset = teme_to_ecef(r_km, times_s, earth.dut1_s) - earth.place(geodetic_to_ecef(lat, lon, height))[which]
    speed = teme_to_ecef_velocity(r_km, v_km_s, times_s, earth.dut1_s)
    range_km = np.linalg.norm(offset, axis=1)
    to_east, to_north, to_up = (np.sum(offset * axis[which], axis=1) for axis in (east, north, up))
    return Looks(
        times_s=times_s,
        elevation_deg=np.degrees(np.arcsin(np.clip(to_up / range_km, -1.0, 1.0))),
        azimuth_deg=np.mod(np.degrees(np.arctan2(to_east, to_north)), 360.0),
        range_km=range_km,
        range_rate_km_s=np.sum(offset * speed, axis=1) / range_km,
        sunlit=shadow_depth_rad(r_km, times_s) <= 0,
        station_sun_deg=sun_elevation_deg(lat[which], lon[which], times_s),
    )
