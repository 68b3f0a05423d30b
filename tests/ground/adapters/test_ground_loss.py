"""The loss: known values of CIoU, finite gradients where it is tempted not to be, and a tiny network that learns by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from orbitloop.ground.adapters.loss import BOX_GAIN, CLASS_GAIN, LEVEL_BALANCE, OBJECTNESS_GAIN, DetectionLoss, ciou
from orbitloop.ground.adapters.network import YoloV3Tiny, initial_weights
from orbitloop.ground.adapters.reference import torch_rows
from orbitloop.ground.metrics import average_precision
from orbitloop.onboard.engine import to_predictions
from orbitloop.records.label import Boxes
from orbitloop.records.model import ModelMetadata, Preprocessing

torch.set_num_threads(1)
ANCHORS = (((30.0, 30.0), (40.0, 20.0), (20.0, 40.0)), ((10.0, 10.0), (14.0, 8.0), (8.0, 14.0)))
LOSS = DetectionLoss(ANCHORS, (32, 16), 2)
SIDE = 96


def rows(*values: tuple[float, ...]) -> Tensor:
    """Targets: image, class, cx, cy, w, h."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 6)


def maps(seed: int = 0, batch: int = 2, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, 21, SIDE // s, SIDE // s) for s in (32, 16)]
    return [(scale * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]


def box(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_identical_boxes_have_a_ciou_of_one() -> None:
    assert float(ciou(box(5, 6, 7, 8), box(5, 6, 7, 8))) == pytest.approx(1.0, abs=1e-6)


def test_disjoint_boxes_have_a_negative_ciou_that_falls_with_the_distance() -> None:
    near, far = (float(ciou(box(0, 0, 2, 2), box(d, 0, 2, 2))) for d in (4.0, 40.0))
    assert near == pytest.approx(-16 / 40, abs=1e-6)  # distance 4 squared over the diagonal of 6 x 2 squared
    assert -1 < far < near < 0


def test_overlapping_boxes_by_hand() -> None:
    # 4 x 4 at the origin and 4 x 4 at (2, 0): overlap 8, union 24; distance 4 over 6 x 6 + 4 x 4 = 52; same shape.
    assert float(ciou(box(0, 0, 4, 4), box(2, 0, 4, 4))) == pytest.approx(8 / 24 - 4 / 52, abs=1e-6)


def test_the_shape_term_by_hand() -> None:
    # 4 x 2 and 2 x 4 at one place: overlap 4, union 12; v = 4 / pi^2 (atan 0.5 - atan 2)^2, alpha = v / (1 - IoU + v).
    shape = 4 / math.pi**2 * (math.atan(0.5) - math.atan(2)) ** 2
    wanted = 1 / 3 - shape * shape / (1 - 1 / 3 + shape)
    assert float(ciou(box(0, 0, 4, 2), box(0, 0, 2, 4))) == pytest.approx(wanted, abs=1e-6)


def test_ciou_is_at_most_iou_and_above_minus_two() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand((500, 4), generator=rng) * 10 + 0.01 for _ in range(2))
    low = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    overlap = (high - low).clamp(0).prod(1)
    iou = overlap / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - overlap)
    value = ciou(a, b)
    assert (value <= iou + 1e-5).all()
    assert (value > -2).all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((0, 0, 0, 0), (0, 0, 0, 0)),
        ((0, 0, 0, 0), (3, 3, 5, 5)),
        ((3, 3, 5, 0), (3, 3, 5, 5)),
        ((3, 3, 0, 5), (3, 3, 5, 0)),
        ((3, 3, 5, 5), (3, 3, 0, 0)),
        ((1, 1, 2, 2), (1, 1, 2, 2)),
        ((0, 0, 1e-6, 1e4), (0, 0, 1e4, 1e-6)),
    ],
)
def test_gradients_are_finite_for_boxes_without_area(ours: tuple[float, ...], theirs: tuple[float, ...]) -> None:
    mine = torch.tensor([ours], dtype=torch.float32, requires_grad=True)
    value = ciou(mine, torch.tensor([theirs], dtype=torch.float32))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert mine.grad is not None
    assert torch.isfinite(mine.grad).all()


