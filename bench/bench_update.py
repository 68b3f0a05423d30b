"""Updates: accuracy by bytes from 5 kB to 3 MB, against NNC, bsdiff4, zstd --patch-from, fp16 + zstd and few-bit residuals.

Two missions on real images (aircraft with a base of two airports, fields of six groups of US states), three seeds of data
split, base model and fine-tuning each; int8 on board; `update_study` says what is measured on what, `update_peers` what each
peer is given. Recovered is the share of the gap between no update and full fine-tuning, in AP50 and AP on held-out scenes of
the new domains, mean over the seeds. Peers run on the first seed of each mission. The planner was developed on seed 0 of
aircraft-two, so that one flatters it; notes give each seed.

The first run trains two dozen models and takes many hours on two cores; models and points are kept, and a run that was stopped
goes on. `--quick` shows what is there already and measures nothing but the codec's speed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import update_peers
from orbitloop.delta.apply import apply_delta
from orbitloop.delta.compact import make_compact
from orbitloop.errors import DataError
from orbitloop.reports.figures import Figure, figure_of
from update_study import MISSIONS, Candidate, Case, Point, Points, data_folder, ends, ours, peer

SEEDS = (0, 1, 2)
CASES = os.environ.get("ORBITLOOP_BENCH_CASES", " ".join(f"{mission}:{seed}" for mission in MISSIONS for seed in SEEDS)).split()
"""Fewer may be asked for, since each takes an hour; the figures say of how many seeds they are."""
KNOWN = bool(os.environ.get("ORBITLOOP_BENCH_KNOWN"))
"""Judge the points that were measured and measure no more of them."""
BUDGETS = {
    "early": (5_000, 10_000, 20_000, 40_000, 100_000),
    "pulled": (40_000, 100_000, 300_000, 1_000_000, 3_000_000),
    "full": (300_000,),
}
FURTHER_BUDGETS = {"early": (10_000, 40_000, 100_000), "pulled": (100_000, 300_000), "full": (300_000,)}
"""On seeds after the first: where the aims lie."""
PEER_BUDGETS = (5_000, 20_000, 40_000, 100_000, 300_000, 1_000_000, 3_000_000)
DEVELOPED = " (seed 0 is the one that the planner was developed on)"
AIMS = {40_000: 90.0, 100_000: 95.0}
LOSSLESS_BYTES = 300_000


def run(quick: bool) -> list[Figure]:
    """Measure, or show what was measured, and judge."""
    study = Study(Points(), quick or KNOWN)
    figures = list(_speed())
    for mission in MISSIONS:
        seeds = [seed for seed in SEEDS if f"{mission}:{seed}" in CASES]
        cases = [found for seed in seeds if (found := study.case(mission, seed))]
        figures += _curve(mission, cases, study.missing)
        figures += study.against_peers(mission, cases[0] if cases else None)
    return figures


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What is known of one mission and seed: the ends, and ours by budget and candidate."""

    none: Point
    whole: dict[str, Point]
    made: dict[int, dict[str, Point]]
    candidates: dict[str, Candidate]

    def picked(self, budget: int) -> Point:
        """Return the point of the candidate that the planner takes at a budget: the better on scenes that were trained on."""
        return max(self.made[budget].values(), key=lambda point: float(point.note.split()[-1]))

    def recovered(self, point: Point) -> tuple[float, float]:
        """Return the share of the gap that a point recovers in AP50 and in AP, in per cent."""
        full = self.whole["full"]
        return (
            100 * (point.new_ap50 - self.none.new_ap50) / max(1e-9, full.new_ap50 - self.none.new_ap50),
            100 * (point.new_ap - self.none.new_ap) / max(1e-9, full.new_ap - self.none.new_ap),
        )


