"""What lies between rendered ground and the picture: light, clouds and their shadows, haze, optics, sensor.

Every step takes and returns (size, size, 3) float32 of grey levels; none changes where things are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from orbitloop.sim.imagery_parameters import FarmlandParameters

Grey = npt.NDArray[np.float32]

OPAQUE = 0.5
"""Opacity of cloud from which the ground counts as hidden."""

_CLOUD = np.array((243, 245, 248), np.float32)
_HAZE = np.array((198, 205, 214), np.float32)


def smooth_noise(size_px: int, cell_px: float, rng: np.random.Generator) -> Grey:
    """Return (size, size) noise of mean 0 and a standard deviation of about 0.8 whose features are `cell_px` wide."""
    cells = max(2, int(np.ceil(size_px / cell_px)) + 1)
    grid = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((size_px, size_px), Image.Resampling.BICUBIC), np.float32)


def cloud_opacity(size_px: int, cover: float, rng: np.random.Generator) -> tuple[Grey, tuple[int, int]]:
    """Return clouds that hide `cover` of the frame, as opacity 0..1 (size, size), and where their shadow falls (dx, dy), px.

    The field is drawn larger than the frame so that shadows of clouds outside the frame fall into it.
    """
    wide = size_px + 128
    field = smooth_noise(wide, 150, rng) + 0.5 * smooth_noise(wide, 50, rng) + 0.16 * smooth_noise(wide, 16, rng)
    field += 0.05 * smooth_noise(wide, 5, rng)
    heading = float(rng.uniform(0, 2 * np.pi))
    shadow = (round(34 * np.cos(heading)), round(34 * np.sin(heading)))
    inner = field[64 : 64 + size_px, 64 : 64 + size_px]
    edge = float(np.quantile(inner[::4, ::4], 1 - cover))
    return np.clip((field - edge) / 0.7 + OPAQUE, 0, 1), shadow


def light(picture: Grey, parameters: FarmlandParameters, rng: np.random.Generator) -> Grey:
    """Apply the sun: low is darker and warmer, and shows the lie of the land."""
    low = 1 - parameters.sun
    relief = 1 + (0.02 + 0.10 * low) * smooth_noise(picture.shape[0], 120, rng)
    tint = np.array((1 - 0.16 * low, 1 - 0.30 * low, 1 - 0.44 * low), np.float32) * np.float32(parameters.brightness)
    return np.asarray(picture * (relief[..., None] * tint), np.float32)


def cover_with_cloud(picture: Grey, opacity: Grey, shadow: tuple[int, int], sun: float) -> Grey:
    """Lay the shadows, then the clouds, over the ground."""
    size = picture.shape[0]
    here = opacity[64 : 64 + size, 64 : 64 + size, None]
    dx, dy = shadow
    cast = opacity[64 - dy : 64 - dy + size, 64 - dx : 64 - dx + size, None]
    shaded = picture * (1 - 0.48 * cast)
    return np.asarray(shaded * (1 - here) + (_CLOUD * np.float32(0.75 + 0.25 * sun)) * here, np.float32)


def veil(picture: Grey, haze: float, rng: np.random.Generator) -> Grey:
    """Mix the picture with the colour of lit air; uneven, as real haze is."""
    thickness = np.clip(0.82 * haze * (1 + 0.16 * smooth_noise(picture.shape[0], 180, rng)), 0, 0.93)[..., None]
    return np.asarray(picture * (1 - thickness) + _HAZE * thickness, np.float32)


def sense(picture: Grey, parameters: FarmlandParameters, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Apply contrast, optics, sampling and noise, and quantise."""
    size = picture.shape[0]
    levels = (picture - 118) * np.float32(parameters.contrast) + 118
    image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    if parameters.blur_px > 0:
        image = image.filter(ImageFilter.GaussianBlur(parameters.blur_px))
    if parameters.resolution > 1:
        coarse = max(8, round(size / parameters.resolution))
        image = image.resize((coarse, coarse), Image.Resampling.BOX).resize((size, size), Image.Resampling.BILINEAR)
    out = np.asarray(image, np.float32)
    if parameters.noise > 0:
        out = out + rng.standard_normal(out.shape, dtype=np.float32) * np.float32(parameters.noise)
    return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)
