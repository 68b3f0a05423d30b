"""Every built-in passes the contract suite of its kind; and the suite finds each breach that it is there for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orbitloop.errors import PluginError
from orbitloop.plugins.builtins import BUILTINS
from orbitloop.plugins.checks import Check, yield_checks
from orbitloop.plugins.registry import default_registry
from orbitloop.records.label import Boxes
from orbitloop.records.sample import Mining
from orbitloop.records.screening import KEPT, Screening

CASES = [
    pytest.param(check, id=f"{kind}-{name}-{check.name}")
    for kind, entries in BUILTINS.items()
    for name in entries
    for check in yield_checks(kind, default_registry().create(kind, name))
]


@pytest.mark.parametrize("check", CASES)
def test_builtin_fulfils_its_contract(check: Check) -> None:
    check.run()


class OddScore:
    summary = "x"

    def mine(self, prediction: Any) -> Mining:
        return Mining(True, 1.5, "x")


class RaisesOnEmpty:
    summary = "x"

    def mine(self, prediction: Any) -> Mining:
        return Mining(True, float(prediction.detections.scores.max() * 0), "x")


class Moody:
    summary = "x"

    def __init__(self) -> None:
        self.calls = 0

    def mine(self, prediction: Any) -> Mining:
        self.calls += 1
        return Mining(True, 1.0 / self.calls, "x")


class TakesAll:
    summary = "x"

    def select(self, candidates: Any, **_: Any) -> list[int]:
        return list(range(len(candidates)))


class StopsAtGiant:
    summary = "x"

    def select(self, candidates: Any, *, budget_bytes: int, **_: Any) -> list[int]:
        out: list[int] = []
        for i, c in enumerate(candidates):
            if sum(candidates[j].size_bytes for j in out) + c.size_bytes > budget_bytes:
                break
            out.append(i)
        return out


class BadCodec:
    summary = "x"

    def encode(self, base: Any, target: Any) -> bytes:
        return bytes(np.asarray(target, "<f4").tobytes())

    def decode(self, base: Any, data: bytes) -> Any:
        return np.frombuffer(data, "<f4").reshape(base.shape)


class OutsideLabeller:
    summary = "x"

    def label(self, *_: Any) -> Boxes:
        return Boxes(np.array([[0, 0, 900, 9]], np.float32), np.zeros(1, np.int32))


class ByTheMean:
    """A screen that looks at the mean alone, remembers for ever, and judges a batch otherwise."""

    summary = "x"

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def judge(self, tile: Any, valid_share: float) -> Screening:
        if tile.std() < 20 or tile.tobytes() in self.seen:
            return Screening(False, "dull")
        self.seen.add(tile.tobytes())
        return KEPT

    def judge_many(self, tiles: Any, valid_shares: Any) -> list[Screening]:
        return [KEPT] * len(tiles)

    def reset(self) -> None:
        pass


class OddReason(ByTheMean):
    def judge(self, tile: Any, valid_share: float) -> Screening:
        return Screening(False, "tile no. 3 is of no use")


class RaisesOnSmall(ByTheMean):
    def judge(self, tile: Any, valid_share: float) -> Screening:
        tile.reshape(-1, 32, 3)
        return KEPT


class NoSummary:
    summary = ""

    def mine(self, prediction: Any) -> Mining:
        return Mining(False, 0.0, "x")


@pytest.mark.parametrize(
    ("kind", "instance", "broken"),
    [
        ("screen", OddReason(), "screen_gives_a_verdict"),
        ("screen", RaisesOnSmall(), "screen_takes_edge_cases"),
        ("screen", ByTheMean(), "screen_keeps_what_stands_out"),
        ("screen", ByTheMean(), "screen_forgets"),
        ("screen", ByTheMean(), "screen_batches"),
        ("miner", OddScore(), "miner_gives_a_score"),
        ("miner", RaisesOnEmpty(), "miner_takes_edge_cases"),
        ("miner", Moody(), "miner_is_pure"),
        ("miner", NoSummary(), "fulfils_protocol"),
        ("miner", object(), "fulfils_protocol"),
        ("selector", TakesAll(), "selector_keeps_to_budgets"),
        ("selector", StopsAtGiant(), "selector_skips_what_is_too_large"),
        ("codec", BadCodec(), "codec_refuses_damage"),
        ("labeller", OutsideLabeller(), "labeller_gives_boxes_or_none"),
    ],
)
def test_the_suite_finds_the_breach(kind: str, instance: Any, broken: str) -> None:
    check = next(c for c in yield_checks(kind, instance) if c.name == broken)
    with pytest.raises(PluginError):
        check.run()


def test_a_labeller_that_knows_nothing_passes() -> None:
    class Silent:
        summary = "Knows nothing."

        def label(self, *_: Any) -> None:
            return None

    for check in yield_checks("labeller", Silent()):
        check.run()


def test_an_unknown_kind_has_no_suite() -> None:
    with pytest.raises(PluginError, match="no plug-in kind"):
        list(yield_checks("minor", object()))