class Study:
    """Goes through missions, seeds, parts and budgets."""

    def __init__(self, points: Points, quick: bool) -> None:
        self.points, self.quick, self.missing = points, quick, ""

    def case(self, mission: str, seed: int) -> Result | None:
        """Return a mission's result for one seed; None where its data is absent, or, when quick, not all was measured."""
        if self.quick:
            return self._known(mission, seed)
        try:
            case = Case(mission, seed, data_folder())
            case.world  # noqa: B018  (opens the data)
        except DataError as error:
            self.missing = str(error)
            return None
        candidates = {part: case.candidate(part) for part in BUDGETS}
        whole, made = {}, dict[int, dict[str, Point]]()
        none: Point | None = None
        for part, candidate in candidates.items():
            _say(f"{mission}, seed {seed}, {part}")
            (none_key, none_make), (whole_key, whole_make) = ends(candidate)
            none, top = self.points.take(none_key, none_make), self.points.take(whole_key, whole_make)
            assert none is not None
            assert top is not None
            whole[part] = top
            for budget in (BUDGETS if seed == SEEDS[0] else FURTHER_BUDGETS)[part]:
                key = candidate.key("orbitloop", budget)
                point = self.points.take(key, partial(ours, candidate, budget))
                if point:
                    made.setdefault(budget, {})[part] = point
                    _say(f"  {point.bytes:>9,} B  AP50 {point.new_ap50}  AP {point.new_ap}  {point.note}")
        assert none is not None
        return Result(none, whole, made, candidates)

    def _known(self, mission: str, seed: int) -> Result | None:
        rows = [Point(**r["point"]) for r in self.points.known.values() if r["point"]]
        mine = [p for p in rows if (p.mission, p.seed) == (mission, seed)]
        none = next((p for p in mine if p.codec == "none"), None)
        whole = {p.part: p for p in mine if p.codec == "whole"}
        if none is None or "full" not in whole:
            self.missing = "not all of it was measured yet; run it without --quick"
            return None
        made: dict[int, dict[str, Point]] = {}
        for point in mine:
            if point.codec == "orbitloop":
                made.setdefault(point.budget_bytes, {})[point.part] = point
        return Result(none, whole, made, {})

    def against_peers(self, mission: str, result: Result | None) -> Iterator[Figure]:
        """Compare with every peer at the same bytes; each peer codes the candidate that ours was made of."""
        if result is None:
            return
        if self.quick:
            yield from self._known_peers(mission, result)
            return
        peers, absent = update_peers.available(make=True)
        if absent:
            yield Figure(f"{mission}: peers", "skipped", "", note=absent)
        for budget in PEER_BUDGETS:
            if budget not in result.made:
                continue
            mine = result.picked(budget)
            candidate = result.candidates[mine.part]
            for codec in peers:
                key = candidate.key(codec.name, budget)
                theirs = self.points.take(key, partial(peer, candidate, codec, budget))
                _say(f"  {codec.name} at {budget:,}: {theirs and (theirs.bytes, theirs.new_ap50, theirs.new_ap)}")
                yield _beside(mission, budget, mine, codec.name, theirs)

    def _known_peers(self, mission: str, result: Result) -> Iterator[Figure]:
        rows = [Point(**r["point"]) for r in self.points.known.values() if r["point"]]
        for budget in PEER_BUDGETS:
            if budget in result.made:
                mine = result.picked(budget)
                place = (mission, mine.seed, mine.part, budget)
                for p in rows:
                    if (p.mission, p.seed, p.part, p.budget_bytes) == place and p.codec != "orbitloop":
                        yield _beside(mission, budget, mine, p.codec, p)


def _beside(mission: str, budget: int, mine: Point, name: str, theirs: Point | None) -> Figure:
    title = f"{mission}, seed {mine.seed}: mean of AP50 and AP at {budget // 1000} kB"
    value = round((mine.new_ap50 + mine.new_ap) / 2, 2)
    if theirs is None:
        return Figure(title, value, "%", f"> {name}", True, name, "nothing fits", "")
    other = round((theirs.new_ap50 + theirs.new_ap) / 2, 2)
    text = f"AP50 {mine.new_ap50} against {theirs.new_ap50}, AP {mine.new_ap} against {theirs.new_ap}; "
    text += f"{theirs.bytes:,} bytes: {theirs.note}"
    return Figure(title, value, "%", f"> {name}", value > other, name, other, text)


