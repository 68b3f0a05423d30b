"""One tile, one core: our engine against the peers that run the same network, in turns, and against the machine's own roof.

Two spans: `rows` is from uint8 tiles to decoded rows, the same work on every side; `net` is a peer's network alone, its float
input ready, decoding included where the graph does it. The roof is what `torch._int_mm` reaches here on large square products,
the network's work the multiplies and adds of its convolutions by the layer table.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onboard_models import Model, Subject, flop_per_tile, real_tiles, resized, write_folder
from onboard_pool import Side, Spent, Worker, WorkerFailed, take_turns
from orbitloop.errors import ExportError
from orbitloop.ground.parity import check_parity
from orbitloop.reports.figures import Figure, figure_of

AIM_SPEEDUP = 3.0
OURS = "ours, int8"
BASE = "ONNX Runtime fp32"
REFERENCE = "torch eager fp32"
ROOF_SIDE = 2048
LOOSE = ("bf16", "int8")
"""Sides by whose names no equal rows are asked for."""

Times = Mapping[str, Mapping[str, Spent]]


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to measure: tile size and batch; rounds, and repeats in a round."""

    tile_px: int
    batch: int
    rounds: int
    repeats: int

    @property
    def name(self) -> str:
        """How figures call it."""
        return f"tile {self.tile_px} px, batch {self.batch}"


def settings(*, quick: bool) -> tuple[Setting, ...]:
    """Return what is measured: the models' own tile and the reference's, alone and by eight."""
    if quick:
        return (Setting(320, 1, 3, 2),)
    return tuple(Setting(px, batch, 12 if batch == 1 else 6, 3 if batch == 1 else 1) for px in (320, 416) for batch in (1, 8))


def measure(subject: Subject, sides: Sequence[Side], work: Path, *, quick: bool) -> list[Figure]:
    """Measure all settings on a subject's network and its fullest tiles; a side that does not run is named in a note."""
    figures: list[Figure] = []
    for setting in settings(quick=quick):
        folder = work / f"{setting.tile_px}-{setting.batch}"
        folder.mkdir(parents=True)
        models = model_folders(subject, folder, setting.tile_px)
        tiles = folder / "tiles.npy"
        np.save(tiles, real_tiles(subject.held_out, setting.tile_px, setting.batch))
        with started([side for side in sides if side.model in models], models) as (workers, absent):
            absent |= {side.name: "no such model" for side in sides if side.model not in models}
            wrong = compare_rows(workers, tiles, folder, subject.float32.metadata.preprocessing.candidate_score)
            turns = {name: functools.partial(_run, worker, tiles, setting.repeats) for name, worker in workers.items()}
            if REFERENCE in workers:
                turns["roof"] = functools.partial(_roof, workers[REFERENCE])
            times, failed = take_turns(turns, setting.rounds)
        troubles = {**absent, **wrong, **failed}
        figures += figures_of(setting, times, flop(subject, setting.tile_px), subject.note, troubles)
    return figures


def model_folders(subject: Subject, folder: Path, tile_px: int | None = None) -> dict[str, Path]:
    """Write a subject's models for the workers: name of the form -> folder. Another tile size than its own is possible."""
    size = tile_px or subject.float32.metadata.preprocessing.tile_px
    forms: dict[str, Model | None] = {"float32": resized(subject.float32, size)}
    if subject.int8 is not None:
        forms["int8"] = resized(subject.int8, size)
    return {name: write_folder(folder / name, model, plain=name == "float32") for name, model in forms.items() if model}


@contextlib.contextmanager
def started(sides: Sequence[Side], models: Mapping[str, Path]) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Start a worker for each side; gives those that run, and why the others do not."""
    workers: dict[str, Worker] = {}
    absent: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for side in sides:
            try:
                workers[side.name] = stack.enter_context(Worker(side, models))
            except WorkerFailed as error:
                absent[side.name] = str(error)
        yield workers, absent


def compare_rows(workers: Mapping[str, Worker], tiles: Path, folder: Path, floor: float) -> dict[str, str]:
    """See that each float32 side computes what torch computes; returns what is wrong by side."""
    wrong: dict[str, str] = {}
    rows: dict[str, npt.NDArray[np.float32]] = {}
    for name, worker in workers.items():
        if not any(word in name for word in LOOSE):
            with contextlib.suppress(WorkerFailed):
                file = folder / f"rows-{len(rows)}.npy"
                worker.call("rows", file=str(tiles), out=str(file))
                rows[name] = np.load(file)
    for name, found in rows.items():
        try:
            check_parity(rows.get(REFERENCE, found), found, floor)
        except ExportError as error:
            wrong[name] = f"computes something else: {error}"
    return wrong


def _run(worker: Worker, tiles: Path, repeats: int) -> dict[str, list[float]]:
    spans: dict[str, list[float]] = worker.call("run", file=str(tiles), repeats=repeats).value
    return spans


def _roof(worker: Worker) -> dict[str, list[float]]:
    spans: dict[str, list[float]] = worker.call("roof", side=ROOF_SIDE, repeats=1).value
    return spans


def flop(subject: Subject, tile_px: int) -> int:
    """Return a subject's operations per tile."""
    about = subject.float32.metadata
    return flop_per_tile(about.width, len(about.classes), tile_px)


