"""Commands on a model by itself: train the base model, detect in scenes, evaluate on held-out scenes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, MissionFile, Overrides, Quiet, Seed, check_out, load_plan
from orbitloop.cli.terminal import add_row, only_results_on_stdout, print_json, show, show_error, table
from orbitloop.errors import ImageError, ModelError, OrbitloopError, StateError

if TYPE_CHECKING:
    from orbitloop.apps.models import OpenModel
    from orbitloop.records.prediction import Detections
    from orbitloop.records.scene import GeoTransform

MAX_SCENE_BYTES = 512 << 20


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
    json_output: Json = False,
) -> None:
    """Measure a model on the scenes that a mission holds out: those of new domains and those of old ones.

    It runs the pipeline that flies (whole scenes, tiles, merge, ONNX Runtime). AP50 is the average precision at an IoU of
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

    model = open_model(folder, plan.mission.spec.threads)
    world = open_world(plan, data, plan.seed)
    classes = model.engine.metadata.classes
    if classes != world.classes:
        what = f"the model knows {', '.join(classes)}, the mission's scenes show {', '.join(world.classes)}"
        raise ModelError(what, where=str(folder), remedy="evaluate it on the mission that it was trained for")
    with only_results_on_stdout():
        found = Meter(model.graph, len(classes), plan.mission.spec.threads).on_world(model.weights, world)
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


def detect(
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENE", help="Pictures: PNG, JPEG or WebP.")],
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="Folder of a model.")],
    geojson: Annotated[bool, typer.Option("--geojson", help="Write one GeoJSON FeatureCollection of all scenes.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Also write a GeoJSON file for each scene.")] = None,
    geo: Annotated[
        str,
        typer.Option(
            metavar="LON,LAT[,GSD]",
            help="Where the top-left corner lies, degrees, and metres per pixel (1); the picture is north-up. Without: pixels.",
        ),
    ] = "",
    score: Annotated[
        float | None, typer.Option(metavar="SCORE", min=0, max=1, help="Least score, instead of the model's own.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads.")] = 2,
    json_output: Json = False,
) -> None:
    """Detect in scenes of any size, as the satellite does: tiles, network, merge over tile borders.

    A scene that cannot be read is named on stderr and the next one is taken; the exit code is then that of the last error.

    \b
    Examples:
      orbitloop detect field.png --model runs/farmland-demo/model
      orbitloop detect *.png --model models/farmland --geojson > found.geojson
      orbitloop detect field.png --model models/farmland --out found --geo 10.21,48.07,5

    \b
    Exit codes: 0 done; 12 image; 13 model; 23 --out cannot be written.
    """
    if geojson and json_output:
        raise typer.BadParameter("--geojson is JSON already: leave one of the two out")
    corner = _corner(geo) if geo else None
    from orbitloop.apps.models import open_model

    opened = open_model(model, threads)
    found: list[dict[str, Any]] = []
    failed: list[OrbitloopError] = []
    with only_results_on_stdout():
        for scene in scenes:
            try:
                found.append(_detect_one(opened, scene, corner, score))
            except ImageError as error:
                show_error(error)
                failed.append(error)
    if out is not None:
        _write(out, found)
    if geojson:
        print_json(_collection(found))
    elif json_output:
        rows = [{name: value for name, value in row.items() if name != "geojson"} for row in found]
        errors = [{"what": e.what, "where": e.where, "exit_code": e.exit_code} for e in failed]
        print_json({"model": opened.engine.metadata.name, "digest": opened.digest, "scenes": rows, "errors": errors})
    else:
        _show_found(found)
    if failed:
        raise typer.Exit(failed[-1].exit_code)


def _corner(text: str) -> tuple[float, float, float]:
    """Read LON,LAT[,GSD]: degrees, degrees, metres."""
    try:
        numbers = [float(part) for part in text.split(",")]
        lon_deg, lat_deg, gsd_m = (*numbers, 1.0) if len(numbers) == 2 else numbers
        if not (-180 <= lon_deg <= 180 and -89.9 <= lat_deg <= 89.9 and 0 < gsd_m < math.inf):
            raise ValueError
    except ValueError:
        hint = f"{text!r} is not LON,LAT[,GSD]: degrees within 180 and 89.9, and metres per pixel, such as 10.21,48.07,5"
        raise typer.BadParameter(hint, param_hint="--geo") from None
    return lon_deg, lat_deg, gsd_m


