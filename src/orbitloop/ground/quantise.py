"""From trained float weights to the int8 form: fold batch-norm, choose ranges, round.

Post-training static quantisation, per output channel for weights and per tensor for activations (Krishnamoorthi, "Quantizing
deep convolutional networks for efficient inference: A whitepaper", arXiv 1806.08342; Nagel et al., arXiv 2106.08295). It leaves
to `adapters.calibration` what activations look like on real tiles, to `export_int8` the graph, and to the gate whether the
result may fly: by average precision, not by output error.

Ranges minimise the mean squared error over a sample of real activations. Of a pre-activation it is the error after the leaky
ReLU that counts: negative values shrink to a tenth there, so most of the 256 steps go to the positive ones.

Weights keep their grid. A channel's integer weights are round(w / grid), with w the trained weight before batch-norm and
`scale` = grid x gamma / sigma. So training that moves only batch-norm changes scales and biases and not one integer, and
training that moves a weight a little changes the integers that cross a half. `requantise` holds a successor to its
predecessor's grids and ranges, so that an update is small. Scales go up in binary16, which moves a grid by up to 2^-11: an
integer whose weight did not train stays all the same.

A bias is an integer too, in steps of its channel's scale times the scale of what the layer reads, and has 32 bits. The scale of
a channel that hardly listens (a batch-norm factor or weights near zero) is raised until its bias fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.algorithms.tiling import cut_tile, tile_windows
from orbitloop.errors import ExportError
from orbitloop.ground.topology import BN_EPSILON, LEAKY_SLOPE, Layer, layers
from orbitloop.records.label import LabelledImage
from orbitloop.records.model import Preprocessing
from orbitloop.records.scene import TileWindow

F32 = npt.NDArray[np.float32]
Weights = Mapping[str, F32]
Tensors = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]
Spread = tuple[Floats, Floats]

WEIGHT_MAX = 127
_CLIPS = np.linspace(0.70, 1.0, 13)
_BINS = 2048
_RANGES = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0])
CONCAT_LAYER, CONCAT_SOURCES = 20, (18, 8)
_INPUT_SCALE = 1 / 255
_MOST_BIAS = 2.0**30
"""Steps of a bias; half of what 32 bits hold, since scales are rounded after this."""
_LEAST_SCALE = 1e-20
"""So that the product of two scales is a normal float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """What one convolution gave on real tiles before its leaky ReLU: a sample of values (N,), and the extremes of all."""

    sample: F32
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Range:
    """A uint8 range: value = (integer - zero) x scale."""

    scale: float
    zero: int


def quantise(width: float, classes: int, weights: Weights, seen: Mapping[int, Activations]) -> Tensors:
    """Return the named tensors of the int8 form.

    Args:
        width: the network's width factor.
        classes: its number of classes.
        weights: the float form's tensors.
        seen: per convolution (layer number) what it gave on real tiles.

    Raises:
        ExportError: a layer was not calibrated, or gave or holds values that are not finite.
    """
    return _tensors(width, classes, weights, _ranges(width, classes, seen))


def requantise(
    width: float,
    classes: int,
    weights: Weights,
    base_weights: Weights,
    base: Mapping[str, npt.NDArray[Any]],
    seen: Mapping[int, Activations],
) -> Tensors:
    """Return the int8 form of a model that was trained from another, on that one's grids wherever they still hold it.

    Args:
        width: the network's width factor.
        classes: its number of classes.
        weights: the trained float tensors.
        base_weights: the float tensors that `base` was made from.
        base: the int8 form that the satellite holds.
        seen: what the trained network gave on real tiles. A range that still fits them nearly as well as a new one stays.

    Raises:
        ExportError: as `quantise`.
    """
    return _tensors(width, classes, weights, _ranges(width, classes, seen, base), base_weights, base)


