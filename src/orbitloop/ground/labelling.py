"""Who says what a sample shows: a big model where it is sure, a person (here the data set's own labels) where it is not.

Each labeller answers with boxes or with None, "I am not sure", and the next one is asked. Asking has a price, whatever comes of
it; the sum is part of the mission's report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbitloop.errors import DataError
from orbitloop.plugins.kinds import Labeller
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections

Pixels = npt.NDArray[np.uint8]


class OracleLabeller:
    """The data set's own labels: the person that a study has.

    Args:
        truth: boxes of each scene, by scene id, in scene pixels.
    """

    summary = "Answers with the data set's own labels, at a cost per label."

    def __init__(self, truth: Mapping[str, Boxes]) -> None:
        self.truth = truth

    def label(self, sample_id: str, scene_id: str, window: Sequence[int], pixels: Pixels) -> Boxes | None:
        if scene_id not in self.truth:
            raise DataError(
                f"the oracle knows no scene {scene_id!r} (sample {sample_id})", remedy="check the mission's data set"
            )
        x, y, width, height = window
        return self.truth[scene_id].crop(x, y, width, height)


class TeacherLabeller:
    """A larger model on the ground that labels what it is sure of.

    It is sure of a picture when none of its detections lies between the two thresholds. It looks twice, once mirrored, and is
    not sure where the two looks differ in their number of objects. Seeing nothing is never an answer: it is what a teacher
    that is blind in a new domain sees, and would teach the satellite to see nothing there.

    Args:
        detect: the teacher's detections on one picture, down to `reject_below` at least.
        accept_above: detections at or above are labels.
        reject_below: detections below are ignored.
    """

    summary = "A larger ground model; answers only where every detection is clearly in or clearly out."

    def __init__(self, detect: Callable[[Pixels], Detections], *, accept_above: float = 0.8, reject_below: float = 0.2) -> None:
        self.detect, self.accept_above, self.reject_below = detect, accept_above, reject_below

    def label(self, sample_id: str, scene_id: str, window: Sequence[int], pixels: Pixels) -> Boxes | None:
        del sample_id, scene_id, window
        found = self.detect(pixels)
        mirrored = self.detect(np.ascontiguousarray(pixels[:, ::-1]))
        sure = found.above(self.accept_above)
        doubtful = len(found.above(self.reject_below)) != len(sure) or len(mirrored.above(self.accept_above)) != len(sure)
        if doubtful or len(sure) == 0:
            return None
        return Boxes(sure.boxes_xyxy_px, sure.classes)


@dataclass(frozen=True, slots=True)
class PricedLabeller:
    """A labeller, its name in the report, and what one answer costs."""

    name: str
    labeller: Labeller
    cost: float


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The boxes of one sample, who gave them, and the price of all who were asked."""

    boxes: Boxes
    source: str
    cost: float


def ask(
    chain: Sequence[PricedLabeller], sample_id: str, scene_id: str, window: Sequence[int], pixels: Pixels
) -> tuple[Answer | None, float]:
    """Ask one labeller after the other until one is sure; return the answer, None when nobody is, and the price of asking.

    Whoever is asked is paid, also where all of it led to nothing.
    """
    cost = 0.0
    for priced in chain:
        cost += priced.cost
        boxes = priced.labeller.label(sample_id, scene_id, window, pixels)
        if boxes is not None:
            return Answer(boxes, priced.name, cost), cost
    return None, cost
