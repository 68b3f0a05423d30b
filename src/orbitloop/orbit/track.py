"""Where the satellite is over, and which ground a nadir picture covers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.orbit.elements import Elements
from orbitloop.orbit.frames import FloatArray, metres_per_degree, subpoint
from orbitloop.orbit.propagate import states
from orbitloop.records.scene import GeoTransform


def ground_track(elements: Elements, times_s: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return (latitude_deg, longitude_deg in (-180, 180]) of the point below the satellite, each (T,).

    Raises:
        ElementsError: the elements cannot be propagated to one of the times.
    """
    times = np.atleast_1d(np.asarray(times_s, np.float64))
    latitude_deg, longitude_deg, _ = subpoint(states(elements, times)[0], times)
    return latitude_deg, longitude_deg


def geo_transform_at(elements: Elements, when_s: float, width_px: int, height_px: int, gsd_m: float) -> GeoTransform:
    """Return the map from pixels to longitude and latitude of a nadir picture whose centre is the subpoint.

    The picture is north-up, as a product that was turned after capture (not along the track), and flat: metres become degrees
    at the subpoint, WGS84, which holds to a pixel for a picture of some tens of kilometres away from the poles. The
    longitude is not wrapped, so that a picture across the date line stays in one piece.

    Raises:
        ElementsError: the elements cannot be propagated to that time.
        ValueError: the picture is empty, or a pixel has no size.
    """
    if width_px <= 0 or height_px <= 0 or not gsd_m > 0:
        raise ValueError(f"no picture: {width_px} x {height_px} px of {gsd_m} m")
    latitude_deg, longitude_deg = (float(a[0]) for a in ground_track(elements, [when_s]))
    latitude_m, longitude_m = metres_per_degree(latitude_deg)
    lon_step, lat_step = gsd_m / max(longitude_m, 1.0), -gsd_m / latitude_m
    return GeoTransform(
        lon0_deg=longitude_deg - lon_step * width_px / 2,
        lat0_deg=latitude_deg - lat_step * height_px / 2,
        lon_per_x_deg=lon_step,
        lon_per_y_deg=0.0,
        lat_per_x_deg=0.0,
        lat_per_y_deg=lat_step,
    )
