"""GDAL behind a fence: what it may open, what it may look at, how much it may keep, and how it speaks.

Role: the only door to `rasterio` (extra `geo`) that the scene readers use. Every native call runs inside `fence`, which sets
the options below and turns whatever comes out into `ImageError`. It leaves the meaning of what is read to its callers.

- One driver, chosen by the file's magic number, opens the file: no VRT, no other format that names further files.
- A path is resolved first (symbolic links are followed: who may place links in the scene folder may place scenes there) and
  must be a regular file of the local file system, so neither `/vsi...` nor a URL ever reaches GDAL.
- No directory listing and no sidecar (.aux.xml, .ovr, .msk, world files, RPC files): a scene is one file.
- No network: the drivers that could are not asked, no path leads to `/vsicurl`, and that layer may fetch no extension in use.
- 32 MB of block cache, one thread. Warnings of libjpeg (cut short, damaged) are errors: GDAL would fill the rest with grey.

GDAL's settings are made for a call and taken back at its end: a thread's own for itself, the main thread's for the process
(that is how rasterio sets them). The block cache is one for the process. Messages go to the `rasterio` loggers, which are
silent unless an application asks for them.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orbitloop.errors import ImageError

CACHE_BYTES = 32 << 20
_OPTIONS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_NUM_THREADS": "1",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_ALLOW_LARGE_LIBJPEG_MEM_ALLOC": "NO",
    "GDAL_JPEG_MAX_ALLOWED_SCAN_NUMBER": "100",
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",  # that path gives rubbish and no error for a PNG that is cut short (GDAL 3.10)
    "GTIFF_IMPLICIT_JPEG_OVR": "NO",
    "GDAL_PNG_SINGLE_BLOCK": "NO",
    "GTIFF_VIRTUAL_MEM_IO": "NO",
    "GTIFF_DIRECT_IO": "NO",
    "GTIFF_USE_MMAP": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "CPL_DEBUG": "OFF",
}
REMEDY = "install the extra: pip install 'orbitloop[geo]'"


def rasterio_or_none() -> Any:
    """Return `rasterio`, imported when first asked for (25 MB of memory), or None where the extra is not installed."""
    try:
        import rasterio
    except ImportError:
        return None
    return rasterio


class _JpegDamage(logging.Filter):
    """Listens to GDAL's messages in one thread, and lets them pass; what libjpeg says of a JPEG within a TIFF is only told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = ""
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread == self._thread and "JPEGLib:" in (text := record.getMessage()):
            self.heard = text.partition("JPEGLib:")[2]
        return True


@contextmanager
def jpeg_damage_is_an_error(where: str) -> Iterator[None]:
    """Refuse what was read inside when libjpeg warned of damage; it fills what is missing with grey.

    GDAL has a setting for this, but only for JPEG files. An application that silences the `rasterio` loggers turns this off.

    Raises:
        ImageError: libjpeg warned.
    """
    damage, logger = _JpegDamage(), logging.getLogger("rasterio._err")
    logger.addFilter(damage)
    try:
        yield
    finally:
        logger.removeFilter(damage)
    if damage.heard:
        raise ImageError(f"a JPEG within it is damaged ({damage.heard})", where=where, remedy="fetch or export it again")


@contextmanager
def fence(where: str, doing: str) -> Iterator[Any]:
    """Run GDAL calls under the fence's settings; yields the `rasterio` module.

    Args:
        where: the file, and the part of it that is read.
        doing: what is done, for the message: "cannot `doing`".

    Raises:
        ImageError: whatever goes wrong inside, and when the extra is not installed.
    """
    rasterio = rasterio_or_none()
    if rasterio is None:
        raise ImageError(f"cannot {doing} without rasterio", where=where, remedy=REMEDY)
    from rasterio.session import DummySession

    try:
        with rasterio.Env(session=DummySession(), **_OPTIONS):
            yield rasterio
    except ImageError:
        raise
    except Exception as error:  # GDAL's errors share no base with rasterio's, and a lying file raises what it meets
        root: BaseException = error
        while root.__cause__ is not None:  # rasterio's own "Read failed" says nothing; what GDAL said is its cause
            root = root.__cause__
        text = " ".join(str(root).split()) or type(root).__name__
        raise ImageError(f"cannot {doing} ({text[:200]})", where=where, remedy="fetch or export it again") from error


def open_dataset(path: Path, driver: str) -> Any:
    """Open a resolved path of a regular file by one driver, read-only.

    Raises:
        ImageError: GDAL refuses it.
    """
    with fence(str(path), f"open it as {driver}") as rasterio, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # pixel coordinates are an answer, not a fault
        return rasterio.open(path, driver=driver, sharing=False)
