"""The contract suite: what every plug-in of a kind must do, built-in or not.

Role: `yield_checks(kind, instance)` yields named checks (the pattern of river's `checks.yield_checks`); a package that brings
a plug-in runs them in its own tests, as ours does over every built-in:

    for check in yield_checks("miner", MyMiner()):
        check.run()

A check raises PluginError, which says what the plug-in did that its contract rules out. Inputs are drawn from fixed seeds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import OrbitloopError, PluginError, UpdateError
from orbitloop.plugins.builtins import KINDS
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.sample import Candidate, Mining
from orbitloop.records.screening import Screening


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of a kind. `run` raises PluginError when the plug-in breaks it."""

    name: str
    run: Callable[[], None]


def yield_checks(kind: str, instance: Any) -> Iterator[Check]:
    """Yield the checks that an instance must pass.

    Raises:
        PluginError: the kind is unknown.
    """
    suites: dict[str, tuple[Callable[[Any], None], ...]] = {
        "screen": (
            screen_gives_a_verdict,
            screen_takes_edge_cases,
            screen_keeps_what_stands_out,
            screen_forgets,
            screen_batches,
        ),
        "miner": (miner_gives_a_score, miner_takes_edge_cases, miner_is_pure),
        "selector": (selector_keeps_to_budgets, selector_takes_edge_cases, selector_skips_what_is_too_large, selector_is_pure),
        "codec": (codec_keeps_shape_and_bits, codec_comes_near, codec_refuses_damage),
        "labeller": (labeller_gives_boxes_or_none, labeller_is_pure),
        "monitor": (
            monitor_gives_scores,
            monitor_is_causal_and_pure,
            monitor_notices,
            monitor_takes_constants,
            monitor_starts_anew,
        ),
    }
    if kind not in suites:
        raise PluginError(f"there is no plug-in kind {kind!r}", remedy=f"known: {', '.join(sorted(suites))}")
    for check in (lambda it: fulfils_protocol(kind, it), *suites[kind]):
        name = getattr(check, "__name__", "")
        yield Check("fulfils_protocol" if name == "<lambda>" else name, lambda check=check: check(instance))  # type: ignore[misc]


def fulfils_protocol(kind: str, instance: Any) -> None:
    """It has the methods of its kind, and a summary of one sentence."""
    _must(isinstance(instance, KINDS[kind]), instance, f"it lacks methods of {KINDS[kind].__name__}")
    summary = getattr(instance, "summary", "")
    _must(isinstance(summary, str) and 0 < len(summary) <= 200 and "\n" not in summary, instance, "summary is not one sentence")


def sample_tiles() -> list[npt.NDArray[np.uint8]]:
    """Return tiles of 64 px as screens meet them: black, white, one colour, noise, a slope of light, busy, one twice."""
    rng = np.random.default_rng(13)
    flat = [np.full((64, 64, 3), value, np.uint8) for value in (0, 255, (20, 60, 90))]
    slope = np.broadcast_to(np.linspace(60, 120, 64).astype(np.uint8)[None, :, None], (64, 64, 3)).copy()
    noise = rng.integers(100, 108, (64, 64, 3), np.uint8)
    busy = [rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(4)]
    return [*flat, slope, noise, *busy, busy[1].copy()]


def _judge(screen: Any, tile: npt.NDArray[np.uint8], valid_share: float = 1.0) -> Screening:
    verdict = _call(screen, screen.judge, tile, valid_share)
    _must(isinstance(verdict, Screening), screen, f"{type(verdict).__name__} is no Screening")
    return verdict  # type: ignore[no-any-return]


def screen_gives_a_verdict(screen: Any) -> None:
    """Its verdict is a Screening whose reason is a short word that a counter can be named by; the tile is left as it was."""
    for tile in sample_tiles():
        before = tile.copy()
        tile.flags.writeable = False
        reason = _judge(screen, tile).reason
        short = not reason or (len(reason) <= 20 and reason.replace("-", "").isascii() and reason.replace("-", "").isalpha())
        _must(short, screen, f"reason {reason!r} is no short word")
        _must(np.array_equal(before, tile), screen, "it changes its input")


