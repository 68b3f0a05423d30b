"""A release: what was judged is, to the bit, what the satellite runs after it has applied the bundle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.apply import apply_delta, inspect_delta
from orbitloop.delta.codecs import BUILT_IN, Exact, Zstd
from orbitloop.delta.compact import pack_compact
from orbitloop.delta.make import Compact
from orbitloop.delta.residuals import stepped
from orbitloop.errors import UpdateError
from orbitloop.ground.authority import Authority
from orbitloop.ground.release import CodedUpdate, Seal, code_update, coded_update, sign_bundle
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Staged, Updater
from orbitloop.onboard.weights import save_weights
from orbitloop.plugins.kinds import DeltaCodec
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport, CanaryCase
from orbitloop.records.verdict import GateVerdict
from orbitloop.sim.flash import MemoryFlash
from orbitloop.trust.sealed import seal_key_id

Weights = dict[str, npt.NDArray[np.float32]]
NOW_S = 1.7e9
ANCHOR = Authority.from_seed(b"ours", ("farm", "ships"), NOW_S).anchor
ABOUT = {"tenant": "farm", "hardware": "jetson", "now_s": NOW_S}
VERDICT = GateVerdict(True, ("new domains: AP50 50.0 -> 60.0",), {"new_ap50": {"champion": 0.5, "candidate": 0.6}})
CANARY = (CanaryCase("s1", ((1.0, 2.0, 30.5, 40.0, 0.0),)),)


def base() -> Weights:
    rng = np.random.default_rng(0)
    shapes = {
        "conv00.weight": (8, 3, 3, 3),
        "conv15.weight": (18, 8, 1, 1),
        "conv15.bias": (18,),
        "bn00.weight": (8,),
        "bn00.var": (8,),
    }
    return {n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in shapes.items()}


def candidate(**changes: float) -> Weights:
    """The base with some noise on all but the first convolution; a named tensor gets a constant at its first place."""
    rng = np.random.default_rng(1)
    made = {n: a if n == "conv00.weight" else a + rng.normal(0, 0.05, a.shape).astype(np.float32) for n, a in base().items()}
    for name, value in changes.items():
        array = made[name.replace("_", ".")].copy()
        array.flat[0] = value
        made[name.replace("_", ".")] = array
    return made


def coded(target: Weights | None = None) -> CodedUpdate:
    return code_update(base(), target or candidate())


def codecs_of(update: CodedUpdate) -> dict[str, str]:
    return {entry.name: entry.codec for entry in inspect_delta(update.payload, base())}


def updater_on(flash: MemoryFlash, **about: object) -> Updater:
    about = {"tenant": "farm", "hardware": "jetson"} | about
    return Updater("sat-1", "fields", SlotStore(flash), TrustStore(flash, ANCHOR), **about)


def flying(weights: Weights, **about: object) -> tuple[SlotStore, Updater]:
    flash = MemoryFlash()
    slots = SlotStore(flash)
    slots.install_factory(b"graph", save_weights(weights), version=3)
    return slots, updater_on(flash, **about)


def bundle_of(update: CodedUpdate, *, seed: bytes = b"ours", **changes: object) -> bytes:
    about = {"version": 4, "model": "fields", "satellites": ("sat-1",), "verdict": VERDICT, "canary": CANARY} | ABOUT | changes
    authority = Authority.from_seed(seed, ("farm", "ships"), NOW_S)
    return sign_bundle(update, authority=authority, **about)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", [None, Compact(0.05, 6), Zstd(), Exact()])
def test_what_was_judged_is_what_flies(codec: DeltaCodec | None) -> None:
    update = code_update(base(), candidate(), codec)
    slots, updater = flying(base())
    staged = updater.receive(bundle_of(update), 1.7e9)
    assert isinstance(staged, Staged)
    about = {"base": update.base_digest, "result": update.result_digest}
    assert staged.manifest.gate == VERDICT.to_json() | about, "the evidence says what it is about"
    updater.begin_trial()
    report = updater.complete(True, {"ap50_after": 0.6}, "canary holds", 1.7e9)
    assert report.active_digest == slots.active().digest == update.result_digest == digest_tensors(update.result)
    assert all(np.array_equal(staged.weights[n], update.result[n]) for n in update.result)


class Negated(Exact):
    """A third party's codec: exact, with every bit turned over."""

    def encode(self, base: Weights, target: Weights) -> bytes:
        return bytes(255 - octet for octet in super().encode(base, target))

    def decode(self, base: Weights, data: bytes) -> Weights:
        return super().decode(base, bytes(255 - octet for octet in data))


def test_a_third_partys_codec_flies_where_both_ends_know_its_name() -> None:
    known = {**BUILT_IN, "negated": Negated}
    update = code_update(base(), candidate(), Negated(), codecs=known)
    assert set(codecs_of(update).values()) == {"negated", "stepped", "relative"}
    _, knowing = flying(base(), codecs=known)
    told = knowing.receive(bundle_of(update), 1.7e9)
    assert isinstance(told, Staged)
    assert digest_tensors(told.weights) == update.result_digest
    with pytest.raises(UpdateError, match="Negated has no name on board"):
        code_update(base(), candidate(), Negated())
    _, untold = flying(base())
    refused = untold.receive(bundle_of(update), 1.7e9)
    assert isinstance(refused, ApplyReport)
    assert "'negated' is not known on board" in refused.reason


