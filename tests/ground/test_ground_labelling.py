"""Labellers: the oracle crops the truth, the teacher speaks only when sure, and each who is asked is paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from orbitloop.errors import DataError
from orbitloop.ground.labelling import OracleLabeller, PricedLabeller, TeacherLabeller, ask
from orbitloop.plugins.kinds import Labeller
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections

Pixels = npt.NDArray[np.uint8]
BLANK = np.zeros((20, 30, 3), np.uint8)
ORACLE = OracleLabeller({"scene": Boxes.from_json([[100, 50, 140, 90, 1], [300, 300, 320, 320, 0]])})


def detections(*scores: float) -> Detections:
    boxes = np.array([[10 * i, 0, 10 * i + 8, 8] for i in range(len(scores))], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(scores, np.float32), np.arange(len(scores), dtype=np.int32))


def teacher(*looks: Sequence[float]) -> TeacherLabeller:
    """A teacher whose first look, and whose second, find objects of these scores."""
    answers = iter(looks)
    return TeacherLabeller(lambda _: detections(*next(answers)))


def bright_spots(pixels: Pixels) -> Detections:
    """A detector: one object for each bright column, wherever it is."""
    columns = np.flatnonzero(pixels[0, :, 0] > 200)
    boxes = np.array([[c, 0, c + 1, 20] for c in columns], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(columns), 0.9, np.float32), np.zeros(len(columns), np.int32))


def test_the_oracle_crops_the_scene_to_the_window() -> None:
    found = ORACLE.label("s1", "scene", (90, 40, 64, 64), BLANK)
    assert found is not None
    assert found.to_json() == [[10, 10, 50, 50, 1]]


def test_the_oracle_knows_a_scene_without_objects_from_one_that_it_does_not_know() -> None:
    nothing = ORACLE.label("s1", "scene", (500, 500, 64, 64), BLANK)
    assert nothing is not None
    assert len(nothing) == 0
    with pytest.raises(DataError, match=r"'elsewhere' \(sample s9\)"):
        ORACLE.label("s9", "elsewhere", (0, 0, 64, 64), BLANK)


@pytest.mark.parametrize(
    ("first", "second", "sure"),
    [
        ((0.9, 0.85), (0.95, 0.8), 2),
        ((0.9, 0.1), (0.9,), 1),
        ((0.8, 0.19), (0.8, 0.3), 1),
        ((), (), None),
        ((0.1,), (0.15,), None),
        ((0.9, 0.5), (0.9,), None),
        ((0.9, 0.2), (0.9,), None),
        ((0.79,), (0.9,), None),
        ((0.9,), (0.9, 0.9), None),
        ((0.9, 0.9), (0.9,), None),
        ((0.9,), (), None),
    ],
)
def test_the_teacher_answers_only_when_every_detection_is_clear_and_both_looks_agree(
    first: tuple[float, ...], second: tuple[float, ...], sure: int | None
) -> None:
    answer = teacher(first, second).label("s", "scene", (0, 0, 30, 20), BLANK)
    assert (None if answer is None else len(answer)) == sure
    if answer is not None:
        wanted = detections(*first).above(0.8)
        assert np.array_equal(answer.xyxy_px, wanted.boxes_xyxy_px)
        assert np.array_equal(answer.classes, wanted.classes)


def test_the_second_look_is_mirrored_and_the_answer_is_not() -> None:
    seen: list[Pixels] = []

    def detect(pixels: Pixels) -> Detections:
        seen.append(pixels)
        return bright_spots(pixels)

    pixels = BLANK.copy()
    pixels[:, 4] = 255
    answer = TeacherLabeller(detect).label("s", "scene", (0, 0, 30, 20), pixels)
    assert answer is not None
    assert answer.to_json() == [[4, 0, 5, 20, 0]]
    assert np.array_equal(seen[1], pixels[:, ::-1])
    assert seen[1].flags.c_contiguous


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: teacher((0.9,), (0.9,)), ("teacher", 0.01, 1)),
        (lambda: teacher((0.5,), (0.9,)), ("oracle", 1.01, 2)),
    ],
)
def test_the_next_one_is_asked_and_all_are_paid(make: Callable[[], Labeller], wanted: tuple[str, float, int]) -> None:
    truth = OracleLabeller({"scene": Boxes.from_json([[0, 0, 9, 9, 0], [10, 0, 19, 9, 0]])})
    chain = [PricedLabeller("teacher", make(), 0.01), PricedLabeller("oracle", truth, 1.0)]
    answer, cost = ask(chain, "s", "scene", (0, 0, 30, 20), BLANK)
    assert answer is not None
    assert (answer.source, answer.cost, len(answer.boxes)) == wanted
    assert cost == answer.cost


def test_when_nobody_is_sure_there_is_no_answer_and_the_price_of_asking_stays() -> None:
    unsure = [PricedLabeller("teacher", teacher((0.5,), (0.5,)), cost) for cost in (0.25, 0.25)]
    assert ask(unsure, "s", "scene", (0, 0, 30, 20), BLANK) == (None, 0.5)
    assert ask([], "s", "scene", (0, 0, 30, 20), BLANK) == (None, 0.0)