def _north_up(corner: tuple[float, float, float] | None) -> GeoTransform | None:
    if corner is None:
        return None
    from orbitloop.orbit.frames import metres_per_degree
    from orbitloop.records.scene import GeoTransform

    lon_deg, lat_deg, gsd_m = corner
    lat_m, lon_m = metres_per_degree(lat_deg)
    return GeoTransform(lon_deg, lat_deg, gsd_m / lon_m, 0.0, 0.0, -gsd_m / lat_m)


def _detect_one(model: OpenModel, path: Path, corner: tuple[float, float, float] | None, score: float | None) -> dict[str, Any]:
    from orbitloop.onboard.geojson import feature_collection
    from orbitloop.onboard.pipeline import detect_scene
    from orbitloop.records.pixels import decode_image
    from orbitloop.sim.measure import detect_all

    data, taken_at_s = _read(path)
    pixels = decode_image(data, where=str(path))
    plain = score is None  # below the report score everything down to the candidates is merged, as a measure does it
    found = detect_scene(model.engine, pixels).detections if plain else detect_all(model.engine, pixels).above(score or 0.0)
    classes = model.engine.metadata.classes
    return {
        "scene": str(path),
        "width_px": int(pixels.shape[1]),
        "height_px": int(pixels.shape[0]),
        "detections": _rows(found, classes),
        "geojson": feature_collection(
            found,
            classes=classes,
            scene_id=path.name,
            captured_at_s=taken_at_s,
            model_digest=model.digest,
            geo=_north_up(corner),
        ),
    }


def _read(path: Path) -> tuple[bytes, float]:
    """Return a picture's bytes and when its file was last written, which stands for when it was taken."""
    try:
        if not path.is_file():
            raise ImageError("there is no such file", where=str(path))
        with path.open("rb") as file:
            data = file.read(MAX_SCENE_BYTES + 1)
        taken_at_s = path.stat().st_mtime
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})", where=str(path)) from error
    if len(data) > MAX_SCENE_BYTES:
        raise ImageError(f"file is over the limit of {MAX_SCENE_BYTES} bytes", where=str(path))
    return data, taken_at_s


def _rows(found: Detections, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"class": classes[int(c)], "score": round(float(s), 4), "box_xyxy_px": [round(float(v), 2) for v in box]}
        for box, s, c in zip(found.boxes_xyxy_px, found.scores, found.classes, strict=True)
    ]


def _collection(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the collections of all scenes; their foreign members are the same, as they share --geo."""
    whole: dict[str, Any] = {"type": "FeatureCollection", "features": []}
    for row in found:
        whole |= {name: value for name, value in row["geojson"].items() if name != "features"}
        whole["features"] += row["geojson"]["features"]
    return whole


def _write(folder: Path, found: list[dict[str, Any]]) -> None:
    """Write `NAME.geojson` for each scene; scenes of one name are numbered."""
    import json

    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row in found:
            stem = base = Path(row["scene"]).stem
            number = 1
            while stem in taken:
                number += 1
                stem = f"{base}-{number}"
            taken.add(stem)
            (folder / f"{stem}.geojson").write_text(json.dumps(row["geojson"], indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"detections cannot be written ({error.strerror})", where=str(folder), remedy="name another --out"
        ) from error


def _show_found(found: list[dict[str, Any]]) -> None:
    for row in found:
        title = f"{row['scene']}: {len(row['detections'])} detections"
        listed = table("class", ">score", ">x0", ">y0", ">x1", ">y1", title=title)
        for one in row["detections"]:
            add_row(listed, one["class"], f"{one['score']:.2f}", *(f"{v:.0f}" for v in one["box_xyxy_px"]))
        show(listed if row["detections"] else title)
