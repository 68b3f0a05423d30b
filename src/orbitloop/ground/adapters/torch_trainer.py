"""Train a chosen set of tensors of YOLOv3-tiny, resumable to the bit.

Every step draws its batch from `(seed, step)` alone, so a training that was killed and resumed from a checkpoint ends with the
same weights. Below the lowest layer that trains nothing changes: its features are computed once, for a pool of augmented
views, and kept in bf16. Convolutions run in bf16 with channels last; weights, moments and the average stay float32.

The returned weights are an exponential average over the steps (EMA), as small YOLOs are deployed.
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from orbitloop.errors import TrainingError
from orbitloop.ground.adapters.feature_pool import FeaturePool
from orbitloop.ground.adapters.loss import (
    BOX_GAIN,
    CLASS_GAIN,
    LEVEL_BALANCE,
    MAX_SIDE_RATIO,
    OBJECTNESS_GAIN,
    DetectionLoss,
)
from orbitloop.ground.adapters.network import Weights, YoloV3Tiny
from orbitloop.ground.topology import STRIDES, layer_of
from orbitloop.ground.views import Augmentation, draw_view
from orbitloop.records.ids import digest_json, digest_tensors
from orbitloop.records.label import Boxes, LabelledImage

CHECKPOINT_EVERY_S = 30.0
RECIPE = 1
"""Version of how a step is made (loss, views, schedule, average); no checkpoint of another one is taken up."""

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss)."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What one training does. `replay_share` of each batch comes from the old pictures; `views` are cached per new picture.

    `pull` draws convolutions' weights back to where they started, so that the change is small to send: after each step every
    change shrinks by `pull` x learning rate, and ends at zero if it was less than that. It is the proximal step of an L1 norm
    of the change. Adam moves a weight by some 0.2 learning rates whichever way the noise goes, and that walk is most of what a
    training changes; a pull of 0.1 ends it and leaves what gradients agree on.
    """

    trainable: tuple[str, ...]
    steps: int
    batch: int = 16
    learning_rate: float = 1e-3
    replay_share: float = 0.5
    views: int = 6
    seed: int = 0
    weight_decay: float = 5e-4
    pull: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`weights` are the averaged ones; `loss_first` and `loss_last` are means over the first and last tenth of the steps."""

    weights: Weights
    steps: int
    loss_first: float
    loss_last: float
    trained_parameters: int


def usable_threads(wanted: int) -> int:
    """Return how many of the wanted threads are used: at least one, at most one a core."""
    return max(1, min(wanted, os.cpu_count() or 1))


def arithmetic(threads: int) -> str:
    """Name what decides a training's last bits beside its inputs: torch, the device, the threads that sums are split over."""
    device = "cuda" if torch.cuda.is_available() else f"cpu x {usable_threads(threads)}"
    return f"torch {torch.__version__} on {device}"


class TorchTrainer:
    """Trains one architecture (width, classes, anchors) at one tile size.

    Args:
        width: YOLOv3-tiny's width factor.
        classes: how many.
        anchors_px: per stride (32, 16), three (w, h) each.
        tile_px: side of the square that the network sees.
        threads: for the CPU; more threads than cores make small trainings many times slower.
        checkpoint_dir: where a training keeps its state while it runs; None keeps none.
    """

    def __init__(
        self,
        width: float,
        classes: int,
        anchors_px: tuple[tuple[tuple[float, float], ...], ...],
        tile_px: int,
        *,
        threads: int = 2,
        checkpoint_dir: Path | None = None,
    ) -> None:
        self.width, self.classes, self.tile_px = width, classes, tile_px
        self.loss = DetectionLoss(anchors_px, STRIDES, classes)
        self.checkpoint_dir = checkpoint_dir
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(usable_threads(threads))
        torch.use_deterministic_algorithms(True, warn_only=True)

    def train(
        self,
        weights: Weights,
        new: Sequence[LabelledImage],
        plan: TrainingPlan,
        *,
        old: Sequence[LabelledImage] = (),
        progress: Progress | None = None,
        key: str = "training",
    ) -> TrainingResult:
        """Train `plan.trainable` on the new pictures and a replay of old ones.

        Args:
            weights: where to start.
            new: what to learn; pictures of any size at least as wide as they were tiled for.
            plan: what trains, for how long.
            old: replayed pictures; empty means no replay.
            progress: called about twice a second.
            key: names the checkpoint.

        Raises:
            TrainingError: nothing to train on, nothing that trains, or the loss or a weight became infinite.
        """
        if not new:
            raise TrainingError("no labelled picture to train on", remedy="send more samples down, or lower trigger.minSamples")
        if all(name.endswith((".mean", ".var")) for name in plan.trainable):
            raise TrainingError(
                "the partition names no tensor that learns (running statistics only follow)",
                remedy="name weights or biases too, for instance bn",
            )
        network = YoloV3Tiny(self.width, self.classes)
        network.load_weights(weights)
        network.set_trainable(plan.trainable)
        network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = _Run(self, network, plan, new, old, key, digest_tensors(weights))
        return run.go(progress)


