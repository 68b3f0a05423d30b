"""`KIND.path=VALUE`: what it sets, what it leaves alone, and what it says when it names nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ManifestError
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.manifest import load_mission, parse_mission
from orbitloop.resources.mission import MissionPlan
from orbitloop.resources.overrides import Override, apply_overrides, parse_override
from orbitloop.resources.yamltree import read_documents

DEMO = Path(__file__).parents[2] / "missions" / "farmland-demo.yaml"
BARE = """
kind: Mission
name: bare
---
kind: Satellite
name: one
---
kind: GroundStation
name: troll
spec: {latitudeDeg: -72, longitudeDeg: 2.5}
---
kind: Dataset
spec: {path: somewhere, domains: {base: a, stream: [b, [c, {condition: [x, y]}]]}}
"""


def bare(*overrides: str) -> MissionPlan:
    return parse_mission(BARE, "bare.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("IncrementalLearningJob.selection.name=random", lambda p: p.job.spec.selection.name, "random"),
        ("Model.trainable=[head]", lambda p: p.model.spec.trainable, ("head",)),
        ("Model.trainable=['early:5', bn]", lambda p: p.model.spec.trainable, ("early:5", "bn")),
        ("Model.tile_px=64", lambda p: p.model.spec.tile_px, 64),
        ("Model.tilePx=64", lambda p: p.model.spec.tile_px, 64),
        ("model.base_training.learning_rate=1e-3", lambda p: p.model.spec.base_training.learning_rate, 0.001),
        ("Mission.ceiling = true", lambda p: p.mission.spec.ceiling, True),
        ("Satellite/demo-1.sensor.gsdM=2", lambda p: p.satellites["demo-1"].spec.sensor.gsd_m, 2.0),
        ("GroundStation/troll.latitude_deg=-71", lambda p: p.stations["troll"].spec.latitude_deg, -71.0),
        (
            "Dataset.procedural.domains.autumn.dryness=0.1",
            lambda p: p.dataset.spec.procedural.domains["autumn"]["dryness"],
            0.1,
        ),
        (
            "Dataset.procedural.domains.autumn.new_key=0.1",
            lambda p: p.dataset.spec.procedural.domains["autumn"]["new_key"],
            0.1,
        ),
        ("Dataset.domains.stream.1=[autumn, haze]", lambda p: p.dataset.spec.domains.stream[1], ("autumn", "haze")),
        ("IncrementalLearningJob.mining.parameters.a.b=3", lambda p: p.job.spec.mining.parameters, {"a": {"b": 3}}),
        ("IncrementalLearningJob.labelling={teacher: {width: 0.5}}", lambda p: p.job.spec.labelling.oracle, None),
        ("IncrementalLearningJob.budgets.labels=2e2", lambda p: p.job.spec.budgets.labels, 200),
        (
            "IncrementalLearningJob.budgets.downlinkBytesPerPass=null",
            lambda p: p.job.spec.budgets.downlink_bytes_per_pass,
            None,
        ),
        ("Mission.description='a = b: c'", lambda p: p.mission.spec.description, "a = b: c"),
    ],
)
def test_sets_the_field(override: str, read: Any, value: Any) -> None:
    assert read(load_mission(DEMO, [override])) == value


def test_a_kind_that_the_file_leaves_out_is_added() -> None:
    plan = bare("Model.width=0.5", "Model.tilePx=64", "Model.overlapPx=16", "IncrementalLearningJob.training.rounds=1")
    assert (plan.model.spec.width, plan.model.spec.tile_px, plan.job.spec.training.rounds) == (0.5, 64, 1)


def test_a_later_override_wins_and_nothing_else_changes() -> None:
    plan = load_mission(DEMO, ["Model.width=0.1", "Model.width=0.3"])
    assert plan.model.spec.width == 0.3
    same = plan.model.spec.model_copy(update={"width": 0.25})
    assert same == load_mission(DEMO).model.spec
    assert load_mission(DEMO, ["Model.width=0.25"]).digest() == load_mission(DEMO).digest()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("", "not of the form"),
        ("Model", "not of the form"),
        ("Model.width", "not of the form"),
        ("Model=3", "not of the form"),
        (".width=3", "not of the form"),
        ("Model..width=3", "empty part"),
        ("Model.width.=3", "empty part"),
        ("Modl.width=1", "did you mean Model?"),
        ("Model.widht=1", "did you mean `width`?"),
        ("Model.tile_pxs=1", "did you mean `tilePx`?"),
        ("Model.nothing_like_it=1", "Fields here: architecture, form"),
        ("Model.width.factor=1", "width is 0.25 in the file"),
        ("Model.width=[", "not YAML"),
        ("Model.width=*a", "aliases"),
        ("Model.width=1\n---\n2", "more than one YAML document"),
        ("Model.width=wide", "must be a number"),
        ("Model.width=", "must be a number"),
        ("Model.width=9", "at most 2"),
        ("Model.trainable=[hed]", "did you mean 'head'?"),
        ("GroundStation.latitudeDeg=1", "Known: GroundStation/svalbard, GroundStation/troll"),
        ("GroundStation/trol.latitudeDeg=1", "did you mean GroundStation/troll?"),
        ("Model/other.width=1", "there is no Model 'other'"),
        ("Dataset.domains.base.x=1", "domains.base is the text 'summer'"),
        ("Dataset.domains.stream.2=x", "no place in a list of 2"),
        ("Dataset.domains.stream.-1=x", "no place in a list of 2"),
        ("Mission.captures={scenes_per_hour: 2}", "scenesPerHour"),
    ],
)
def test_what_names_nothing_is_refused_with_what_would_be_right(override: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_mission(DEMO, [override])
    assert message in str(caught.value)
    assert "--set" in str(caught.value)


def test_an_error_in_a_value_names_the_override_and_not_a_line_of_the_file() -> None:
    with pytest.raises(ManifestError) as caught:
        load_mission(DEMO, ["Model.baseTraining.steps=many"])
    assert caught.value.where == "--set Model.baseTraining.steps=many: spec.baseTraining.steps"


def test_a_field_inside_a_field_that_has_none_makes_no_mapping() -> None:
    with pytest.raises(ManifestError, match="has no fields inside"):
        bare("Model.width.factor=1")


def test_a_kind_that_must_be_in_the_file_is_not_invented() -> None:
    text = BARE.replace("kind: Dataset", "kind: Model").split("spec: {path")[0]
    with pytest.raises(ManifestError, match="the file has no Dataset"):
        parse_mission(text, "x.yaml", ["Dataset.path=x"])


FIELDS = st.sampled_from(
    ["width", "tilePx", "tile_px", "trainable", "baseTraining.steps", "base_training.batch", "classes.0", "x"]
)
VALUES = st.one_of(
    st.integers(-5, 400).map(str), st.floats(allow_nan=False).map(repr), st.text(max_size=20), st.just("[head, bn]")
)


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=60) | st.tuples(st.sampled_from([*KINDS, "Modl"]), FIELDS, VALUES).map(lambda t: f"{t[0]}.{t[1]}={t[2]}")
)
def test_any_text_gives_a_plan_or_the_one_typed_error(text: str) -> None:
    try:
        plan = bare(text)
    except ManifestError:
        return
    assert plan.name == "bare"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["Model", "IncrementalLearningJob", "Dataset", "Mission", "Satellite"]),
    st.lists(
        st.sampled_from(["parameters", "mining", "selection", "training", "steps", "domains", "stream", "0"]),
        min_size=1,
        max_size=4,
    ),
    st.integers() | st.booleans() | st.none(),
)
def test_the_documents_that_come_in_stay_as_they_are(kind: str, path: list[str], value: Any) -> None:
    documents, _ = read_documents(BARE, "bare.yaml")
    before = copy.deepcopy([d.value for d in documents])
    override = Override(kind, None, tuple(path), value, "text")
    try:
        out, origins = apply_overrides(documents, [override])
    except ManifestError:
        out, origins = documents, {}
    assert [d.value for d in documents] == before
    for index, places in origins.items():
        for place in places:
            held: Any = out[index].value
            for part in place:
                held = held[part]
            assert held == value


def test_parses_into_its_parts() -> None:
    one = parse_override("satellite/demo-1.orbit.altitudeKm=700")
    assert (one.kind, one.name, one.path, one.value) == ("Satellite", "demo-1", ("orbit", "altitudeKm"), 700)
