from __future__ import annotations

import numpy as np
import pytest

from orbitloop.reports.plots.encounter import encounter_picture


@pytest.mark.parametrize(
    ("miss", "covariance"),
    [
        ((12300.0, 0.0), ((1.08e8, 2e4), (2e4, 470.0))),
        ((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))),
        ((3.0, 0.0), ((4.0, -3.99), (-3.99, 4.0))),
    ],
)
def test_it_is_drawn_the_same_every_time(miss: tuple[float, float], covariance: tuple[tuple[float, float], ...]) -> None:
    drawn = [
        encounter_picture(
            title="A and B",
            subtitle="encounter plane",
            miss_m=np.array(miss),
            covariance_m2=np.array(covariance),
            radius_m=10.0,
            kind="svg",
            facts=(("probability (3d)", "1e-5"),),
            warning="2-D does not hold: slow",
        )
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    text = drawn[0].decode()
    for said in ("A and B", "encounter plane", "hard-body radius 10 m", "1 sigma", "2-D does not hold: slow", "1e-5"):
        assert said in text
