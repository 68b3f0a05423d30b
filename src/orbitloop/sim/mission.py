"""Run a mission from its plan to its report: scenes, base model, loop, ceiling, files.

The one function behind `orbitloop run`; it may be stopped between any two instructions and called again with `resume`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orbitloop.errors import TrustError
from orbitloop.ground.adapters.model_store import save_model
from orbitloop.ground.sealing import MAX_FILE_BYTES, parse_seal_key
from orbitloop.onboard.weights import load_weights
from orbitloop.records.detections_wire import detections_from_bytes
from orbitloop.records.label import LabelledImage
from orbitloop.reports.mission import MissionReport
from orbitloop.reports.write import ReportPaths, write_report
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.measure import Meter
from orbitloop.sim.outcome import build_report, pictures
from orbitloop.sim.runner import MissionRun
from orbitloop.sim.training import TrainedModel, TrainingRequest, trained_model
from orbitloop.sim.watcher import Watcher
from orbitloop.sim.world import SceneRef, World, open_world

DETECTIONS_FILE = "detections.geojson"
MODEL_FOLDER = "model"


@dataclass(frozen=True, slots=True, eq=False)
class MissionResult:
    """What a run left: the report, where its files lie, the folder of the model that flies, and whether it was stopped."""

    report: MissionReport
    paths: ReportPaths
    model: Path
    interrupted: bool


def run_mission(
    plan: MissionPlan,
    data_dir: Path,
    out_dir: Path,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
    cache: Path | None = None,
) -> MissionResult:
    """Run a mission and write its report.

    Args:
        plan: the resolved mission.
        data_dir: folder with the data sets.
        out_dir: where state and report go.
        resume: go on from the last checkpoint in `out_dir`.
        watcher: told of progress.
        cache: where trained models are kept; None = the default cache.

    Returns:
        The result; with Ctrl-C, that of the part that was run.

    Raises:
        OrbitloopError: data, mission or saved state are not what they should be.
        KeyboardInterrupt: stopped before there was anything to report.
    """
    watcher = watcher or Watcher()
    begin = time.monotonic()
    seal_key = _seal_key(plan, data_dir)
    world = open_world(plan, data_dir, plan.seed)
    base = base_model(plan, world, watcher, cache)
    base_s = time.monotonic() - begin
    run = MissionRun(plan, world, base, out_dir, watcher=watcher, resume=resume, cache=cache, seal_key=seal_key)
    run.wall["base model"] = base_s
    top: tuple[float | None, float | None] | None = None
    interrupted = False
    try:
        run.run()
        if plan.mission.spec.ceiling:
            with run.timed("ceiling"):
                top = ceiling(run, watcher, cache)
    except KeyboardInterrupt:
        interrupted = True
    report = build_report(run, complete=not interrupted, ceiling=top)
    paths = write_report(report, out_dir, pictures(run))
    _write_detections(run, out_dir / DETECTIONS_FILE)
    return MissionResult(report, paths, _keep_model(run, out_dir / MODEL_FOLDER), interrupted)


def _seal_key(plan: MissionPlan, data_dir: Path) -> bytes | None:
    """Return the tenant's encryption key, if the mission names a file with one."""
    if plan.model.spec.seal_key is None:
        return None
    file = data_dir / plan.model.spec.seal_key
    try:
        with file.open("rb") as stream:
            return parse_seal_key(stream.read(MAX_FILE_BYTES + 1), str(file))
    except OSError as error:
        remedy = "put the tenant's key there, or leave Model spec.sealKey out"
        raise TrustError(f"no encryption key here ({error.strerror})", where=str(file), remedy=remedy) from error


def _write_detections(run: MissionRun, file: Path) -> None:
    """Write all detections that came down as one GeoJSON, which any GIS opens."""
    features = [f for digest in run.course.detections for f in detections_from_bytes(run.blobs[digest])["features"]]
    spare = file.with_suffix(".tmp")
    spare.write_text(json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":")))
    spare.replace(file)


def _keep_model(run: MissionRun, folder: Path) -> Path:
    """Write the newest model that flies, as its satellite holds it, so that it can be used without the run."""
    slots = (satellite.agent.slots.active() for satellite in run.satellites.values())
    flying = max(slots, key=lambda slot: slot.version)
    save_model(folder, flying.graph, load_weights(flying.weights))
    return folder


def base_model(plan: MissionPlan, world: World, watcher: Watcher, cache: Path | None) -> TrainedModel:
    """Return the model that is launched: trained on the base domains, cached by what it is made from."""
    spec = plan.model.spec
    refs = world.split.base_train
    request = TrainingRequest(
        plan.model.name,
        world.classes,
        spec,
        spec.width,
        spec.base_training.steps,
        spec.base_training.batch,
        spec.base_training.learning_rate,
        plan.seed,
        world.fingerprint(refs),
    )
    return trained_model(
        request,
        _images(refs),
        threads=plan.mission.spec.threads,
        progress=lambda done, total, loss: watcher.stage("train the base model", done, total, f"loss {loss:.3f}"),
        store=cache,
    )


def ceiling(run: MissionRun, watcher: Watcher, cache: Path | None) -> tuple[float | None, float | None]:
    """Return AP50 and AP on the new domains of the base network fully fine-tuned with all labels of all that was met.

    It takes as many steps as all rounds together, with the same replay of the old domains.
    """
    plan, world = run.plan, run.world
    job = plan.job.spec.training
    refs = [*world.stream, *world.split.base_train]
    request = TrainingRequest(
        f"{plan.model.name}-ceiling",
        world.classes,
        plan.model.spec,
        plan.model.spec.width,
        job.steps * max(1, job.rounds),
        job.batch,
        job.learning_rate,
        plan.seed,
        world.fingerprint(refs),
        start=run.base_digest,
    )
    model = trained_model(
        request,
        _images(world.stream),
        start=run.base,
        old=_images(world.split.base_train),
        threads=plan.mission.spec.threads,
        progress=lambda done, total, loss: watcher.stage("train the ceiling", done, total, f"loss {loss:.3f}"),
        store=cache,
    )
    watcher.stage("evaluate", 0, 1, "the ceiling on held-out scenes")
    meter = Meter(model.graph, len(world.classes), plan.mission.spec.threads)
    plain: Mapping[str, float | None] = meter.on_world(model.weights, world).new.to_json()
    return plain["ap50"], plain["ap"]


def _images(refs: tuple[SceneRef, ...]) -> list[LabelledImage]:
    return [ref.load() for ref in refs]
