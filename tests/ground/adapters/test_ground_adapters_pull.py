"""Training for the rate: weights are drawn back to where they were."""

from __future__ import annotations

import numpy as np

from orbitloop.ground.adapters.network import Weights, initial_weights
from orbitloop.ground.adapters.torch_trainer import TorchTrainer, TrainingPlan
from orbitloop.ground.topology import partition
from orbitloop.records.label import Boxes, LabelledImage

ANCHORS = (((30.0, 30.0), (50.0, 40.0), (60.0, 60.0)), ((8.0, 8.0), (12.0, 16.0), (20.0, 20.0)))


def picture(seed: int) -> LabelledImage:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 110, (96, 96, 3)).astype(np.uint8)
    pixels[20:50, 30:60] = 200
    return LabelledImage(
        f"p{seed}", "here", pixels, Boxes(np.array([[30.0, 20.0, 60.0, 50.0]], np.float32), np.zeros(1, np.int32))
    )


def change(pull: float, steps: int = 12) -> dict[str, np.ndarray]:
    start: Weights = initial_weights(0.125, 1, 0)
    plan = TrainingPlan(partition(["all"]), steps, batch=4, pull=pull, replay_share=0.0)
    trainer = TorchTrainer(0.125, 1, ANCHORS, 64, threads=1)
    result = trainer.train(start, [picture(i) for i in range(3)], plan)
    return {name: result.weights[name] - start[name] for name in start}


def test_a_pull_makes_the_change_smaller_and_leaves_batch_norm_alone() -> None:
    free, drawn = change(0.0), change(0.5)
    convolutions = [name for name in free if name.startswith("conv") and name.endswith(".weight")]
    moved = {key: sum(float(np.abs(one[n]).sum()) for n in convolutions) for key, one in (("free", free), ("drawn", drawn))}
    assert moved["drawn"] < 0.7 * moved["free"]
    assert any(np.abs(drawn[n]).max() > 0 for n in drawn if n.startswith("bn"))


def test_a_pull_beyond_what_adam_moves_keeps_every_convolution_where_it_was() -> None:
    # Adam's first step moves a weight by one learning rate; with 0.98 and 0.9 no step is longer than some four of them.
    still = change(10.0)
    assert all(not still[n].any() for n in still if n.startswith("conv") and n.endswith(".weight"))
