"""A run's course as a report: figures, tracks, and a gallery of hard samples as the model saw them then and sees them now."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch

import orbitloop
from orbitloop.ground.segment import FiledSample
from orbitloop.ground.topology import partition
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.records.detections_wire import detections_from_bytes
from orbitloop.records.pixels import encode_image
from orbitloop.records.prediction import Detections
from orbitloop.reports.mission import Accuracy, ByteCounts, Counts, MissionReport, ModelSummary, Scores
from orbitloop.reports.observed import GalleryItem, StationSite, TrackPoint
from orbitloop.sim.fleet import track
from orbitloop.sim.runner import MissionRun

GALLERY_ITEMS = 24
TRACK_DAYS = 1.0
TRACK_STEP_S = 60.0


def build_report(run: MissionRun, *, complete: bool, ceiling: tuple[float | None, float | None] | None) -> MissionReport:
    """Return the report of a run, finished or not.

    Args:
        run: the run.
        complete: whether it came to its end.
        ceiling: AP50 and AP on the new domains of the fully fine-tuned network, where the mission asked for it.
    """
    plan, course, base = run.plan, run.course, run.base
    names = set(partition(plan.model.spec.trainable))
    learned = {n: a for n, a in base.weights.items() if not n.endswith((".mean", ".var"))}
    up: dict[str, int] = {"updates": 0}
    for satellite in run.satellites.values():
        for kind, account in satellite.ground.accounts.items():
            up[f"{kind}s"] = up.get(f"{kind}s", 0) + account.wire_bytes
    up["protocol"] = course.uplinked_bytes - sum(up.values())
    return MissionReport(
        mission=plan.name,
        seed=plan.seed,
        complete=complete,
        started_at_s=plan.start_s,
        finished_at_s=course.finished_at_s or run.clock.now_s(),
        model=ModelSummary(
            base.metadata.name,
            base.parameters,
            run.flight.bytes,
            sum(a.size for n, a in learned.items() if n in names),
            tuple(plan.model.spec.trainable),
            run.world.classes,
            base.metadata.preprocessing.report_score,
            run.flight.metadata.form,
            run.form_check.trained,
            run.form_check.flying,
        ),
        bytes=ByteCounts(
            course.captured_bytes,
            course.downlinked_bytes,
            course.uplinked_bytes,
            run.flight.bytes,
            dict(course.down_by_kind),
            up,
        ),
        accuracy=_accuracy(run, ceiling),
        summary=plan.mission.spec.description,
        rounds=tuple(course.rounds),
        timeline=tuple(course.timeline),
        passes=tuple(course.passes),
        ground_track=_tracks(run),
        stations=tuple(StationSite(n, s.spec.latitude_deg, s.spec.longitude_deg) for n, s in plan.stations.items()),
        battery=tuple(course.battery),
        battery_capacity_wh={n: s.spec.power.battery_wh for n, s in plan.satellites.items()},
        gallery=_gallery(run),
        counts=_counts(run),
        old_domains=tuple(sorted({ref.domain for ref in run.world.split.base_train})),
        new_domains=run.world.phase_names,
        notes=_notes(run),
        wall={name: round(seconds, 3) for name, seconds in run.wall.items()},
        environment={
            "orbitloop": orbitloop.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "machine": platform.machine(),
        },
    )


def pictures(run: MissionRun) -> dict[str, bytes]:
    """Return the gallery's pictures as WebP, by sample id."""
    return {f.sample.sample_id: encode_image(f.image.pixels, quality=85) for f in _chosen(run)}


def _accuracy(run: MissionRun, ceiling: tuple[float | None, float | None] | None) -> Accuracy:
    first, last = run.course.initial, run.course.latest
    top50, top = ceiling or (None, None)

    def scores(measure: str, best: float | None) -> dict[str, float | None]:
        return {
            "new_before": first.get("new", {}).get(measure),
            "new_after": last.get("new", {}).get(measure),
            "old_before": first.get("old", {}).get(measure),
            "old_after": last.get("old", {}).get(measure),
            "new_ceiling": best,
        }

    return Accuracy(metric="AP50", **scores("ap50", top50), ap=Scores(**scores("ap", top)))