TARGETS = {
    "none": (),
    "one": ((0, 1, 40.0, 50.0, 20.0, 20.0),),
    "without area": ((0, 0, 40.0, 50.0, 0.0, 0.0), (1, 1, 10.0, 10.0, 12.0, 0.0)),
    "at the image's border": ((0, 0, 0.0, 0.0, 12.0, 12.0), (0, 1, 96.0, 96.0, 12.0, 12.0), (1, 1, 96.0, 0.0, 30.0, 30.0)),
    "two in one cell": ((0, 0, 40.0, 40.0, 12.0, 12.0), (0, 1, 41.0, 41.0, 12.0, 12.0)),
    "the same twice": ((1, 1, 40.0, 40.0, 12.0, 12.0), (1, 1, 40.0, 40.0, 12.0, 12.0)),
    "larger than the image": ((0, 0, 48.0, 48.0, 500.0, 500.0),),
    "thin": ((0, 0, 48.0, 48.0, 90.0, 2.1),),
}


@pytest.mark.parametrize("name", list(TARGETS))
@pytest.mark.parametrize("scale", [0.0, 1.0, 60.0])
def test_loss_and_gradient_are_finite(name: str, scale: float) -> None:
    raw = maps(scale=scale)
    loss = LOSS(raw, rows(*TARGETS[name]))
    loss.backward()
    assert loss.shape == ()
    assert math.isfinite(float(loss.detach()))
    assert all(m.grad is not None and torch.isfinite(m.grad).all() for m in raw)


def test_without_objects_only_objectness_is_learned() -> None:
    raw = maps()
    loss = LOSS(raw, rows())
    loss.backward()
    wanted = 0.0
    for m, balance in zip(raw, LEVEL_BALANCE, strict=True):
        chance = m.detach().view(2, 3, 7, *m.shape[2:])[:, :, 4]
        wanted += OBJECTNESS_GAIN * balance * float(torch.nn.functional.softplus(chance).mean())
        assert m.grad is not None
        others = m.grad.view(2, 3, 7, *m.shape[2:])[:, :, [0, 1, 2, 3, 5, 6]]
        assert not others.any()
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_a_box_is_taught_in_its_cell_and_the_two_nearest_to_anchors_of_its_shape() -> None:
    # Centre (40, 50), 9 x 9 px. Stride 16: cell (2, 3), into it by (0.5, 0.125): neighbours right and above.
    raw = maps()
    LOSS(raw, rows((1, 1, 40.0, 50.0, 9.0, 9.0))).backward()
    assert raw[1].grad is not None
    touched = raw[1].grad.view(2, 3, 7, 6, 6)[:, :, 0].abs() > 0
    assert {tuple(i) for i in touched.nonzero().tolist()} == {
        (1, a, y, x) for a in range(3) for y, x in ((3, 2), (3, 3), (2, 2))
    }
    # At stride 32 the anchors are 30 x 30, 40 x 20 and 20 x 40: sides 4 and more times longer do not answer.
    assert raw[0].grad is not None
    coarse = raw[0].grad.view(2, 3, 7, 3, 3)[:, :, 0].abs() > 0
    assert {i[1] for i in coarse.nonzero().tolist()} == {0}


def test_at_the_border_only_cells_of_the_image_answer() -> None:
    raw = maps()
    LOSS(raw, rows((0, 0, 95.9, 0.1, 9.0, 9.0))).backward()
    assert raw[1].grad is not None
    touched = raw[1].grad.view(2, 3, 7, 6, 6)[0, 0, 0].abs() > 0
    assert touched.nonzero().tolist() == [[0, 5]]


