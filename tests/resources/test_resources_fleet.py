"""Fields of satellites and stations that a constellation needs: bands, panels, thermal, horizon; and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orbitloop.resources.fleet import GroundStation, GroundStationSpec, Satellite, SatelliteSpec
from orbitloop.resources.meta import Metadata
from orbitloop.sim.fleet import link_rates, station_of


def satellite(**spec: Any) -> Satellite:
    full = SatelliteSpec.model_validate(spec, by_alias=True, by_name=False)
    return Satellite(metadata=Metadata(name="a"), spec=full)


def station(**spec: Any) -> GroundStation:
    full = GroundStationSpec.model_validate({"latitudeDeg": 1.0, "longitudeDeg": 2.0, **spec}, by_alias=True, by_name=False)
    return GroundStation(metadata=Metadata(name="g"), spec=full)


def test_what_came_later_is_written_only_where_it_is_used() -> None:
    plain = satellite().to_json()["spec"]
    assert {"massKg", "bands", "crosslinks", "processors", "form", "thermal"}.isdisjoint(plain)
    assert set(plain["power"]) == {"batteryWh", "panelW", "idleW", "computeW", "transmitW", "initialSoc", "minSoc"}
    assert set(station().to_json()["spec"]) == {"latitudeDeg", "longitudeDeg", "altitudeM", "minElevationDeg"}
    used = satellite(massKg=17.44, power={"panels": [{"areaM2": 0.5}], "attitude": "sun"}).to_json()["spec"]
    assert used["massKg"] == 17.44
    assert used["power"]["attitude"] == "sun"
    assert satellite(**used) == satellite(massKg=17.44, power={"panels": [{"areaM2": 0.5}], "attitude": "sun"})


BANDS = [
    {"band": "S", "uplinkBps": 1e6, "downlinkBps": 2e6},
    {"band": "X", "downlinkBps": 6e8},
    {"band": "Ka", "uplinkBps": 2e8, "downlinkBps": 1e9},
]


@pytest.mark.parametrize(
    ("heard", "down", "up"),
    [([], 1e9, 2e8), (["S"], 2e6, 1e6), (["X", "S"], 6e8, 1e6), (["X"], 6e8, 0.0), (["Ka", "UHF"], 1e9, 2e8)],
)
def test_a_pair_talks_in_the_best_band_that_both_have(heard: list[str], down: float, up: float) -> None:
    rates = link_rates(satellite(bands=BANDS), station(bands=heard))
    assert rates is not None
    assert (rates.downlink_bps, rates.uplink_bps) == (down, up)


def test_without_a_common_band_there_is_no_contact_and_without_bands_the_link_counts() -> None:
    assert link_rates(satellite(bands=BANDS), station(bands=["UHF"])) is None
    plain = link_rates(satellite(link={"uplinkBps": 5.0, "downlinkBps": 7.0}), station(bands=["UHF"]))
    assert plain is not None
    assert (plain.downlink_bps, plain.uplink_bps) == (7.0, 5.0)
    assert (satellite(bands=BANDS).spec.best_downlink_bps, satellite(bands=BANDS).spec.best_uplink_bps) == (1e9, 2e8)
    assert satellite().spec.best_downlink_bps == 1e8


def test_a_station_brings_its_means_to_the_search() -> None:
    made = station_of("g", station(horizon=[[0, 5], [90, 12.5]], antennas=2, setupS=60, bands=["X"], minElevationDeg=5))
    assert made.horizon == ((0.0, 5.0), (90.0, 12.5))
    assert (made.antennas, made.setup_s, made.bands, made.min_elevation_deg) == (2, 60.0, ("X",), 5.0)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"bands": [{"band": "X", "downlinkBps": 1e8}]}, "nothing in one direction"),
        ({"bands": [{"band": "X", "downlinkBps": 1, "uplinkBps": 1}] * 2}, "twice"),
        ({"bands": [{"band": "Q"}]}, "VHF"),
        ({"power": {"panels": [{"areaM2": 1, "normal": [0, 0, 0]}]}}, "no direction"),
        ({"power": {"minSoc": 0.5, "maxSoc": 0.5}}, "not below"),
        ({"power": {"initialSoc": 0.9, "maxSoc": 0.8}}, "above maxSoc"),
        ({"thermal": {"busLimitsC": [20, 10]}}, "no range"),
        ({"crosslinks": {}}, "rateBps"),
        ({"processors": [{"kind": "TPU"}]}, "NPU"),
    ],
)
def test_what_cannot_be_is_refused(spec: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        satellite(**spec)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"horizon": [[10, 5], [10, 6]]}, "do not rise"),
        ({"horizon": [[360, 5]]}, "less than 360"),
        ({"bands": ["X", "X"]}, "twice"),
        ({"antennas": 0}, "greater than or equal"),
    ],
)
def test_a_station_that_cannot_be_is_refused(spec: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        station(**spec)
