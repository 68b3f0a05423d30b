"""What is observed of a network: shapes, a check of H by hand, and that the curvature is that of the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from orbitloop.errors import ExportError
from orbitloop.ground.adapters.network import initial_weights
from orbitloop.ground.adapters.sensitivity import observe_sensitivity
from orbitloop.ground.topology import layers
from orbitloop.records.model import ModelMetadata, Preprocessing

ANCHORS = (((30.0, 30.0), (50.0, 40.0), (60.0, 60.0)), ((8.0, 8.0), (12.0, 16.0), (20.0, 20.0)))
METADATA = ModelMetadata("fields", ("field",), 0.125, (32, 16), ANCHORS, Preprocessing(tile_px=64, overlap_px=16))


def tiles(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(count)]


def test_each_convolution_is_seen() -> None:
    found = observe_sensitivity(METADATA, initial_weights(0.125, 1, 0), tiles(2))
    for layer in layers(0.125, 1):
        if layer.kind in ("conv", "output"):
            sense, columns = found[layer.conv], layer.in_channels * layer.kernel**2
            assert sense.mean.shape == (columns,)
            assert sense.second.shape == (columns, columns)
            assert sense.gain.shape == (layer.out_channels,)
            assert (sense.gain >= 0).all()
            assert sense.gain.sum() > 0
            assert np.linalg.eigvalsh(sense.second.astype(np.float64)).min() > -1e-4 * np.trace(sense.second)


def test_a_constant_picture_gives_the_second_moment_that_can_be_computed() -> None:
    grey = [np.full((64, 64, 3), 51, np.uint8)]
    sense = observe_sensitivity(METADATA, initial_weights(0.125, 1, 0), grey)["conv00"]
    centre = np.arange(27).reshape(3, 3, 3)[:, 1, 1]  # the kernel's centre reads no padding anywhere
    assert sense.second[np.ix_(centre, centre)] == pytest.approx(np.full((3, 3), 0.04), rel=1e-4)
    assert sense.mean[centre] == pytest.approx(np.full(3, 0.2), rel=1e-4)


def test_the_same_seed_sees_the_same() -> None:
    one, two = (observe_sensitivity(METADATA, initial_weights(0.125, 1, 0), tiles(2), seed=5)["conv12"] for _ in range(2))
    assert (one.second == two.second).all()
    assert (one.gain == two.gain).all()


def test_no_tile_is_said_so() -> None:
    with pytest.raises(ExportError, match="no tile"):
        observe_sensitivity(METADATA, initial_weights(0.125, 1, 0), [])
