"""Scenes by name for the resident detector: a file below the scenes' root, read in pieces, detected within the budget.

Role: join the scene reader, the first stage and the pipeline. They are imported when the first scene is asked for: a detector
that serves tiles only never pays for a reader's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.apps.detector_files import inside
from orbitloop.errors import BudgetError, ImageError
from orbitloop.onboard.budget import Ledger
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.service import LookAtScene
from orbitloop.records.prediction import Detections

MAX_ANSWER_BOXES = 1_000_000
"""24 MB of answer. A scene that has more is no scene but noise."""


def scene_looker(
    root: Path,
    batch: int,
    screen_name: str,
    *,
    bands: tuple[int, ...] | None = None,
    stretch: tuple[float, float] | None = None,
) -> LookAtScene:
    """Return what looks at a scene below `root`, `batch` tiles at a time, after the named first stage (empty = none).

    `bands` and `stretch` are as `open_scene` has them: one camera's, so the same for all scenes. Boxes are in scene pixels, so
    a scene whose georeference cannot be right is looked at all the same.
    """

    def look(
        engine: Engine, name: str, ledger: Ledger, cpu_clock: Callable[[], float], give_way: Callable[[], None] = lambda: None
    ) -> tuple[Detections, dict[str, Any]]:
        from orbitloop.onboard.adapters.scene_files import open_scene
        from orbitloop.onboard.pipeline import detect_source

        path = inside(root, name, "--scenes")
        screen = _screen(screen_name)
        parts: list[Detections] = []
        boxes = 0
        # By the name that was asked for: what a link leads to may have one that is no text.
        with open_scene(path, scene_id=Path(name).stem, bands=bands, stretch=stretch, bad_geo="pixels") as source:
            run = detect_source(
                engine,
                source,
                batch=batch,
                screen=screen,
                ledger=ledger,
                cpu_clock=cpu_clock,
                progress=lambda done, total: give_way(),
            )
            for part in run:
                boxes += len(part)
                if boxes > MAX_ANSWER_BOXES:
                    raise ImageError(f"more than {MAX_ANSWER_BOXES} detections in one scene", where=name)
                parts.append(part)
            counts = run.counts
            about = {"scene": source.scene_id, "width_px": source.width_px, "height_px": source.height_px}
        if counts.refused and not counts.seen:
            raise BudgetError("the budget of this period allows no tile of this scene", where=name, remedy="wait, or raise it")
        return _joined(parts), {**about, "tiles": counts.to_json(), "cut_short": counts.cut_short}

    return look


def _screen(name: str) -> Any:
    """Return a fresh first stage: what it remembers belongs to one scene."""
    if not name:
        return None
    from orbitloop.plugins.registry import default_registry

    return default_registry().create("screen", name, {})


def _joined(parts: list[Detections]) -> Detections:
    """Return all parts as one, best first."""
    if not parts:
        return Detections.empty()
    boxes = np.concatenate([part.boxes_xyxy_px for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    classes = np.concatenate([part.classes for part in parts])
    order = np.argsort(-scores, kind="stable")
    return Detections(boxes[order], scores[order], classes[order])
