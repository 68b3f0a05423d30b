"""The bundle's frame and the strict manifest."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.bundle import (
    VERSION,
    check_payload,
    manifest_bytes,
    open_bundle,
    pack_bundle,
    read_manifest,
    seal_binding,
    target_path,
)
from orbitloop.errors import UpdateError
from orbitloop.records.ids import canonical_json, digest_bytes
from orbitloop.records.update import CanaryCase, UpdateManifest
from orbitloop.records.wire import pack

PAYLOAD = b"payload"
MANIFEST = UpdateManifest(
    3,
    "fields",
    digest_bytes(b"base"),
    digest_bytes(b"result"),
    digest_bytes(PAYLOAD),
    len(PAYLOAD),
    ("sat-1",),
    {"passed": True, "new_ap50": [0.5, 0.6]},
    (CanaryCase("s1", ((1, 2.5, 3, 4, 0),)),),
)


def test_a_manifest_reads_back_and_has_one_form():
    data = manifest_bytes(MANIFEST)
    again = read_manifest(data)
    assert again == replace(MANIFEST, canary=(CanaryCase("s1", ((1.0, 2.5, 3.0, 4.0, 0.0),)),))
    assert manifest_bytes(again) == data
    check_payload(again, PAYLOAD)


VALUE = json.loads(manifest_bytes(MANIFEST))
BAD_VALUES = {
    "missing": {k: v for k, v in VALUE.items() if k != "base"},
    "unknown field": VALUE | {"extra": 1},
    "schema": VALUE | {"schema": "orbitloop.update/2"},
    "version text": VALUE | {"version": "3"},
    "version float": VALUE | {"version": 3.0},
    "version bool": VALUE | {"version": True},
    "version zero": VALUE | {"version": 0},
    "version huge": VALUE | {"version": 2**31},
    "base": VALUE | {"base": "sha256:12"},
    "digest case": VALUE | {"result": VALUE["result"].upper()},
    "digest kind": VALUE | {"payload_digest": "md5:" + "0" * 64 + "000"},
    "negative bytes": VALUE | {"payload_bytes": -1},
    "satellites text": VALUE | {"satellites": "sat-1"},
    "gate": VALUE | {"gate": 3},
    "canary": VALUE | {"canary": ["x"]},
    "box of four": VALUE | {"canary": [{"sample_id": "s", "boxes": [[1.0, 2.0, 3.0, 4.0]]}]},
    "box of text": VALUE | {"canary": [{"sample_id": "s", "boxes": [["a", 2.0, 3.0, 4.0, 0.0]]}]},
    "list": [1],
    "null": None,
}
BAD_BYTES = {
    "not json": b"{",
    "empty": b"",
    "deep": b"[" * 100_000,
    "spaces": json.dumps(VALUE).encode(),
    "duplicate key": manifest_bytes(MANIFEST).replace(b'{"base"', b'{"base":"x","base"', 1),
    "escapes": manifest_bytes(MANIFEST).replace(b"fields", b"f\\u0069elds"),
    "infinity": manifest_bytes(MANIFEST).replace(b"0.5", b"Infinity"),
    "huge number": manifest_bytes(MANIFEST).replace(b'"version":3', b'"version":' + b"9" * 5000),
    "exponent": manifest_bytes(MANIFEST).replace(b'"version":3', b'"version":1e400'),
    "surrogate": manifest_bytes(MANIFEST).replace(b"fields", b"\\ud800"),
    "utf-16": json.dumps(VALUE).encode("utf-16"),
}


@pytest.mark.parametrize("case", sorted(BAD_VALUES))
def test_manifests_of_another_shape_are_refused(case):
    with pytest.raises(UpdateError):
        read_manifest(canonical_json(BAD_VALUES[case]))


@pytest.mark.parametrize("case", sorted(BAD_BYTES))
def test_manifests_in_another_form_are_refused(case):
    with pytest.raises(UpdateError):
        read_manifest(BAD_BYTES[case])


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_mutated_manifests_read_or_raise_the_one_typed_error(data):
    raw = bytearray(manifest_bytes(MANIFEST))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UpdateError):
        assert manifest_bytes(read_manifest(bytes(raw))) == bytes(raw)


def test_the_ground_cannot_write_what_the_satellite_refuses():
    for bad in (replace(MANIFEST, version=0), replace(MANIFEST, gate={"x": float("nan")}), replace(MANIFEST, base="x")):
        with pytest.raises(UpdateError):
            manifest_bytes(bad)


def test_length_is_held_before_digest():
    with pytest.raises(UpdateError, match="8 bytes"):
        check_payload(MANIFEST, PAYLOAD + b"x")
    with pytest.raises(UpdateError, match="digest"):
        check_payload(MANIFEST, b"PAYLOAD")


def test_a_bundle_opens_to_its_parts():
    bundle = open_bundle(pack_bundle(b"trust", "a/b/c", b"manifest", PAYLOAD))
    assert (bundle.trust, bundle.path, bundle.manifest, bundle.payload) == (b"trust", "a/b/c", b"manifest", PAYLOAD)


def test_a_manifests_path_is_under_its_tenant_whatever_the_model_is_called():
    odd = replace(MANIFEST, tenant="farm", model="../ships/x y")
    assert target_path(odd) == f"farm/..%2Fships%2Fx%20y/3-{odd.result[7:19]}"
    assert seal_binding(odd) != seal_binding(replace(odd, version=4))


PARTS = {"trust": b"", "manifest": b"", "payload": b""}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"OLR1",
        pack("sample", VERSION, {"path": "x"}, PARTS),
        pack("update", VERSION - 1, {"path": "x"}, PARTS),
        pack("update", VERSION + 1, {"path": "x"}, PARTS),
        pack("update", VERSION, {}, PARTS),
        pack("update", VERSION, {"path": 3}, PARTS),
        pack("update", VERSION, {"path": "x" * 301}, PARTS),
        pack("update", VERSION, {"path": "x", "note": "x"}, PARTS),
        pack("update", VERSION, {"path": "x"}, {"trust": b"", "payload": b""}),
        pack("update", VERSION, {"path": "x"}, PARTS | {"more": b""}),
        pack("update", VERSION, {"path": "x"}, PARTS | {"trust": bytes((1 << 18) + 1)}),
        pack("update", VERSION, {"path": "x"}, PARTS | {"manifest": bytes((1 << 20) + 1)}),
        pack_bundle(b"trust", "x", b"manifest", PAYLOAD)[:-1],
        pack_bundle(b"trust", "x", b"manifest", PAYLOAD) + b"x",
    ],
)
def test_what_is_no_bundle_is_refused(data):
    with pytest.raises(UpdateError):
        open_bundle(data)
