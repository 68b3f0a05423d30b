"""Pictures and bytes: decode what comes from outside within a stated limit, encode what goes down."""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from orbitloop.errors import ImageError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 100_000_000


def decode_image(data: bytes, *, where: str = "", max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode PNG, JPEG or WebP to (height, width, 3) uint8 RGB.

    The header is read before any pixel, so that a picture that claims an absurd size costs nothing.

    Raises:
        ImageError: unknown kind, truncated, or larger than `max_pixels`. Never anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked below, and a picture that opens is taken as it is
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError(f"picture of {width} x {height} px is over the limit of {max_pixels} px", where=where)
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not a PNG, JPEG or WebP picture", where=where) from error
    except Exception as error:  # Pillow's readers raise what they meet: struct.error and IndexError for a short PNG chunk
        raise ImageError(f"picture is damaged ({error})", where=where, remedy="fetch or export it again") from error


def encode_image(pixels: npt.NDArray[np.uint8], *, format: str = "webp", quality: int = 80) -> bytes:
    """Encode (height, width, 3) uint8 RGB as `webp`, `jpeg` or `png` (`quality` 1..100, ignored for PNG).

    Raises:
        ImageError: the format is unknown or the array has another shape.
    """
    kind = format.upper()
    if kind not in FORMATS or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ImageError(
            f"cannot encode {pixels.dtype} {pixels.shape} as {format!r}", remedy="use webp, jpeg or png and RGB uint8"
        )
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format=kind, **({} if kind == "PNG" else {"quality": quality}))
    return out.getvalue()
