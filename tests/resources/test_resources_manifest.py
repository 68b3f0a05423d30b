"""Reading manifests: short forms, the corpus of malformed files, and the one error that ever comes out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orbitloop.errors import ManifestError
from orbitloop.resources import manifest
from orbitloop.resources.explain import fields_at
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.manifest import load_mission, parse_manifests, parse_mission
from orbitloop.resources.problems import InvalidManifest

SMALL = """\
kind: Mission
name: small
spec:
  durationDays: 2
  captures: {scenesPerHour: 3}
---
kind: Satellite
name: sat-1
spec:
  link:
    uplinkBps: 1e6
---
- {kind: GroundStation, name: svalbard, spec: {latitudeDeg: 78.23, longitudeDeg: 15.41}}
---
kind: Dataset
spec:
  format: procedural
  domains: {base: summer, stream: [autumn, [haze]]}
  procedural: {domains: {summer: {}, autumn: {season: autumn}, haze: {haze: 0.4}}}
"""


def refused(text: str) -> InvalidManifest:
    with pytest.raises(InvalidManifest) as caught:
        parse_mission(text, "m.yaml")
    assert isinstance(caught.value, ManifestError)
    assert caught.value.problems
    return caught.value


class TestShortForms:
    def test_a_small_mission_is_complete(self) -> None:
        plan = parse_mission(SMALL)
        assert plan.name == "small"
        assert list(plan.satellites) == ["sat-1"]
        assert list(plan.stations) == ["svalbard"]
        assert (plan.dataset.name, plan.model.name, plan.job.name) == ("dataset", "model", "job")
        assert plan.satellites["sat-1"].spec.link.uplink_bps == 1e6
        assert plan.dataset.spec.domains.stream == (("autumn",), ("haze",))
        assert plan.job.spec.labelling.oracle is not None
        assert plan.end_s - plan.start_s == plan.duration_s == 2 * 86_400

    def test_the_long_form_means_the_same(self) -> None:
        long = SMALL.replace("name: small", "apiVersion: orbitloop.io/v1alpha1\nmetadata: {name: small}", 1)
        assert parse_mission(long).digest() == parse_mission(SMALL).digest()

    def test_written_defaults_change_no_digest(self) -> None:
        plan = parse_mission(SMALL)
        full = yaml.safe_dump_all(plan.to_json(), sort_keys=False)
        assert parse_mission(full).digest() == plan.digest()
        as_json = json.dumps(plan.to_json())
        assert parse_mission(as_json).digest() == plan.digest()

    def test_a_seed_changes_the_digest(self) -> None:
        plan = parse_mission(SMALL)
        assert plan.with_seed(7).seed == 7
        assert plan.with_seed(7).digest() != plan.digest() == plan.with_seed(0).digest()
        with pytest.raises(ManifestError, match="-1"):
            plan.with_seed(-1)

    def test_yaml_is_read_by_the_core_schema(self) -> None:
        text = SMALL.replace("summer: {}", "summer: {a: no, b: 12:30, c: 1e3, d: 2016-01-02, e: true, f: 0x10}")
        assert parse_mission(text).dataset.spec.procedural.domains["summer"] == {  # type: ignore[union-attr]
            "a": "no",
            "b": "12:30",
            "c": 1000.0,
            "d": "2016-01-02",
            "e": True,
            "f": 16,
        }

    def test_a_byte_order_mark_and_comments_are_nothing(self) -> None:
        assert parse_mission("\ufeff# hello\n---\n" + SMALL + "---\n# the end\n").digest() == parse_mission(SMALL).digest()

    def test_a_whole_number_may_be_written_as_a_float(self) -> None:
        job = "\n---\nkind: IncrementalLearningJob\nspec: {budgets: {downlinkBytesPerPass: 2e6}}\n"
        assert parse_mission(SMALL + job).job.spec.budgets.downlink_bytes_per_pass == 2_000_000


class TestReferences:
    def test_an_unknown_station_is_named_with_its_line_and_the_nearest(self) -> None:
        error = refused(SMALL.replace("durationDays: 2", "stations: [svalbart]"))
        assert str(error).startswith("m.yaml:4: spec.stations[0]: there is no GroundStation 'svalbart'")
        assert "did you mean 'svalbard'?" in str(error)

    def test_two_models_need_a_choice(self) -> None:
        two = SMALL + "---\n- {kind: Model, name: a}\n- {kind: Model, name: b}\n"
        assert "none is chosen" in str(refused(two))
        chosen = two + "---\nkind: IncrementalLearningJob\nspec: {model: b}\n"
        assert parse_mission(chosen).model.name == "b"

    def test_all_references_are_reported_together_with_their_lines(self) -> None:
        text = SMALL.replace("name: sat-1", "name: Sat").replace("base: summer", "base: sommer")
        assert [p.field for p in refused(text).problems] == ["metadata.name"]
        text = SMALL.replace("durationDays: 2", "satellites: [a, sat-1, sat-1]").replace(
            "base: summer", "base: [sommer, {x: 1}]"
        )
        problems = refused(text).problems
        assert [(p.line, p.field) for p in problems] == [
            (4, "spec.satellites[0]"),
            (4, "spec.satellites[2]"),
            (18, "spec.domains.base[0]"),
            (18, "spec.domains.base[1]"),
        ]

    def test_classes_of_the_model_must_be_the_data_sets(self) -> None:
        text = SMALL.replace("format: procedural", "format: procedural\n  classes: [field]")
        assert parse_mission(text).classes == ("field",)
        error = refused(text + "---\nkind: Model\nspec: {classes: [fields]}\n")
        assert "did you mean 'field'?" in str(error)


DATASET = "kind: Dataset\nspec: {{path: x, domains: {{base: a, stream: [b]}}, {0}}}"
MODEL = "kind: Model\nspec: {{{0}}}"
SATELLITE = "kind: Satellite\nname: s\nspec: {{{0}}}"
STATION = "kind: GroundStation\nname: g\nspec: {{latitudeDeg: 1, {0}}}"
JOB = "kind: IncrementalLearningJob\nspec: {{{0}}}"
TLE1 = "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927"
TLE2 = "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537"

# text, line, field, a word of the sentence, a word of the remedy
CORPUS: list[tuple[str, int | None, str, str, str]] = [
    ("", None, "", "holds no resource", "kind: Mission"),
    ("# only a comment\n", None, "", "holds no resource", "kind: Mission"),
    ("just text", 1, "", "must be a resource", "---"),
    ("[1, 2]", 1, "", "must be a resource", "---"),
    ("kind: Mission\nname: a\n bad: indent", 3, "", "not YAML", "indentation"),
    ("kind: [Mission\n", 2, "", "not YAML", "brackets"),
    ("kind: 'Mission\n", 2, "", "not YAML", "quotes"),
    ("kind: Mission\n\tname: a", 2, "", "not YAML", "indentation"),
    ("kind: Mission\nname: a\x07b", 2, "", "U+0007", "UTF-8"),
    ('kind: "\\UFFFFFFFF"', 1, "", "not YAML", "quotes"),
    ('kind: Model\nname: "\\ud800"', 2, "name", "surrogate", "character"),
    ("%YAML 7.0\n---\nkind: Model", 1, "", "not YAML", ""),
    ("kind: Model\nname: a\nname: b", 3, "name", "twice", "line 2"),
    ("kind: Model\nspec: &a {}\nmetadata: *a", 3, "", "aliases", "write the value out"),
    ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]", 2, "", "aliases", "write the value out"),
    ("kind: Model\nspec:\n  <<: {width: 1}", 3, "spec.<<", "unknown field", "width"),
    ("kind: !!python/object:os.system Model", 1, "kind", "tag", "without a tag"),
    ("kind: !Thing {a: 1}", 1, "kind", "tag", "without a tag"),
    ("? [a, b]\n: c", 1, "", "not a text", "NAME: VALUE"),
    ("[" * 40 + "]" * 40, 1, "", "nested deeper", "flatten"),
    ("name: a", 1, "kind", "no kind", "Mission, Satellite"),
    ("kind: Sattelite\nname: a", 1, "kind", "unknown kind", "did you mean Satellite?"),
    ("kind: 3", 1, "kind", "unknown kind 3", "Mission, Satellite"),
    ("kind: Model\napiVersion: v1", 2, "apiVersion", "'v1'", "orbitloop.io/v1alpha1"),
    ("kind: Mission\nspec: {}", 1, "name", "has no name", "add `name"),
    ("kind: Mission\nname: Bad Name", 2, "metadata.name", "does not fit", "sat-1"),
    ("kind: Mission\nname: 7", 2, "metadata.name", "must be a text", ""),
    ("kind: Mission\nname: a\nmetadata: {name: b}", 2, "name", "in metadata", "one of the two"),
    ("kind: Mission\nname: a\nspec: [1]", 3, "spec", "must be a mapping", ""),
    ("kind: Mission\nname: a\nspec:\n  duration_days: 3", 4, "spec.duration_days", "unknown field", "`durationDays`"),
    ("kind: Mission\nname: a\nspec:\n  durationDays: 0", 4, "spec.durationDays", "must be over 0", "days"),
    ("kind: Mission\nname: a\nspec:\n  durationDays: .inf", 4, "spec.durationDays", "not a", "finite"),
    ("kind: Mission\nname: a\nspec:\n  durationDays: '3'", 4, "spec.durationDays", "must be a number (is the text '3')", ""),
    ("kind: Mission\nname: a\nspec:\n  seed: 1.5", 4, "spec.seed", "whole number", "Seed"),
    ("kind: Mission\nname: a\nspec:\n  seed: true", 4, "spec.seed", "whole number (is true)", "Seed"),
    ("kind: Mission\nname: a\nspec:\n  seed: " + "9" * 5000, 4, "spec.seed", "not a number", "moderate|finite"),
    ("kind: Mission\nname: a\nspec:\n  start: tomorrow", 4, "spec.start", "'tomorrow' is not a time", "2026-06-01T00:00:00Z"),
    ("kind: Mission\nname: a\nspec:\n  start: 1800-01-01", 4, "spec.start", "outside 1957", "UTC"),
    ("kind: Mission\nname: a\nspec:\n  satellites: []", 4, "spec.satellites", "empty", ""),
    ("kind: Mission\nname: a\nspec:\n  trust: {graceDays: 3}", 4, "spec.trust", "no clock", "disciplinedClock: true"),
    ("kind: Mission\nname: a\nspec:\n  trust: {maxContactsBehind: 0}", 4, "spec.trust.maxContactsBehind", "at least 1", ""),
    ("kind: Satellite\nname: a\nspec: {hardware: 'a b'}", 3, "spec.hardware", "does not fit", "letters"),
    (DATASET.format("format: cocoo"), 2, "spec.format", "'cocoo'", "did you mean 'coco'?"),
    (DATASET.format("heldOut: 1.0"), 2, "spec.heldOut", "under 1", ""),
    (DATASET.format("heldOut: 0.9, gate: 0.2"), 2, "spec", "no scene to train on", "sum"),
    (DATASET.format("format: procedural"), 2, "spec", "no `procedural` section", "procedural:"),
    (DATASET.format("images: ../../etc"), 2, "spec.images", "leaves its folder", "relative"),
    (DATASET.format("annotations: /etc/passwd"), 2, "spec.annotations", "leaves its folder", "relative"),
    (DATASET.format("where: {a: []}"), 2, "spec.where.a", "empty", ""),
    (DATASET.format("where: {a: {b: c}}"), 2, "spec.where.a", "must be", ""),
    ("kind: Dataset\nspec: {path: x}", 2, "spec.domains", "is missing", "add `domains"),
    ("kind: Dataset\nspec: {path: x, domains: {base: [], stream: [a]}}", 2, "spec.domains.base", "empty", "selectors"),
    ("kind: Dataset\nspec:\n  path: x\n  domains:\n    base: a\n    stream:\n    - [b]\n    - [3]", 8,
     "spec.domains.stream[1][0]", "must be a text", "meets"),
    ("kind: Dataset\nspec: {domains: {base: a, stream: [b]}}", 2, "spec", "no `path`", "data folder"),
    (MODEL.format("tenant: Root"), 2, "spec.tenant", "does not fit", ""),
    (MODEL.format("tenant: snapshot"), 2, "spec.tenant", "a role of its own", "something else"),
    (MODEL.format("sealKey: /etc/key"), 2, "spec.sealKey", "leaves its folder", "relative"),
    (MODEL.format("tilePx: 300"), 2, "spec.tilePx", "multiple of 32", "Side"),
    (MODEL.format("tilePx: 64, overlapPx: 64"), 2, "spec", "not under tilePx", "fifth"),
    (MODEL.format("trainable: [haed]"), 2, "spec.trainable", "no part of the network", "did you mean 'head'?"),
    (MODEL.format("trainable: ['early:12']"), 2, "spec.trainable", "no part of the network", "early:N"),
    (MODEL.format("architecture: yolov8"), 2, "spec.architecture", "'yolov8'", "yolov3-tiny"),
    (MODEL.format("candidateScore: 0.5"), 2, "spec", "above reportScore", "lower"),
    (SATELLITE.format("orbit: {inclinationDeg: 51, sunSynchronous: true}"), 3, "spec.orbit", "both given", "one of the two"),
    (SATELLITE.format("orbit: {sunSynchronous: false}"), 3, "spec.orbit", "no inclination", "inclinationDeg"),
    (SATELLITE.format("orbit: {altitudeKm: 9000}"), 3, "spec.orbit", "sun-synchronous", "5974"),
    (SATELLITE.format("orbit: {raanDeg: 1, ltanHours: 2}"), 3, "spec.orbit", "both given", "one of the two"),
    (SATELLITE.format("orbit: 500 km"), 3, "spec.orbit", "must be a mapping", ""),
    (SATELLITE.format("orbit: {tle: [a]}"), 3, "spec.orbit.tle[1]", "too short", "missing value"),
    (SATELLITE.format("orbit: {tle: [a, b]}"), 3, "spec.orbit.tle", "malformed", "69 characters"),
    (SATELLITE.format(f"orbit: {{tle: ['{TLE1[:-1]}8', '{TLE2}']}}"), 3, "spec.orbit.tle", "checksum 8, not 7", "again"),
    (SATELLITE.format("orbit: {omm: {EPOCH: 2026-01-01}}"), 3, "spec.orbit.omm", "lacks MEAN_MOTION", "whole message"),
    (SATELLITE.format("link: {lossRate: 1}"), 3, "spec.link.lossRate", "at most 0.9", "PDUs"),
    (SATELLITE.format("link: {uplinkbps: 1}"), 3, "spec.link.uplinkbps", "unknown field", "did you mean `uplinkBps`?"),
    (SATELLITE.format("link: {byElevation: [[30, 1], [10, 1]]}"), 3, "spec.link.byElevation", "do not rise", "order"),
    (SATELLITE.format("link: {byElevation: [[30, 2]]}"), 3, "spec.link.byElevation[0][1]", "at most 1", "Share"),
    (STATION.format("longitudeDeg: 200"), 3, "spec.longitudeDeg", "at most 180", "east"),
    (STATION.format("altitudeM: 1"), 3, "spec.longitudeDeg", "is missing", "Longitude"),
    (JOB.format("labelling: {}"), 2, "spec.labelling", "nobody labels", "oracle: {}"),
    (JOB.format("labelling: {teacher: {rejectBelow: 0.9}}"), 2, "spec.labelling.teacher", "above acceptAbove", "0.2"),
    (JOB.format("samples: {quality: 101}"), 2, "spec.samples.quality", "at most 100", "1 to 100"),
    (JOB.format("mining: {parameters: [1]}"), 2, "spec.mining.parameters", "must be a mapping", "parameters"),
    (JOB.format("mining: {name: '../x'}"), 2, "spec.mining.name", "does not fit", "letters"),
    (JOB.format("training: {steps: null}"), 2, "spec.training.steps", "must be a whole number (is empty)", "steps"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "field", "what", "remedy"), CORPUS, ids=range(len(CORPUS)))
def test_the_corpus_names_line_field_fault_and_remedy(text: str, line: int | None, field: str, what: str, remedy: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_manifests(text, "m.yaml")
    problem = caught.value.problems[0]
    assert (problem.line, problem.field) == (line, field), str(caught.value)
    assert what in problem.what
    assert re.search(remedy if "|" in remedy else re.escape(remedy), problem.remedy)
    place = "m.yaml" if line is None else f"m.yaml:{line}"
    assert str(caught.value).startswith(f"{place}: {field}: " if field else f"{place}: ") or len(caught.value.problems) > 1


MISSIONS: list[tuple[str, str]] = [
    (SMALL.split("---\n", 1)[1], "the file has no Mission"),
    (SMALL + "---\n{kind: Mission, name: other}", "second Mission"),
    (SMALL + "---\n{kind: Satellite, name: sat-1}", "a second Satellite is called 'sat-1'"),
    ("---\n".join(part for part in SMALL.split("---\n") if "Satellite" not in part), "the file has no Satellite"),
    (SMALL.replace("durationDays: 2", "job: x"), "there is no IncrementalLearningJob 'x'"),
    (SMALL + "---\nkind: IncrementalLearningJob\nspec: {dataset: y}", "there is no Dataset 'y'"),
    (SMALL + "---\nkind: IncrementalLearningJob\nspec: {model: y}", "there is no Model 'y'"),
    (SMALL.split("---\nkind: Dataset")[0], "the file has no Dataset"),
]


@pytest.mark.parametrize(("text", "what"), MISSIONS, ids=range(len(MISSIONS)))
def test_missions_whose_parts_do_not_fit(text: str, what: str) -> None:
    assert what in str(refused(text))


def test_all_problems_of_a_file_come_together_in_order_of_lines() -> None:
    text = (
        SMALL.replace("durationDays: 2", "durationDays: x").replace("uplinkBps", "uplinkbps").replace("name: sat-1", "name: S")
    )
    error = refused(text + "---\nkind: Nonsense\n")
    assert [(p.line, p.field) for p in error.problems] == [
        (4, "spec.durationDays"),
        (8, "metadata.name"),
        (11, "spec.link.uplinkbps"),
        (21, "kind"),
    ]
    assert str(error).startswith("4 problems\nm.yaml:4: ")
    assert all(f"m.yaml:{p.line}: {p.field}: {p.what}" in str(error) for p in error.problems)


def test_what_stands_before_a_syntax_error_is_still_checked() -> None:
    error = refused(SMALL.replace("durationDays: 2", "durationDays: 0") + "---\nkind: [\n")
    assert [p.line for p in error.problems] == [4, 22]


def test_a_list_as_document_keeps_its_lines() -> None:
    error = refused("---\n- kind: Model\n  spec: {width: 9}\n- kind: Model\n  name: b\n  spec:\n    width: 8\n- 3\n")
    assert [(p.line, p.field) for p in error.problems] == [(3, "spec.width"), (7, "spec.width"), (8, "")]


def test_an_endless_list_of_problems_is_cut() -> None:
    error = refused("---\n" + "- {kind: X}\n" * 300)
    assert len(error.problems) == 300
    assert str(error).endswith("... and 200 more")


def test_limits_on_documents_values_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitloop.resources.yamltree.MAX_DOCUMENTS", 3)
    assert "more than 3 documents" in str(refused("---\nkind: Model\n" * 4))
    monkeypatch.setattr("orbitloop.resources.yamltree.MAX_NODES", 50)
    assert "more than 50 values" in str(refused("[" + "1," * 60 + "]"))
    monkeypatch.setattr(manifest, "MAX_FILE_BYTES", 1000)
    assert "over the limit" in str(refused("#" * 1001))


class TestFiles:
    def test_a_file_is_read_with_its_name_in_every_error(self, tmp_path: Path) -> None:
        path = tmp_path / "m.yaml"
        path.write_text(SMALL)
        assert load_mission(path).digest() == parse_mission(SMALL).digest()
        path.write_text(SMALL.replace("sat-1", "SAT"))
        with pytest.raises(ManifestError, match=r"m\.yaml:8: metadata\.name"):
            load_mission(str(path))

    def test_absent_folder_binary_and_oversized(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "m.yaml"
        for bad, what in ((path, "no such file"), (tmp_path, "not a file"), ("a\0b", r"no such file|cannot be read")):
            with pytest.raises(ManifestError, match=what):
                load_mission(bad)
        path.write_bytes(b"kind: Mission\nname: \xff\xfe")
        with pytest.raises(ManifestError, match=r"m\.yaml:2: byte 0xFF is not UTF-8"):
            load_mission(path)
        monkeypatch.setattr(manifest, "MAX_FILE_BYTES", 10)
        with pytest.raises(ManifestError, match="over the limit"):
            load_mission(path)


# Keys that exist somewhere, so that random structures get past the first check.
_KEYS = sorted(
    {
        "metadata",
        "labels",
        "domain",
        "a",
        "base",
        "stream",
        "uplinkBps",
        "byElevation",
        "steps",
        "oracle",
        "teacher",
        "parameters",
    }
    | {name for model in KINDS.values() for path in ((), ("spec",), ("spec", "orbit")) for name in fields_at(model, path)}
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*KINDS, "coco", "procedural", "head"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=12,
)


def value_or_manifest_error(text: str) -> None:
    for read in (parse_manifests, parse_mission):
        try:
            read(text)
        except ManifestError as error:
            problems = getattr(error, "problems", ())
            if not problems or not str(error):
                pytest.fail(f"an empty error for {text!r}")


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80) | st.text(alphabet="[]{}:,-?!&*|>'\"%@# \n\tkind0.eE~<", max_size=60))
@example(text='"\\UFFFFFFFF"')
@example(text="%YAML " + "1" * 5000 + ".1\n--- a")
@example(text="!<tag:yaml.org,2002:int> x")
@example(text="!!int x\n--- !!float y\n--- !!bool 3\n--- !!null z\n--- !!binary ====\n--- !!set {a}\n--- !!timestamp x")
@example(text="? " * 100)
@example(text="- " * 100)
@example(text="&a " * 3 + "*a")
@example(text="\ud800")
def test_any_text_is_read_or_refused_with_the_one_error(text: str) -> None:
    value_or_manifest_error(text)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(list(KINDS)), spec=_VALUES, extra=st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=2))
def test_any_structure_is_read_or_refused_with_the_one_error(kind: str, spec: Any, extra: dict[str, Any]) -> None:
    value_or_manifest_error(yaml.safe_dump({"kind": kind, "name": "x", "spec": spec, **extra}))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), value=_VALUES)
def test_any_single_change_of_a_sound_mission_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    documents = parse_mission(SMALL).to_json()
    node: Any = documents
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = value
        break
    value_or_manifest_error(yaml.safe_dump(documents))