def _tracks(run: MissionRun) -> tuple[TrackPoint, ...]:
    """Return the last day's ground tracks, up to where the run has come."""
    end_s = run.course.finished_at_s or run.clock.now_s()
    start_s = max(run.plan.start_s, end_s - TRACK_DAYS * 86_400)
    points = []
    for satellite in run.satellites.values():
        for at_s, latitude, longitude in track(satellite, start_s, end_s, TRACK_STEP_S):
            points.append(TrackPoint(satellite.name, at_s, round(latitude, 3), round(longitude, 3)))
    return tuple(points)


def _counts(run: MissionRun) -> Counts:
    counts = run.segment.counts
    return Counts(
        scenes=run.course.scenes,
        tiles_dropped=sum(s.agent.tiles_dropped for s in run.satellites.values()),
        tiles_seen=sum(s.agent.tiles_seen for s in run.satellites.values()),
        hard=sum(s.agent.hard_seen for s in run.satellites.values()),
        stored=run.course.stored,
        sent=run.course.sent,
        received=counts.received,
        duplicates=counts.duplicates,
        labelled=len(run.segment.filed),
        detections=sum(len(detections_from_bytes(run.blobs[d])["features"]) for d in run.course.detections),
    )


def _notes(run: MissionRun) -> tuple[str, ...]:
    notes = []
    if run.course.let_go:
        notes.append(f"{run.course.let_go} captures were let go because the battery was low.")
    if repeats := run.world.repeats:
        doubled = sum(one.repeated for one in repeats)
        kept = run.plan.dataset.spec.duplicate_boxes == "keep"
        done = "they were kept, and count twice (duplicateBoxes: keep)" if kept else "they were left out"
        notes.append(f"{doubled} boxes of {len(repeats)} images of the set lie on another box of their class: {done}.")
    segment, counts = run.segment, run.segment.counts
    if segment.rules.max_rounds and not run.course.rounds:
        objects = sum(len(image.boxes) for image in segment.gate_set())
        notes.append(
            f"No round was trained: {len(segment.training_set())} samples may train, and {segment.rules.min_samples} start a "
            f"round; {objects} objects are frozen for the gate, and it needs {segment.rules.min_gate_objects}."
        )
    for source, number in sorted(counts.by_source.items()):
        notes.append(f"{number} labels came from the {source}.")
    if counts.damaged or counts.unlabelled or counts.over_budget:
        notes.append(
            f"{counts.damaged} samples were damaged, {counts.unlabelled} found no label, "
            f"{counts.over_budget} were over the label budget."
        )
    return tuple(notes)


def _chosen(run: MissionRun) -> list[FiledSample]:
    """Choose the gallery: of each round the samples with most to tell, spread evenly over the rounds."""
    by_round: dict[int, list[FiledSample]] = {}
    for filed in run.segment.filed.values():
        by_round.setdefault(filed.round, []).append(filed)
    chosen: list[FiledSample] = []
    each = max(1, GALLERY_ITEMS // max(1, len(by_round)))
    for group in by_round.values():
        ranked = sorted(group, key=lambda f: (-bool(len(f.image.boxes)), -f.sample.mining.score, f.sample.sample_id))
        chosen += ranked[:each]
    return chosen[:GALLERY_ITEMS]


def _gallery(run: MissionRun) -> tuple[GalleryItem, ...]:
    chosen = _chosen(run)
    if not chosen:
        return ()
    engine = next(iter(run.satellites.values())).agent.engine
    items = []
    for filed in chosen:
        sample, pixels = filed.sample, filed.image.pixels
        items.append(
            GalleryItem(
                sample_id=sample.sample_id,
                scene=sample.scene_id,
                domain=sample.domain,
                reason=sample.mining.reason,
                score=round(sample.mining.score, 4),
                width_px=pixels.shape[1],
                height_px=pixels.shape[0],
                onboard_boxes=_rows(sample.detections.above(0.1)),
                label_boxes=tuple(tuple(float(v) for v in row) for row in filed.image.boxes.to_json()),
                updated_boxes=_rows(detect_scene(engine, pixels).detections),
                captured_at_s=sample.captured_at_s,
                round=filed.round + 1 if filed.round < run.segment.round else None,
            )
        )
    return tuple(items)


def _rows(found: Detections) -> tuple[tuple[float, ...], ...]:
    table: Sequence[Sequence[float]] = np.column_stack([found.boxes_xyxy_px, found.scores, found.classes]).round(3).tolist()
    return tuple(tuple(row) for row in table)