def screen_takes_edge_cases(screen: Any) -> None:
    """It raises on no tile: of one pixel, of odd sides, without a valid pixel, not contiguous in memory, after another size."""
    rng = np.random.default_rng(17)
    for side in (1, 2, 3, 5, 7, 33, 64, 416):
        tile = rng.integers(0, 256, (side, side, 3), np.uint8)
        for valid_share in (0.0, 1e-9, 0.5, 1.0):
            _judge(screen, tile, valid_share)
            _judge(screen, tile[::-1, ::-1], valid_share)


def screen_keeps_what_stands_out(screen: Any) -> None:
    """A tile of water with one small bright or dark spot, and one full of edges, is kept: it may hold an object."""
    for level, spot in ((20, 120), (120, 20), (90, 200)):
        for x, y in ((30, 30), (0, 0), (57, 41)):
            tile = np.full((64, 64, 3), level, np.uint8)
            tile[y : y + 6, x : x + 6] = spot
            screen.reset()
            _must(_judge(screen, tile).keep, screen, f"it drops a tile with a spot of {abs(spot - level)} levels")
    busy = np.random.default_rng(19).integers(0, 256, (16, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    screen.reset()
    _must(_judge(screen, busy).keep, screen, "it drops a tile that is full of edges")


def screen_forgets(screen: Any) -> None:
    """What it says follows from the tiles since the last reset alone, in their order."""
    tiles = sample_tiles()
    screen.reset()
    first = [_judge(screen, tile) for tile in tiles]
    screen.reset()
    _must(first == [_judge(screen, tile) for tile in tiles], screen, "it says something else after a reset")


def screen_batches(screen: Any) -> None:
    """A batch gets what its tiles would get one after the other; an empty one gets nothing."""
    tiles = sample_tiles()
    shares = np.linspace(1.0, 0.2, len(tiles))
    screen.reset()
    single = [_judge(screen, tile, float(share)) for tile, share in zip(tiles, shares, strict=True)]
    screen.reset()
    batch = _call(screen, screen.judge_many, np.stack(tiles), shares)
    _must(list(batch) == single, screen, "a batch is judged otherwise than its tiles")
    _must(list(_call(screen, screen.judge_many, np.stack(tiles)[:0], shares[:0])) == [], screen, "no tiles get verdicts")


def sample_predictions() -> list[Prediction]:
    """Return predictions as miners meet them, from empty to crowded, with the scores 0 and 1 among them."""
    rng = np.random.default_rng(11)
    score_sets = [
        [],
        [0.0],
        [1.0],
        [0.5],
        [0.5] * 7,
        [0.9, 0.1],
        [0.0, 1.0, 0.0],
        *(rng.uniform(0, 1, n) for n in (3, 40, 300)),
    ]
    return [_prediction(np.sort(np.asarray(s, np.float32))[::-1], rng) for s in score_sets]


def _prediction(scores: npt.NDArray[np.float32], rng: np.random.Generator) -> Prediction:
    n = len(scores)
    corner = rng.uniform(0, 200, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (n, 2))], axis=1).astype(np.float32)
    vector = rng.normal(size=16)
    detections = Detections(boxes, np.ascontiguousarray(scores, np.float32), rng.integers(0, 3, n).astype(np.int32))
    return Prediction(detections, (vector / np.linalg.norm(vector)).astype(np.float32))


def miner_gives_a_score(miner: Any) -> None:
    """Its verdict is a Mining with a bool, a finite score in 0..1 and a reason."""
    for prediction in sample_predictions():
        verdict = miner.mine(prediction)
        _must(isinstance(verdict, Mining) and isinstance(verdict.hard, bool), miner, f"{verdict!r} is no Mining")
        _must(
            isinstance(verdict.score, float) and 0.0 <= verdict.score <= 1.0, miner, f"score {verdict.score!r} is not in 0..1"
        )
        _must(isinstance(verdict.reason, str) and bool(verdict.reason), miner, "it gives no reason")


