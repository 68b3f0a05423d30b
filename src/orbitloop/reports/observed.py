"""What a mission's report shows of its course: accuracy over time, passes, tracks, battery, and the pictures sent down.

Records only. Times are UTC seconds of the mission's virtual clock; accuracies are fractions 0..1; a figure that was not
measured is None.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

GALLERY_FOLDER = "gallery"


def gallery_file(sample_id: str) -> str:
    """Name a sample's picture relative to the report: safe whatever the id holds, and distinct for distinct ids."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", sample_id).strip("-")[:40] or "sample"
    digest = hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{GALLERY_FOLDER}/{readable}-{digest}.webp"


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """Accuracy of what flies, from `at_s` until the next point; `swap` marks the moment at which a new model took over.

    `domains` maps a domain's name to its AP50; `label` is what stands beside the mark of a swap (empty: "v" and the version).
    """

    at_s: float
    new_ap50: float | None
    old_ap50: float | None
    version: int
    swap: bool = False
    domains: dict[str, float | None] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True, slots=True)
class PassSummary:
    """One contact window and what went through it. Capacities are the window's, at the link's rate."""

    satellite: str
    station: str
    aos_s: float
    los_s: float
    max_elevation_deg: float
    bytes_down: int = 0
    bytes_up: int = 0
    downlink_capacity_bytes: int = 0
    uplink_capacity_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """Where a satellite's nadir was (WGS84 degrees; longitude in -180..180)."""

    satellite: str
    at_s: float
    lat_deg: float
    lon_deg: float


@dataclass(frozen=True, slots=True)
class StationSite:
    """A ground station (WGS84 degrees)."""

    name: str
    lat_deg: float
    lon_deg: float


@dataclass(frozen=True, slots=True)
class BatteryPoint:
    """Charge of a satellite's battery."""

    satellite: str
    at_s: float
    wh: float


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """One hard sample: what the satellite saw, what the ground said, what the new model sees.

    Box rows are in the picture's pixels: `onboard_boxes` and `updated_boxes` are (x0, y0, x1, y1, score, class), `label_boxes`
    are (x0, y0, x1, y1, class) as `records.label.Boxes.to_json` writes them. `image` is the picture's file beside the report.
    """

    sample_id: str
    scene: str
    domain: str
    reason: str
    score: float
    width_px: int
    height_px: int
    onboard_boxes: tuple[tuple[float, ...], ...] = ()
    label_boxes: tuple[tuple[float, ...], ...] = ()
    updated_boxes: tuple[tuple[float, ...], ...] = ()
    captured_at_s: float | None = None
    round: int | None = None
    image: str = field(init=False, default="")

    def __post_init__(self) -> None:
        # Derived, never read: a report from elsewhere must not choose which file is opened.
        object.__setattr__(self, "image", gallery_file(self.sample_id))
