"""Anchor boxes by k-means over the training boxes' widths and heights, with 1 - IoU as distance.

Redmon and Farhadi, "YOLO9000", arXiv 1612.08242, section 2 ("Dimension Clusters").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbitloop.errors import DataError


def kmeans_anchors(
    sizes_px: npt.NDArray[np.float32], *, count: int = 6, seed: int = 0, iterations: int = 60
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return `count` anchors (w, h px) split over the strides: the larger half for 32, the smaller for 16.

    Args:
        sizes_px: (N, 2) widths and heights in network pixels.
        count: how many anchors, even.
        seed: of the k-means++ start.
        iterations: at most so many Lloyd steps.

    Raises:
        DataError: there is no box at all.
    """
    sizes = np.asarray(sizes_px, np.float64)
    sizes = sizes[(sizes > 1).all(axis=1)]
    if len(sizes) == 0:
        raise DataError("no box to derive anchors from", remedy="check that the base domains hold labelled objects")
    rng = np.random.default_rng(seed)
    centres = sizes[rng.integers(len(sizes))][None]
    while len(centres) < count:
        distance = (1 - _iou_wh(sizes, centres)).min(axis=1) ** 2 + 1e-12
        centres = np.vstack([centres, sizes[rng.choice(len(sizes), p=distance / distance.sum())]])
    for _ in range(iterations):
        nearest = _iou_wh(sizes, centres).argmax(axis=1)
        moved = np.array([np.median(sizes[nearest == k], axis=0) if (nearest == k).any() else centres[k] for k in range(count)])
        if np.allclose(moved, centres):
            break
        centres = moved
    ordered = centres[np.argsort(centres.prod(axis=1))]
    rounded = [(round(float(w), 1), round(float(h), 1)) for w, h in ordered]
    half = count // 2
    return tuple(rounded[half:]), tuple(rounded[:half])


def _iou_wh(sizes: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    overlap = np.minimum(sizes[:, None], centres[None]).prod(axis=2)
    union = sizes.prod(axis=1)[:, None] + centres.prod(axis=1)[None] - overlap
    return np.asarray(overlap / union, np.float64)
