"""Commands on a model by itself: train the base model, evaluate it on held-out scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, Quiet, Seed, check_out, load_plan
from orbitloop.cli.terminal import add_row, only_results_on_stdout, print_json, show, table
from orbitloop.errors import ModelError


def train(
    mission: MissionFile,
    data: DataDir = DEFAULT_DATA,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the model.  [default: models/NAME-OF-THE-MISSION]")
    ] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the base model of a mission: the one that is launched.

    It learns from the mission's base domains. Trained models are cached by all that they are made from, so that a run of the
    same mission starts at once; a training that was stopped goes on where it was.

    \b
    Examples:
      orbitloop train missions/farmland-demo.yaml --out models/farmland
      orbitloop train missions/farmland-demo.yaml --set Model.width=0.5 --set Model.baseTraining.steps=800

    \b
    Exit codes: 0 done; 10 mission; 11 labels; 12 image; 14 export; 21 data;
    22 training; 23 --out cannot be written; 130 interrupted.
    """
    plan = load_plan(mission, overrides, seed)
    folder = check_out(out or Path("models") / plan.name)
    from orbitloop.apps.models import check_folder, store_model
    from orbitloop.cli.progress import watching
    from orbitloop.records.ids import digest_tensors
    from orbitloop.reports.units import human_bytes, human_count
    from orbitloop.sim.mission import base_model
    from orbitloop.sim.world import open_world

    check_folder(folder)
    with only_results_on_stdout(), watching(quiet) as watcher:
        model = base_model(plan, open_world(plan, data, plan.seed), watcher, None)
    store_model(folder, model.graph, model.weights)
    digest = digest_tensors(model.weights)
    if json_output:
        about = {"name": model.metadata.name, "classes": list(model.metadata.classes), "digest": digest}
        print_json({**about, "parameters": model.parameters, "bytes": model.bytes, "out": str(folder)})
        return
    size = f"{human_count(model.parameters)} parameters, {human_bytes(model.bytes)}"
    show(f"{model.metadata.name}: {size}, classes {', '.join(model.metadata.classes)}", f"digest: {digest}", f"model: {folder}")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder of a model.")],
    mission: MissionFile,
    data: DataDir = DEFAULT_DATA,
    seed: Seed = None,
    overrides: Overrides = None,
    engine: Annotated[str, typer.Option(metavar="NAME", help="onnxruntime, openvino or ncnn.")] = "onnxruntime",
    json_output: Json = False,
) -> None:
    """Measure a model on the scenes that a mission holds out: those of new domains and those of old ones.

    It runs the pipeline that flies (whole scenes, tiles, merge, the engine). AP50 is the average precision at an IoU of
    0.5, AP the mean over 0.50 to 0.95, both by pycocotools. Give the seed of the run: it draws which scenes are held out.

    \b
    Example:
      orbitloop evaluate runs/farmland-demo/model missions/farmland-demo.yaml

    \b
    Exit codes: 0 done; 10 mission; 11 labels; 12 image; 13 model; 21 data.
    """
    plan = load_plan(mission, overrides, seed)
    from orbitloop.apps.models import open_model
    from orbitloop.reports.units import points
    from orbitloop.sim.measure import Meter
    from orbitloop.sim.world import open_world

    model = open_model(folder, plan.mission.spec.threads, engine)
    world = open_world(plan, data, plan.seed)
    classes = model.engine.metadata.classes
    if classes != world.classes:
        what = f"the model knows {', '.join(classes)}, the mission's scenes show {', '.join(world.classes)}"
        raise ModelError(what, where=str(folder), remedy="evaluate it on the mission that it was trained for")
    with only_results_on_stdout():
        found = Meter(model.graph, len(classes), plan.mission.spec.threads, engine).on_world(model.weights, world)
    new, old = found.new.to_json(), found.old.to_json()
    if json_output:
        about = {"model": model.engine.metadata.name, "digest": model.digest, "mission": plan.name, "seed": plan.seed}
        print_json({**about, "new": new, "old": old, "phases": found.domains})
        return
    listed = table("scenes", ">AP50", ">AP", ">images", ">objects", title=f"{plan.name}: held-out scenes")
    whole = [(points(s["ap50"]), points(s["ap"]), s["images"], s["objects"]) for s in (new, old)]
    add_row(listed, "new domains", *whole[0])
    for name, ap50 in found.domains.items():
        add_row(listed, f"  {name}", points(ap50), "", "", "")
    add_row(listed, "old domains", *whole[1])
    show(listed, f"model: {model.digest}")
