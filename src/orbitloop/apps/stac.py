"""A scene and what was found in it as a STAC item (SpatioTemporal Asset Catalog 1.1.0), for catalogues on the ground.

Role: one item per scene: where (footprint and bounding box by RFC 7946, so cut at the antimeridian), when, the scene and its
detections as assets, and which model said so. Where the scene has no place on Earth the item has no geometry, as the
specification allows. The projection extension (2.0) tells the grid where the file's own CRS is known.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac
from pystac.extensions.projection import ProjectionExtension

from orbitloop.onboard.adapters.raster_place import ProjectedMapping
from orbitloop.onboard.geojson import Origin, footprint
from orbitloop.onboard.scenes import SceneSource
from orbitloop.records.scene import GeoMapping, GeoTransform

if TYPE_CHECKING:
    from orbitloop.apps.scenes import SceneReport

_MEDIA_TYPES = {
    ".tif": pystac.MediaType.GEOTIFF,
    ".tiff": pystac.MediaType.GEOTIFF,
    ".png": pystac.MediaType.PNG,
    ".jpg": pystac.MediaType.JPEG,
    ".jpeg": pystac.MediaType.JPEG,
    ".webp": "image/webp",
}


def scene_item(report: SceneReport, origin: Origin, source: SceneSource, model: str) -> dict[str, Any]:
    """Return the item as JSON; its assets' places are relative to the item's own file.

    Args:
        report: what was found; its `stac` says where the item will lie.
        origin: what the detections share.
        source: the scene, for its own georeference.
        model: the model's name.

    Raises:
        ImageError: the scene's border has no place on Earth by its mapping.
        ValueError: the report names no file for the item.
    """
    if report.stac is None:
        raise ValueError("an item needs a file to lie in")
    geometry, bbox = footprint(origin.geo, source.width_px, source.height_px) if origin.geo else (None, None)
    # An item must have a time. Where no tag tells when the scene was taken, the file's own date stands for it, and it is said.
    taken_at_s = report.path.stat().st_mtime if origin.captured_at_s is None else origin.captured_at_s
    item = pystac.Item(
        id=report.path.stem,
        geometry=geometry,
        bbox=bbox,
        datetime=datetime.fromtimestamp(taken_at_s, UTC),
        properties={
            "orbitloop:model": model,
            "orbitloop:model_digest": origin.model_digest,
            "orbitloop:classes": list(origin.classes),
            "orbitloop:detections": report.found,
            "orbitloop:tiles": report.counts.to_json(),
            "orbitloop:captured_at_from": "file" if origin.captured_at_s is None else "scene",
        },
    )
    scene = pystac.Asset(_relative(report.path, report.stac), media_type=_MEDIA_TYPES.get(report.path.suffix.lower()))
    scene.title, scene.roles = "Scene", ["data"]
    item.add_asset("scene", scene)
    if report.out is not None:
        found = pystac.Asset(_relative(report.out, report.stac), "Detections", media_type=pystac.MediaType.GEOJSON)
        found.roles = ["derived", "detections"]
        item.add_asset("detections", found)
    _tell_grid(item, source.geo if origin.geo is source.geo else origin.geo, source)
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _tell_grid(item: pystac.Item, geo: GeoMapping | None, source: SceneSource) -> None:
    """Add the projection extension: the CRS by its EPSG code where it has one, else as WKT 2, and the affine transform."""
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.shape = [source.height_px, source.width_px]
    if isinstance(geo, GeoTransform):
        projection.code = "EPSG:4326"
        projection.transform = [
            geo.lon_per_x_deg,
            geo.lon_per_y_deg,
            geo.lon0_deg,
            geo.lat_per_x_deg,
            geo.lat_per_y_deg,
            geo.lat0_deg,
        ]
    elif isinstance(geo, ProjectedMapping):
        epsg = geo.crs.to_epsg()
        if epsg is not None:
            projection.code = f"EPSG:{epsg}"
        else:
            projection.wkt2 = geo.crs.to_wkt(version="WKT2_2019")
        if geo.affine is not None:
            projection.transform = list(geo.affine)


def _relative(target: Path, item: Path) -> str:
    """Return where a file lies, seen from the item, with forward slashes."""
    return Path(os.path.relpath(target.resolve(), item.resolve().parent)).as_posix()