def miner_takes_edge_cases(miner: Any) -> None:
    """It raises on nothing: no boxes, one box, scores of 0 and 1, an embedding of zeros or of no length."""
    for prediction in sample_predictions():
        for embedding in (np.zeros(16, np.float32), np.zeros(0, np.float32)):
            _call(miner, miner.mine, Prediction(prediction.detections, embedding))


def miner_is_pure(miner: Any) -> None:
    """The same prediction gets the same verdict, and is left as it was."""
    for prediction in sample_predictions():
        before = copy.deepcopy(prediction)
        first, second = miner.mine(prediction), miner.mine(prediction)
        _must(first == second, miner, "two looks at one prediction differ")
        same = np.array_equal(before.detections.scores, prediction.detections.scores)
        same &= np.array_equal(before.detections.boxes_xyxy_px, prediction.detections.boxes_xyxy_px)
        _must(same and np.array_equal(before.embedding, prediction.embedding), miner, "it changes its input")


def sample_candidates(n: int, seed: int = 5, dimensions: int = 8) -> list[Candidate]:
    """Return n stored samples of mixed size, value and age."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Candidate(f"s{i}", int(rng.integers(500, 20_000)), float(rng.uniform()), float(rng.uniform(0.1, 3)), float(i), v)
        for i, v in enumerate(vectors.astype(np.float32))
    ]


def _select(selector: Any, candidates: list[Candidate], budget_bytes: int, budget_j: float, seed: int = 0) -> list[int]:
    sent = np.stack([c.embedding for c in sample_candidates(3, seed=9)])
    chosen = _call(
        selector,
        lambda: selector.select(
            candidates, budget_bytes=budget_bytes, budget_j=budget_j, sent_embeddings=sent, rng=np.random.default_rng(seed)
        ),
    )
    _must(isinstance(chosen, list) and all(type(i) is int for i in chosen), selector, "it does not return a list of int")
    return list(chosen)


def selector_keeps_to_budgets(selector: Any) -> None:
    """Bytes and joules stay within budget, indices are valid and none comes twice."""
    for n, budget_bytes, budget_j in ((40, 60_000, 1e9), (40, 10**9, 12.0), (40, 60_000, 6.0), (5, 10**9, 1e9), (40, 499, 1e9)):
        candidates = sample_candidates(n)
        chosen = _select(selector, candidates, budget_bytes, budget_j)
        _must(len(set(chosen)) == len(chosen), selector, "it chooses a sample twice")
        _must(all(0 <= i < n for i in chosen), selector, "it returns an index of no candidate")
        _must(sum(candidates[i].size_bytes for i in chosen) <= budget_bytes, selector, "it overspends the bytes")
        _must(sum(candidates[i].transmit_j for i in chosen) <= budget_j, selector, "it overspends the energy")
        if budget_bytes == 10**9 and budget_j == 1e9:
            _must(len(chosen) == n, selector, "it leaves out samples although the budget takes all")


def selector_takes_edge_cases(selector: Any) -> None:
    """No candidates, no budget, nothing sent before, and candidates that are all alike raise nothing."""
    _must(_select(selector, [], 1000, 10.0) == [], selector, "it chooses from nothing")
    _must(_select(selector, sample_candidates(4), 0, 0.0) == [], selector, "it chooses without a budget")
    alike = [Candidate(f"a{i}", 100, 0.5, 0.1, 0.0, np.ones(8, np.float32) / np.float32(8**0.5)) for i in range(6)]
    _must(len(_select(selector, alike, 350, 9.0)) == 3, selector, "equal candidates do not fill the budget")
    for nothing in (np.zeros((0, 8), np.float32), np.zeros((0, 0), np.float32)):
        rng = np.random.default_rng(0)
        _call(
            selector, lambda n=nothing, r=rng: selector.select(alike, budget_bytes=350, budget_j=9.0, sent_embeddings=n, rng=r)
        )


def selector_skips_what_is_too_large(selector: Any) -> None:
    """A candidate over the budget, however valuable and old, holds up none of the others."""
    small = sample_candidates(5)
    giant = Candidate("giant", 10**7, 1.0, 0.1, -1.0, small[0].embedding)
    chosen = _select(selector, [giant, *small], 10**6, 1e9)
    _must(sorted(chosen) == [1, 2, 3, 4, 5], selector, "one candidate that is too large blocks others")


def selector_is_pure(selector: Any) -> None:
    """The same candidates, budgets and generator give the same choice, also on a second instance of the call."""
    candidates = sample_candidates(30)
    first, second = (_select(selector, candidates, 80_000, 30.0, seed=3) for _ in range(2))
    _must(first == second, selector, "two equal calls choose differently")


def sample_tensors() -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return pairs (base, target) as updates bring them: small and large changes, none, one value, no values."""
    rng = np.random.default_rng(7)
    pairs = []
    for shape, change in (((16, 8, 3, 3), 1e-2), ((64,), 1e-3), ((3, 5), 1.0), ((7,), 0.0), ((1,), 0.1), ((0,), 0.0)):
        base = rng.normal(size=shape).astype(np.float32)
        pairs.append((base, (base + change * rng.normal(size=shape)).astype(np.float32)))
    return pairs


