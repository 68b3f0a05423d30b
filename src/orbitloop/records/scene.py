"""What a camera captured: a scene, and the tiles that the network looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class GeoMapping(Protocol):
    """Where on Earth a scene's pixels lie."""

    def lonlats_deg(self, xy_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map pixel positions (N, 2) x, y to WGS84 (N, 2) longitude, latitude, degrees; N may be 0.

        x runs right and y down; the corner of the top-left pixel is (0, 0). Longitudes are not wrapped: they are continuous
        over 180 degrees, so that a polygon can be split there later.
        """


@dataclass(frozen=True, slots=True)
class GeoTransform:
    """Affine map from pixel (x right, y down, corner of the top-left pixel = 0, 0) to WGS84 longitude and latitude, degrees."""

    lon0_deg: float
    lat0_deg: float
    lon_per_x_deg: float
    lon_per_y_deg: float
    lat_per_x_deg: float
    lat_per_y_deg: float

    def lonlat_deg(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Map one pixel position to (longitude, latitude); the longitude is not wrapped."""
        lon = self.lon0_deg + self.lon_per_x_deg * x_px + self.lon_per_y_deg * y_px
        lat = self.lat0_deg + self.lat_per_x_deg * x_px + self.lat_per_y_deg * y_px
        return lon, lat

    def lonlats_deg(self, xy_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Map pixel positions (N, 2) to longitudes and latitudes (N, 2), as `GeoMapping` asks."""
        per_x = np.array([self.lon_per_x_deg, self.lat_per_x_deg])
        per_y = np.array([self.lon_per_y_deg, self.lat_per_y_deg])
        # in the order of lonlat_deg, so that both give the same bits
        return np.array([self.lon0_deg, self.lat0_deg]) + per_x * xy_px[:, :1] + per_y * xy_px[:, 1:]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One capture.

    `pixels` is (height, width, 3) uint8 RGB. `domain` names where it comes from and is used for splitting and reporting only:
    nothing on board decides by it.
    """

    scene_id: str
    domain: str
    pixels: npt.NDArray[np.uint8]
    captured_at_s: float
    geo: GeoTransform | None = None

    @property
    def raw_bytes(self) -> int:
        """Size of the uncompressed pixels, bytes: what sending everything would cost."""
        return int(self.pixels.nbytes)


@dataclass(frozen=True, slots=True)
class TileWindow:
    """A rectangle of a scene, pixels; it may reach over the scene's border (the rest is padded)."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int

    def to_json(self) -> list[int]:
        return [self.x_px, self.y_px, self.width_px, self.height_px]

    @classmethod
    def from_json(cls, value: Any) -> TileWindow:
        x, y, w, h = (int(v) for v in value)
        return cls(x, y, w, h)
