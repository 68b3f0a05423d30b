from __future__ import annotations

import numpy as np
import pytest

from orbitloop.reports.plots.element_history import ElementHistory, draw_history
from orbitloop.reports.plots.position_residuals import PositionResiduals, draw_residuals

HISTORY = ElementHistory(
    "BIRD (1)", [1.78e9, 1.78e9 + 86400, 1.78e9 + 2e5], [500, 499, 498], [510, 509, 520], [1e-4, -2e-4, 1e-4], [None, 0.1, 9.0],
    [False, False, True],
)  # fmt: skip


def _residuals(after: bool) -> PositionResiduals:
    before = np.random.default_rng(0).normal(size=(50, 3))
    before[7] = 1e4  # a wild fix does not set the scale
    rest = {"after_rtn_km": before / 1e3, "used": np.arange(50) != 7} if after else {}
    return PositionResiduals("BIRD (1)", 1.78e9, np.arange(50.0), before, np.full((50, 3), 2.0), **rest)  # type: ignore[arg-type]


def test_history_is_drawn_and_the_same_each_time() -> None:
    text = draw_history(HISTORY, "svg")
    assert text == draw_history(HISTORY, "svg")
    assert "BIRD (1)" in text.decode()
    assert draw_history(HISTORY, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("after", [False, True])
def test_residuals_are_drawn_with_and_without_a_correction(after: bool) -> None:
    text = draw_residuals(_residuals(after), "svg").decode()
    assert ("left out" in text) == after
    assert "1 outside" in text
    assert "10000" not in text
