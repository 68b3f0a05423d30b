"""Whole scenes, file to merged boxes: our pipeline against SAHI's slicing that drives the same network in torch.

The files are the held-out scenes at the mission's scale, as GeoTIFF (tiled, not compressed, as from a sensor) and as PNG, both
without loss; slices and overlap are the same on both sides. Times are at the model's report score, as one would use it;
accuracy counts down to its candidate score, as average precision wants its tail. SAHI merges by its default (GREEDYNMM, IOS
0.5), and by NMS with IOU 0.5, which it takes by itself at so low a score.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onboard_models import Subject, without_repeats, write_scenes
from onboard_pool import Side, Spent, Worker, take_turns
from onboard_tiles import model_folders, started
from orbitloop.ground.metrics import Accuracy, average_precision
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections
from orbitloop.reports.figures import Figure, figure_of
from orbitloop.sim.world import SceneRef

LARGE_PIXELS = 20_000_000
AIM_SPEEDUP = 5.0
AIM_AP50_LOST = 0.5
AIM_AP_LOST = 0.7
OURS = "ours, int8"
OURS_UNSCREENED = "ours, int8, no screen"
OURS_FLOAT = "ours, float32, no screen"
SAHI = "SAHI + torch, GREEDYNMM"
SAHI_NMS = "SAHI + torch, NMS"
SAHI_WHOLE = "SAHI + torch, as it comes"
"""SAHI's defaults also run the network over the whole scene, for objects that are larger than a slice."""
KINDS = {"tif": "GeoTIFF", "png": "PNG"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to go from a file to boxes: which worker, and the arguments of its `scene`."""

    worker: str
    arguments: Mapping[str, Any]


def sides(ours: Path, peers: Path | None, subject: Subject) -> list[Side]:
    """Return the workers that a subject's scenes need."""
    rules = subject.float32.metadata.preprocessing
    found = [Side("int8", "ours", ours, "int8"), Side("float32", "ours", ours, "float32")]
    if peers is not None:
        load = {"nms_iou": rules.nms_iou, "max_detections": rules.max_detections}
        found.append(Side("sahi", "sahi", peers, "float32", load))
    return found


def ways(subject: Subject, threshold: float, *, remember: bool) -> dict[str, Way]:
    """Return all ways by name. `remember` lets SAHI's side reuse what the network said of a slice."""
    rules = subject.float32.metadata.preprocessing
    common = {"tile_px": rules.tile_px, "overlap_px": rules.overlap_px, "threshold": threshold, "remember": remember}
    greedy, nms = {"merge": "GREEDYNMM", "metric": "IOS"}, {"merge": "NMS", "metric": "IOU"}
    return {
        OURS: Way("int8", {"screen": True, "threshold": threshold}),
        OURS_UNSCREENED: Way("int8", {"screen": False, "threshold": threshold}),
        OURS_FLOAT: Way("float32", {"screen": False, "threshold": threshold}),
        SAHI: Way("sahi", {**common, **greedy, "whole": False}),
        SAHI_NMS: Way("sahi", {**common, **nms, "whole": False}),
        SAHI_WHOLE: Way("sahi", {**common, **greedy, "whole": True}),
    }


def measure(subject: Subject, sides: Sequence[Side], work: Path, *, quick: bool) -> list[Figure]:
    """Measure times on a few scenes and, for trained weights, accuracy on all held-out ones."""
    models = model_folders(subject, work / "models")
    timed = subject.held_out[: 1 if quick else 4]
    figures = []
    with started([side for side in sides if side.model in models], models) as (workers, absent):
        chosen = ways(subject, subject.float32.metadata.preprocessing.report_score, remember=False)
        for kind in ("tif",) if quick else ("tif", "png"):
            files = write_scenes(timed, work / "scenes", kind)
            title = f"whole scene, {subject.name}, {KINDS[kind]}"
            figures += _times(title, subject.note, workers, chosen, files, rounds=2 if quick else _rounds(timed), absent=absent)
    if subject.trained and not quick:
        figures += _accuracy(subject, sides, write_scenes(subject.held_out, work / "scenes"), work)
    return figures


def _rounds(refs: Sequence[SceneRef]) -> int:
    """Return how often scenes are looked at: large ones less often, for they take SAHI half a minute each and scatter less."""
    pixels = sum(math.prod(ref.load().pixels.shape[:2]) for ref in refs)
    return 5 if pixels < LARGE_PIXELS else 2


def _times(
    title: str,
    note: str,
    workers: Mapping[str, Worker],
    chosen: Mapping[str, Way],
    files: Sequence[Path],
    *,
    rounds: int,
    absent: Mapping[str, str],
) -> list[Figure]:
    turns = {
        name: functools.partial(_run, workers[way.worker], way, files) for name, way in chosen.items() if way.worker in workers
    }
    found, failed = take_turns(turns, rounds)
    tiles = _counts(workers[chosen[OURS].worker], chosen[OURS], files) if OURS in found else {}
    return time_figures(title, note, found, len(files), tiles, {**absent, **failed})


def _run(worker: Worker, way: Way, files: Sequence[Path]) -> dict[str, list[float]]:
    answers = [worker.call("scene", file=str(file), **way.arguments) for file in files]
    return {"cpu": [sum(a.cpu_s for a in answers)], "wall": [sum(a.wall_s for a in answers)]}


def _counts(worker: Worker, way: Way, files: Sequence[Path]) -> dict[str, int]:
    total: dict[str, int] = {}
    for file in files:
        for reason, count in worker.call("scene", file=str(file), **way.arguments).value["tiles"].items():
            total[reason] = total.get(reason, 0) + count
    return total


def time_figures(
    title: str,
    note: str,
    times: Mapping[str, Mapping[str, Spent]],
    scenes: int,
    tiles: Mapping[str, int],
    absent: Mapping[str, str],
) -> list[Figure]:
    """Turn samples into figures: seconds a scene beside each other way, and the ratios with their aim."""
    best = next((name for name in (OURS, OURS_FLOAT) if name in times), None)
    if best is None:
        return [Figure(title, "not measured", "s of CPU", note="; ".join(absent.values()))]
    ours = times[best]
    figures = []
    for name, spans in times.items():
        if name == best:
            continue
        figures.append(
            Figure(
                title,
                _each(ours["cpu"], scenes),
                "s of CPU",
                peer=name,
                peer_value=_each(spans["cpu"], scenes),
                note=f"{name}: wall {_each(spans['wall'], scenes)} s, ours {_each(ours['wall'], scenes)} s; least over median "
                f"{spans['cpu'].spread:.2f}, ours {ours['cpu'].spread:.2f}.",
            )
        )
    counted = ", ".join(f"{reason or 'seen'} {count}" for reason, count in sorted(tiles.items()))
    for name in (SAHI, SAHI_NMS, SAHI_WHOLE):
        if name in times:
            ratio = times[name]["cpu"].median_s / ours["cpu"].median_s
            figures.append(
                figure_of(
                    f"{title}: speed-up",
                    round(ratio, 2),
                    f"x {name}",
                    at_least=AIM_SPEEDUP if best == OURS else None,
                    note=f"{best}, from opening the file to GeoJSON; {scenes} scenes; tiles: {counted or 'not counted'}. "
                    f"Wall: {times[name]['wall'].median_s / ours['wall'].median_s:.2f} x. {note}.",
                )
            )
    if absent:
        figures.append(Figure(f"{title}: not measured", "; ".join(f"{n}: {why}" for n, why in absent.items()), ""))
    return figures


def _each(spent: Spent, scenes: int) -> float:
    return round(spent.median_s / scenes, 4)


def _accuracy(subject: Subject, sides: Sequence[Side], files: Sequence[Path], work: Path) -> list[Figure]:
    floor = subject.float32.metadata.preprocessing.candidate_score
    models = model_folders(subject, work / "models")
    found: dict[str, list[Detections]] = {}
    with started([side for side in sides if side.model in models], models) as (workers, _):
        for name, way in ways(subject, floor, remember=True).items():
            if way.worker in workers:
                worker = workers[way.worker]
                found[name] = [_detections(worker.call("scene", file=str(f), **way.arguments).value["boxes"]) for f in files]
    truths = {"as labelled": [ref.load().boxes for ref in subject.held_out]}
    single = without_repeats(subject)
    if single is not None:
        truths["labels given twice dropped"] = single
    return [figure for label, truth in truths.items() for figure in accuracy_figures(subject, found, truth, label)]


def _detections(rows: Sequence[Sequence[float]]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def accuracy_figures(
    subject: Subject, found: Mapping[str, Sequence[Detections]], truth: Sequence[Boxes], label: str
) -> list[Figure]:
    """Score every way on the same truth: what int8 loses, and how ours stands beside SAHI's better merge."""
    classes = len(subject.float32.metadata.classes)
    scores = {name: average_precision(detections, truth, classes) for name, detections in found.items()}
    table = "; ".join(f"{name} {100 * s.ap50:.2f} / {100 * s.ap:.2f}" for name, s in scores.items())
    some = next(iter(scores.values()), None)
    size = f"{some.images} held-out scenes, {some.objects} objects" if some else ""
    note = f"{label}; {size}. AP50 / AP: {table}."
    figures = []
    if OURS_UNSCREENED in scores and OURS_FLOAT in scores:
        base, int8 = scores[OURS_FLOAT], scores[OURS_UNSCREENED]
        lost = {"AP50": (base.ap50 - int8.ap50, AIM_AP50_LOST), "AP": (base.ap - int8.ap, AIM_AP_LOST)}
        for name, (value, aim) in lost.items():
            title = f"{name} lost by int8, {subject.name}"
            figures.append(figure_of(title, round(100 * value, 2), "points", at_most=aim, note=note))
    ours = scores.get(OURS) or scores.get(OURS_FLOAT)
    merges = [scores[name] for name in (SAHI, SAHI_NMS, SAHI_WHOLE) if name in scores]
    if ours and merges:
        figures += _beside(subject, ours, merges, note)
    return figures


def _beside(subject: Subject, ours: Accuracy, merges: Sequence[Accuracy], note: str) -> list[Figure]:
    rows = (("AP50", ours.ap50, max(m.ap50 for m in merges)), ("AP", ours.ap, max(m.ap for m in merges)))
    return [
        figure_of(
            f"whole scene, {subject.name}: {name}",
            round(100 * mine, 2),
            "points",
            at_least=round(100 * theirs, 2),
            peer="SAHI + torch, the best of its ways",
            peer_value=round(100 * theirs, 2),
            note=note,
        )
        for name, mine, theirs in rows
    ]
