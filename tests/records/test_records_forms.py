"""Scene, model, update, contact, health and verdict records: their JSON forms, and the little that they compute."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import WireError
from orbitloop.records.contact import ContactPlan, ContactWindow
from orbitloop.records.health import KIND, Beacon, beacon_from_bytes, beacon_to_bytes
from orbitloop.records.ids import canonical_json
from orbitloop.records.model import FLOAT32, ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections
from orbitloop.records.scene import GeoTransform, Scene, TileWindow
from orbitloop.records.update import ApplyOutcome, ApplyReport, CanaryCase, UpdateManifest
from orbitloop.records.verdict import GateVerdict
from orbitloop.records.wire import pack

WINDOW = ContactWindow("sat-1", "svalbard", 1000.0, 1600.0, 42.5, 7_000_000, 90_000)
METADATA = ModelMetadata(
    "fields", ("field", "Acker"), 0.25, (32, 16), (((60.5, 70.0),) * 3, ((10.0, 12.5),) * 3), Preprocessing(320, 32)
)
MANIFEST = UpdateManifest(
    3,
    "fields",
    "sha256:aa",
    "sha256:bb",
    "sha256:cc",
    1234,
    ("sat-1", "sat-2"),
    {"passed": True, "reasons": ["new domains: +1"]},
    (CanaryCase("s1", ((1.0, 2.0, 30.5, 40.0, 0.0),)), CanaryCase("s2", ())),
)
REPORT = ApplyReport(3, ApplyOutcome.ROLLED_BACK, "canary fell", "sha256:aa", 1.5e9, {"ap50_before": 0.5, "ap50_after": 0.25})
BEACON = Beacon("sat-1", 1.5e9, "sha256:aa", 2, 100, 7, 5, 31.25, (REPORT, replace(REPORT, outcome=ApplyOutcome.CONFIRMED)))
VERDICT = GateVerdict(True, ("because",), {"new_ap50": {"champion": 0.5, "candidate": 0.75}})
TILE = TileWindow(-3, 0, 320, 240)

RECORDS: list[Any] = [WINDOW, METADATA, METADATA.preprocessing, MANIFEST, REPORT, BEACON, VERDICT, TILE]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_the_json_form_comes_back_through_text(record: Any) -> None:
    text = json.dumps(record.to_json(), allow_nan=False)
    assert type(record).from_json(json.loads(text)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_records_do_not_change(record: Any) -> None:
    name = type(record).__slots__[0]
    with pytest.raises(FrozenInstanceError):
        setattr(record, name, None)


LATER = {"schema", "form"}
"""What may be absent: graphs of the first version do not say their form."""
REQUIRED = [r for r in RECORDS if r is not TILE and r is not METADATA.preprocessing]


@pytest.mark.parametrize("record", REQUIRED, ids=lambda r: type(r).__name__)
def test_a_missing_field_is_a_key_error(record: Any) -> None:
    whole = record.to_json()
    for name in whole.keys() - LATER:
        with pytest.raises(KeyError, match=name):
            type(record).from_json({k: v for k, v in whole.items() if k != name})


def test_a_graph_of_the_first_version_computes_in_float32() -> None:
    whole = METADATA.to_json()
    assert ModelMetadata.from_json({k: v for k, v in whole.items() if k != "form"}).form == FLOAT32


@pytest.mark.parametrize("record", [METADATA, MANIFEST], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("value", [None, 5, "text", [[]], {"a": 1}, [1], float("nan")])
def test_fields_of_another_kind_raise_only_what_is_documented(record: Any, value: Any) -> None:
    whole = record.to_json()
    for name in whole.keys() - {"schema"}:
        try:
            type(record).from_json(whole | {name: value})
        except (KeyError, TypeError, ValueError):
            continue


def test_what_a_later_version_adds_does_no_harm() -> None:
    for record in REQUIRED:
        assert type(record).from_json(record.to_json() | {"added": 1}) == record


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="exploded"):
        ApplyReport.from_json(REPORT.to_json() | {"outcome": "exploded"})


def test_schemas_are_named() -> None:
    assert METADATA.to_json()["schema"] == "orbitloop.model/1"
    assert MANIFEST.to_json()["schema"] == "orbitloop.update/1"


def test_the_affine_map_is_of_the_pixels_corner() -> None:
    geo = GeoTransform(10.0, 50.0, 0.001, 0.0002, -0.0001, -0.002)
    assert geo.lonlat_deg(0, 0) == (10.0, 50.0)
    lon, lat = geo.lonlat_deg(100, 50)
    assert (lon, lat) == pytest.approx((10.0 + 0.1 + 0.01, 50.0 - 0.01 - 0.1))


def test_a_longitude_is_not_wrapped() -> None:
    assert GeoTransform(179.9, 0, 0.01, 0, 0, -0.01).lonlat_deg(20, 0)[0] == pytest.approx(180.1)


def test_raw_bytes_are_three_per_pixel() -> None:
    assert Scene("s", "d", np.zeros((20, 30, 3), np.uint8), 0.0).raw_bytes == 1800


def test_a_pass_lasts_from_aos_to_los() -> None:
    assert WINDOW.duration_s == 600.0


@pytest.mark.parametrize(
    ("now_s", "satellite", "station"),
    [(0, "sat-1", "a"), (199, "sat-1", "a"), (200, "sat-1", "c"), (0, "sat-2", "b"), (900, "sat-1", None), (0, "sat-9", None)],
)
def test_the_next_window_is_the_first_that_has_not_closed(now_s: float, satellite: str, station: str | None) -> None:
    plan = ContactPlan(
        tuple(
            replace(WINDOW, satellite=who, station=where, aos_s=aos, los_s=los)
            for who, where, aos, los in (("sat-1", "a", 100, 200), ("sat-2", "b", 150, 250), ("sat-1", "c", 300, 400))
        )
    )
    found = plan.after(now_s, satellite)
    assert (found.station if found else None) == station


def test_detections_above_a_score_include_it() -> None:
    scores = np.array([0.9, 0.5, 0.25], np.float32)
    found = Detections(np.arange(12, dtype=np.float32).reshape(3, 4), scores, np.array([0, 1, 2], np.int32)).above(0.5)
    assert found.classes.tolist() == [0, 1]
    assert found.boxes_xyxy_px[1].tolist() == [4, 5, 6, 7]
    assert len(Detections.empty().above(0.0)) == 0
    with pytest.raises(ValueError, match="shapes differ"):
        Detections(np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(2, np.int32))


def test_a_beacon_that_cannot_tell_its_charge_is_still_a_beacon() -> None:
    silent = replace(BEACON, battery_wh=math.nan)
    back = Beacon.from_json(json.loads(canonical_json(silent.to_json())))
    assert math.isnan(back.battery_wh)
    assert replace(back, battery_wh=1.0) == replace(silent, battery_wh=1.0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(BEACON.to_json())), JSON)
@settings(max_examples=50, deadline=None)
def test_a_beacon_is_read_or_a_wire_error(field: str, value: Any) -> None:
    try:
        back = beacon_from_bytes(pack(KIND, 1, BEACON.to_json() | {field: value}))
    except WireError:
        return
    assert beacon_from_bytes(beacon_to_bytes(back)).to_json() == back.to_json()


@pytest.mark.parametrize("data", [b"", b"OLR1", pack("sample", 1, {}), pack(KIND, 1, {}), beacon_to_bytes(BEACON)[:-1]])
def test_other_bytes_are_no_beacon(data: bytes) -> None:
    with pytest.raises(WireError):
        beacon_from_bytes(data)


def test_a_beacon_comes_back_from_its_bytes() -> None:
    assert beacon_from_bytes(beacon_to_bytes(BEACON)) == BEACON
