"""Names to plug-ins: explicit, lazy, and with errors that say what would have been right."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from orbitloop.errors import PluginError
from orbitloop.plugins.builtins import BUILTINS, KINDS
from orbitloop.plugins.registry import Registry, default_registry
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample import Mining


class Half:
    summary = "Half."

    def __init__(self, *, share: float, label: str = "x", seed: int = 0, loud: bool = False) -> None:
        if share > 1:
            raise ValueError("share must lie in 0..1")
        self.share = share

    def mine(self, prediction: Prediction) -> Mining:
        return Mining(True, self.share, "half")


class NoMethods:
    summary = "Nothing."


def test_every_builtin_is_found_and_built() -> None:
    registry = default_registry()
    for kind, entries in BUILTINS.items():
        assert set(entries) <= set(registry.names(kind))
        for name in entries:
            assert isinstance(registry.create(kind, name), KINDS[kind])


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from orbitloop.plugins.registry import default_registry; default_registry();"
        "print([m for m in sys.modules if m.startswith(('orbitloop.algorithms', 'orbitloop.delta', 'torch'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_second_claim_to_a_name_is_refused() -> None:
    registry = default_registry()
    with pytest.raises(PluginError, match=r"miner 'always' is registered twice, by orbitloop and by farm"):
        registry.add("miner", "always", Half, origin="farm")


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(PluginError) as caught:
        default_registry().create("miner", "uncertanty", {}, where="mission.yaml:12: spec.mining")
    assert str(caught.value).startswith("mission.yaml:12: spec.mining: no miner is called 'uncertanty'")
    assert "did you mean 'uncertainty'?" in caught.value.remedy
    assert "threshold" in caught.value.remedy


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(PluginError, match="no plug-in kind 'minor'"):
        default_registry().names("minor")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shares": 0.5}, r"no parameter 'shares'.*\n.*did you mean 'share'\? valid: share, label \(default 'x'\)"),
        ({}, "needs the parameter 'share'"),
        ({"share": "much"}, "share must be a number, not 'much'"),
        ({"share": True}, "share must be a number, not True"),
        ({"share": 0.5, "seed": 1.5}, "seed must be a whole number"),
        ({"share": 0.5, "loud": 1}, "loud must be true or false"),
        ({"share": 0.5, "label": 3}, "label must be a text"),
        ({"share": 2}, r"refuses its parameters: share must lie in 0\.\.1"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, object], message: str) -> None:
    registry = Registry()
    registry.add("miner", "half", Half)
    with pytest.raises(PluginError, match=message):
        registry.create("miner", "half", parameters)


def test_builtins_refuse_wrong_parameters_too() -> None:
    with pytest.raises(PluginError, match=r"did you mean 'scale'\?"):
        default_registry().create("miner", "uncertainty", {"scal": 1.0})
    with pytest.raises(PluginError, match="scale must be above 0"):
        default_registry().create("miner", "uncertainty", {"scale": 0})
    with pytest.raises(PluginError, match="it takes none"):
        default_registry().create("miner", "always", {"x": 1})


@pytest.mark.parametrize("target", ["nowhere", "a:b:c", ":x", "x:"])
def test_a_target_without_module_and_attribute_is_refused(target: str) -> None:
    with pytest.raises(PluginError, match="write module:attribute"):
        Registry().add("miner", "m", target)


@pytest.mark.parametrize("target", ["orbitloop.nowhere:X", "orbitloop.errors:Nothing", "orbitloop.errors:__doc__"])
def test_a_target_that_cannot_be_imported_is_named(target: str) -> None:
    registry = Registry()
    registry.add("miner", "m", target, origin="farm")
    with pytest.raises(PluginError, match="miner 'm' of farm"):
        registry.load("miner", "m")


def test_an_instance_without_the_methods_is_refused() -> None:
    registry = Registry()
    registry.add("miner", "none", NoMethods)
    with pytest.raises(PluginError, match="does not fulfil its contract: no mine"):
        registry.create("miner", "none")


def test_third_parties_come_through_the_same_door(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("half", f"{__name__}:Half", "orbitloop.miner")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Half.__module__])
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == "orbitloop.miner" else [])
    miner = default_registry().create("miner", "half", {"share": 0.25})
    assert miner.mine(Prediction(Detections.empty(), np.zeros(4, np.float32))).score == 0.25