class _Run:
    """One training under way: the network, its optimiser, its average, its batches, its checkpoint."""

    def __init__(
        self,
        trainer: TorchTrainer,
        network: YoloV3Tiny,
        plan: TrainingPlan,
        new: Sequence[LabelledImage],
        old: Sequence[LabelledImage],
        key: str,
        origin: str,
    ) -> None:
        self.trainer, self.network, self.plan, self.key, self.origin = trainer, network, plan, key, origin
        self.new, self.old = list(new), list(old)
        self.live = {n: t for n, t in network.named_weights().items() if n in set(plan.trainable)}
        learned = {n: t for n, t in self.live.items() if not n.endswith((".mean", ".var"))}
        decayed = [t for n, t in learned.items() if n.startswith("conv") and n.endswith(".weight")]
        plain = [t for n, t in learned.items() if not (n.startswith("conv") and n.endswith(".weight"))]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=plan.learning_rate,
            betas=(0.9, 0.98),
        )
        self.learned = learned
        self.origins = [(t, t.detach().clone()) for t in decayed] if plan.pull > 0 else []
        self.average = {n: t.detach().clone() for n, t in self.live.items()}
        self.losses: list[float] = []
        self.start = min((layer_of(n) for n in plan.trainable), default=0)
        self.identity = self._identity() if trainer.checkpoint_dir else ""
        self.pool: FeaturePool | None = None

    def go(self, progress: Progress | None) -> TrainingResult:
        done = self._restore()
        if self.start > 0 and done < self.plan.steps:
            self.pool = FeaturePool.build(self)
        told = saved = time.monotonic()
        for step in range(done, self.plan.steps):
            loss = self._step(step)
            if not math.isfinite(loss):
                raise TrainingError(f"loss became {loss} at step {step}", remedy="lower training.learningRate")
            self.losses.append(loss)
            now = time.monotonic()
            if progress and (now - told > 0.5 or step + 1 == self.plan.steps):
                progress(step + 1, self.plan.steps, float(np.mean(self.losses[-20:])))
                told = now
            if now - saved >= CHECKPOINT_EVERY_S:
                self._save(step + 1)
                saved = time.monotonic()
        final = dict(self.network.export_weights())
        final.update({n: t.to("cpu", torch.float32, copy=True).contiguous().numpy() for n, t in self.average.items()})
        # The loss of a step says nothing of the weights after it.
        broken = sorted(name for name, array in final.items() if not np.isfinite(array).all())
        if broken:
            raise TrainingError(
                f"{broken[0]} is not finite after {self.plan.steps} steps", remedy="lower training.learningRate"
            )
        self._forget()
        tenth = max(1, self.plan.steps // 10)
        return TrainingResult(
            final,
            self.plan.steps,
            float(np.mean(self.losses[:tenth])),
            float(np.mean(self.losses[-tenth:])),
            sum(t.numel() for t in self.learned.values()),
        )

    def _step(self, step: int) -> float:
        rate = self.plan.learning_rate * _schedule(step, self.plan.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([self.plan.seed, 1, step])
        if self.pool is not None:
            kept, targets = self.pool.batch(rng, self.plan.batch)
        else:
            pixels, targets = self.views(self.draw(rng, self.plan.batch), rng)
            kept = {-1: pixels}
        with torch.autocast(self.trainer.device.type, torch.bfloat16):
            maps = self.network.tail(kept, self.start)
        loss: Tensor = self.trainer.loss(maps, targets)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(self.learned.values()), 10.0)
        self.optimiser.step()
        self._pull(rate * self.plan.pull)
        self._follow(step)
        return float(loss.detach())

    def _pull(self, by: float) -> None:
        """Shrink each convolution weight's change by so much, towards none (soft threshold)."""
        with torch.no_grad():
            for tensor, origin in self.origins:
                change = tensor - origin
                tensor.copy_(origin + change.sign() * (change.abs() - by).clamp_(min=0))

    def _follow(self, step: int) -> None:
        """Move the average: slow at the end, fast at the beginning, when the weights still run ahead of it."""
        decay = min(0.998, (1 + step) / (10 + step), 1 - 4 / max(8, self.plan.steps))
        with torch.no_grad():
            for name, tensor in self.live.items():
                self.average[name].lerp_(tensor.detach(), 1 - decay)

    def draw(self, rng: np.random.Generator, count: int) -> list[tuple[bool, int]]:
        """Draw (is it new, index) for a batch; large pictures are drawn more often, by their area."""
        replayed = round(count * self.plan.replay_share) if self.old else 0
        picks: list[tuple[bool, int]] = []
        for fresh, images, n in ((True, self.new, count - replayed), (False, self.old, replayed)):
            if n:
                area = np.array([i.pixels.shape[0] * i.pixels.shape[1] for i in images], np.float64)
                picks += [(fresh, int(i)) for i in rng.choice(len(images), size=n, p=area / area.sum())]
        return picks

    def views(self, picks: Iterable[tuple[bool, int]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw one view per pick: images (B, 3, S, S) float in 0..1, targets (T, 6)."""
        pictures: list[npt.NDArray[np.uint8]] = []
        rows: list[npt.NDArray[np.float32]] = []
        for position, (fresh, index) in enumerate(picks):
            images = self.new if fresh else self.old
            pixels, boxes = draw_view(images, index, self.trainer.tile_px, self.plan.augmentation, rng)
            pictures.append(pixels)
            rows.append(_targets(position, boxes))
        batch = torch.from_numpy(np.stack(pictures)).to(self.trainer.device).permute(0, 3, 1, 2).float().div_(255)
        batch = batch.contiguous(memory_format=torch.channels_last)
        return batch, torch.from_numpy(np.concatenate(rows)).to(self.trainer.device)

    def _path(self) -> Path | None:
        folder = self.trainer.checkpoint_dir
        return folder / f"{self.key}.safetensors" if folder else None

    def _identity(self) -> str:
        """Return what a checkpoint must have been made of to be taken up: recipe, plan, network, pictures and labels."""
        trainer = self.trainer
        about = {
            "recipe": [RECIPE, torch.__version__, trainer.device.type],
            "plan": asdict(self.plan),
            "loss": asdict(trainer.loss) | {"gains": [BOX_GAIN, OBJECTNESS_GAIN, CLASS_GAIN, MAX_SIDE_RATIO, *LEVEL_BALANCE]},
            "network": [trainer.width, trainer.classes, trainer.tile_px],
            "new": [_print(image) for image in self.new],
            "old": [_print(image) for image in self.old],
        }
        return digest_json(about)

    def _save(self, step: int) -> None:
        path = self._path()
        if path is None:
            return
        tensors = {f"live/{n}": t for n, t in self.live.items()} | {f"average/{n}": t for n, t in self.average.items()}
        for name, tensor in self.learned.items():
            state = self.optimiser.state[tensor]
            tensors |= {f"{part}/{name}": state[part] for part in ("exp_avg", "exp_avg_sq")}
        path.parent.mkdir(parents=True, exist_ok=True)
        spare = path.with_suffix(".tmp")
        plain = {n: t.detach().contiguous().clone() for n, t in tensors.items()}
        about = {"step": str(step), "losses": json.dumps(self.losses), "identity": self.identity, "origin": self.origin}
        save_file(plain, spare, about)
        spare.replace(path)

    def _restore(self) -> int:
        """Take up a checkpoint and return the steps done; 0 where there is none, or another training's, or a damaged one."""
        path = self._path()
        if path is None or not path.exists():
            return 0
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
            tensors = load_file(path)
        except SafetensorError:  # power failed while it was written; the training can always be done again
            return 0
        if about.get("identity") != self.identity or about.get("origin", self.origin) != self.origin:
            return 0
        step = int(about["step"])
        self.losses = [float(v) for v in json.loads(about["losses"])]
        with torch.no_grad():
            for name, tensor in self.live.items():
                tensor.copy_(tensors[f"live/{name}"])
                self.average[name].copy_(tensors[f"average/{name}"])
        for name, tensor in self.learned.items():
            self.optimiser.state[tensor] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(self.trainer.device, memory_format=torch.preserve_format),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(self.trainer.device, memory_format=torch.preserve_format),
            }
        return step

    def _forget(self) -> None:
        path = self._path()
        if path is not None:
            path.unlink(missing_ok=True)


def _print(image: LabelledImage) -> list[str | int]:
    """Return what tells one labelled picture from another: its name, its pixels, its boxes (against accidents: CRC-32)."""
    parts: tuple[npt.NDArray[Any], ...] = (image.pixels, image.boxes.xyxy_px, image.boxes.classes)
    return [image.image_id, *image.pixels.shape, *(zlib.crc32(np.ascontiguousarray(part).data) for part in parts)]


def _targets(position: int, boxes: Boxes) -> npt.NDArray[np.float32]:
    low, high = boxes.xyxy_px[:, :2], boxes.xyxy_px[:, 2:]
    size = high - low
    rows = np.concatenate([np.full((len(boxes), 1), position), boxes.classes[:, None], (low + high) / 2, size], axis=1)
    return rows[(size > 2).all(axis=1)].astype(np.float32)


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over 5 % of the steps (at most 100), then a cosine down to 2 %."""
    warm = max(1, min(100, steps // 20))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
