"""The planner: what fits, what more bytes buy, and that what it promises is what the decoder gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orbitloop.delta.apply import apply_delta
from orbitloop.errors import UpdateError
from orbitloop.ground.adapters.network import Weights, initial_weights
from orbitloop.ground.goals import float_goals, int8_goals
from orbitloop.ground.planner import Planner
from orbitloop.ground.quantise import Activations, dequantise, quantise, requantise
from orbitloop.ground.rates import Sensitivity, choose, feedback, step_for
from orbitloop.ground.topology import layers
from orbitloop.ground.vectors import choose_vector

WIDTH, CLASSES = 0.125, 1


def correlated(rng: np.random.Generator, columns: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Patches whose neighbours are alike, as in pictures, (M, N)."""
    noise = rng.normal(size=(8 * columns, columns))
    return np.cumsum(noise, axis=1) / np.sqrt(np.arange(1, columns + 1)) + 0.5


def sensitivity(rng: np.random.Generator, columns: int, outputs: int) -> Sensitivity:
    x = correlated(rng, columns)
    return Sensitivity(x.mean(0), (x.T @ x / len(x)).astype(np.float32), rng.uniform(0.5, 2.0, outputs) * 1e-3)


@pytest.fixture(scope="module")
def trained() -> tuple[Weights, Weights, dict[str, Sensitivity]]:
    """A network, one that was trained on from it, and what is worth what."""
    rng = np.random.default_rng(3)
    base = initial_weights(WIDTH, CLASSES, 0)
    moved = {}
    for name, tensor in base.items():
        far = 0.1 * float(np.std(tensor)) + 0.02
        moved[name] = (tensor + far * rng.normal(size=tensor.shape)).astype(np.float32)
        if name.endswith(".var"):
            moved[name] = np.abs(moved[name])
    sense = {}
    for layer in layers(WIDTH, CLASSES):
        if layer.kind in ("conv", "output"):
            sense[layer.conv] = sensitivity(rng, layer.in_channels * layer.kernel**2, layer.out_channels)
    return base, moved, sense


@pytest.fixture(scope="module")
def floats(trained: tuple[Weights, Weights, dict[str, Sensitivity]]) -> tuple[Weights, Planner]:
    base, moved, sense = trained
    goals, still = float_goals(WIDTH, CLASSES, base, moved)
    return base, Planner(base, {**moved, **still}, goals, sense)


@pytest.fixture(scope="module")
def eights(trained: tuple[Weights, Weights, dict[str, Sensitivity]]) -> tuple[dict[str, Any], Weights, dict[str, Any], Planner]:
    base, moved, sense = trained
    rng = np.random.default_rng(4)
    seen = {layer.index: Activations(rng.normal(size=500).astype(np.float32), -3.0, 3.0) for layer in layers(WIDTH, CLASSES)}
    held = quantise(WIDTH, CLASSES, base, seen)
    target = requantise(WIDTH, CLASSES, moved, base, held, seen)
    return held, moved, target, Planner(held, target, int8_goals(WIDTH, CLASSES, held, target, (base, moved)), sense)


def test_without_a_price_and_without_correlation_the_nearest_integers_are_chosen() -> None:
    rng = np.random.default_rng(0)
    wanted = 3 * rng.normal(size=(5, 12))
    known = feedback(Sensitivity(np.zeros(12), np.eye(12, dtype=np.float32), np.ones(5)))
    assert (choose(wanted, np.ones(5), known, 1e-9) == np.rint(wanted)).all()


def test_a_change_that_is_worth_less_than_its_bits_stays_down() -> None:
    wanted = np.full((2, 40), 0.6)
    known = feedback(Sensitivity(np.zeros(40), np.eye(40, dtype=np.float32), np.ones(2)))
    symbols = choose(wanted, np.array([1e-6, 100.0]), known, 1.0)
    assert not symbols[0].any()
    assert symbols[1].all()


def test_errors_are_made_good_by_correlated_inputs() -> None:
    rng = np.random.default_rng(1)
    x = correlated(rng, 64)
    sense = Sensitivity(x.mean(0), (x.T @ x / len(x)).astype(np.float32), np.ones(16))
    wanted = rng.normal(size=(16, 64))
    centred = x - x.mean(0)

    def off(symbols: np.ndarray[Any, Any]) -> float:
        return float(np.square(centred @ (wanted - symbols).T).mean())

    assert off(choose(wanted, np.ones(16), feedback(sense), 1e-9)) < 0.5 * off(np.rint(wanted))


def test_a_step_grows_with_the_price_and_shrinks_with_the_cost() -> None:
    cost = np.array([1.0, 4.0])
    assert step_for(4e-9, cost, 1.0) == pytest.approx(2 * step_for(1e-9, cost, 1.0))
    assert step_for(1e-9, cost, 1.0)[0] == pytest.approx(2 * step_for(1e-9, cost, 1.0)[1])


