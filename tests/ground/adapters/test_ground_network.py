"""The torch network: cut anywhere it computes the same, trains just what is named, and takes only its own weights."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from orbitloop.errors import ModelError
from orbitloop.ground.adapters.network import Weights, YoloV3Tiny, feature_layers, initial_weights
from orbitloop.ground.topology import partition, tensor_names

torch.set_num_threads(1)
WIDTH, CLASSES = 0.05, 2


@cache
def weights() -> Weights:
    """Weights in which no batch-norm is an identity and no bias is zero."""
    rng = np.random.default_rng(0)
    made = initial_weights(WIDTH, CLASSES, 0)
    for name, array in made.items():
        if name.startswith("bn") or name.endswith(".bias"):
            array += rng.uniform(0.1, 0.5, array.shape).astype(np.float32)
    return made


def network() -> YoloV3Tiny:
    made = YoloV3Tiny(WIDTH, CLASSES)
    made.load_weights(weights())
    return made


def images(count: int = 2, side: int = 64, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("start", range(23))
def test_features_and_tail_make_the_forward_pass(start: int) -> None:
    net = network().eval()
    with torch.no_grad():
        kept = net.features(images(), start)
        assert tuple(kept) == feature_layers(start)
        for whole, parts in zip(net(images()), net.tail(kept, start), strict=True):
            assert torch.equal(whole, parts)


def test_features_are_only_what_is_read_above() -> None:
    assert feature_layers(0) == (-1,)
    assert feature_layers(8) == (7,)
    assert feature_layers(13) == (8, 12)
    assert feature_layers(21) == (15, 20)


def test_maps_have_one_cell_per_stride_and_three_anchors_a_cell() -> None:
    coarse, fine = network().eval()(images(side=96))
    assert coarse.shape == (2, 3 * (5 + CLASSES), 3, 3)
    assert fine.shape == (2, 3 * (5 + CLASSES), 6, 6)
    assert network().eval().embedding(images(side=96)).shape == (2, 48)


def test_the_stride_one_pool_sees_no_zero_at_the_border() -> None:
    # Where every activation is negative a zero pad would win the maximum; the pad must be minus infinity.
    net = network().eval()
    kept = {10: torch.full((1, 32, 4, 4), -3.0)}
    net._run(net.table[11], kept)
    assert torch.equal(kept[11], kept[10])


@pytest.mark.parametrize(
    "terms",
    [
        ["all"],
        ["head"],
        ["backbone"],
        ["bn"],
        ["outputs"],
        ["early:5", "bn", "outputs"],
        ["conv21.weight"],
        ["*.weight"],
        ["bn08.weight", "bn08.bias"],
    ],
)
def test_one_step_moves_the_named_tensors_and_no_other(terms: list[str]) -> None:
    names = set(partition(terms))
    net = network()
    net.set_trainable(names)
    before = net.export_weights()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    sum(m.square().mean() for m in net(images(4))).backward()
    optimiser.step()
    after = net.export_weights()
    assert {name for name in after if not np.array_equal(before[name], after[name])} == names


def test_a_frozen_batch_norm_normalises_by_its_own_statistics() -> None:
    net = network()
    net.set_trainable(partition(["outputs"]))
    alone, together = net(images(1))[0], net(torch.cat([images(1), 5 * images(3, seed=1)]))[0][:1]
    assert torch.allclose(alone, together, atol=1e-5)


def test_trainable_may_be_chosen_again() -> None:
    net = network()
    net.set_trainable(partition(["outputs"]))
    net.set_trainable(partition(["all"]))
    assert all(p.requires_grad for p in net.parameters())
    assert all(norm.training for norm in net.norms.values())


def test_weights_come_back_as_they_went_in_and_are_a_copy() -> None:
    net = network()
    out = net.export_weights()
    assert tuple(out) == tensor_names()
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in out.values())
    assert all(np.array_equal(out[n], weights()[n]) for n in out)
    out["conv00.weight"][:] = 7
    assert np.array_equal(net.export_weights()["conv00.weight"], weights()["conv00.weight"])


def test_loading_does_not_keep_the_callers_array() -> None:
    given = {n: a.copy() for n, a in weights().items()}
    net = YoloV3Tiny(WIDTH, CLASSES)
    net.load_weights(given)
    given["conv00.weight"][:] = 7
    assert np.array_equal(net.export_weights()["conv00.weight"], weights()["conv00.weight"])


def test_weights_in_channels_last_export_in_plain_order() -> None:
    net = network().to(memory_format=torch.channels_last)
    assert all(np.array_equal(a, weights()[n]) for n, a in net.export_weights().items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("bn08.var"), "bn08.var on one side only"),
        (lambda w: w.update({"conv99.weight": np.zeros(1, np.float32)}), "conv99.weight on one side only"),
        (lambda w: w.update({"bn00.mean": np.zeros(9, np.float32)}), r"bn00.mean has shape \(9,\), the network wants \(8,\)"),
        (lambda w: w.update({"conv15.weight": w["conv15.weight"].T}), "conv15.weight has shape"),
        (lambda w: w.clear(), "on one side only"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: object, says: str) -> None:
    made = dict(weights())
    change(made)  # type: ignore[operator]
    with pytest.raises(ModelError, match=says):
        YoloV3Tiny(WIDTH, CLASSES).load_weights(made)


def test_weights_of_another_class_count_are_refused() -> None:
    with pytest.raises(ModelError, match="conv15"):
        YoloV3Tiny(WIDTH, CLASSES + 1).load_weights(weights())


def test_initial_weights_follow_the_seed_and_nothing_else() -> None:
    torch.manual_seed(1)
    first = initial_weights(WIDTH, 1, 5)
    torch.manual_seed(2)
    again, other = initial_weights(WIDTH, 1, 5), initial_weights(WIDTH, 1, 6)
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not np.array_equal(first["conv00.weight"], other["conv00.weight"])


def test_initial_outputs_say_that_nothing_is_there() -> None:
    net = YoloV3Tiny(0.25, 3)
    net.load_weights(initial_weights(0.25, 3, 0))
    with torch.no_grad():
        for raw in net.train()(images(4)):
            chance = raw.view(4, 3, 8, *raw.shape[2:])[:, :, 4].sigmoid()
            assert 0.005 < float(chance.median()) < 0.02


def test_initial_activations_neither_die_nor_explode() -> None:
    net = YoloV3Tiny(0.25, 1)
    net.load_weights(initial_weights(0.25, 1, 0))
    with torch.no_grad():
        kept = net.eval().features(images(), 13)
    assert 0.05 < float(kept[12].std()) < 20
