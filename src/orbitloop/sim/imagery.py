"""Farmland from above, drawn and labelled exactly: the images of a demo that needs no download.

The objects are fields (class 0, `field`); pasture, scrub, forest, towns, roads and water are not. A domain is a
`FarmlandParameters`; the same generator state gives the same scene. Geometry is in `imagery_layout`, colours in
`imagery_paint`, what lies between ground and picture in `imagery_weather`. It is a world model, not a simulator of radiance:
it aims at the cues and the shifts that decide detection (rows, crisp edges, crop colour, clutter, weather, sensor).

The labelling rule: a field's box is the tight bounds of its pixels that no cloud, river or road hides. It is a label where at
least `MIN_VISIBLE` of the whole field's area, inside the frame or not, is such pixels, and both sides of the box are at
least `MIN_SIDE_PX`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from orbitloop.errors import ManifestError
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.sim.imagery_layout import Kind, Layout, Parcel, Strip, contains, lay_out
from orbitloop.sim.imagery_paint import Ground, greenness, paint_ground
from orbitloop.sim.imagery_parameters import FarmlandParameters
from orbitloop.sim.imagery_weather import OPAQUE, Grey, cloud_opacity, cover_with_cloud, light, sense, smooth_noise, veil

__all__ = [
    "CLASSES",
    "MIN_SIDE_PX",
    "MIN_VISIBLE",
    "FarmlandParameters",
    "ProceduralScene",
    "plan_dataset",
    "render_dataset",
    "render_farmland",
]

CLASSES = ("field",)
MIN_VISIBLE = 0.35
"""Share of a field that must be seen; equal to the default of `Boxes.crop`, so scenes and tiles obey one rule."""
MIN_SIDE_PX = 10
MIN_SCENE_PX = 64
MAX_SCENE_PX = 8192

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ProceduralScene:
    """A scene that is not drawn yet. It can be selected and split like an entry of a data set; `fields` are its parameters."""

    image_id: str
    domain: str
    parameters: FarmlandParameters
    size_px: int
    number: int
    seed: int

    @property
    def fields(self) -> Mapping[str, Any]:
        """The domain's numeric parameters."""
        return self.parameters.as_fields()

    def render(self) -> LabelledImage:
        """Draw the scene; the same every time, whatever else was drawn before."""
        rng = np.random.default_rng([self.seed, zlib.crc32(self.domain.encode()), self.number])
        pixels, boxes = render_farmland(self.parameters, self.size_px, rng)
        return LabelledImage(self.image_id, self.domain, pixels, boxes)


def plan_dataset(
    domains: Mapping[str, FarmlandParameters], scene_px: int, scenes_per_domain: int, seed: int
) -> list[ProceduralScene]:
    """List a data set's scenes without drawing any: `<domain>-<nnn>`, domain after domain.

    Raises:
        ManifestError: the scene's size or the number of scenes cannot be, or the seed is negative.
    """
    if not MIN_SCENE_PX <= scene_px <= MAX_SCENE_PX:
        raise ManifestError(f"scene of {scene_px} px", remedy=f"give {MIN_SCENE_PX} .. {MAX_SCENE_PX} px")
    if scenes_per_domain < 1 or seed < 0:
        raise ManifestError(
            f"{scenes_per_domain} scenes per domain, seed {seed}", remedy="give at least 1 scene, a seed from 0 up"
        )
    return [
        ProceduralScene(f"{name}-{number:03d}", name, parameters, scene_px, number, seed)
        for name, parameters in domains.items()
        for number in range(scenes_per_domain)
    ]


def render_dataset(
    domains: Mapping[str, FarmlandParameters], scene_px: int, scenes_per_domain: int, seed: int
) -> list[LabelledImage]:
    """Draw a whole data set at once. `plan_dataset` gives the same scenes one at a time.

    Raises:
        ManifestError: as `plan_dataset`.
    """
    return [scene.render() for scene in plan_dataset(domains, scene_px, scenes_per_domain, seed)]