def dequantise(
    width: float, classes: int, landed: Mapping[str, npt.NDArray[Any]], target: Mapping[str, npt.NDArray[Any]], weights: Weights
) -> dict[str, F32]:
    """Return float weights that are, on the same grids, just what landed: where the next training starts.

    Args:
        width: the network's width factor.
        classes: its number of classes.
        landed: the int8 form that an update left on board; its scales may have been fitted anew.
        target: the int8 form of `weights`, as `requantise` gives it: it tells the grids.
        weights: the trained float tensors; the running statistics are theirs.
    """
    result: dict[str, F32] = {}
    for layer in layers(width, classes):
        if layer.kind == "output":
            result |= {name: landed[name].astype(np.float32) for name in layer.tensors}
        elif layer.kind == "conv":
            factor, _ = folded(layer, weights)
            sign = np.where(factor < 0, -1.0, 1.0)
            grid = target[f"{layer.conv}.scale"].astype(np.float64) / np.maximum(np.abs(factor.astype(np.float64)), 1e-30)
            rows = landed[f"{layer.conv}.weight"].astype(np.float64)
            given = landed[f"{layer.conv}.scale"].astype(np.float64) / grid * sign
            mean, var = weights[f"{layer.bn}.mean"], weights[f"{layer.bn}.var"]
            result[f"{layer.conv}.weight"] = (rows * (grid * sign).reshape(-1, 1, 1, 1)).astype(np.float32)
            result[f"{layer.bn}.weight"] = (given * np.sqrt(var.astype(np.float64) + BN_EPSILON)).astype(np.float32)
            offset = landed[f"{layer.conv}.bias"].astype(np.float64) + mean.astype(np.float64) * given
            result[f"{layer.bn}.bias"] = offset.astype(np.float32)
            result |= {f"{layer.bn}.mean": mean, f"{layer.bn}.var": var}
    return result


def as_float(width: float, classes: int, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, F32]:
    """Return the float network that an int8 form stands for, its integers as weights: for who has no float weights of it."""
    result: dict[str, F32] = {}
    for layer in layers(width, classes):
        if layer.kind == "output":
            result |= {name: tensors[name].astype(np.float32) for name in layer.tensors}
        elif layer.kind == "conv":
            scale, bias = tensors[f"{layer.conv}.scale"], tensors[f"{layer.conv}.bias"]
            result[f"{layer.conv}.weight"] = tensors[f"{layer.conv}.weight"].astype(np.float32)
            result[f"{layer.bn}.weight"] = (scale * np.sqrt(1 + BN_EPSILON)).astype(np.float32)
            result |= {f"{layer.bn}.bias": bias.astype(np.float32), f"{layer.bn}.mean": np.zeros_like(bias, np.float32)}
            result[f"{layer.bn}.var"] = np.ones_like(bias, np.float32)
    return result


