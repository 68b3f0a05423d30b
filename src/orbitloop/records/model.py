"""What flies as a model: the metadata that travels inside the graph, and the identity of a version.

A model on disk is a folder with two files: `graph.onnx` (small, weights left out, metadata inside) and `weights.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GRAPH_FILE = "graph.onnx"
WEIGHTS_FILE = "weights.safetensors"
METADATA_KEY = "orbitloop"
FLOAT32, INT8 = "float32", "int8"
FORMS = (FLOAT32, INT8)
"""How a model computes: as it was trained, or in integers, the form that flies."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become the network's input, and its output boxes.

    A scene is cut into `tile_px` squares that overlap by `overlap_px`; a tile that is smaller is padded (letterbox without
    scaling) with `pad_value` at the right and bottom; the network sees pixel / 255, RGB.
    """

    tile_px: int
    overlap_px: int
    pad_value: int = 114
    candidate_score: float = 0.05
    report_score: float = 0.25
    nms_iou: float = 0.5
    max_detections: int = 300

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the graph says of itself: name, classes, width factor, anchors (w, h px per stride), preprocessing, form.

    The form fixes the input. `float32`: `image` float32 (B, 3, S, S). `int8`: `blocks` uint8 (B, S/2 + 1, S/2 + 1, 12): the
    image framed by one black pixel and cut into 2 x 2 blocks, each block's four RGB pixels in a row.
    """

    name: str
    classes: tuple[str, ...]
    width: float
    strides: tuple[int, ...]
    anchors_px: tuple[tuple[tuple[float, float], ...], ...]
    preprocessing: Preprocessing
    form: str = FLOAT32

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "orbitloop.model/1",
            "name": self.name,
            "classes": list(self.classes),
            "width": self.width,
            "strides": list(self.strides),
            "anchors_px": [[list(a) for a in level] for level in self.anchors_px],
            "preprocessing": self.preprocessing.to_json(),
            "form": self.form,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ModelMetadata:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of the wrong kind (the caller re-raises as ModelError).
        """
        return cls(
            name=str(value["name"]),
            classes=tuple(str(c) for c in value["classes"]),
            width=float(value["width"]),
            strides=tuple(int(s) for s in value["strides"]),
            anchors_px=tuple(tuple((float(w), float(h)) for w, h in level) for level in value["anchors_px"]),
            preprocessing=Preprocessing.from_json(value["preprocessing"]),
            form=str(value.get("form", FLOAT32)),
        )
