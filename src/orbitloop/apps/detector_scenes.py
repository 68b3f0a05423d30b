"""Scenes by name for the resident detector: a file below the scenes' root, read in windows, detected within the budget.

Role: join the scene reader and the pipeline. Each is imported when the first scene is asked for: a detector that serves tiles
only never pays for a reader's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orbitloop.errors import ModelError
from orbitloop.onboard.budget import Ledger
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.service import LookAtScene
from orbitloop.onboard.service_wire import Found


def scene_looker(root: Path, batch: int, cpu_s: Callable[[], float]) -> LookAtScene:
    """Return what looks at a scene below `root`, `batch` tiles at a time."""

    def look(engine: Engine, name: str, ledger: Ledger) -> Found:
        raise ModelError("scenes are not served yet", where=name)

    return look