def _curve(mission: str, results: Sequence[Result], missing: str) -> Iterator[Figure]:
    """Yield the curve of a mission, mean over its seeds, and how it stands to the aims."""
    if not results:
        yield Figure(f"{mission}: rate and accuracy", "skipped", "", note=missing)
        return
    seeds = f"{len(results)} seeds" if len(results) > 1 else "one seed"
    none, full = _mean([r.none for r in results]), _mean([r.whole["full"] for r in results])
    early = _mean([r.whole["early"] for r in results if "early" in r.whole])
    yield Figure(f"{mission}: no update", none[0], "% AP50", note=f"AP {none[1]}; {seeds}")
    yield Figure(f"{mission}: full fine-tuning, whole", full[0], "% AP50", note=f"AP {full[1]}; {seeds}")
    note = f"AP {early[1]}; {seeds}"
    yield Figure(f"{mission}: early layers, batch-norm and outputs, whole", early[0], "% AP50", note=note)
    for budget in sorted({b for r in results for b in r.made}):
        points = [(r, r.picked(budget)) for r in results if budget in r.made]
        shares = np.array([r.recovered(point) for r, point in points])
        accuracy = _mean([point for _, point in points])
        parts = ", ".join(point.part for _, point in points)
        each = "; ".join(f"{point.new_ap50}/{point.new_ap}" for _, point in points)
        note = (
            f"AP50 {accuracy[0]}, AP {accuracy[1]} ({each}); recovered of AP {shares[:, 1].mean():.1f} %; candidates: {parts}; "
        )
        note += f"old domains {_mean([p for _, p in points], old=True)}; {len(points)} seeds"
        each = ", ".join(f"{share:.1f}" for share in shares[:, 0])
        note += f"; recovered by seed: {each}{DEVELOPED if mission == 'aircraft-two' else ''}"
        name = f"{mission}: gap in AP50 recovered at {budget // 1000} kB"
        yield figure_of(name, round(float(shares[:, 0].mean()), 1), "%", at_least=AIMS.get(budget), note=note)
        if budget == LOSSLESS_BYTES:
            fulls = [(r.picked(budget), r.whole["full"]) for r in results if budget in r.made]
            for unit, most, lost in (
                ("AP50", 0.5, np.mean([top.new_ap50 - point.new_ap50 for point, top in fulls])),
                ("AP", 0.7, np.mean([top.new_ap - point.new_ap for point, top in fulls])),
            ):
                name = f"{mission}: full fine-tuning at {budget // 1000} kB loses"
                yield figure_of(name, round(float(lost), 2), unit, at_most=most, note=f"{len(fulls)} seeds")


def _mean(points: Sequence[Point], *, old: bool = False) -> tuple[float, float]:
    rows = [(p.old_ap50, p.old_ap) if old else (p.new_ap50, p.new_ap) for p in points]
    means = np.mean(rows, axis=0) if rows else np.full(2, np.nan)
    return round(float(means[0]), 2), round(float(means[1]), 2)


def _speed() -> Iterator[Figure]:
    """Yield encode and decode times of an update that changes every weight of an int8 network of the full width."""
    rng = np.random.default_rng(0)
    shapes = [(16, 27), (32, 144), (64, 288), (128, 576), (256, 1152), (512, 2304), (1024, 4608), (256, 1024), (512, 2304)]
    shapes += [(128, 256), (256, 3456)]
    base = {f"conv{i:02d}.weight": rng.integers(-90, 90, shape).astype(np.int8) for i, shape in enumerate(shapes)}
    moved = {name: (t + np.rint(rng.laplace(0, 1.2, t.shape))).clip(-127, 127).astype(np.int8) for name, t in base.items()}
    begin = time.process_time()
    payload = make_compact(base, moved)
    coded = time.process_time()
    result = apply_delta(base, payload)
    decoded = time.process_time()
    assert all((result[name] == moved[name]).all() for name in moved)
    note = (
        f"{sum(t.size for t in base.values()):,} int8 weights, all move; payload {len(payload):,} bytes; CPU time, one thread"
    )
    yield figure_of("encode the largest update", round(coded - begin, 2), "s", at_most=60, note=note)
    yield figure_of("decode the largest update", round(decoded - coded, 2), "s", at_most=1, note=note)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
