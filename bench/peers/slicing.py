"""SAHI driving our network in torch: file to merged boxes, by SAHI's own slicing, bookkeeping and merge.

SAHI brings no wrapper for a plain torch module, so this is one, by its documented interface (`DetectionModel`). What stands in
for a detector's own post-processing per slice is ours, so that both sides threshold and suppress alike within a tile.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from networks import Torch
from sahi.models.base import DetectionModel  # type: ignore[import-not-found]
from sahi.predict import get_sliced_prediction  # type: ignore[import-not-found]
from sahi.prediction import ObjectPrediction  # type: ignore[import-not-found]
from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list  # type: ignore[import-not-found]

from orbitloop.algorithms.boxes import clip_to, suppress
from orbitloop.records.prediction import Detections

_STRIDE = 32
_PAD = 114


class TorchModel(DetectionModel):  # type: ignore[misc]
    """Our torch network as SAHI wants a model. `memory`, when it is a dict, keeps the rows of each slice seen."""

    memory: dict[str, Any] | None = None

    def load_model(self) -> None:
        """Build the network from its folder."""
        self.model = Torch()
        self.model.load(self.model_path)
        self.category_mapping = {str(i): name for i, name in enumerate(self.model.classes)}

    def perform_inference(self, image: np.ndarray[Any, Any]) -> None:
        """Run one slice (H, W, 3) uint8 RGB."""
        key = hashlib.blake2b(image.tobytes()).hexdigest() if self.memory is not None else ""
        if self.memory is not None and key in self.memory:
            self._original_predictions = self.memory[key]
            return
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % _STRIDE), (0, -width % _STRIDE), (0, 0)), constant_values=_PAD)
        rows = self.model.decode(self.model.net(self.model.prepare(padded[None])))[0]
        self._original_predictions = rows, width, height
        if self.memory is not None:
            self.memory[key] = self._original_predictions

    def _create_object_prediction_list_from_original_predictions(
        self,
        shift_amount_list: list[list[int]] | None = None,
        full_shape_list: list[list[int]] | None = None,
    ) -> None:
        # SAHI gives one pair for a whole picture, a list of them for slices.
        shift = fix_shift_amount_list(shift_amount_list or [[0, 0]])[0]
        shapes = fix_full_shape_list(full_shape_list)
        shape = shapes[0] if shapes else None
        names = self.category_mapping
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=[float(v) for v in box],
                    score=float(score),
                    category_id=int(kind),
                    category_name=names[str(int(kind))],
                    shift_amount=shift,
                    full_shape=shape,
                )
                for box, score, kind in zip(found.boxes_xyxy_px, found.scores, found.classes, strict=True)
            ]
            for found in [self._found(*self._original_predictions)]
        ]

    def _found(self, rows: Any, width: int, height: int) -> Detections:
        """Score, threshold, clip and suppress one slice, as `onboard.engine` does."""
        near = rows[rows[:, 4] >= self.confidence_threshold]
        best = near[:, 5:].argmax(axis=1)
        scores = near[:, 4] * near[np.arange(len(near)), 5 + best]
        keep = scores >= self.confidence_threshold
        centre, half = near[keep, :2], near[keep, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        found = Detections(boxes.astype(np.float32), scores[keep].astype(np.float32), best[keep].astype(np.int32))
        return suppress(clip_to(found, width, height), self.nms_iou, self.max_detections)


class Sahi:
    """The worker's side."""

    def load(self, folder: str, nms_iou: float, max_detections: int) -> None:
        """Load the model; the rules within a slice are those of the model's metadata."""
        self.model = TorchModel(model_path=folder, device="cpu", confidence_threshold=0.25)
        self.model.nms_iou, self.model.max_detections = nms_iou, max_detections

    def scene(
        self,
        file: str,
        *,
        tile_px: int,
        overlap_px: int,
        threshold: float,
        merge: str,
        metric: str,
        whole: bool,
        remember: bool,
    ) -> dict[str, Any]:
        """Detect in a file; returns rows of x0, y0, x1, y1, score, class in scene pixels.

        Args:
            file: the picture.
            tile_px: slice size.
            overlap_px: overlap of slices.
            threshold: lowest score.
            merge: SAHI's `postprocess_type`.
            metric: its `postprocess_match_metric`; the threshold is its default, 0.5.
            whole: also run the network over the whole scene (SAHI's default).
            remember: reuse rows of a slice that was seen before: for accuracy, never for time.
        """
        self.model.memory = (self.model.memory or {}) if remember else None
        ratio = (overlap_px + 0.5) / tile_px  # SAHI rounds ratio * slice down: half a pixel more gives the overlap itself
        result = get_sliced_prediction(
            str(Path(file)),
            self.model,
            slice_height=tile_px,
            slice_width=tile_px,
            overlap_height_ratio=ratio,
            overlap_width_ratio=ratio,
            perform_standard_pred=whole,
            postprocess_type=merge,
            postprocess_match_metric=metric,
            force_postprocess_type=True,
            confidence_threshold=threshold,
            verbose=0,
        )
        rows = [
            [*map(float, found.bbox.to_xyxy()), float(found.score.value), int(found.category.id)]
            for found in result.object_prediction_list
        ]
        return {"boxes": rows}
