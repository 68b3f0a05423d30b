"""What leaves a scene as it is looked at: a file of all detections, and the best of them in memory that does not grow.

Role: hand detections on as they become final. A file is written under a spare name, synchronised and renamed, so that a scene
that fails, a run that is stopped, or a power cut leaves no half file. Both `orbitloop detect` and the resident detector write
by it; so nothing here needs the ground's packages.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from orbitloop.errors import StateError
from orbitloop.onboard.geojson import FeatureWriter, Origin, features, foreign_members
from orbitloop.onboard.pipeline import best_first
from orbitloop.records.prediction import Detections

LISTED = 10_000
"""How many detections of a scene, the best, are held in memory when a file has them all."""


class Best:
    """Keeps the best so many detections of what it is shown, in memory that does not grow."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self.found = 0
        self._parts: list[Detections] = [Detections.empty()]

    def add(self, part: Detections) -> None:
        self._parts.append(part)
        self.found += len(part)
        self._held += len(part)
        if self._held > 4 * self._most:
            self._parts, self._held = [self.take()], self._most

    def take(self) -> Detections:
        """Return them, best first."""
        whole, best = best_first(self._parts), slice(0, self._most)
        return Detections(whole.boxes_xyxy_px[best], whole.scores[best], whole.classes[best])


def stream_features(
    parts: Iterable[Detections],
    origin: Origin,
    best: Best,
    *,
    out: Path | None = None,
    lines: IO[str] | None = None,
    option: str = "--out",
) -> None:
    """Hand a scene's detections on as they become final.

    Args:
        parts: of the scene's detections, in scene pixels. What it raises leaves no file.
        origin: what all of them share.
        best: is shown each part.
        out: the GeoJSON file to write.
        lines: gets each Feature as one line of JSON.
        option: which named the folder of `out`; for the remedy.

    Raises:
        ImageError: a box has no place on Earth by the scene's mapping.
        StateError: the file cannot be written.
    """
    with contextlib.ExitStack() as files:
        writer = None
        if out is not None:
            stream = files.enter_context(whole_file(out, option))
            writer = FeatureWriter(stream, foreign_members(placed=origin.geo is not None))
        for part in parts:
            best.add(part)
            for feature in features(part, origin) if writer is not None or lines is not None else ():
                if writer is not None:
                    writer.write([feature])
                if lines is not None:
                    lines.write(json.dumps(feature, ensure_ascii=False, allow_nan=False) + "\n")
        if writer is not None:
            writer.close()


@contextlib.contextmanager
def whole_file(target: Path, option: str = "--out") -> Iterator[IO[str]]:
    """Give a text stream that becomes `target` when all went well, and nothing when not. `option` named its folder.

    Raises:
        StateError: it cannot be written.
    """
    with whole_bytes(target, option) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8")
        try:
            yield stream
        finally:
            stream.detach()  # writes out what it holds; the file is not its to close


@contextlib.contextmanager
def whole_bytes(target: Path, option: str = "--out") -> Iterator[BinaryIO]:
    """Give a stream of bytes that becomes `target` when all went well, and nothing when not; as `whole_file`.

    Raises:
        StateError: it cannot be written.
    """
    spare = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        spare.unlink(missing_ok=True)  # of a run that was killed
        with spare.open("xb") as stream:  # never through a link that lies there
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        spare.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            spare.unlink(missing_ok=True)
        raise StateError(
            f"results cannot be written ({error.strerror or error})",
            where=str(target),
            remedy=f"free space, or name another {option}",
        ) from error
    except BaseException:
        with contextlib.suppress(OSError):
            spare.unlink(missing_ok=True)
        raise