def test_the_result_is_near_the_candidate_and_unchanged_tensors_cost_nothing() -> None:
    update = coded()
    assert codecs_of(update) == {n: "relative" if n == "bn00.var" else "stepped" for n in base() if n != "conv00.weight"}
    assert np.array_equal(update.result["conv00.weight"], base()["conv00.weight"])
    residual = candidate()["conv15.weight"] - base()["conv15.weight"]
    assert (
        np.abs(update.result["conv15.weight"] - candidate()["conv15.weight"]).max()
        < 0.2 * np.sqrt((residual**2).mean(axis=(1, 2, 3))).max()
    )
    assert update.base_digest == digest_tensors(base())


def test_small_vectors_are_good_to_ten_bits() -> None:
    result, wanted = coded().result, candidate()
    assert np.abs(result["bn00.var"] / wanted["bn00.var"] - 1).max() < 2**-9
    for name in ("conv15.bias", "bn00.weight"):
        assert np.abs(result[name] - wanted[name]).max() < 2**-10 * np.sqrt((base()[name] ** 2).mean()) * 1.1


def test_a_plan_of_ones_own_is_released_as_it_decodes() -> None:
    plan = {"conv15.weight": stepped(base()["conv15.weight"], candidate()["conv15.weight"], 0.2)}
    update = coded_update(base(), pack_compact(base(), plan))
    assert codecs_of(update) == {"conv15.weight": "stepped"}
    staged = flying(base())[1].receive(bundle_of(update), 1.7e9)
    assert isinstance(staged, Staged)
    assert digest_tensors(staged.weights) == update.result_digest


def test_the_exact_codec_gives_the_candidate() -> None:
    update = code_update(base(), candidate(), Exact())
    assert update.result_digest == digest_tensors(candidate())


@pytest.mark.parametrize("value", [1.1e6, 1e9, -3e38])
@pytest.mark.parametrize("name", ["bn00_var", "conv15_bias", "conv15_weight"])
def test_a_tensor_with_a_value_too_large_for_steps_is_written_exactly(name: str, value: float) -> None:
    tensor, target = name.replace("_", "."), candidate(**{name: value})
    update = coded(target)
    assert codecs_of(update)[tensor] == "exact"
    assert np.array_equal(update.result[tensor], target[tensor])
    assert codecs_of(update)["bn00.weight"] == "stepped"


def test_a_base_too_large_to_quantise_is_left_exactly() -> None:
    large = base()
    large["conv15.weight"].flat[0] = 1e30
    update = code_update(large, candidate())
    assert np.array_equal(update.result["conv15.weight"], candidate()["conv15.weight"])


@given(st.integers(0, 2**31), st.floats(1e-6, 1e9), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_finite_candidate_can_be_released(seed: int, scale: float, base_too: bool) -> None:
    rng = np.random.default_rng(seed)
    target = {n: (scale * rng.standard_cauchy(a.shape)).clip(-3e38, 3e38).astype(np.float32) for n, a in base().items()}
    start = {n: (a * scale).astype(np.float32) for n, a in base().items()} if base_too else base()
    update = code_update(start, target)
    assert all(np.isfinite(a).all() for a in update.result.values())
    assert digest_tensors(apply_delta(start, update.payload)) == update.result_digest


def test_a_candidate_of_another_shape_is_refused() -> None:
    with pytest.raises(UpdateError, match="shapes differ"):
        coded(candidate() | {"bn00.var": np.zeros(9, np.float32)})


def test_a_tensor_that_the_base_does_not_have_is_refused() -> None:
    with pytest.raises(UpdateError, match="not in the base"):
        coded(candidate() | {"bn99.var": np.zeros(9, np.float32)})


@pytest.mark.parametrize("name", ["bn00_var", "conv15_weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_candidate_that_is_not_finite_is_not_released(name: str, value: float) -> None:
    with pytest.raises(UpdateError, match="not finite") as caught:
        coded(candidate(**{name: value}))
    assert caught.value.where == name.replace("_", ".")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"satellites": ("sat-2",)}, "addressed to sat-2"),
        ({"seed": b"theirs"}, "signed by 0/1 keys"),
        ({"version": 3}, "version 3 is not above 3"),
        ({"tenant": "ships"}, "signed by ships, not by farm"),
        ({"hardware": "raspberry"}, "for the hardware 'raspberry', and this is 'jetson'"),
        ({"model": "ships"}, "for the model 'ships'"),
        ({"verdict": GateVerdict(False, (), {})}, "gate"),
    ],
)
def test_a_bundle_for_another_or_by_another_is_refused(changes: dict[str, object], reason: str) -> None:
    slots, updater = flying(base())
    report = updater.receive(bundle_of(coded(), **changes), 1.7e9)  # type: ignore[arg-type]
    assert isinstance(report, ApplyReport)
    assert report.outcome is ApplyOutcome.REFUSED
    assert reason in report.reason
    assert slots.active().digest == digest_tensors(base())


SEAL = Seal(b"k" * 32, b"n" * 12)


def test_a_sealed_payload_is_read_only_by_who_holds_its_key() -> None:
    update = coded()
    bundle = bundle_of(update, seal_with=SEAL)
    assert update.payload[-40:] in bundle_of(update)
    assert update.payload[-40:] not in bundle
    _, holding = flying(base(), seal_keys={seal_key_id(SEAL.key): SEAL.key})
    staged = holding.receive(bundle, 1.7e9)
    assert isinstance(staged, Staged)
    assert digest_tensors(staged.weights) == update.result_digest
    for keys in ({}, {seal_key_id(b"o" * 32): b"o" * 32}, {seal_key_id(SEAL.key): b"o" * 32}):
        refused = flying(base(), seal_keys=keys)[1].receive(bundle, 1.7e9)
        assert isinstance(refused, ApplyReport)
        assert refused.reason.startswith("payload: ")


def test_nothing_changed_is_a_valid_update_to_the_same_model() -> None:
    update = coded(base())
    assert update.result_digest == update.base_digest
    assert codecs_of(update) == {}
