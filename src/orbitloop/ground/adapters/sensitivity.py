"""What each convolution reads on real tiles, and how much the detections hang on what it gives.

For one convolution with input patches x (N values each) and outputs y (O channels), a change D of its weights costs, to second
order, about 1/2 sum_o gain_o d_o' H d_o: H the second moment of x, gain the curvature by y. That is the Gauss-Newton matrix in
the Kronecker form of K-FAC (Martens and Grosse, arXiv 1503.05671) with the output side kept diagonal. Positions count in H by
the curvature that passes through them, so that what is read under an object weighs more than what is read under open ground.

The curvature needs no label. Each output value has its own (objectness and class: that of the cross entropy; box: how fast IoU
falls, times how sure the network is that there is an object), and one random sign for each makes the mean of squared gradients
the diagonal of the Gauss-Newton matrix (Hutchinson's estimate).

It leaves to `rates` what to make of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from orbitloop.errors import ExportError
from orbitloop.ground.adapters.loss import BOX_GAIN, CLASS_GAIN, LEVEL_BALANCE, OBJECTNESS_GAIN
from orbitloop.ground.adapters.network import YoloV3Tiny
from orbitloop.ground.rates import Sensitivity
from orbitloop.records.model import ModelMetadata

_POSITIONS = 256
"""Positions looked at in one map; half of them drawn by what hangs on them."""
_WEIGHTED = 0.7
"""Share of H that counts positions by curvature; the rest counts all alike."""
_USUAL_MISS = 0.05
"""A box's usual error in shares of its side: IoU falls in proportion to the error, and this is where the slope is taken."""


def observe_sensitivity(
    metadata: ModelMetadata,
    weights: Mapping[str, npt.NDArray[np.float32]],
    tiles: Sequence[npt.NDArray[np.uint8]],
    *,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, Sensitivity]:
    """Return what is worth what, by convolution name, for a trained network on tiles of its domains.

    Args:
        metadata: of the float model.
        weights: its tensors.
        tiles: (S, S, 3) uint8 RGB each; a hundred tell enough of five million weights.
        seed: draws signs and positions.
        threads: of torch.

    Raises:
        ExportError: there is no tile.
    """
    if not tiles:
        raise ExportError("no tile to measure the sensitivity on", remedy="give at least one scene of the model's own domains")
    torch.set_num_threads(threads)
    network = YoloV3Tiny(metadata.width, len(metadata.classes))
    network.load_weights(weights)
    network.eval()
    watch = _Watch(network, np.random.default_rng(seed))
    for tile in tiles:
        planes = np.ascontiguousarray(tile.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        _probe(network(torch.from_numpy(planes)), metadata, watch.rng).backward()  # type: ignore[no-untyped-call]
        watch.take()
        network.zero_grad(set_to_none=True)
    return watch.found(len(tiles))


class _Watch:
    """Hooks on each convolution's input and on what it gives (after batch-norm, where there is one), and the sums of both."""

    def __init__(self, network: YoloV3Tiny, rng: np.random.Generator) -> None:
        self.rng = rng
        self.table = [layer for layer in network.table if layer.kind in ("conv", "output")]
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.sums: dict[str, list[Any]] = {layer.conv: [0.0, 0.0, 0.0, 0.0] for layer in self.table}
        for layer in self.table:
            network.convs[layer.conv].register_forward_hook(self._keeper(layer.conv, gives=layer.kind == "output", reads=True))
            if layer.kind == "conv":
                network.norms[layer.bn].register_forward_hook(self._keeper(layer.conv, gives=True, reads=False))

    def _keeper(self, name: str, *, gives: bool, reads: bool) -> Any:
        def keep(module: object, arguments: tuple[Tensor], result: Tensor) -> None:
            if reads:
                self.inputs[name] = arguments[0].detach()
            if gives:
                result.retain_grad()
                self.outputs[name] = result

        return keep

    def take(self) -> None:
        """Add one tile, after its backward pass."""
        for layer in self.table:
            gradient = self.outputs[layer.conv].grad
            assert gradient is not None
            squared = gradient[0].flatten(1).square()
            patches = F.unfold(self.inputs[layer.conv], layer.kernel, padding=layer.kernel // 2)[0]
            worth = squared.sum(0)
            share = _WEIGHTED * worth / (worth.mean() + 1e-30) + (1 - _WEIGHTED)
            count = patches.shape[1]
            if count > _POSITIONS:
                chance = 0.5 * (share / share.sum()).numpy().astype(np.float64) + 0.5 / count
                chance /= chance.sum()
                pick = self.rng.choice(count, _POSITIONS, p=chance)
                share = share[torch.from_numpy(pick)] / torch.from_numpy((chance[pick] * count).astype(np.float32))
                patches = patches[:, torch.from_numpy(pick)]
            sums = self.sums[layer.conv]
            sums[0] = sums[0] + (patches * share).double().sum(1)
            sums[1] = sums[1] + (patches * share) @ patches.T
            sums[2] = sums[2] + squared.double().sum(1)
            sums[3] += float(share.sum())

    def found(self, tiles: int) -> dict[str, Sensitivity]:
        """Return the means."""
        return {
            name: Sensitivity((mean / n).numpy(), (second / n).numpy().astype(np.float32), (gain / tiles).numpy())
            for name, (mean, second, gain, n) in self.sums.items()
        }


def _probe(maps: Sequence[Tensor], metadata: ModelMetadata, rng: np.random.Generator) -> Tensor:
    """Return a scalar whose squared gradients are, on average, the diagonal of the Gauss-Newton matrix."""
    total = torch.zeros(())
    classes = len(metadata.classes)
    for raw, balance, stride, anchors in zip(maps, LEVEL_BALANCE, metadata.strides, metadata.anchors_px, strict=True):
        batch, _, rows, columns = raw.shape
        values = raw.view(batch, len(anchors), 5 + classes, rows, columns)
        with torch.no_grad():
            sure = values[:, :, 4].sigmoid()
            curvature = torch.zeros_like(values)
            curvature[:, :, 4] = OBJECTNESS_GAIN * balance * sure * (1 - sure) / sure[0].numel()
            one = sure / sure.sum().clamp(min=1.0)
            curvature[:, :, :4] = BOX_GAIN * one[:, :, None] * _box_curvature(values[:, :, :4].sigmoid(), stride, anchors)
            kind = values[:, :, 5:].sigmoid()
            curvature[:, :, 5:] = CLASS_GAIN / classes * one[:, :, None] * kind * (1 - kind)
        signs = torch.from_numpy(rng.choice(np.array([-1.0, 1.0], np.float32), size=tuple(values.shape)))
        total = total + (signs * curvature.sqrt() * values).sum()
    return total


def _box_curvature(s: Tensor, stride: int, anchors: Sequence[tuple[float, float]]) -> Tensor:
    """Return how fast 1 - IoU bends by each of the four box logits; `s` their sigmoids (B, A, 4, H, W).

    A miss by e along a side of length w costs about 2 e / w of IoU, whichever way. Blurred by the usual miss it bends by
    2 / w x sqrt(2 / pi) / (0.05 w) per pixel squared.
    """
    sides = (2 * s[:, :, 2:4]) ** 2 * s.new_tensor(anchors)[None, :, :, None, None]
    bend = 2 / sides * (2 / np.pi) ** 0.5 / (_USUAL_MISS * sides)
    centre_px = stride * 2 * s[:, :, :2] * (1 - s[:, :, :2])
    side_px = sides * 2 * (1 - s[:, :, 2:4])
    return torch.cat([bend * centre_px**2, bend * side_px**2], dim=2)
