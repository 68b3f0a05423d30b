"""Open a scene file, whatever its kind: the one door from a path to a `SceneSource`.

Role: take a path that is a regular file, look at its header, and hand it to a reader: rasterio for GeoTIFF, COG, PNG and JPEG
when the extra `geo` is installed, else Pillow for PNG and JPEG; Pillow for WebP always. Pillow decodes a picture as a whole,
under `SceneLimits.whole_bytes`, takes no notice of transparency, and of damage in a JPEG only when the file ends too early.
The two JPEG decoders differ by a grey level here and there (0.1 on average on 2560 x 2560 px scenes). It leaves reading to
`raster_scene` and `records.pixels`.

A file that is damaged, lies, or asks for too much ends in `ImageError`, here or when its chunks are read; so a pipeline catches
that one error and goes on with the next scene.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from orbitloop.errors import ImageError
from orbitloop.onboard.adapters.raster_fence import REMEDY, rasterio_or_none
from orbitloop.onboard.adapters.raster_scene import open_raster
from orbitloop.onboard.adapters.scene_headers import Header, read_header
from orbitloop.onboard.scene_values import Scale, check_stretch, choose_bands
from orbitloop.onboard.scenes import ArraySource, SceneLimits, SceneSource
from orbitloop.records.pixels import decode_image

_DRIVERS: dict[str, Literal["GTiff", "PNG", "JPEG"]] = {"tiff": "GTiff", "png": "PNG", "jpeg": "JPEG"}
_DEFAULT_LIMITS = SceneLimits()


def open_scene(
    path: str | os.PathLike[str],
    *,
    scene_id: str | None = None,
    bands: tuple[int, ...] | None = None,
    stretch: tuple[float, float] | None = None,
    limits: SceneLimits = _DEFAULT_LIMITS,
    bad_geo: Literal["refuse", "pixels"] = "refuse",
) -> SceneSource:
    """Open a GeoTIFF, COG, PNG, JPEG or WebP file of the local file system; close it, or use it in a `with`.

    Args:
        path: a regular file. Symbolic links are followed.
        scene_id: the scene's name; by default the file's name without its ending.
        bands: red, green and blue as numbers from 1, or one number for grey; by default what the file says (`scene_values`).
        stretch: the values that become black and white; by default uint8 is taken as it is, and all else is stretched between
            the 2nd and 98th percentile of the whole scene.
        limits: what the file may ask for.
        bad_geo: what to do when the file's georeference cannot be right: `refuse` the scene, since a detection in a wrong place
            is worse than none, or go on in `pixels` without a place.

    Raises:
        ImageError: it is no such file, is damaged, over a limit, or leaves a choice open. Never anything else.
    """
    real = _regular_file(path)
    header = read_header(real, limits)
    name = real.stem if scene_id is None else scene_id
    driver = _DRIVERS.get(header.kind)
    if driver is not None and rasterio_or_none() is not None:
        return open_raster(real, driver, scene_id=name, bands=bands, stretch=stretch, limits=limits, bad_geo=bad_geo)
    return _open_picture(real, header, name, bands, stretch, limits)


def _regular_file(path: str | os.PathLike[str]) -> Path:
    """Resolve a path to a regular file; what is no such thing (a URL, `/vsi...`, a folder, a device) goes no further.

    Raises:
        ImageError: it is not a regular file.
    """
    text = os.fspath(path)
    try:
        real = Path(text).resolve(strict=True)
        regular = real.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links that loop
        raise ImageError("there is no such file", where=text, remedy="name a file of the local file system") from error
    if not regular or str(real).lower().startswith("/vsi"):
        raise ImageError("not a regular file", where=text, remedy="name a file of the local file system")
    return real


def _open_picture(
    path: Path,
    header: Header,
    scene_id: str,
    bands: tuple[int, ...] | None,
    stretch: tuple[float, float] | None,
    limits: SceneLimits,
) -> SceneSource:
    where = str(path)
    if header.kind == "tiff" or header.deep:
        kind = "a GeoTIFF" if header.kind == "tiff" else "16 bits a sample"
        raise ImageError(f"cannot read {kind} without rasterio", where=where, remedy=REMEDY)
    with path.open("rb") as file:
        data = file.read(limits.whole_bytes + 1)
    if len(data) > limits.whole_bytes:
        raise ImageError(f"picture is over the limit of {limits.whole_bytes} bytes", where=where)
    pixels = decode_image(data, where=where, max_pixels=limits.whole_bytes // 3)
    limits.check_size(pixels.shape[1], pixels.shape[0], where)
    chosen = choose_bands(bands, ("red", "green", "blue"), (), where)
    if chosen != (1, 2, 3):
        pixels = np.ascontiguousarray(pixels[..., [band - 1 for band in (chosen * 3)[:3]]])
    if stretch is not None:
        pixels = Scale.of(*check_stretch(stretch, where), pixels.dtype).apply(pixels)
    return ArraySource(pixels, scene_id)