def perfect(targets: Tensor) -> list[Tensor]:
    """Maps that answer one box exactly where it is taught, and say nothing elsewhere."""
    raw = [torch.full((1, 21, SIDE // s, SIDE // s), -12.0) for s in (32, 16)]
    for level, (m, stride) in enumerate(zip(raw, (32, 16), strict=True)):
        view = m.view(1, 3, 7, *m.shape[2:])
        anchors = torch.tensor(ANCHORS[level]) / stride
        _, anchor, y, x, found, kind = LOSS._match(targets, anchors, stride, *m.shape[2:])
        for k in range(len(anchor)):
            centre, size = (found[k, :2] + 0.5) / 2, (found[k, 2:] / anchors[anchor[k]]).sqrt() / 2
            view[0, anchor[k], :4, y[k], x[k]] = torch.cat([centre, size]).clamp(1e-6, 1 - 1e-6).logit()
            view[0, anchor[k], 4, y[k], x[k]] = 12.0
            view[0, anchor[k], 5 + int(kind[k]), y[k], x[k]] = 12.0
    return raw


def test_the_right_answer_costs_nothing_and_each_slip_something() -> None:
    targets = rows((0, 1, 44.0, 52.0, 24.0, 26.0))
    assert float(LOSS(perfect(targets), targets)) < 0.002
    for moved, least in (((0, 1, 50.0, 52.0, 24.0, 26.0), 0.2 * BOX_GAIN), ((0, 0, 44.0, 52.0, 24.0, 26.0), CLASS_GAIN)):
        assert float(LOSS(perfect(targets), rows(moved))) > least


def test_two_boxes_in_one_cell_are_taught_in_any_order() -> None:
    raw = maps()
    pair = ((0, 0, 40.0, 40.0, 12.0, 12.0), (0, 1, 41.0, 41.0, 9.0, 12.0))
    one, other = (float(LOSS(raw, rows(*p)).detach()) for p in (pair, pair[::-1]))
    assert one == pytest.approx(other, rel=1e-5)
    assert one != pytest.approx(float(LOSS(raw, rows(pair[0])).detach()), rel=1e-5)


def rectangles() -> tuple[list[np.ndarray], list[Boxes]]:
    """Four pictures of bright or dark rectangles on noise; the class says which."""
    rng = np.random.default_rng(4)
    pictures, truth = [], []
    for _ in range(4):
        pixels = rng.integers(90, 140, (SIDE, SIDE, 3)).astype(np.uint8)
        found = []
        for corner, kind in (((6, 8), 0), ((52, 12), 1), ((16, 56), 1)):
            x, y = (int(c + rng.integers(0, 8)) for c in corner)
            w, h = (int(v) for v in rng.integers(16, 34, 2))
            pixels[y : y + h, x : x + w] = 250 if kind == 0 else 5
            found.append([x, y, x + w, y + h, kind])
        pictures.append(pixels)
        truth.append(Boxes.from_json(found))
    return pictures, truth


def test_a_tiny_network_learns_four_pictures_by_heart() -> None:
    pictures, truth = rectangles()
    width = 0.1
    net = YoloV3Tiny(width, 2)
    net.load_weights(initial_weights(width, 2, 0))
    net.set_trainable(net.named_weights())
    image = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    targets = rows(
        *(
            (i, int(k), *((b[:2] + b[2:]) / 2).tolist(), *(b[2:] - b[:2]).tolist())
            for i, boxes in enumerate(truth)
            for b, k in zip(boxes.xyxy_px, boxes.classes, strict=True)
        )
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3)
    losses = []
    for step in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 20) * (1.0 if step < 180 else 0.2)
        loss = LOSS(net(image), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]
    metadata = ModelMetadata("t", ("bright", "dark"), width, (32, 16), ANCHORS, Preprocessing(SIDE, 0))
    decoded = torch_rows(metadata, net.export_weights(), pictures)
    found = [p.detections for p in to_predictions(decoded, np.ones((4, 2), np.float32), metadata)]
    assert average_precision(found, truth, 2).ap50 > 0.5
