"""YOLOv3-tiny in torch, built from the layer table, and its weights as named numpy arrays.

The stride-1 max-pool (layer 11) pads with -inf, not zero: ONNX Runtime folds a zero pad into the pool, where it becomes -inf,
and the two differ wherever a leaky ReLU left negative values (microsoft/onnxruntime#18136 and onnx/optimizer#318).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orbitloop.errors import ModelError
from orbitloop.ground.topology import BN_EPSILON, EMBEDDING_LAYER, LEAKY_SLOPE, OUTPUT_LAYERS, SKIP_LAYER, Layer, layers

Weights = dict[str, npt.NDArray[np.float32]]
_BN_PARTS = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


class YoloV3Tiny(nn.Module):
    """The network up to its two raw output maps; decoding is the loss's and the exporter's business."""

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        self.table = layers(width, classes)
        self.convs = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for layer in self.table:
            if layer.kind in ("conv", "output"):
                self.convs[layer.conv] = nn.Conv2d(
                    layer.in_channels, layer.out_channels, layer.kernel, padding=layer.kernel // 2, bias=layer.kind == "output"
                )
            if layer.kind == "conv":
                self.norms[layer.bn] = nn.BatchNorm2d(layer.out_channels, eps=BN_EPSILON, momentum=0.05)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 3, S, S) in 0..1 to the raw maps at stride 32 and 16, each (B, 3 * (5 + C), S/stride, S/stride)."""
        return self.tail({-1: image}, 0)

    def features(self, image: Tensor, start: int) -> dict[int, Tensor]:
        """Run the layers below `start` and return just what the layers from `start` on read."""
        kept: dict[int, Tensor] = {-1: image}
        for layer in self.table[:start]:
            self._run(layer, kept)
        return {index: kept[index] for index in feature_layers(start)}

    def tail(self, kept: dict[int, Tensor], start: int) -> tuple[Tensor, Tensor]:
        """Run the layers from `start` on over what `features` kept."""
        kept = dict(kept)
        for layer in self.table[start:]:
            self._run(layer, kept)
        coarse, fine = OUTPUT_LAYERS
        return kept[coarse], kept[fine]

    def embedding(self, image: Tensor) -> Tensor:
        """Return the mean of the last backbone map, (B, D)."""
        kept: dict[int, Tensor] = {-1: image}
        for layer in self.table[: EMBEDDING_LAYER + 1]:
            self._run(layer, kept)
        return kept[EMBEDDING_LAYER].mean(dim=(2, 3))

    def _run(self, layer: Layer, kept: dict[int, Tensor]) -> None:
        if layer.kind == "yolo":
            return
        x = kept[layer.source]
        if layer.kind in ("conv", "output"):
            x = self.convs[layer.conv](x)
            if layer.kind == "conv":
                x = F.leaky_relu(self.norms[layer.bn](x), LEAKY_SLOPE)
        elif layer.kind == "pool":
            x = F.max_pool2d(x, 2, 2)
        elif layer.kind == "pool1":
            x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 2, 1)
        elif layer.kind == "upsample":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        elif layer.kind == "concat":
            x = torch.cat([x, kept[SKIP_LAYER]], dim=1)
        kept[layer.index] = x

    def named_weights(self) -> dict[str, Tensor]:
        """Return the live tensors under their names in the weights file."""
        found: dict[str, Tensor] = {}
        for layer in self.table:
            for name in layer.tensors:
                module, part = name.split(".")
                if module.startswith("bn"):
                    found[name] = getattr(self.norms[module], _BN_PARTS[part])
                else:
                    found[name] = getattr(self.convs[module], part)
        return found

    def load_weights(self, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Copy named arrays in.

        Raises:
            ModelError: a tensor is missing, unknown or of another shape.
        """
        live = self.named_weights()
        if set(live) != set(weights):
            odd = sorted(set(live) ^ set(weights))[:4]
            raise ModelError(f"weights do not fit YOLOv3-tiny: {', '.join(odd)} on one side only")
        with torch.no_grad():
            for name, tensor in live.items():
                if tuple(weights[name].shape) != tuple(tensor.shape):
                    raise ModelError(f"{name} has shape {weights[name].shape}, the network wants {tuple(tensor.shape)}")
                tensor.copy_(torch.from_numpy(np.array(weights[name], np.float32)))

    def export_weights(self) -> Weights:
        """Return a copy of all tensors as float32 arrays."""
        return {n: t.detach().to("cpu", torch.float32, copy=True).contiguous().numpy() for n, t in self.named_weights().items()}

    def set_trainable(self, names: Iterable[str]) -> None:
        """Let only these tensors train.

        A batch-norm normalises by its batch, and moves its running statistics, only where both of them are named; else by the
        statistics that it has.
        """
        chosen = set(names)
        for name, tensor in self.named_weights().items():
            if tensor.is_leaf and not name.endswith((".mean", ".var")):
                tensor.requires_grad_(name in chosen)
        for name, norm in self.norms.items():
            norm.train({f"{name}.mean", f"{name}.var"} <= chosen)


def feature_layers(start: int) -> tuple[int, ...]:
    """Return the layers whose outputs the layers from `start` on read."""
    needed = {layer.source for layer in layers(1.0, 1)[start:] if layer.kind != "yolo" and layer.source < start}
    if SKIP_LAYER < start <= 20:
        needed.add(SKIP_LAYER)
    # The two output maps are always read, by the loss.
    needed |= {layer for layer in OUTPUT_LAYERS if layer < start}
    return tuple(sorted(needed))


def initial_weights(width: float, classes: int, seed: int) -> Weights:
    """Return fresh weights: Kaiming for the convolutions, and outputs that start by saying "nothing here" (prior 1 %)."""
    generator = torch.Generator().manual_seed(seed)
    network = YoloV3Tiny(width, classes)
    with torch.no_grad():
        for module in network.convs.values():
            assert isinstance(module, nn.Conv2d)
            fan_in = module.in_channels * module.kernel_size[0] ** 2
            gain = float(np.sqrt(2 / (1 + LEAKY_SLOPE**2))) if module.bias is None else 0.3
            module.weight.normal_(0.0, gain / float(np.sqrt(fan_in)), generator=generator)
            if module.bias is not None:
                prior = module.bias.view(3, 5 + classes)
                prior.zero_()
                prior[:, 4] = -4.6
    return network.export_weights()
