"""Where a raster lies on Earth, and when it was taken, by what its file says.

Role: an affine transform or ground control points with a coordinate reference system (CRS) become a `GeoMapping` to WGS84,
through PROJ as rasterio brings it; date tags become UTC seconds. Rational polynomials (RPC) are not used: they need a terrain
model.

Axis order is always longitude, latitude. A longitude is given in the turn that is nearest to the scene's centre, so it is
continuous over 180 degrees as long as the scene does not go around the pole. GCPs without an affine transform become GDAL's
polynomial (order 1 below 6 points, else 2).

A scene is placed wholly or not at all: if any of 25 points spread over it (the border included) maps to no place on Earth, its
georeference is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ImageError
from orbitloop.onboard.adapters.raster_fence import fence
from orbitloop.records.scene import GeoMapping, GeoTransform

_Points = npt.NDArray[np.float64]
_REMEDY = "correct the file's CRS (gdal_edit.py -a_srs), or say where it lies (--geo); in code: bad_geo='pixels'"
_YEARS = range(1960, 2101)


@dataclass(frozen=True, slots=True, eq=False)
class ProjectedMapping:
    """Pixels to WGS84 through a CRS.

    `affine` is (a, b, c, d, e, f) with x' = a x + b y + c and y' = d x + e y + f, None when `gcps` (rasterio's ground control
    points) say it. Longitudes come in the turn nearest to `centre_lon_deg`.
    """

    crs: Any
    affine: tuple[float, ...] | None
    gcps: tuple[Any, ...] = ()
    centre_lon_deg: float = 0.0
    where: str = ""

    def lonlats_deg(self, xy_px: _Points) -> _Points:
        """Map pixel positions (N, 2) to longitudes and latitudes (N, 2), as `GeoMapping` asks.

        Raises:
            ImageError: a position has no place on Earth by this CRS.
        """
        points = np.asarray(xy_px, dtype=np.float64).reshape(-1, 2)
        if len(points) == 0:
            return np.empty((0, 2))
        with fence(self.where, f"place pixels by {self.crs.to_string()[:80]}") as rasterio:
            from rasterio.warp import transform

            x, y = self._projected(points)
            lon, lat = transform(self.crs, rasterio.crs.CRS.from_epsg(4326), x, y)
        answer = np.stack([np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)], axis=1)
        _check_on_earth(answer, self.crs.to_string(), self.where)
        answer[:, 0] -= 360.0 * np.rint((answer[:, 0] - self.centre_lon_deg) / 360.0)
        return answer

    def _projected(self, points: _Points) -> tuple[_Points, _Points]:
        if self.affine is not None:
            a, b, c, d, e, f = self.affine
            return a * points[:, 0] + b * points[:, 1] + c, d * points[:, 0] + e * points[:, 1] + f
        from rasterio.transform import GCPTransformer

        with GCPTransformer(list(self.gcps)) as transformer:
            x, y = transformer.xy(points[:, 1], points[:, 0], offset="ul")
        return np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))


def mapping_of(dataset: Any, where: str) -> GeoMapping | None:
    """Return where a dataset lies; None when it has no CRS, or neither an affine transform nor ground control points.

    Raises:
        ImageError: it says something that cannot be right; the message names the CRS.
    """
    with fence(where, "read its georeference"):
        affine, (gcps, gcp_crs) = dataset.transform, dataset.gcps
        by_gcps = affine.is_identity and len(gcps) > 0
        crs = gcp_crs if by_gcps else dataset.crs
        if not crs or (affine.is_identity and not gcps):
            return None
        name, epsg = crs.to_string(), crs.to_epsg()
    numbers = tuple(float(value) for value in affine[:6])
    if not by_gcps and not _invertible(numbers):
        raise ImageError(f"singular or infinite geotransform {numbers} in {name[:80]}", where=where, remedy=_REMEDY)
    probe = _probe(dataset.width, dataset.height)
    if epsg == 4326 and not by_gcps:
        a, b, c, d, e, f = numbers
        plain = GeoTransform(c, f, a, b, d, e)
        _check_on_earth(plain.lonlats_deg(probe), name, where)
        return plain
    around = ProjectedMapping(crs, None if by_gcps else numbers, tuple(gcps) if by_gcps else (), 0.0, where)
    try:
        centre = float(around.lonlats_deg(probe[12:13])[0, 0])
        mapping = ProjectedMapping(crs, around.affine, around.gcps, centre, where)
        mapping.lonlats_deg(probe)
    except ImageError as error:
        raise ImageError(error.what, where=where, remedy=_REMEDY) from error
    return mapping


def _invertible(numbers: tuple[float, ...]) -> bool:
    a, b, _, d, e, _ = numbers
    determinant = a * e - b * d
    return all(map(math.isfinite, numbers)) and math.isfinite(determinant) and determinant != 0


def _probe(width_px: int, height_px: int) -> _Points:
    """Return 25 points (25, 2) spread over the scene, corners included, its centre in the middle of the list."""
    x, y = np.meshgrid(np.linspace(0, width_px, 5), np.linspace(0, height_px, 5))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _check_on_earth(lonlats: _Points, crs: str, where: str) -> None:
    slack = 1e-9  # a global grid ends at 90 degrees by a sum of floats
    if not np.isfinite(lonlats).all() or (np.abs(lonlats[:, 1]) > 90 + slack).any() or (np.abs(lonlats[:, 0]) > 720).any():
        raise ImageError(f"the CRS {crs[:80]} places the scene off the Earth", where=where, remedy=_REMEDY)


def capture_time_s(tags: Mapping[str, str]) -> float | None:
    """Return when a scene was taken, UTC seconds, or None when no tag says so sanely (a year of 1960 to 2100).

    ACQUISITIONDATETIME comes before the EXIF original time, and TIFFTAG_DATETIME (often the file's own date) last. A time
    without a zone is taken as UTC: TIFF 6.0 and EXIF have no zone.
    """
    for key in ("ACQUISITIONDATETIME", "EXIF_DateTimeOriginal", "TIFFTAG_DATETIME"):
        text = tags.get(key, "").strip()
        if len(text) >= 10 and text[4] == text[7] == ":":
            text = f"{text[:4]}-{text[5:7]}-{text[8:]}"
        try:
            moment = datetime.fromisoformat(text)
            if moment.year in _YEARS:
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None
