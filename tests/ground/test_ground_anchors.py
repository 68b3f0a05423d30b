"""Anchors: found where the boxes cluster, in a fixed order, whatever the boxes are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orbitloop.errors import DataError
from orbitloop.ground.anchors import kmeans_anchors

CLUSTERS = np.array([[10, 12], [22, 16], [30, 60], [80, 40], [100, 120], [220, 200]], np.float32)


def test_the_centres_of_clear_clusters_are_found() -> None:
    rng = np.random.default_rng(1)
    sizes = (CLUSTERS[:, None] * rng.uniform(0.95, 1.05, (6, 40, 2))).reshape(-1, 2).astype(np.float32)
    coarse, fine = kmeans_anchors(rng.permutation(sizes), seed=3)
    assert np.allclose([*fine, *coarse], CLUSTERS, rtol=0.04)


def test_exact_sizes_are_returned_small_ones_for_the_fine_stride() -> None:
    coarse, fine = kmeans_anchors(np.repeat(CLUSTERS, 5, axis=0))
    assert fine == ((10.0, 12.0), (22.0, 16.0), (30.0, 60.0))
    assert coarse == ((80.0, 40.0), (100.0, 120.0), (220.0, 200.0))


def test_the_seed_decides_and_nothing_else() -> None:
    sizes = np.random.default_rng(0).uniform(4, 200, (300, 2)).astype(np.float32)
    assert kmeans_anchors(sizes, seed=1) == kmeans_anchors(sizes, seed=1)
    assert kmeans_anchors(sizes, seed=1) != kmeans_anchors(sizes, seed=2)


def test_anchors_fit_better_than_a_regular_grid() -> None:
    sizes = np.exp(np.random.default_rng(5).normal(3, 0.7, (400, 2))).astype(np.float32)

    def mean_iou(anchors: np.ndarray) -> float:
        overlap = np.minimum(sizes[:, None], anchors).prod(2)
        return float((overlap / (sizes.prod(1)[:, None] + anchors.prod(1) - overlap)).max(1).mean())

    levels = kmeans_anchors(sizes)
    grid = np.repeat(np.geomspace(sizes.min(), sizes.max(), 6)[:, None], 2, axis=1)
    assert mean_iou(np.array([*levels[0], *levels[1]])) > mean_iou(grid) + 0.05


@pytest.mark.parametrize("sizes", [np.zeros((0, 2)), np.zeros((4, 2)), np.array([[0.5, 30.0], [30.0, 1.0]])])
def test_no_box_is_an_error(sizes: np.ndarray) -> None:
    with pytest.raises(DataError, match="no box"):
        kmeans_anchors(sizes.astype(np.float32))


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(1.5, 5000, width=32)),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_any_boxes_give_six_positive_anchors_within_their_range(sizes: np.ndarray, seed: int) -> None:
    coarse, fine = kmeans_anchors(sizes, seed=seed)
    flat = np.array([*fine, *coarse])
    assert flat.shape == (6, 2)
    assert (flat >= sizes.min() - 0.06).all()
    assert (flat <= sizes.max() + 0.06).all()
    areas = flat.prod(axis=1)
    assert (np.diff(areas) >= -0.11 * np.sqrt(2 * areas[1:].max())).all()  # in order, but for the rounding to 0.1 px
