"""Put a trained model into the form that flies, and say what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, Quiet, Seed, check_out, load_plan
from orbitloop.cli.terminal import add_row, only_results_on_stdout, print_json, show, table
from orbitloop.errors import ExportError, ModelError, StateError

if TYPE_CHECKING:
    from orbitloop.sim.measure import Measurement


def quantise(
    folder: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder of a trained model (float32).")],
    mission: MissionFile,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the int8 model.  [default: MODEL_DIR-int8]")
    ] = None,
    tiles: Annotated[
        int | None, typer.Option("--tiles", metavar="N", min=1, help="Calibration tiles, instead of the mission's own.")
    ] = None,
    data: DataDir = DEFAULT_DATA,
    seed: Seed = None,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn a trained model into its int8 form, the one that flies, and measure both.

    Activations are looked at on tiles of the mission's base scenes, none of which judges. Both forms are then measured by
    average precision on the scenes that the mission holds out, through the pipeline that flies. A mission does this by itself;
    the command is for looking at it.

    \b
    Example:
      orbitloop quantise models/farmland missions/farmland-demo.yaml --tiles 128

    \b
    Exit codes: 0 done; 1 the int8 form loses more than the mission allows (it is
    written all the same); 10 mission; 11 labels; 12 image; 13 model; 14 export;
    21 data; 23 --out cannot be written.
    """
    plan = load_plan(mission, overrides, seed)
    target = check_out(out or _beside(folder))
    from orbitloop.apps.models import check_folder, open_model, store_model
    from orbitloop.cli.progress import watching
    from orbitloop.records.ids import digest_tensors
    from orbitloop.records.model import FLOAT32, INT8
    from orbitloop.sim.flight import Flight
    from orbitloop.sim.measure import Meter
    from orbitloop.sim.training import TrainedModel
    from orbitloop.sim.world import open_world

    check_folder(target)
    if target.resolve() == folder.resolve():
        raise StateError("the trained model would be written over", where=str(target), remedy="name another --out")
    opened, world, threads = open_model(folder), open_world(plan, data, plan.seed), plan.mission.spec.threads
    metadata, rules = opened.engine.metadata, plan.model.spec.quantisation
    if metadata.form != FLOAT32:
        raise ModelError(f"the model is in {metadata.form} already", where=str(folder), remedy="name the one that was trained")
    if metadata.classes != world.classes:
        what = f"the model knows {', '.join(metadata.classes)}, the mission's scenes show {', '.join(world.classes)}"
        raise ExportError(what, where=str(folder), remedy="calibrate it on the mission that it was trained for")
    rules = rules if tiles is None else rules.model_copy(update={"calibration_tiles": tiles})
    trained = TrainedModel(metadata, opened.graph, opened.weights)
    with only_results_on_stdout(), watching(quiet) as watcher:
        watcher.stage("quantise", 0, 3, "look at activations")
        scenes = [ref.load() for ref in world.split.base_train]
        flight = Flight(trained, INT8, scenes, rules, seed=plan.seed, threads=threads)
        watcher.stage("quantise", 1, 3, "measure float32")
        before = Meter(trained.graph, len(world.classes), threads).on_world(trained.weights, world)
        watcher.stage("quantise", 2, 3, "measure int8")
        after = Meter(flight.graph, len(world.classes), threads).on_world(flight.launched.tensors, world)
        watcher.stage("quantise", 3, 3)
    store_model(target, flight.graph, flight.launched.tensors)
    digest = digest_tensors(flight.launched.tensors)
    lost = max((f for f in (_lost(before, after, "new"), _lost(before, after, "old")) if f is not None), default=0.0)
    passed = lost <= rules.max_loss
    if json_output:
        measured = {"float32": _scores(before), "int8": _scores(after)}
        sizes = {"float32": trained.bytes, "int8": flight.bytes}
        about = {"name": metadata.name, "digest": digest, "out": str(target), "bytes": sizes}
        print_json({**about, "accuracy": measured, "lost_ap50": round(lost, 6), "passed": passed})
    else:
        _show(before, after, trained.bytes, flight.bytes)
        loss = f"AP50 lost at most {100 * lost:.1f} points" if lost > 0 else "no AP50 lost"
        verdict = f"{loss}, {100 * rules.max_loss:.1f} allowed"
        show(f"{'ok' if passed else 'TOO MUCH'}: {verdict}", f"digest: {digest}", f"model: {target}")
    if not passed:
        raise typer.Exit(1)


def _beside(folder: Path) -> Path:
    """Return the folder's own name with -int8 behind it; `.` and `..` have a name only once they are resolved."""
    named = folder.resolve() if folder.name in ("", "..") else folder
    return named.parent / f"{named.name}-int8"


def _lost(before: Measurement, after: Measurement, group: str) -> float | None:
    first, second = (getattr(m, group).to_json()["ap50"] for m in (before, after))
    return None if first is None or second is None else float(first - second)


def _scores(found: Measurement) -> dict[str, object]:
    return {"new": found.new.to_json(), "old": found.old.to_json()}


def _show(before: Measurement, after: Measurement, float_bytes: int, int8_bytes: int) -> None:
    from orbitloop.reports.units import human_bytes, points

    listed = table("form", ">bytes", ">new AP50", ">new AP", ">old AP50", ">old AP", title="held-out scenes")
    for name, found, size in (("float32", before, float_bytes), ("int8", after, int8_bytes)):
        scores = [group.to_json()[m] for group in (found.new, found.old) for m in ("ap50", "ap")]
        add_row(listed, name, human_bytes(size), *(points(s) for s in scores))
    show(listed)