def render_farmland(
    parameters: FarmlandParameters, size_px: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Draw one scene.

    Returns:
        (size_px, size_px, 3) uint8 RGB, and the boxes of its fields by the rule in the module's docstring.
    """
    layout = lay_out(parameters, size_px, rng)
    looks, road, water = paint_ground(layout, parameters, rng)
    labels = _draw_labels(layout, size_px, road, water)
    picture = _texture(labels, looks, layout, size_px, rng)
    picture = _clutter(picture, layout, parameters, size_px, rng)
    picture = light(picture, parameters, rng)
    hidden: npt.NDArray[np.bool_] | None = None
    if parameters.cloud > 0:
        opacity, shadow = cloud_opacity(size_px, parameters.cloud, rng)
        picture = cover_with_cloud(picture, opacity, shadow, parameters.sun)
        hidden = opacity[64 : 64 + size_px, 64 : 64 + size_px] >= OPAQUE
    if parameters.haze > 0:
        picture = veil(picture, parameters.haze, rng)
    return sense(picture, parameters, rng), _label(labels, layout, hidden)


def _draw_labels(layout: Layout, size_px: int, road: int, water: int) -> Labels:
    """Draw which piece of ground each pixel belongs to: (size, size) int32."""
    image = Image.new("I", (size_px, size_px), 0)
    draw = ImageDraw.Draw(image)
    for number, parcel in enumerate(layout.parcels, 1):
        if parcel.pivot is None:
            draw.polygon(parcel.corners, fill=number)
        else:
            x, y, r = parcel.pivot
            draw.ellipse((x - r, y - r, x + r, y + r), fill=number)
    for label, strips in ((water, layout.water), (road, layout.roads)):
        for strip in strips:
            _draw_strip(draw, strip, label)
    return np.asarray(image, np.int32)


def _draw_strip(draw: ImageDraw.ImageDraw, strip: Strip, fill: int) -> None:
    draw.line(strip.points, fill=fill, width=max(1, round(strip.width_px)), joint="curve")
    if strip.width_px > 6:
        r = strip.width_px / 2
        for x, y in (strip.points[0], strip.points[-1]):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _texture(labels: Labels, looks: Ground, layout: Layout, size_px: int, rng: np.random.Generator) -> Grey:
    """Colour each pixel by its ground, with rows along the field, wheel tracks and unevenness: (size, size, 3) float32."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    across = x * np.cos(looks.angle_rad)[labels] + y * np.sin(looks.angle_rad)[labels]
    for number, parcel in enumerate(layout.parcels, 1):
        if parcel.pivot is not None:
            ring = labels == number
            across[ring] = np.hypot(x[ring] - np.float32(parcel.pivot[0]), y[ring] - np.float32(parcel.pivot[1]))
    turns = across / looks.period_px[labels]
    tone = 1 + looks.rows[labels] * np.sin(np.float32(2 * np.pi) * turns)
    tone -= looks.tramlines[labels] * (np.mod(turns, 4) < 0.3)
    tone += looks.blotch[labels] * smooth_noise(size_px, 70, rng)
    tone += looks.patch[labels] * smooth_noise(size_px, 14, rng)
    tone += looks.grain[labels] * smooth_noise(size_px, 3, rng)
    return np.asarray(looks.colour[labels] * tone[..., None], np.float32)


def _clutter(picture: Grey, layout: Layout, parameters: FarmlandParameters, size_px: int, rng: np.random.Generator) -> Grey:
    """Add what stands on the ground: houses, hedges and trees, each with its shadow."""
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    reach = 1.5 + 3.5 * (1 - parameters.sun)
    for parcel in layout.parcels:
        if parcel.kind is Kind.TOWN:
            _houses(draw, parcel, reach, rng)
        elif parcel.kind is not Kind.FOREST and rng.random() < 0.7 * parameters.trees:
            _hedge(draw, parcel, parameters, reach, rng)
    for x, y in rng.uniform(0, size_px, (int(rng.poisson(60 * parameters.trees * (size_px / 512) ** 2)), 2)):
        _tree(draw, float(x), float(y), parameters, reach, rng)
    return np.asarray(image, np.float32)


def _houses(draw: ImageDraw.ImageDraw, parcel: Parcel, reach: float, rng: np.random.Generator) -> None:
    xs, ys = [x for x, _ in parcel.corners], [y for _, y in parcel.corners]
    c, s = np.cos(parcel.angle_rad), np.sin(parcel.angle_rad)
    roofs = ((150, 78, 58), (176, 170, 164), (120, 112, 108), (196, 190, 180), (98, 84, 78))
    count = int(parcel.area_px / 190)
    centres = rng.uniform((min(xs), min(ys)), (max(xs), max(ys)), (count, 2))
    for cx, cy in centres:
        if not contains(parcel.corners, float(cx), float(cy)):
            continue
        a, b = rng.uniform(2.5, 5.5, 2)
        corners = [(cx + u * a * c - v * b * s, cy + u * a * s + v * b * c) for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        draw.polygon([(x + reach, y + reach) for x, y in corners], fill=(54, 54, 56))
        draw.polygon(corners, fill=roofs[int(rng.integers(len(roofs)))])


def _hedge(
    draw: ImageDraw.ImageDraw, parcel: Parcel, parameters: FarmlandParameters, reach: float, rng: np.random.Generator
) -> None:
    """Plant trees along one border."""
    i = int(rng.integers(len(parcel.corners)))
    (ax, ay), (bx, by) = parcel.corners[i], parcel.corners[(i + 1) % len(parcel.corners)]
    steps = max(2, int(np.hypot(bx - ax, by - ay) / 5))
    for t in np.linspace(0, 1, steps)[rng.random(steps) < 0.85]:
        jitter = rng.normal(0, 0.8, 2)
        _tree(draw, float(ax + t * (bx - ax) + jitter[0]), float(ay + t * (by - ay) + jitter[1]), parameters, reach, rng)


def _tree(
    draw: ImageDraw.ImageDraw, x: float, y: float, parameters: FarmlandParameters, reach: float, rng: np.random.Generator
) -> None:
    r, tone = float(rng.uniform(1.4, 3.2)), float(rng.uniform(0.8, 1.25))
    green = 0.3 + 0.7 * greenness(parameters.season)
    crown = [int(tone * (green * alive + (1 - green) * bare)) for alive, bare in ((46, 96), (72, 84), (38, 66))]
    draw.ellipse((x - r + reach, y - r + reach, x + r + reach, y + r + reach), fill=(40, 44, 40))
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(crown[0], crown[1], crown[2]))


def _label(labels: Labels, layout: Layout, hidden: npt.NDArray[np.bool_] | None) -> Boxes:
    """Box the fields by the rule in the module's docstring."""
    size_px = labels.shape[0]
    boxes = []
    for number, parcel in enumerate(layout.parcels, 1):
        if parcel.kind is not Kind.FIELD:
            continue
        xs, ys = [x for x, _ in parcel.corners], [y for _, y in parcel.corners]
        x0, y0 = max(0, int(min(xs)) - 1), max(0, int(min(ys)) - 1)
        x1, y1 = min(size_px, int(max(xs)) + 2), min(size_px, int(max(ys)) + 2)
        seen = labels[y0:y1, x0:x1] == number
        if hidden is not None:
            seen = seen & ~hidden[y0:y1, x0:x1]
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        if seen.sum() < MIN_VISIBLE * parcel.area_px or len(columns) == 0:
            continue
        box = (x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1)
        if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE_PX:
            boxes.append(box)
    return Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int32))
