"""The trainer: what is not named does not move, one seed gives one model, and a kill at any step changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbitloop.errors import TrainingError
from orbitloop.ground.adapters import feature_pool, torch_trainer
from orbitloop.ground.adapters.feature_pool import FeaturePool, pool_size
from orbitloop.ground.adapters.network import Weights, YoloV3Tiny, initial_weights
from orbitloop.ground.adapters.torch_trainer import TorchTrainer, TrainingPlan, _Run, _schedule
from orbitloop.ground.topology import layer_of, partition, tensor_names
from orbitloop.records.ids import digest_tensors
from orbitloop.records.label import Boxes, LabelledImage

WIDTH, SIDE = 0.05, 64
ANCHORS = (((30.0, 30.0), (40.0, 20.0), (20.0, 40.0)), ((10.0, 10.0), (14.0, 8.0), (8.0, 14.0)))
STEPS = 6
ALL, HEAD = partition(["all"]), partition(["head"])
SMALL = partition(["early:5", "bn", "outputs"])


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    """The trainer sets threads and determinism for its process; other tests get back what they had."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@cache
def weights() -> Weights:
    return initial_weights(WIDTH, 1, 0)


@cache
def pictures(count: int = 3, seed: int = 0) -> tuple[LabelledImage, ...]:
    """Noise with bright rectangles; one of the pictures is larger than a view."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        side = 64 if k else 100
        pixels = rng.integers(60, 120, (side, side, 3)).astype(np.uint8)
        x, y, w, h = (int(v) for v in rng.integers((5, 5, 10, 10), (40, 40, 22, 22)))
        pixels[y : y + h, x : x + w] = 240
        made.append(LabelledImage(f"{seed}/{k}", "d", pixels, Boxes.from_json([[x, y, x + w, y + h, 0]])))
    return tuple(made)


def plan(**changes: Any) -> TrainingPlan:
    return replace(TrainingPlan(ALL, STEPS, batch=4, seed=3, views=2), **changes)


def trainer(folder: Path | None = None) -> TorchTrainer:
    return TorchTrainer(WIDTH, 1, ANCHORS, SIDE, threads=1, checkpoint_dir=folder)


def trained(the_plan: TrainingPlan, folder: Path | None = None, **changes: Any) -> Weights:
    given: dict[str, Any] = {"old": pictures(2, 1)} | changes
    return trainer(folder).train(weights(), pictures(), the_plan, **given).weights


def differing(one: Weights, other: Weights) -> set[str]:
    return {n for n in one if not np.array_equal(one[n], other[n])}


class PowerCut(Exception):
    pass


def killed(monkeypatch: pytest.MonkeyPatch, folder: Path, the_plan: TrainingPlan, *, step: int) -> None:
    """Train until this step begins, and die. The last step + 1 is when the finished training tidies up."""
    whole, tidy = _Run._step, _Run._forget

    def step_or_die(run: _Run, number: int) -> float:
        if number == step:
            raise PowerCut
        return whole(run, number)

    def tidy_or_die(run: _Run) -> None:
        if step == the_plan.steps:
            raise PowerCut
        tidy(run)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_step", step_or_die)
        patch.setattr(_Run, "_forget", tidy_or_die)
        with pytest.raises(PowerCut):
            trained(the_plan, folder)


@pytest.mark.parametrize(
    "names", [ALL, SMALL, HEAD, partition(["conv21.weight", "conv22*"])], ids=["all", "small", "head", "last"]
)
def test_what_is_named_moves_and_everything_else_is_bit_identical(names: tuple[str, ...]) -> None:
    assert differing(weights(), trained(plan(trainable=names))) == set(names)


@pytest.mark.parametrize("terms", [["*.weight"], ["bn*.bias"], ["bn14.weight", "bn14.mean"]])
def test_running_statistics_stay_where_they_are_not_both_named(terms: list[str]) -> None:
    names = set(partition(terms))
    assert differing(weights(), trained(plan(trainable=partition(terms)))) == {n for n in names if not n.endswith(".mean")}


@pytest.mark.parametrize("names", [ALL, HEAD], ids=["all", "head"])
def test_one_seed_one_model(names: tuple[str, ...]) -> None:
    first = trained(plan(trainable=names))
    torch.manual_seed(99)
    np.random.default_rng(1).random()
    assert not differing(first, trained(plan(trainable=names)))
    assert "conv22.weight" in differing(first, trained(plan(trainable=names, seed=4)))


@cache
def through(names: tuple[str, ...]) -> Weights:
    return trained(plan(trainable=names))


@pytest.mark.parametrize("names", [ALL, HEAD], ids=["all", "head"])
@pytest.mark.parametrize("step", range(STEPS + 1))
def test_killed_at_any_step_and_resumed_it_ends_with_the_same_bits(
    names: tuple[str, ...], step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_trainer, "CHECKPOINT_EVERY_S", 0.0)
    killed(monkeypatch, tmp_path, plan(trainable=names), step=step)
    assert len(list(tmp_path.iterdir())) == (step > 0)
    done: list[int] = []
    whole = _Run._step
    monkeypatch.setattr(_Run, "_step", lambda run, number: (done.append(number), whole(run, number))[1])
    result = trainer(tmp_path).train(weights(), pictures(), plan(trainable=names), old=pictures(2, 1))
    assert done == list(range(step, STEPS))
    assert not differing(result.weights, through(names))
    assert not list(tmp_path.iterdir())


def test_killed_long_after_the_last_checkpoint_and_killed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = _Run._save
    monkeypatch.setattr(torch_trainer, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(_Run, "_save", lambda run, step: save(run, step) if step in (2, 4) else None)
    for step in (1, 3, 4, 5):
        killed(monkeypatch, tmp_path, plan(), step=step)
    assert not differing(trained(plan(), tmp_path), through(ALL))


def checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch, the_plan: TrainingPlan) -> Path:
    monkeypatch.setattr(torch_trainer, "CHECKPOINT_EVERY_S", 0.0)
    killed(monkeypatch, folder, the_plan, step=3)
    monkeypatch.undo()
    (path,) = folder.iterdir()
    return path


def test_another_trainings_checkpoint_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path, monkeypatch, plan(learning_rate=2e-3))
    assert not differing(trained(plan(), tmp_path), through(ALL))


def test_a_checkpoint_from_other_starting_weights_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path, monkeypatch, plan(trainable=HEAD))
    start = initial_weights(WIDTH, 1, 8)
    resumed = trainer(tmp_path).train(start, pictures(), plan(trainable=HEAD), old=pictures(2, 1)).weights
    fresh = trainer().train(start, pictures(), plan(trainable=HEAD), old=pictures(2, 1)).weights
    assert not differing(resumed, fresh)


def relabelled(image: LabelledImage) -> LabelledImage:
    return replace(image, boxes=Boxes(image.boxes.xyxy_px + np.float32(0.5), image.boxes.classes))


@pytest.mark.parametrize("what", ["a label", "a replayed label", "a pixel", "the recipe", "a gain", "the tile"])
def test_a_checkpoint_of_other_labels_pixels_or_recipe_is_not_taken_up(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint(tmp_path, monkeypatch, plan())
    new, old, side = list(pictures()), list(pictures(2, 1)), SIDE
    if what == "a label":
        new[1] = relabelled(new[1])
    elif what == "a replayed label":
        old[1] = relabelled(old[1])
    elif what == "a pixel":
        new[1] = replace(new[1], pixels=np.where(np.arange(64)[:, None, None] == 3, 9, new[1].pixels).astype(np.uint8))
    elif what == "the recipe":
        monkeypatch.setattr(torch_trainer, "RECIPE", -1)
    elif what == "a gain":
        monkeypatch.setattr(torch_trainer, "BOX_GAIN", 0.06)
    else:
        side = 96
    assert path.exists()
    done: list[int] = []
    whole = _Run._step
    monkeypatch.setattr(_Run, "_step", lambda run, number: (done.append(number), whole(run, number))[1])
    TorchTrainer(WIDTH, 1, ANCHORS, side, threads=1, checkpoint_dir=tmp_path).train(weights(), new, plan(), old=old)
    assert done == list(range(STEPS)), "it began again"


@pytest.mark.parametrize("replay", [0.0, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("view_bytes", [1, 100, 10**6, 10**12])
def test_the_pool_is_bounded_by_what_is_drawn_and_by_memory(
    replay: float, view_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_pool, "MAX_POOL_BYTES", 10**7)
    the_plan = plan(replay_share=replay, views=6, steps=100, batch=16)
    fresh, replayed = pool_size(the_plan, 50, 40, view_bytes)
    assert 1 <= fresh <= 300
    assert (replayed > 0) == (replay > 0)
    assert replayed <= 1600
    assert (fresh + replayed) * view_bytes <= 10**7 or fresh + replayed <= 2
    if replay == 0.5 and view_bytes <= 100:
        assert (fresh, replayed) == (300, 300)


def test_a_pool_under_tight_memory_still_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_pool, "MAX_POOL_BYTES", 3 * FeaturePool.view_bytes(run_of(plan(trainable=HEAD))))
    assert (
        sum(len(part) for part in (lambda pool: (pool.fresh, pool.old))(FeaturePool.build(run_of(plan(trainable=HEAD))))) == 3
    )
    assert differing(weights(), trained(plan(trainable=HEAD))) == set(HEAD)


@pytest.mark.parametrize("left", [0, 7, 500, -1])
def test_a_damaged_checkpoint_is_not_taken_up(left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint(tmp_path, monkeypatch, plan())
    path.write_bytes(path.read_bytes()[:left])
    assert not differing(trained(plan(), tmp_path), through(ALL))


def run_of(the_plan: TrainingPlan) -> _Run:
    t = trainer()
    network = YoloV3Tiny(WIDTH, 1)
    network.load_weights(weights())
    network.set_trainable(the_plan.trainable)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _Run(t, network, the_plan, pictures(), pictures(2, 1), "k", digest_tensors(weights()))


@pytest.mark.parametrize(
    "names", [HEAD, partition(["outputs"]), partition(["conv21.weight"])], ids=["head", "outputs", "conv21"]
)
def test_pooled_features_are_those_of_the_network_on_the_same_views(names: tuple[str, ...]) -> None:
    run = run_of(plan(trainable=names, views=3, batch=4))
    assert run.start == min(layer_of(n) for n in names)
    pool = FeaturePool.build(run)
    assert len(pool.fresh) == 9  # three views of each of three new pictures
    assert len(pool.old) == 9  # and as many replayed ones
    rng = np.random.default_rng([run.plan.seed, 2])
    picks = [(True, i % 3) for i in range(9)] + [(False, int(i)) for i in rng.integers(2, size=9)]
    for first in range(0, 18, 4):
        pixels, rows = run.views(picks[first : first + 4], rng)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            wanted = run.network.features(pixels, run.start)
        for layer, values in wanted.items():
            assert torch.equal(pool.kept[layer][first : first + 4], values.to(torch.bfloat16))
        for k in range(len(pixels)):
            assert torch.equal(pool.targets[first + k][:, 1:], rows[rows[:, 0] == k, 1:])


def test_a_pooled_batch_gives_the_loss_of_the_whole_network() -> None:
    run = run_of(plan(trainable=partition(["outputs"])))
    pool = FeaturePool.build(run)
    kept, targets = pool.batch(np.random.default_rng(0), 4)
    picks = np.random.default_rng(0)
    chosen = np.concatenate([picks.choice(pool.fresh, size=2, replace=False), picks.choice(pool.old, size=2, replace=False)])
    rng = np.random.default_rng([run.plan.seed, 2])
    drawn = [(True, i % 3) for i in range(6)] + [(False, int(i)) for i in rng.integers(2, size=6)]
    parts = [run.views(drawn[first : first + 4], rng) for first in range(0, 12, 4)]
    pixels = torch.cat([p for p, _ in parts])[torch.from_numpy(chosen)]
    for position, pick in enumerate(chosen):
        rows = parts[pick // 4][1]
        assert torch.equal(targets[targets[:, 0] == position, 1:], rows[rows[:, 0] == pick % 4, 1:])
    assert len(targets) > 0
    with torch.no_grad():
        whole = run.trainer.loss(run.network(pixels), targets)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = run.trainer.loss(run.network.tail(kept, run.start), targets)
    assert float(pooled) == pytest.approx(float(whole), rel=0.02)  # bf16 has eight bits


def test_replay_has_its_share_and_large_pictures_are_drawn_by_area() -> None:
    run = run_of(plan(replay_share=0.25))
    picks = [p for seed in range(200) for p in run.draw(np.random.default_rng(seed), 8)]
    assert sum(not new for new, _ in picks) == 200 * 2
    large = sum(new and index == 0 for new, index in picks) / (200 * 6)
    assert large == pytest.approx(100**2 / (100**2 + 2 * 64**2), abs=0.05)


def test_every_step_draws_its_own_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, ...]] = []
    views = _Run.views

    def watched(run: _Run, picks: Any, rng: np.random.Generator) -> Any:
        made = views(run, picks, rng)
        seen.append(tuple(made[0].mean(dim=(1, 2, 3)).tolist()))
        return made

    monkeypatch.setattr(_Run, "views", watched)
    trained(plan())
    assert len(seen) == len(set(seen)) == STEPS


def test_without_old_pictures_there_is_no_replay() -> None:
    result = trained(plan(trainable=HEAD), old=())
    assert differing(weights(), result) == set(HEAD)


def test_boxes_in_targets_are_centres_and_sides() -> None:
    run = run_of(plan())
    pixels, rows = run.views([(True, 1), (False, 0)], np.random.default_rng(0))
    assert pixels.shape == (2, 3, SIDE, SIDE)
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    assert rows.shape[1] == 6
    assert (rows[:, 4:] > 2).all()
    assert (rows[:, 2:4] > 0).all()
    assert (rows[:, 2:4] < SIDE).all()


def test_it_learns_and_says_how_much() -> None:
    told: list[tuple[int, int, float]] = []
    result = trainer().train(
        weights(), pictures(), plan(steps=60, batch=8, learning_rate=4e-3), progress=lambda *now: told.append(now)
    )
    assert result.loss_last < 0.9 * result.loss_first
    assert result.steps == 60
    assert result.trained_parameters == sum(a.size for n, a in weights().items() if not n.endswith((".mean", ".var")))
    assert told[-1][:2] == (60, 60)
    assert set(result.weights) == set(tensor_names())
    assert all(a.dtype == np.float32 for a in result.weights.values())


def test_the_schedule_warms_up_and_cools_down() -> None:
    rates = [_schedule(s, 1000) for s in range(1000)]
    assert rates[0] == pytest.approx(1 / 50)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (49, 50)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[50:]))
    assert [_schedule(0, 1), _schedule(0, 2)] == [1.0, 1.0]


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no labelled picture"):
        trainer().train(weights(), [], plan(), old=pictures(2, 1))


@pytest.mark.parametrize("terms", [["bn*.mean"], ["bn*.mean", "bn*.var"]])
def test_nothing_that_learns_is_an_error(terms: list[str]) -> None:
    with pytest.raises(TrainingError, match="no tensor that learns"):
        trained(plan(trainable=partition(terms)))


def test_no_tensor_at_all_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no tensor that learns"):
        trained(plan(trainable=()))


@pytest.mark.parametrize("rate", [1e9, 1e30])
def test_divergence_is_an_error_and_no_model(rate: float) -> None:
    with pytest.raises(TrainingError, match=r"loss became|not finite") as caught:
        trained(plan(learning_rate=rate, steps=12))
    assert "learningRate" in caught.value.remedy


def test_a_weight_that_breaks_in_the_last_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _Run._step

    def broken(run: _Run, number: int) -> float:
        loss = whole(run, number)
        if number == STEPS - 1:
            run.average["conv22.bias"][0] = float("nan")
        return loss

    monkeypatch.setattr(_Run, "_step", broken)
    with pytest.raises(TrainingError, match=r"conv22\.bias is not finite"):
        trained(plan())
