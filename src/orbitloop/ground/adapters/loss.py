"""What the detector is trained for: which anchor answers for which box, and how far off it is.

Later than the 2018 recipe, as small YOLOs are trained now (Scaled-YOLOv4, arXiv 2011.08036; YOLOv5): a box is matched to every
anchor whose sides differ from its own by less than a factor of 4, in the cell of its centre and in the two nearest neighbours;
boxes are regressed by CIoU (Zheng et al., arXiv 1911.08287); objectness learns the IoU that was reached; levels are balanced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_SIDE_RATIO = 4.0
BOX_GAIN, OBJECTNESS_GAIN, CLASS_GAIN = 0.05, 0.7, 0.3
LEVEL_BALANCE = (1.0, 4.0)
"""Weights of the objectness loss at stride 32 and 16: the finer level has four times the cells, and most of them empty."""


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """`anchors_px[level]` are (w, h) in pixels at `strides[level]`; targets are rows (image, class, cx, cy, w, h) in pixels."""

    anchors_px: tuple[tuple[tuple[float, float], ...], ...]
    strides: tuple[int, ...]
    classes: int

    def __call__(self, maps: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return the scalar loss of raw output maps (B, 3 * (5 + C), S/stride, S/stride) against (T, 6) targets."""
        total = maps[0].new_zeros((), dtype=torch.float32)
        for level, raw in enumerate(maps):
            total = total + self._level(level, raw.float(), targets)
        return total

    def _level(self, level: int, raw: Tensor, targets: Tensor) -> Tensor:
        stride = self.strides[level]
        anchors = raw.new_tensor(self.anchors_px[level]) / stride
        batch, _, rows, columns = raw.shape
        pred = raw.view(batch, len(anchors), 5 + self.classes, rows, columns).permute(0, 1, 3, 4, 2)
        wanted = torch.zeros_like(pred[..., 4])
        loss = raw.new_zeros(())
        image, anchor, row, column, box, kind = self._match(targets, anchors, stride, rows, columns)
        if len(image):
            mine = pred[image, anchor, row, column]
            centre = mine[:, :2].sigmoid() * 2 - 0.5
            size = (mine[:, 2:4].sigmoid() * 2) ** 2 * anchors[anchor]
            iou = ciou(torch.cat([centre, size], 1), box)
            loss = loss + BOX_GAIN * (1 - iou).mean()
            # Two boxes may share a cell and anchor; the better fit speaks for it, whatever the order.
            order = iou.detach().argsort()
            wanted[image[order], anchor[order], row[order], column[order]] = iou.detach()[order].clamp(0)
            truth = F.one_hot(kind, self.classes).to(mine.dtype)
            loss = loss + CLASS_GAIN * F.binary_cross_entropy_with_logits(mine[:, 5:], truth)
        objectness = F.binary_cross_entropy_with_logits(pred[..., 4], wanted)
        return loss + OBJECTNESS_GAIN * LEVEL_BALANCE[level] * objectness

    def _match(
        self, targets: Tensor, anchors: Tensor, stride: int, rows: int, columns: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return, per match: image, anchor, row, column, box (dx, dy, w, h in cells, relative to the cell) and class."""
        scaled = targets.clone()
        scaled[:, 2:] /= stride
        ratio = scaled[:, None, 4:6] / anchors[None]
        target, anchor = (torch.maximum(ratio, 1 / ratio).amax(2) < MAX_SIDE_RATIO).nonzero(as_tuple=True)
        rows_of = scaled[target]
        centre = rows_of[:, 2:4]
        cell = centre.floor()
        into = centre - cell
        picks = [torch.arange(len(rows_of), device=targets.device)]
        shifts = [torch.zeros_like(centre)]
        for axis in (0, 1):
            for step, near in ((-1.0, into[:, axis] < 0.5), (1.0, into[:, axis] >= 0.5)):
                index = near.nonzero(as_tuple=True)[0]
                shift = torch.zeros_like(centre[index])
                shift[:, axis] = step
                picks.append(index)
                shifts.append(shift)
        pick, shift = torch.cat(picks), torch.cat(shifts)
        where = cell[pick] + shift
        inside = ((where >= 0) & (where < where.new_tensor([columns, rows]))).all(1)
        pick, where = pick[inside], where[inside]
        chosen = rows_of[pick]
        box = torch.cat([chosen[:, 2:4] - where, chosen[:, 4:6]], 1)
        column, row = where.long().unbind(1)
        return chosen[:, 0].long(), anchor[pick], row, column, box, chosen[:, 1].long()


def ciou(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the complete IoU of (N, 4) boxes given as cx, cy, w, h: overlap, less centre distance, less a shape term."""
    eps = 1e-7
    a0, a1 = ours[:, :2] - ours[:, 2:] / 2, ours[:, :2] + ours[:, 2:] / 2
    b0, b1 = theirs[:, :2] - theirs[:, 2:] / 2, theirs[:, :2] + theirs[:, 2:] / 2
    overlap = (torch.minimum(a1, b1) - torch.maximum(a0, b0)).clamp(0).prod(1)
    union = ours[:, 2:].prod(1) + theirs[:, 2:].prod(1) - overlap + eps
    iou = overlap / union
    diagonal = ((torch.maximum(a1, b1) - torch.minimum(a0, b0)) ** 2).sum(1) + eps
    distance = ((ours[:, :2] - theirs[:, :2]) ** 2).sum(1)
    angle = torch.atan(theirs[:, 2] / (theirs[:, 3] + eps)) - torch.atan(ours[:, 2] / (ours[:, 3] + eps))
    shape = 4 / math.pi**2 * angle**2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + eps)
    return iou - distance / diagonal - weight * shape
