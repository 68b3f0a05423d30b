"""Range, range rate and Doppler of a satellite as a station sees it.

The range rate is the line of sight times the satellite's velocity in the Earth-fixed frame, so the station's own motion with
the turning Earth is in it. It is SGP4's velocity, which is the derivative of SGP4's position to 2 cm/s only (0.15 Hz at 2.2
GHz), and no light time, no troposphere. Doppler is one way and of first order, -f times range rate over c; what relativity adds
(v^2/2c^2) is 0.7 Hz at 2.2 GHz in low orbit.
"""

from __future__ import annotations

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
from orbitloop.orbit.propagate import states
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
    fixed_km = teme_to_ecef(r_km, times, earth.dut1_s)
    fixed_km_s = teme_to_ecef_velocity(r_km, v_km_s, times, earth.dut1_s)
    lat, lon = station.latitude_deg, station.longitude_deg
    up = earth.place(up_vector(lat, lon))
    east = earth.place(np.array([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), 0.0]))
    offset = fixed_km - earth.place(geodetic_to_ecef(lat, lon, station.altitude_m))
    range_km = np.linalg.norm(offset, axis=1)
    return Looks(
        times_s=times,
        elevation_deg=np.degrees(np.arcsin(np.clip(offset @ up / range_km, -1.0, 1.0))),
        azimuth_deg=np.mod(np.degrees(np.arctan2(offset @ east, offset @ np.cross(up, east))), 360.0),
        range_km=range_km,
        range_rate_km_s=np.sum(offset * fixed_km_s, axis=1) / range_km,
        sunlit=shadow_depth_rad(r_km, times) <= 0,
        station_sun_deg=sun_elevation_deg(lat, lon, times),
    )
