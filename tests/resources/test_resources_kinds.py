"""The models themselves: defaults, forms of an orbit, selectors, frozen and strict."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from orbitloop.errors import TrustError
from orbitloop.resources.data import DatasetSpec, Domains, ModelSpec
from orbitloop.resources.fleet import ElementsOrbit, Link, OmmOrbit, Satellite, SatelliteSpec, TleOrbit
from orbitloop.resources.jobs import IncrementalLearningJobSpec, Labelling, Oracle
from orbitloop.resources.kinds import KINDS
from orbitloop.resources.meta import Metadata
from orbitloop.resources.mission import Mission, MissionSpec, resolve
from orbitloop.resources.problems import InvalidManifest, dotted
from orbitloop.trust.form import check_name

TLE = (
    "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927",
    "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537",
)
OMM = {
    "EPOCH": "2026-08-22T04:00:00",
    "MEAN_MOTION": 15.2,
    "ECCENTRICITY": 0.001,
    "INCLINATION": 97.4,
    "RA_OF_ASC_NODE": 10.0,
    "ARG_OF_PERICENTER": 0,
    "MEAN_ANOMALY": 0,
}


def satellite(orbit: object) -> SatelliteSpec:
    return SatelliteSpec.model_validate({"orbit": orbit}, by_alias=True, by_name=False)


class TestOrbit:
    def test_without_any_field_it_is_sun_synchronous_at_half_past_ten(self) -> None:
        orbit = SatelliteSpec().orbit
        assert orbit == satellite({}).orbit
        assert isinstance(orbit, ElementsOrbit)
        assert (orbit.altitude_km, orbit.sun_synchronous, orbit.ltan_hours, orbit.raan_deg) == (500.0, True, 10.5, None)

    def test_an_inclination_ends_sun_synchrony(self) -> None:
        orbit = satellite({"inclinationDeg": 51.6}).orbit
        assert isinstance(orbit, ElementsOrbit)
        assert (orbit.sun_synchronous, orbit.ltan_hours, orbit.raan_deg) == (False, None, 0.0)

    def test_a_local_time_is_free_to_choose_with_either(self) -> None:
        orbit = satellite({"inclinationDeg": 60, "ltanHours": 6}).orbit
        assert isinstance(orbit, ElementsOrbit)
        assert (orbit.ltan_hours, orbit.raan_deg) == (6.0, None)

    def test_python_names_work_in_python(self) -> None:
        assert ElementsOrbit(inclination_deg=51.6, raan_deg=5.0).sun_synchronous is False
        assert ElementsOrbit(sun_synchronous=True, altitude_km=700.0).ltan_hours == 10.5

    def test_tle_and_omm_are_told_apart_by_their_field(self) -> None:
        assert isinstance(satellite({"tle": list(TLE)}).orbit, TleOrbit)
        assert isinstance(satellite({"omm": OMM}).orbit, OmmOrbit)
        assert isinstance(SatelliteSpec(orbit=TleOrbit(tle=TLE)).orbit, TleOrbit)
        assert isinstance(SatelliteSpec(orbit=OmmOrbit(omm=OMM)).orbit, OmmOrbit)

    @pytest.mark.parametrize("change", [{"MEAN_MOTION": "15"}, {"EPOCH": 5}, {"INCLINATION": True}])
    def test_an_omm_has_the_right_kinds_of_values(self, change: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            satellite({"omm": OMM | change})

    def test_lines_of_two_objects_are_no_tle(self) -> None:
        other = TLE[1][:2] + "25545" + TLE[1][7:68] + str((int(TLE[1][68]) + 1) % 10)
        with pytest.raises(ValidationError, match="different objects"):
            satellite({"tle": [TLE[0], other]})


class TestSelectors:
    SPEC = DatasetSpec.model_validate(
        {
            "path": "x",
            "where": {"sensor": ["A", "B"]},
            "domains": {"base": "a", "stream": ["b", {"condition": "cloud"}, [{"domain": ["b", "c"], "year": 2016}, "d"]]},
        }
    )

    def test_bare_selectors_and_phases_become_lists(self) -> None:
        assert self.SPEC.domains.base == ("a",)
        assert [len(phase) for phase in self.SPEC.domains.stream] == [1, 1, 2]

    def test_a_name_means_the_domain_field(self) -> None:
        assert self.SPEC.conditions("a") == {"domain": ("a",)}
        assert self.SPEC.model_copy(update={"domain_field": "port"}).conditions("a") == {"port": ("a",)}

    def test_all_conditions_must_hold_and_where_too(self) -> None:
        selector = self.SPEC.domains.stream[2][0]
        scene = {"sensor": "A", "domain": "b", "year": 2016}
        assert self.SPEC.matches(selector, scene)
        for change in ({"sensor": "C"}, {"domain": "d"}, {"year": 2018}, {"year": "2016"}):
            assert not self.SPEC.matches(selector, scene | change)
        assert not self.SPEC.matches(selector, {"sensor": "A", "domain": "b"})

    def test_one_is_not_true(self) -> None:
        spec = DatasetSpec(path="x", domains=Domains(base=("a",), stream=(("b",),)))
        assert spec.matches({"flag": (True,)}, {"flag": True})
        assert not spec.matches({"flag": (True,)}, {"flag": 1})


class TestModels:
    def test_values_are_frozen_and_strict(self) -> None:
        link = Link()
        with pytest.raises(ValidationError):
            link.uplink_bps = 5.0
        with pytest.raises(ValidationError):
            Link.model_validate({"uplinkBps": "1e6"})
        with pytest.raises(ValidationError):
            Link.model_validate({"uplinkBps": True})

    def test_free_parameters_hold_only_what_json_has(self) -> None:
        for bad in ({"a": float("nan")}, {"a": {1: 2}}, {"a": [object()]}):
            with pytest.raises(ValidationError):
                IncrementalLearningJobSpec.model_validate({"mining": {"parameters": bad}})

    def test_the_partition_is_a_free_choice(self) -> None:
        terms = ("head", "backbone", "bn", "outputs", "early:5", "all", "conv0*.weight", "bn00.bias")
        assert ModelSpec(trainable=terms).trainable == terms

    def test_by_default_the_oracle_labels_and_a_teacher_alone_is_enough(self) -> None:
        assert IncrementalLearningJobSpec().labelling == Labelling(oracle=Oracle())
        only = IncrementalLearningJobSpec.model_validate({"labelling": {"teacher": {}}}).labelling
        assert only.oracle is None
        assert only.teacher is not None

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_field_has_a_description(self, kind: str) -> None:
        seen: list[type[BaseModel]] = []

        def walk(model: type[BaseModel]) -> None:
            for name, field in model.model_fields.items():
                assert field.description or name in ("kind", "spec"), f"{model.__name__}.{name}"
                inner = field.annotation
                if isinstance(inner, type) and issubclass(inner, BaseModel) and inner not in seen:
                    seen.append(inner)
                    walk(inner)

        walk(KINDS[kind])

    def test_the_table_of_kinds_is_true(self) -> None:
        for kind, model in KINDS.items():
            assert model.model_fields["kind"].default == kind == model.__name__


def test_resolve_says_which_resource_when_there_is_no_file() -> None:
    mission = Mission(metadata=Metadata(name="m"), spec=MissionSpec(satellites=("s", "t")))
    with pytest.raises(InvalidManifest) as caught:
        resolve([mission, Satellite(metadata=Metadata(name="s"))], "store")
    assert "store: Mission spec.satellites[1]: there is no Satellite 't'" in str(caught.value)


def test_paths_are_written_as_people_do() -> None:
    assert dotted(("spec", "domains", "stream", 1, 0)) == "spec.domains.stream[1][0]"
    assert dotted(()) == ""


@pytest.mark.parametrize("name", ["a", "farm-1", "9", "a--b", "a" * 32])
def test_a_tenant_of_a_mission_is_one_for_those_who_sign(name: str) -> None:
    assert ModelSpec(tenant=name).tenant == check_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a" * 33, "root", "targets", "snapshot", "timestamp", "a/b", "a\n"])
def test_what_is_no_tenant_for_those_who_sign_is_none_in_a_mission(name: str) -> None:
    with pytest.raises(TrustError):
        check_name(name)
    with pytest.raises(ValidationError):
        ModelSpec(tenant=name)