def _tensors(
    width: float,
    classes: int,
    weights: Weights,
    ranges: Tensors,
    base_weights: Weights | None = None,
    base: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Tensors:
    """Return all tensors, layer by layer; each layer is told the scale of what it reads."""
    tensors, scales = dict(ranges), {-1: _INPUT_SCALE}
    for layer in layers(width, classes):
        if layer.kind == "conv":
            tensors |= _integer_layer(layer, weights, scales[layer.source], base_weights, base)
        elif layer.kind == "output":
            tensors |= {name: weights[name] for name in layer.tensors}
        own = f"act{layer.index:02d}.scale"
        scales[layer.index] = float(ranges[own]) if own in ranges else scales[layer.source]
    return tensors


def folded(layer: Layer, weights: Weights) -> tuple[F32, F32]:
    """Return batch-norm as a factor and an offset per output channel: y = factor * conv(x) + offset, both (O,) float32."""
    gamma, beta, mean, var = (weights[f"{layer.bn}.{part}"].astype(np.float64) for part in ("weight", "bias", "mean", "var"))
    factor = gamma / np.sqrt(var + BN_EPSILON)
    return factor.astype(np.float32), (beta - mean * factor).astype(np.float32)


def _integer_layer(
    layer: Layer, weights: Weights, reads_scale: float, base_weights: Weights | None, base: Mapping[str, Any] | None
) -> Tensors:
    """Quantise one convolution; with a base, on the base's grid wherever that still holds the channel."""
    weight = weights[f"{layer.conv}.weight"]
    factor, offset = folded(layer, weights)
    if not (np.isfinite(weight).all() and np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise ExportError("a weight is not finite", where=layer.conv, remedy="train it again with a lower learning rate")
    rows, size = weight.reshape(len(weight), -1).astype(np.float64), np.abs(factor.astype(np.float64))
    # A batch-norm may turn a channel's sign; a scale is positive, so the integers carry it.
    sign = np.where(factor < 0, -1, 1)[:, None]
    if base is None or base_weights is None:
        grid = _grids(rows)
        integers = _rounded(rows, grid) * sign
    else:
        grid, integers = _kept(layer, rows, sign, base_weights, base)
    scale = np.maximum(grid * size, np.maximum(np.abs(offset) / (_MOST_BIAS * reads_scale), _LEAST_SCALE))
    raised = scale > grid * size
    wider = np.divide(scale, size, out=np.full_like(scale, np.inf), where=size > 0)
    integers = np.where(raised[:, None], _rounded(rows, wider) * sign, integers)
    return {
        f"{layer.conv}.weight": integers.astype(np.int8).reshape(weight.shape),
        f"{layer.conv}.scale": scale.astype(np.float32),
        f"{layer.conv}.bias": offset,
    }


def _rounded(rows: Floats, grid: Floats) -> Floats:
    return np.clip(np.rint(rows / grid[:, None]), -WEIGHT_MAX, WEIGHT_MAX)


def _grids(rows: Floats) -> Floats:
    """Return the step per row (O,) of least squared error; clipping the largest weights is allowed."""
    peak = np.maximum(np.abs(rows).max(axis=1), 1e-12)
    steps = _CLIPS[:, None] * peak / WEIGHT_MAX
    errors = [((_rounded(rows, step) * step[:, None] - rows) ** 2).sum(axis=1) for step in steps]
    chosen: Floats = steps[np.argmin(errors, axis=0), np.arange(len(rows))]
    return chosen


def _kept(
    layer: Layer, rows: Floats, sign: npt.NDArray[np.int_], base_weights: Weights, base: Mapping[str, Any]
) -> tuple[Floats, Floats]:
    """Return step (O,) and integers (O, N) on the base's grid; a row that has outgrown it gets a new one."""
    factor, _ = folded(layer, base_weights)
    held = base[f"{layer.conv}.scale"].astype(np.float64) / np.maximum(np.abs(factor.astype(np.float64)), 1e-30)
    own = _grids(rows)
    fits = (held > 0.5 * own) & (held < 2.0 * own)
    grid = np.where(fits, held, own)
    integers = _rounded(rows, grid)
    before = base[f"{layer.conv}.weight"].reshape(rows.shape) * np.where(factor < 0, -1, 1)[:, None]
    still = rows == base_weights[f"{layer.conv}.weight"].reshape(rows.shape)
    still &= fits[:, None] & (np.abs(integers - before) <= 1)
    return grid, np.where(still, before, integers) * sign


def _ranges(
    width: float, classes: int, seen: Mapping[int, Activations], base: Mapping[str, npt.NDArray[Any]] | None = None
) -> Tensors:
    """Choose the activations' ranges, before and after each leaky ReLU and for the concatenation."""
    tensors: Tensors = {}
    for layer in layers(width, classes):
        if layer.kind != "conv":
            continue
        found = seen.get(layer.index)
        if found is None or not (np.isfinite(found.sample).all() and np.isfinite([found.low, found.high]).all()):
            raise ExportError("the layer was not calibrated, or gave values that are not finite", where=layer.conv)
        before, after = _spread(found.sample), _spread(_leaky(found.sample))
        ends = np.array([found.low, found.high], np.float32)
        tensors |= _range_of(f"pre{layer.index:02d}", before, ends, LEAKY_SLOPE, base)
        tensors |= _range_of(f"act{layer.index:02d}", after, _leaky(ends), 1.0, base)
    both = np.concatenate([_leaky(seen[index].sample) for index in CONCAT_SOURCES])
    ends = np.array([both.min(), both.max()], np.float32)
    return tensors | _range_of(f"act{CONCAT_LAYER}", _spread(both), ends, 1.0, base)


def _range_of(name: str, spread: Spread, ends: F32, slope: float, base: Mapping[str, npt.NDArray[Any]] | None) -> Tensors:
    """Choose one range; the base's stays while its error is at most a fifth above the least."""
    best, least = best_range(spread, float(ends[0]), float(ends[1]), slope)
    if base is not None:
        held = Range(float(base[f"{name}.scale"]), int(base[f"{name}.zero"]))
        if _error(spread, held, slope) <= 1.2 * least + 1e-20:
            best = held
    return {f"{name}.scale": np.array(best.scale, np.float32), f"{name}.zero": np.array(best.zero, np.uint8)}


def _leaky(values: F32) -> F32:
    return np.where(values < 0, values * np.float32(LEAKY_SLOPE), values).astype(np.float32)


def _spread(sample: F32) -> Spread:
    """Return a sample as a histogram of some 2,000 bins, eight for each step of a uint8 range."""
    counts, edges = np.histogram(sample.astype(np.float64), _BINS)  # in float32 a nearly constant layer has no room for bins
    return (edges[:-1] + edges[1:]) / 2, counts / max(1, counts.sum())


def _error(spread: Spread, chosen: Range, slope: float) -> float:
    """Return the mean squared error that a range leaves after a leaky ReLU of `slope` (1 = none)."""
    values, share = spread
    read = (np.clip(np.rint(values / chosen.scale) + chosen.zero, 0, 255) - chosen.zero) * chosen.scale
    true = np.where(values < 0, values * slope, values)
    return float(((np.where(read < 0, read * slope, read) - true) ** 2) @ share)


def best_range(spread: Spread, low: float, high: float, slope: float) -> tuple[Range, float]:
    """Return the uint8 range of least mean squared error, which holds zero exactly, and that error.

    Args:
        spread: values and their shares, each (N,).
        low, high: the extremes.
        slope: of the leaky ReLU after which the error counts; 1 = none.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    best, least = Range(1.0, 0), np.inf
    if high - low < 1e-12:
        return best, 0.0
    for a in _RANGES if low < 0 else (1.0,):
        for b in _RANGES if high > 0 else (1.0,):
            scale = float(np.float32((b * high - a * low) / 255))
            tried = Range(scale, int(np.clip(np.rint(-a * low / scale), 0, 255)))
            error = _error(spread, tried, slope)
            if error < least:
                best, least = tried, error
    return best, least


def calibration_tiles(
    images: Sequence[LabelledImage], rules: Preprocessing, count: int, rng: np.random.Generator
) -> list[npt.NDArray[np.uint8]]:
    """Draw tiles (S, S, 3) uint8 of pictures, half of them with an object where there are so many: objects make the peaks.

    Args:
        images: pictures of the model's own domains, none of which judges it.
        rules: the model's tile size, overlap and padding.
        count: how many, at most.
        rng: draws them.
    """
    with_object: list[tuple[int, TileWindow]] = []
    others: list[tuple[int, TileWindow]] = []
    for index, image in enumerate(images):
        height_px, width_px = image.pixels.shape[:2]
        centres = (image.boxes.xyxy_px[:, :2] + image.boxes.xyxy_px[:, 2:]) / 2
        for window in tile_windows(width_px, height_px, rules.tile_px, rules.overlap_px):
            inside = (centres >= (window.x_px, window.y_px)).all(axis=1)
            inside &= (centres < (window.x_px + window.width_px, window.y_px + window.height_px)).all(axis=1)
            (with_object if inside.any() else others).append((index, window))
    wanted = max(count // 2, count - len(others))
    chosen = [*_drawn(with_object, wanted, rng)]
    chosen += _drawn(others, count - len(chosen), rng)
    return [cut_tile(images[index].pixels, window, rules.pad_value) for index, window in chosen]


def _drawn(rows: list[tuple[int, TileWindow]], count: int, rng: np.random.Generator) -> list[tuple[int, TileWindow]]:
    return [rows[i] for i in sorted(rng.permutation(len(rows))[:count])]