@pytest.mark.parametrize("ratio", [True, False])
def test_a_vector_goes_up_as_precisely_as_it_is_worth(ratio: bool) -> None:
    rng = np.random.default_rng(2)
    held = rng.uniform(0.5, 2.0, 50).astype(np.float32)
    wanted = held * (1 + 0.2 * rng.normal(size=50))
    errors = []
    for price in (1e-6, 1e-4, 1e-2):
        residual, values = choose_vector(held, wanted, np.ones(50), price, ratio=ratio)
        errors.append(float(np.square(values - wanted).sum()))
        assert residual is None or residual.symbols.any()
    assert errors == sorted(errors)
    assert errors[0] < 1e-3
    nothing, values = choose_vector(held, wanted, np.ones(50), 1e3, ratio=ratio)
    assert nothing is None
    assert (values == held).all()


def test_a_zero_in_a_vector_is_no_trouble() -> None:
    held = np.zeros(8, np.float32)
    residual, values = choose_vector(held, np.linspace(-1, 1, 8), np.ones(8), 1e-6, ratio=False)
    assert residual is not None
    assert values == pytest.approx(np.linspace(-1, 1, 8), abs=0.01)


@pytest.mark.parametrize("most_bytes", [1500, 6000, 20000])
def test_the_update_fits_and_is_close_to_what_is_there(floats: tuple[Weights, Planner], most_bytes: int) -> None:
    base, planner = floats
    plan = planner.fit(most_bytes).plan
    assert 0.8 * most_bytes < plan.bytes <= most_bytes
    assert 0 < plan.left < 1
    assert set(apply_delta(base, plan.payload)) <= set(base)


def test_more_bytes_buy_more(floats: tuple[Weights, Planner]) -> None:
    left = [floats[1].fit(most).plan.left for most in (1500, 6000, 20000)]
    assert left[0] > left[1] > left[2]


def test_what_the_decoder_gives_is_what_was_promised(
    eights: tuple[dict[str, Any], Weights, dict[str, Any], Planner], trained: tuple[Weights, Weights, dict[str, Sensitivity]]
) -> None:
    held, _, _, planner = eights
    plan = planner.fit(6000).plan
    result = {**held, **apply_delta(held, plan.payload)}
    assert any(result[name].tobytes() != held[name].tobytes() for name in held if name.endswith(".weight"))
    left = 0.0
    for goal in planner.goals:  # the promise, from the result's own tensors
        sense = trained[2][goal.conv]
        rows = result[goal.weight].reshape(len(result[goal.weight]), -1).astype(np.float64)
        factor = result[goal.scale].astype(np.float64) if goal.scale else np.ones(len(rows))
        off = factor[:, None] * rows - goal.factor[:, None] * goal.rows
        mean = off @ sense.mean + result[goal.bias] - goal.offset
        left += 0.5 * float(np.sum(sense.gain * (mean**2 + np.einsum("on,on->o", off @ sense.covariance, off))))
    assert left / planner.without == pytest.approx(plan.left, rel=1e-3)


def test_the_same_candidate_gives_the_same_bytes(floats: tuple[Weights, Planner]) -> None:
    assert floats[1].at(1e-8).payload == floats[1].at(1e-8).payload


def test_too_few_bytes_are_said_so(floats: tuple[Weights, Planner]) -> None:
    with pytest.raises(UpdateError, match="the smallest update takes"):
        floats[1].fit(3)


def test_a_layer_without_sensitivity_is_said_so(trained: tuple[Weights, Weights, dict[str, Sensitivity]]) -> None:
    base, moved, sense = trained
    goals, still = float_goals(WIDTH, CLASSES, base, moved)
    with pytest.raises(UpdateError, match="sensitivity was not observed"):
        Planner(base, {**moved, **still}, goals, {n: s for n, s in sense.items() if n != "conv08"})


def test_nothing_trained_means_nothing_sent(trained: tuple[Weights, Weights, dict[str, Sensitivity]]) -> None:
    base, _, sense = trained
    goals, still = float_goals(WIDTH, CLASSES, base, base)
    plan = Planner(base, {**base, **still}, goals, sense).at(1e-9)
    assert plan.bytes < 40
    assert not plan.residuals


def test_the_next_training_starts_from_what_landed(
    eights: tuple[dict[str, Any], Weights, dict[str, Any], Planner], trained: tuple[Weights, Weights, dict[str, Sensitivity]]
) -> None:
    held, moved, target, planner = eights
    landed = {**held, **apply_delta(held, planner.fit(6000).plan.payload)}
    master = dequantise(WIDTH, CLASSES, landed, target, moved)
    assert set(master) == set(moved)
    goals = int8_goals(WIDTH, CLASSES, landed, landed, (master, master))
    again = Planner(landed, landed, goals, trained[2])
    assert again.without == pytest.approx(0.0, abs=1e-12)
    assert not again.at(1e-9).residuals, "who trains nothing sends nothing"