def codec_keeps_shape_and_bits(codec: Any) -> None:
    """Decoding gives float32 of the base's shape, finite, and the same bits every time."""
    for base, target in sample_tensors():
        data = codec.encode(base, target)
        _must(isinstance(data, bytes) and data == codec.encode(base, target), codec, "encoding is not repeatable bytes")
        one, two = codec.decode(base, data), codec.decode(base.copy(), data)
        _must(one.dtype == np.float32 and one.shape == base.shape, codec, f"{base.shape} comes back as {one.dtype} {one.shape}")
        _must(
            one.tobytes() == two.tobytes() and bool(np.isfinite(one).all()), codec, "decoding is not repeatable or not finite"
        )


def codec_comes_near(codec: Any) -> None:
    """Half of the change or more arrives (root mean square), but for a thousandth of the base where it is rounded to half."""
    for base, target in sample_tensors():
        result = codec.decode(base, codec.encode(base, target))
        error, change, size = (float(np.linalg.norm(a)) for a in (result - target, target - base, base))
        _must(error <= 0.5 * change + 1e-3 * size, codec, f"an error of {error:.3g} is left of a change of {change:.3g}")


def codec_refuses_damage(codec: Any) -> None:
    """Truncated, extended, foreign or misfitting bytes raise UpdateError or decode to the base's shape; never another error."""
    rng = np.random.default_rng(3)
    base, target = sample_tensors()[0]
    good = codec.encode(base, target)
    bad = [
        b"",
        b"\0",
        good[:-1],
        good[: len(good) // 2],
        good + b"\0",
        bytes(rng.integers(0, 256, 200, np.uint8)),
        b"\xff" * 64,
    ]
    for data in bad:
        try:
            result = codec.decode(base, data)
        except UpdateError:
            continue
        except Exception as error:  # whatever else a codec raises is the breach that is looked for
            raise PluginError(f"{_name(codec)}: malformed bytes raise {type(error).__name__} instead of UpdateError") from error
        _must(result.shape == base.shape and result.dtype == np.float32, codec, "malformed bytes decode to another shape")
    try:
        wrong = codec.decode(base[:3], good)
    except UpdateError:
        return
    except Exception as error:  # likewise
        raise PluginError(f"{_name(codec)}: a wrong base raises {type(error).__name__} instead of UpdateError") from error
    _must(wrong.shape == base[:3].shape, codec, "a wrong base decodes to another shape")


def _label(labeller: Any, pixels: npt.NDArray[np.uint8]) -> Boxes | None:
    found = _call(labeller, lambda: labeller.label("check", "unknown-scene", (0, 0, 64, 64), pixels))
    _must(found is None or isinstance(found, Boxes), labeller, f"{type(found).__name__} is neither Boxes nor None")
    return found  # type: ignore[no-any-return]


def labeller_gives_boxes_or_none(labeller: Any) -> None:
    """An unknown scene gets boxes inside the tile, or None: I do not know."""
    found = _label(labeller, np.full((64, 64, 3), 90, np.uint8))
    if found is not None and len(found):
        inside = bool(((found.xyxy_px >= -1) & (found.xyxy_px <= 65)).all())
        _must(inside, labeller, "a box lies outside of its tile")


def labeller_is_pure(labeller: Any) -> None:
    """The same tile gets the same label, and its pixels are left as they were."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    before = pixels.copy()
    one, two = _label(labeller, pixels), _label(labeller, pixels)
    _must((one is None) == (two is None), labeller, "two looks at one tile differ")
    if one is not None and two is not None:
        _must(one.to_json() == two.to_json(), labeller, "two looks at one tile differ")
    _must(np.array_equal(before, pixels), labeller, "it changes its input")


def sample_telemetry() -> npt.NDArray[np.float64]:
    """Return (600, 3) nominal values: a wave, a wave with noise, a switch."""
    rng = np.random.default_rng(11)
    t = np.arange(600)
    wave = np.sin(t / 9.0)
    return np.column_stack([wave, 0.5 * np.cos(t / 14.0) + 0.05 * rng.normal(size=600), np.where(t % 90 < 20, 0.8, -0.8)])


def _scores(monitor: Any, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found = _call(monitor, monitor.scores, values)
    right = isinstance(found, np.ndarray) and found.shape == values.shape and bool(np.isfinite(found).all())
    _must(right and bool((found >= 0).all()), monitor, "its scores are not finite values, 0 and up, one for each value")
    return found  # type: ignore[no-any-return]


def monitor_gives_scores(monitor: Any) -> None:
    """Each value gets a score; what it is given stays as it was."""
    values = sample_telemetry()
    before = values.copy()
    _call(monitor, monitor.fit, values[:400])
    _scores(monitor, values[400:])
    _must(np.array_equal(before, values), monitor, "it changes its input")


def monitor_is_causal_and_pure(monitor: Any) -> None:
    """What comes later changes no score; a second call gives the same."""
    values = sample_telemetry()
    _call(monitor, monitor.fit, values[:400])
    whole = _scores(monitor, values[400:])
    part = _scores(monitor, values[400:470])
    again = _scores(monitor, values[400:])
    _must(np.allclose(whole[:70], part, atol=1e-9), monitor, "a score hangs on what comes after it")
    _must(np.allclose(whole, again, atol=1e-9), monitor, "two equal calls score differently")


def monitor_notices(monitor: Any) -> None:
    """A channel that leaves its range for 30 samples scores higher there than in the quiet before, the others' scores stay."""
    values = sample_telemetry()
    _call(monitor, monitor.fit, values[:400])
    quiet = _scores(monitor, values[400:])
    moved = values[400:].copy()
    moved[100:130, 0] += 3.0
    found = _scores(monitor, moved)
    _must(found[100:130, 0].max() > 1.05 * quiet[:, 0].max(), monitor, "it does not notice a channel that leaves its range")
    _must(np.allclose(found[:, 1:], quiet[:, 1:], atol=1e-9), monitor, "one channel moves another's score")


def monitor_starts_anew(monitor: Any) -> None:
    """A recording of another time that looks as the nominal one did is not odd, though the two do not join."""
    values = sample_telemetry()
    _call(monitor, monitor.fit, values[:500])
    found = _call(monitor, lambda: monitor.scores(values[137:400], follows=False))
    _must(bool((found <= 1.0 + 1e-6).all()), monitor, "the step between two recordings is odd to it")


def monitor_takes_constants(monitor: Any) -> None:
    """A channel that never moved is scored too, low while it stands still."""
    _call(monitor, monitor.fit, np.full((400, 1), -1.0))
    found = _scores(monitor, np.full((50, 1), -1.0))
    _must(bool((found <= 1.0 + 1e-6).all()), monitor, "a constant that stays constant is odd to it")


def _name(instance: Any) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def _must(holds: bool, instance: Any, what: str) -> None:
    if not holds:
        raise PluginError(f"{_name(instance)}: {what}")


def _call(instance: Any, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except OrbitloopError:
        raise
    except Exception as error:  # a third party's plug-in may raise anything; it becomes the breach that is reported
        raise PluginError(f"{_name(instance)}: raises {type(error).__name__}: {error}") from error
