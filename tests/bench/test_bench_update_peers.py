"""The peers of the update codec: within their bytes, decoded from them, and given a fair try."""

from __future__ import annotations

import numpy as np
import pytest

import update_env
import update_forms
import update_peers
from peer_env import NoEnvironment


def base() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a.bias": rng.normal(size=40).astype(np.float32),
        "a.scale": rng.uniform(0.01, 0.1, 40).astype(np.float32),
        "a.weight": rng.integers(-90, 90, (40, 16, 3, 3)).astype(np.int8),
        "b.weight": rng.normal(size=(12, 40, 1, 1)).astype(np.float32),
        "c.weight": rng.integers(-90, 90, (10, 10)).astype(np.int8),
    }


def target() -> dict[str, np.ndarray]:
    rng, made = np.random.default_rng(1), base()
    made["a.weight"] = np.clip(made["a.weight"] + np.rint(rng.laplace(0, 3, made["a.weight"].shape)), -127, 127).astype(np.int8)
    for name in ("a.bias", "a.scale", "b.weight"):
        made[name] = (made[name] * rng.uniform(0.9, 1.1, made[name].shape)).astype(np.float32)
    return made


PEERS, ABSENT = update_peers.available()
BASE, TARGET = base(), target()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_keeps_to_its_bytes_and_makes_more_of_more(peer):
    change = update_forms.change_of(BASE, TARGET)
    errors = [change.error(BASE)]
    for budget in (600, 2000, 8000):
        result = peer.at(BASE, TARGET, budget)
        assert result is not None
        assert result.bytes <= budget
        assert {n: (t.dtype, t.shape) for n, t in result.tensors.items()} == {n: (t.dtype, t.shape) for n, t in BASE.items()}
        assert result.tensors["c.weight"] is BASE["c.weight"] or np.array_equal(result.tensors["c.weight"], BASE["c.weight"])
        errors.append(change.error(result.tensors))
    assert errors[0] > errors[1] > errors[3]
    assert errors[2] >= errors[3]
    assert errors[3] < 0.6 * errors[0]


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.lossless], ids=lambda peer: peer.name)
def test_a_lossless_peer_gives_the_very_result(peer):
    result = peer.exactly(BASE, TARGET)
    assert all(result.tensors[name].tobytes() == tensor.tobytes() for name, tensor in TARGET.items())
    assert 0 < result.bytes < 12000


def test_what_matters_more_goes_first():
    small = {name: tensor for name, tensor in TARGET.items() if name in ("a.weight", "b.weight")}
    held = {name: BASE[name] for name in small}
    for first, second in (("a.weight", "b.weight"), ("b.weight", "a.weight")):
        change = update_forms.change_of(held, small, {first: 1e6, second: 1e-6})
        assert {row.name for row in update_forms.rows_by_worth(change, small)[:10]} == {first}


def test_an_importance_for_each_output_channel_is_taken():
    weights = np.zeros(40)
    weights[7] = 1.0
    importance = {"a.weight": weights} | dict.fromkeys(("a.bias", "a.scale", "b.weight"), 0.0)
    rows = update_forms.rows_by_worth(update_forms.change_of(BASE, TARGET, importance), TARGET)
    assert (rows[0].name, rows[0].row) == ("a.weight", 7)
    assert all(row.gain == 0 for row in rows[1:])


def test_a_coarse_form_is_within_half_a_step():
    change = update_forms.change_of(BASE, TARGET)
    form = update_forms.coarse(change, 1.5)
    gap = TARGET["a.weight"].astype(float) - BASE["a.weight"]
    step = round(1.5 * np.sqrt(np.mean(gap**2)))
    assert np.abs(form["a.weight"].astype(float) - TARGET["a.weight"]).max() <= step / 2 + 0.5
    assert all(np.array_equal(tensor, TARGET[name]) for name, tensor in update_forms.coarse(change, 0).items())


def test_the_environment_is_not_made_in_passing(monkeypatch, tmp_path):
    monkeypatch.setattr(update_env, "FOLDER", tmp_path / "absent")
    with pytest.raises(NoEnvironment, match="not made yet"):
        update_env.python(make=False)
    peers, why = update_peers.available()
    assert [peer.name for peer in peers] == ["zstd --patch-from", "int + zstd", "fp16 + zstd"]
    assert "absent" in why
    lines = [line for line in update_env.REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
