"""Our side: the engine that flies and the scene pipeline around it, with nothing loaded that does not fly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from worker import load_tiles, timed

from orbitloop.algorithms.screening import Cheap
from orbitloop.apps.scenes import SceneOptions
from orbitloop.onboard.adapters.engines import open_engine
from orbitloop.onboard.adapters.scene_files import open_scene
from orbitloop.onboard.geojson import feature_collection
from orbitloop.onboard.pipeline import best_first, detect_source
from orbitloop.onboard.weights import load_weights


class Ours:
    """The worker's side."""

    engine: Any

    def load(self, folder: str, engine: str = "onnxruntime") -> None:
        """Load a model folder into an engine."""
        weights = load_weights((Path(folder) / "weights.safetensors").read_bytes())
        self.engine = open_engine(engine, (Path(folder) / "graph.onnx").read_bytes(), weights)
        self.rules = self.engine.metadata.preprocessing

    def run(self, file: str, repeats: int) -> dict[str, Any]:
        """Time some repeats over a file's tiles: decoded rows as the peers give them, and boxes as the pipeline takes them."""
        tiles = load_tiles(file)
        spans = {"infer": timed(lambda: self.engine.infer(tiles), repeats)}
        if hasattr(self.engine, "rows"):
            spans["rows"] = timed(lambda: self.engine.rows(tiles), repeats)
        return spans

    def rows(self, file: str, out: str) -> None:
        """Write the decoded rows of a file's tiles to another."""
        np.save(out, self.engine.rows(load_tiles(file)))

    def scene(self, file: str, *, threshold: float, screen: bool) -> dict[str, Any]:
        """Detect in a file, from opening it to GeoJSON, so many tiles at a time as `orbitloop detect` takes.

        Returns rows of x0, y0, x1, y1, score, class in scene pixels, and what became of the tiles.
        """
        about = self.engine.metadata
        with open_scene(file) as source:
            run = detect_source(
                self.engine, source, batch=SceneOptions().batch, least_score=threshold, screen=Cheap() if screen else None
            )
            found = best_first(list(run))
            collection = feature_collection(
                found,
                classes=about.classes,
                scene_id=source.scene_id,
                captured_at_s=0.0,
                model_digest="",
                geo=source.geo,
            )
            text = json.dumps(collection)
        boxes = np.column_stack([found.boxes_xyxy_px, found.scores, found.classes]).tolist() if len(found) else []
        tiles = {"seen": run.counts.seen, **run.counts.dropped}
        return {"boxes": boxes, "geojson_bytes": len(text), "tiles": tiles}
