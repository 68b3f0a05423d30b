"""The trained network's own answer, in torch: what the exported graph must reproduce (parity gate).

Decoding here is written apart from the exporter's, so that a slip in one shows as a difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from orbitloop.ground.adapters.network import Weights, YoloV3Tiny
from orbitloop.records.model import ModelMetadata


def torch_rows(metadata: ModelMetadata, weights: Weights, tiles: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Return the network's decoded output as trained, in float32: (B, A, 5 + C).

    Args:
        metadata: anchors and strides.
        weights: all tensors by name.
        tiles: (tile_px, tile_px, 3) uint8 RGB each.
    """
    network = YoloV3Tiny(metadata.width, len(metadata.classes))
    network.load_weights(weights)
    network.eval()
    with torch.no_grad():
        image = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 255
        maps = [m.numpy() for m in network(image)]
    return np.concatenate([_decode(m, i, metadata) for i, m in enumerate(maps)], axis=1)


def _decode(raw: npt.NDArray[np.float32], level: int, metadata: ModelMetadata) -> npt.NDArray[np.float32]:
    stride, anchors = metadata.strides[level], np.array(metadata.anchors_px[level], np.float32)
    batch, _, rows, columns = raw.shape
    out = 1 / (1 + np.exp(-raw.reshape(batch, len(anchors), -1, rows, columns).astype(np.float64)))
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    out[:, :, 0] = (out[:, :, 0] * 2 - 0.5 + x) * stride
    out[:, :, 1] = (out[:, :, 1] * 2 - 0.5 + y) * stride
    out[:, :, 2:4] = (out[:, :, 2:4] * 2) ** 2 * anchors[None, :, :, None, None]
    return out.transpose(0, 1, 3, 4, 2).reshape(batch, -1, out.shape[2]).astype(np.float32)
