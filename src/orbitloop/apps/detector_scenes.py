"""Scenes by name for the resident detector: a file below the scenes' root, read in pieces, detected within the budget.

Role: join the scene reader, the first stage, the pipeline and the writer of results. They are imported when the first scene is
asked for: a detector that serves tiles only never pays for a reader's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitloop.apps.detector_files import inside, result_file
from orbitloop.apps.detector_options import NO_SCREEN
from orbitloop.errors import BudgetError, ImageError
from orbitloop.onboard.budget import Ledger
from orbitloop.onboard.service import KnownEngine, LookAtScene
from orbitloop.records.prediction import Detections

if TYPE_CHECKING:
    from orbitloop.onboard.pipeline import SceneRun
    from orbitloop.plugins.kinds import Screen

MAX_ANSWER_BOXES = 1_000_000
"""24 MB of answer. A scene that has more, and no file for them, is no scene but noise."""


def scene_looker(
    root: Path,
    batch: int,
    screen_name: str,
    *,
    bands: tuple[int, ...] | None = None,
    stretch: tuple[float, float] | None = None,
    results: Path | None = None,
) -> LookAtScene:
    """Return what looks at a scene below `root`, `batch` tiles at a time, after the named first stage (`none` = none).

    `bands` and `stretch` are as `open_scene` has them: one camera's, so the same for all scenes. Boxes are in scene pixels, so
    a scene whose georeference cannot be right is looked at all the same. With `results`, a folder, all detections go to a
    GeoJSON file below it, in WGS84 where the scene has a place, and what is returned holds the best only.
    """

    def look(
        engine: KnownEngine,
        name: str,
        ledger: Ledger,
        cpu_clock: Callable[[], float],
        give_way: Callable[[], None] = lambda: None,
    ) -> tuple[Detections, dict[str, Any]]:
        from orbitloop.apps.scene_results import LISTED, Best, stream_features
        from orbitloop.onboard.adapters.scene_files import open_scene
        from orbitloop.onboard.geojson import Origin
        from orbitloop.onboard.pipeline import detect_source

        path = inside(root, name, "--scenes")
        out = None if results is None else result_file(results, name)
        best = Best(MAX_ANSWER_BOXES if out is None else LISTED)
        # By the name that was asked for: what a link leads to may have one that is no text.
        with open_scene(path, scene_id=Path(name).stem, bands=bands, stretch=stretch, bad_geo="pixels") as source:
            run = detect_source(
                engine,
                source,
                batch=batch,
                screen=_screen(screen_name),
                ledger=ledger,
                cpu_clock=cpu_clock,
                progress=lambda done, total: give_way(),
            )
            about = {"scene": source.scene_id, "width_px": source.width_px, "height_px": source.height_px}
            origin = Origin(engine.metadata.classes, Path(name).name, source.captured_at_s, engine.digest, source.geo)
            parts = _within(run, name, MAX_ANSWER_BOXES if out is None else None)
            stream_features(parts, origin, best, out=out, option="--results")
        about |= {"found": best.found, "tiles": run.counts.to_json(), "cut_short": run.counts.cut_short}
        if out is not None:
            about |= {"out": str(out), "coordinates": "pixel" if origin.geo is None else "wgs84"}
        return best.take(), about

    return look


def _within(run: SceneRun, name: str, most: int | None) -> Iterator[Detections]:
    """Yield a scene's detections as they become final, at most so many.

    Raises:
        ImageError: there are more.
        BudgetError: not one tile was allowed, so nothing is known of the scene.
    """
    found = 0
    for part in run:
        found += len(part)
        if most is not None and found > most:
            raise ImageError(f"more than {most} detections in one scene", where=name, remedy="start it with --results DIR")
        yield part
    if run.counts.refused and not run.counts.seen:
        raise BudgetError("the budget of this period allows no tile of this scene", where=name, remedy="wait, or raise it")


def _screen(name: str) -> Screen | None:
    """Return a fresh first stage: what it remembers belongs to one scene."""
    if name == NO_SCREEN:
        return None
    from orbitloop.plugins.registry import default_registry

    made: Screen = default_registry().create("screen", name, {}, where="--screen")
    return made