def figures_of(setting: Setting, times: Times, flop_per_tile: int, note: str, troubles: Mapping[str, str]) -> list[Figure]:
    """Turn one setting's samples into figures: ours beside each peer, the ratio with its aim, the share of the roof."""
    ours = times.get(OURS)
    figures = []
    for name, spans in times.items():
        if name in (OURS, "roof") or "rows" not in spans:
            continue
        mine = _ms(ours["rows"], setting) if ours else "not measured"
        figures.append(
            Figure(
                setting.name,
                mine,
                "ms of CPU",
                peer=name,
                peer_value=_ms(spans["rows"], setting),
                note=_spans_note(name, spans, setting) + (f" {troubles[name]}." if name in troubles else ""),
            )
        )
    if ours is None:
        figures.append(Figure(setting.name, "not measured", "ms of CPU", note=troubles.get(OURS, "no int8 model.")))
    else:
        figures += [*_speedup(setting, times, note), *_roof_figures(setting, times, flop_per_tile)]
    absent = "; ".join(f"{name}: {why}" for name, why in troubles.items() if name not in times)
    if absent:
        figures.append(Figure(f"{setting.name}: peers not measured", absent, ""))
    return figures


def _speedup(setting: Setting, times: Times, note: str) -> list[Figure]:
    if BASE not in times:
        return []
    ours, base = times[OURS]["rows"], times[BASE]
    alone = base["net"].median_s / ours.median_s
    least = base["rows"].least_s / ours.least_s
    return [
        figure_of(
            f"{setting.name}: speed-up",
            round(base["rows"].median_s / ours.median_s, 2),
            f"x {BASE}",
            at_least=AIM_SPEEDUP,
            note=f"From uint8 tiles to decoded rows on both sides; {alone:.2f} x against the peer's network alone, {least:.2f} "
            f"x by the least times. Ours with thresholds and suppression: {_ms(times[OURS]['infer'], setting)} ms. {note}.",
        )
    ]


def _roof_figures(setting: Setting, times: Times, flop_per_tile: int) -> list[Figure]:
    if "roof" not in times:
        return []
    roof = {kind: 2 * ROOF_SIDE**3 / spent.median_s / 1e9 for kind, spent in times["roof"].items()}
    reached = flop_per_tile * setting.batch / times[OURS]["rows"].median_s / 1e9
    base = times.get(BASE)
    share = f"; {BASE} reaches {flop_per_tile * setting.batch / base['net'].median_s / 1e9:.0f} GFLOP/s" if base else ""
    return [
        figure_of(
            f"{setting.name}: share of the int8 roof",
            round(100 * reached / roof["int8"], 1),
            "%",
            note=f"{reached:.0f} of {roof['int8']:.0f} GFLOP/s (torch._int_mm, {ROOF_SIDE}^3, same run); the network takes "
            f"{flop_per_tile / 1e9:.2f} GFLOP a tile. Float32 roof (torch.mm): {roof['float32']:.0f} GFLOP/s{share}.",
        )
    ]


def _spans_note(name: str, spans: Mapping[str, Spent], setting: Setting) -> str:
    parts = [f"its network alone {_ms(spans['net'], setting)} ms;"] if "net" in spans else []
    parts.append(f"least over median {spans['rows'].spread:.2f} of {len(spans['rows'].samples_s)}.")
    return f"{name}: {' '.join(parts)}"


def _ms(spent: Spent, setting: Setting) -> float:
    """Milliseconds of CPU for each tile."""
    return round(1e3 * spent.median_s / setting.batch, 2)
