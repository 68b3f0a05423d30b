"""Who labels in a mission: the teacher, trained on the base domains, then the oracle, which is the data set's own labels."""

from __future__ import annotations

from pathlib import Path

from orbitloop.ground.adapters.torch_trainer import Progress
from orbitloop.ground.labelling import OracleLabeller, PricedLabeller, TeacherLabeller
from orbitloop.onboard.pipeline import detect_scene
from orbitloop.resources.jobs import Teacher
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.measure import Meter
from orbitloop.sim.training import TrainedModel, TrainingRequest, trained_model
from orbitloop.sim.world import World


def labellers(plan: MissionPlan, world: World, progress: Progress, store: Path | None) -> list[PricedLabeller]:
    """Return a mission's labellers in order of asking; a teacher is trained now, or comes from the cache."""
    spec = plan.job.spec.labelling
    chain: list[PricedLabeller] = []
    if spec.teacher is not None:
        model = teacher_model(plan, spec.teacher, world, progress, store)
        engine = Meter(model.graph, len(world.classes), plan.mission.spec.threads).engine(model.weights)
        labeller = TeacherLabeller(
            lambda pixels: detect_scene(engine, pixels).detections,
            accept_above=spec.teacher.accept_above,
            reject_below=spec.teacher.reject_below,
        )
        chain.append(PricedLabeller("teacher", labeller, spec.teacher.cost))
    if spec.oracle is not None:
        truth = {ref.image_id: ref.load().boxes for ref in world.stream}
        chain.append(PricedLabeller("oracle", OracleLabeller(truth), spec.oracle.cost_per_label))
    return chain


def teacher_model(plan: MissionPlan, spec: Teacher, world: World, progress: Progress, store: Path | None) -> TrainedModel:
    """Return the teacher: the mission's network at the teacher's width, reporting down to what it must be sure to reject."""
    refs = world.split.base_train
    model = plan.model.spec.model_copy(
        update={"report_score": spec.reject_below, "candidate_score": min(spec.reject_below, plan.model.spec.candidate_score)}
    )
    request = TrainingRequest(
        f"{plan.model.name}-teacher",
        world.classes,
        model,
        spec.width,
        spec.steps,
        model.base_training.batch,
        model.base_training.learning_rate,
        plan.seed + 1,
        world.fingerprint(refs),
    )
    images = [ref.load() for ref in refs]
    return trained_model(request, images, threads=plan.mission.spec.threads, progress=progress, store=store)
