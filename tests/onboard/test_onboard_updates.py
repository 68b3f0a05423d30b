"""The updater: one good bundle through to the end, and a table of bad ones that change not one byte on flash."""

from __future__ import annotations

import json
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from cutting_disk import CuttingDisk, PowerCut
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.delta.apply import apply_delta
from orbitloop.delta.blocks import Block
from orbitloop.delta.bundle import VERSION, manifest_bytes, open_bundle, pack_bundle, target_path
from orbitloop.delta.codecs import Exact
from orbitloop.delta.compact import MAGIC, pack_compact
from orbitloop.delta.make import make_delta
from orbitloop.delta.sections import pack_section
from orbitloop.errors import StateError, TrustError
from orbitloop.ground.authority import Authority
from orbitloop.ground.ceremony import sign_with
from orbitloop.ground.repository import carried
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.slot_table import SlotState
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Staged, Updater
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.ids import canonical_json, digest_bytes, digest_tensors
from orbitloop.records.update import ApplyOutcome, ApplyReport, CanaryCase, UpdateManifest
from orbitloop.records.wire import pack
from orbitloop.trust.carried import pack_metadata, unpack_metadata
from orbitloop.trust.form import read_metadata
from orbitloop.trust.keys import SigningKey, generate_key

NOW_S = 1.7e9
AUTHORITY = Authority.from_seed(b"ours", ("farm", "ships"), NOW_S)
THEIRS = Authority.from_seed(b"theirs", ("farm",), NOW_S)
STRANGERS = [generate_key(bytes([i]) * 32) for i in range(10, 13)]
CANARY = (CanaryCase("s1", ((1.0, 2.0, 30.0, 40.0, 0.0),)),)


def weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(8, 16)).astype(np.float32), "b": rng.normal(size=16).astype(np.float32)}


BASE = load_weights(save_weights(weights(0)))
TARGET = {name: array + 0.1 * weights(1)[name] for name, array in BASE.items()}
PAYLOAD = make_delta(BASE, TARGET)
RESULT = apply_delta(BASE, PAYLOAD)


def manifest(
    version: int = 2, payload: bytes = PAYLOAD, result: dict[str, np.ndarray] | None = None, **changes
) -> UpdateManifest:
    plain = UpdateManifest(
        version,
        "fields",
        digest_tensors(BASE),
        digest_tensors(RESULT if result is None else result),
        digest_bytes(payload),
        len(payload),
        ("sat-1", "sat-2"),
        {"passed": True},
        CANARY,
        "farm",
        "jetson",
    )
    changed = replace(plain, **changes)
    return changed if "gate" in changes else replace(changed, gate=evidence(changed))


def evidence(m: UpdateManifest) -> dict[str, object]:
    return {"passed": True, "base": m.base, "result": m.result}


def bundle(m: UpdateManifest | None = None, payload: bytes = PAYLOAD, by: Authority = AUTHORITY) -> bytes:
    m = m or manifest()
    return signed_bytes(manifest_bytes(m), payload, target_path(m), by)


def signed_bytes(raw: bytes, payload: bytes = PAYLOAD, path: str = "", by: Authority = AUTHORITY) -> bytes:
    path = path or target_path(manifest())
    tenant = path.split("/")[0]
    files = carried(by.release(tenant, {path: raw}, now_s=NOW_S), tenant)
    return pack_bundle(pack_metadata(files), path, raw, payload)


def signed_payload(payload: bytes, result: dict[str, np.ndarray] | None = None) -> bytes:
    return bundle(manifest(payload=payload, result=result), payload)


def satellite(disk: CuttingDisk | None = None) -> tuple[CuttingDisk, SlotStore, Updater]:
    fresh = disk is None
    disk = disk or CuttingDisk()
    store = SlotStore(FileFlash(disk))
    if fresh:
        store.install_factory(b"graph", save_weights(BASE), version=1)
    return (
        disk,
        store,
        Updater("sat-1", "fields", store, TrustStore(FileFlash(disk), AUTHORITY.anchor), tenant="farm", hardware="jetson"),
    )


def test_a_good_bundle_is_staged_tried_and_confirmed():
    _, store, updater = satellite()
    staged = updater.receive(bundle(), NOW_S)
    assert isinstance(staged, Staged)
    assert staged.manifest == manifest()
    assert digest_tensors(staged.weights) == digest_tensors(RESULT) == staged.content.digest
    assert store.active().digest == digest_tensors(BASE)
    updater.begin_trial()
    report = updater.complete(True, {"ap50": 0.9, "odd": float("nan")}, "canary passed", NOW_S + 60)
    assert report == ApplyReport(2, ApplyOutcome.ACCEPTED, "canary passed", digest_tensors(RESULT), NOW_S + 60, {"ap50": 0.9})
    assert digest_tensors(load_weights(store.active().weights)) == digest_tensors(RESULT)
    canonical_json(report.to_json())
    report = updater.confirm("nothing against it", NOW_S + 6000)
    assert report == ApplyReport(2, ApplyOutcome.CONFIRMED, "nothing against it", digest_tensors(RESULT), NOW_S + 6000, {})
    with pytest.raises(StateError, match="no model on probation"):
        updater.confirm("again", NOW_S)


def test_an_acceptance_of_which_only_the_second_copy_is_refused_is_an_acceptance():
    class OneCopy(FileFlash):
        refuse = False

        def write_atomic(self, name: str, data: bytes) -> None:
            if self.refuse and name == "table-1":
                raise StateError("no space left", where=name)
            super().write_atomic(name, data)

    disk, _, _ = satellite()
    flash = OneCopy(disk)
    store = SlotStore(flash)
    updater = Updater("sat-1", "fields", store, TrustStore(flash, AUTHORITY.anchor), tenant="farm", hardware="jetson")
    updater.receive(bundle(), NOW_S)
    updater.begin_trial()
    flash.refuse = True
    report = updater.complete(True, {}, "canary passed", NOW_S)
    assert (report.outcome, report.active_digest) == (ApplyOutcome.ACCEPTED, digest_tensors(RESULT))
    assert store.running().state is SlotState.PROBATION
    flash.refuse = False
    assert SlotStore(flash).recover().active.digest == digest_tensors(RESULT)


def test_a_model_on_probation_goes_back_with_its_reason_and_says_so_at_any_later_boot():
    disk, store, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.complete(True, {}, "ok", NOW_S)
    assert updater.last_word(NOW_S).outcome is ApplyOutcome.ACCEPTED
    report = updater.fall_back("in flight: not finite" + "\n" * 500, NOW_S)
    assert report is not None
    assert (report.version, report.outcome, report.active_digest) == (2, ApplyOutcome.ROLLED_BACK, digest_tensors(BASE))
    assert report.reason.startswith("in flight: not finite")
    assert len(report.reason) <= 300
    assert store.active().digest == digest_tensors(BASE)
    _, _, rebooted = satellite(disk.crash("nothing"))
    assert rebooted.recover(NOW_S) is None
    word = rebooted.last_word(NOW_S)
    assert word is not None
    assert (word.version, word.outcome) == (2, ApplyOutcome.ROLLED_BACK)
    assert word.reason.startswith("in flight: not finite")


def test_a_crash_loop_on_probation_is_reported_with_its_reason():
    disk, store, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.complete(True, {}, "ok", NOW_S)
    reports = []
    for _ in range(4):
        disk, store, updater = satellite(disk.crash("nothing"))
        reports.append(updater.recover(NOW_S))
        store.note_boot()
    assert reports[:3] == [None, None, None]
    assert reports[3].outcome is ApplyOutcome.ROLLED_BACK
    assert "crash loop" in reports[3].reason
    assert store.active().digest == digest_tensors(BASE)


def test_a_failed_canary_goes_back_and_the_version_is_spent():
    _, store, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.begin_trial()
    report = updater.complete(False, {"ap50": 0.1}, "canary lost 40 points", NOW_S)
    assert (report.outcome, report.active_digest) == (ApplyOutcome.ROLLED_BACK, digest_tensors(BASE))
    again = updater.receive(bundle(), NOW_S)
    assert isinstance(again, ApplyReport)
    assert "version 2 is not above 2" in again.reason
    assert isinstance(updater.receive(bundle(manifest(3)), NOW_S), Staged)
    assert store.table().highest_version == 3


def test_a_second_update_builds_on_the_first():
    _, store, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.complete(True, {}, "ok", NOW_S)
    updater.confirm("ok", NOW_S)
    target = RESULT | {"b": RESULT["b"] + 1}
    payload = make_delta(RESULT, target, Exact())
    second = manifest(3, payload, target, base=digest_tensors(RESULT))
    assert isinstance(updater.receive(bundle(second, payload), NOW_S), Staged)
    updater.complete(True, {}, "ok", NOW_S)
    assert (store.active().version, store.active().digest) == (3, digest_tensors(target))


def test_what_is_staged_survives_a_reboot_with_its_canary():
    disk, _, updater = satellite()
    assert updater.pending() is None
    updater.receive(bundle(), NOW_S)
    _, _, rebooted = satellite(disk.crash("nothing"))
    assert rebooted.recover(NOW_S) is None
    pending = rebooted.pending()
    assert pending is not None
    assert pending.manifest.canary == CANARY
    assert digest_tensors(pending.weights) == digest_tensors(RESULT)
    assert rebooted.complete(True, {}, "ok", NOW_S).outcome is ApplyOutcome.ACCEPTED


def test_a_reboot_in_the_trial_is_reported_as_a_roll_back():
    disk, _, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.begin_trial()
    _, _, rebooted = satellite(disk.crash("nothing"))
    report = rebooted.recover(NOW_S)
    assert report is not None
    assert (report.version, report.outcome, report.active_digest) == (2, ApplyOutcome.ROLLED_BACK, digest_tensors(BASE))
    assert rebooted.recover(NOW_S) is None


def test_a_slot_that_decays_in_the_trial_is_rolled_back_whatever_the_canary_says():
    disk, store, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.begin_trial()
    disk.flip("slot-b", 3000)
    report = updater.complete(True, {}, "ok", NOW_S)
    assert (report.outcome, store.table().spare_row.state) == (ApplyOutcome.ROLLED_BACK, SlotState.FAILED)
    assert "damaged" in report.reason


def test_there_is_nothing_to_complete_before_something_is_staged():
    _, _, updater = satellite()
    with pytest.raises(StateError):
        updater.complete(True, {}, "ok", NOW_S)
    with pytest.raises(StateError):
        updater.begin_trial()


def test_no_update_is_taken_during_a_trial():
    disk, _, updater = satellite()
    updater.receive(bundle(), NOW_S)
    updater.begin_trial()
    before = disk.contents()
    report = updater.receive(bundle(manifest(3)), NOW_S)
    assert isinstance(report, ApplyReport)
    assert "on trial" in report.reason
    assert disk.contents() == before


# --- bundles that are not what they should be -----------------------------------------------------------------------------

GOOD = bundle()
VALUE = json.loads(manifest_bytes(manifest()))


def resigned(by: list[SigningKey], role: str = "farm") -> bytes:
    """The good bundle with one role's signatures made anew by these keys."""
    parts = open_bundle(GOOD)
    files = unpack_metadata(parts.trust)
    name = next(n for n in files if n.endswith(f"{role}.json"))
    metadata = read_metadata(files[name], role)
    metadata.signatures.clear()
    files[name] = sign_with(metadata.to_bytes(), by)
    return pack_bundle(pack_metadata(files), parts.path, parts.manifest, parts.payload)


def without(role: str) -> bytes:
    parts = open_bundle(GOOD)
    files = {n: data for n, data in unpack_metadata(parts.trust).items() if not n.endswith(f"{role}.json")}
    return pack_bundle(pack_metadata(files), parts.path, parts.manifest, parts.payload)


def with_parts(**changes: object) -> bytes:
    return pack_bundle(**{"trust": PARTS.trust, "path": PARTS.path, "manifest": PARTS.manifest, "payload": PAYLOAD} | changes)


def twice() -> bytes:
    files = unpack_metadata(PARTS.trust)
    name = next(n for n in files if n.endswith("farm.json"))
    value = json.loads(files[name])
    value["signatures"] = value["signatures"][:1] * 2
    return with_parts(trust=pack_metadata(files | {name: canonical_json(value)}))


PARTS = open_bundle(GOOD)
FARM_KEYS = list(AUTHORITY.tenants["farm"])


def block(data: bytes, codec: str = "zstd", name: str = "w", shape: tuple[int, ...] = (8, 16)) -> bytes:
    return pack_compact(BASE, {}, {}, [Block(name, codec, shape, data)])


def zbomb(size: int) -> bytes:
    return b"\1" + zstandard.ZstdCompressor(level=1).compress(bytes(size))


def stepped(symbols: bytes, code: int = 8 * 127, planes: int = 1) -> bytes:
    head = pack_section(np.full(8, code, "<u2").tobytes())
    return struct.pack("<BBI", 1, planes, len(head)) + head + symbols


def exact(name: str, value: float) -> tuple[bytes, dict[str, np.ndarray]]:
    target = dict(BASE) | {name: np.full_like(BASE[name], value)}
    return make_delta(BASE, target, Exact()), target


def steps_bomb() -> bytes:
    section = zbomb(1 << 26)
    return struct.pack("<BBI", 1, 1, len(section)) + section + b"\0"


def table_bomb() -> bytes:
    section = zbomb(1 << 26)
    data = struct.pack("<II", 1 << 20, len(section)) + section
    return MAGIC + bytes([2 * len(data) & 127 | 128, 2 * len(data) >> 7]) + data


THREE = {"trust": b"", "manifest": b"", "payload": PAYLOAD}
BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    # frame
    "empty": ("bad magic or too short", lambda: b""),
    "junk": ("bad magic", lambda: b"junk" * 100),
    "truncated": ("checksum", lambda: GOOD[:-9]),
    "cut in half": ("checksum", lambda: GOOD[: len(GOOD) // 2]),
    "trailing bytes": ("checksum", lambda: GOOD + b"x"),
    "flipped bit": ("checksum", lambda: GOOD[:300] + bytes([GOOD[300] ^ 1]) + GOOD[301:]),
    "another record": ("'sample' where a 'update'", lambda: pack("sample", VERSION, {"path": "x"}, THREE)),
    "past frame": ("something else", lambda: pack("update", VERSION - 1, {"path": "x"}, THREE)),
    "future frame": ("something else", lambda: pack("update", VERSION + 1, {"path": "x"}, THREE)),
    "no payload": ("something else", lambda: pack("update", VERSION, {"path": "x"}, {"trust": b"", "manifest": b""})),
    "a part too many": ("something else", lambda: pack("update", VERSION, {"path": "x"}, THREE | {"../../x": b""})),
    "lying frame header": ("header length", lambda: lying_frame()),
    "endless trust": ("trust is over the limit", lambda: with_parts(trust=bytes(1 << 20))),
    "endless manifest": ("manifest is over the limit", lambda: with_parts(manifest=b"{" * (2 << 20))),
    "endless path": ("path is malformed", lambda: with_parts(path="a/" * 1000)),
    "pickle": ("bad magic", lambda: pickle.dumps({"w": 1})),
    "zip": ("bad magic", lambda: b"PK\3\4" + bytes(100)),
    # whom to believe
    "no metadata": ("metadata: does not unpack", lambda: with_parts(trust=b"")),
    "metadata is junk": ("metadata: does not unpack", lambda: with_parts(trust=b"junk" * 20)),
    "metadata bomb": ("metadata: would unpack", lambda: with_parts(trust=zbomb(1 << 26)[1:])),
    "no timestamp": ("timestamp.json did not come", lambda: without("timestamp")),
    "no snapshot": ("snapshot: ", lambda: without("snapshot")),
    "no targets": ("targets: ", lambda: without("targets")),
    "no tenant": ("farm: ", lambda: without("farm")),
    "unsigned": ("signed by 0/2", lambda: resigned([])),
    "wrong keys": ("signed by 0/2", lambda: resigned(STRANGERS)),
    "below threshold": ("signed by 1/2", lambda: resigned(FARM_KEYS[:1])),
    "below threshold with strangers": ("signed by 1/2", lambda: resigned([FARM_KEYS[0], *STRANGERS])),
    "one signature twice": ("Multiple signatures", lambda: twice()),
    "another tenant's keys": ("signed by 0/2", lambda: resigned(list(AUTHORITY.tenants["ships"]))),
    "the online key for a tenant": ("signed by 0/2", lambda: resigned(list(AUTHORITY.online))),
    "a tenant's key for the timestamp": ("signed by 0/1", lambda: resigned(FARM_KEYS, "timestamp")),
    "a tenant's keys for targets": ("signed by 0/2", lambda: resigned(FARM_KEYS, "targets")),
    "another authority": ("signed by 0/1", lambda: bundle(by=THEIRS)),
    "another path": ("nobody who may", lambda: with_parts(path="farm/fields/9-x")),
    "another tenant's path": ("ships", lambda: with_parts(path="ships/fields/2-x")),
    "another manifest": ("length|hash", lambda: with_parts(manifest=manifest_bytes(manifest(3)))),
    "longer manifest": ("length", lambda: with_parts(manifest=PARTS.manifest + b" ")),
    "no manifest": ("length", lambda: with_parts(manifest=b"")),
    "another tenant's update": ("signed by ships, not by farm", lambda: bundle(manifest(tenant="ships"))),
    "a manifest under another's path": ("not what its manifest says", lambda: misnamed(tenant="ships")),
    "a manifest under another version's path": ("not what its manifest says", lambda: misnamed(version=7)),
    "other hardware": ("for the hardware 'raspberry'", lambda: bundle(manifest(hardware="raspberry"))),
    "no gate evidence": ("gate", lambda: bundle(manifest(gate={}))),
    "gate was shut": ("gate", lambda: bundle(manifest(gate=evidence(manifest()) | {"passed": False}))),
    "gate says 1": ("gate", lambda: bundle(manifest(gate=evidence(manifest()) | {"passed": 1}))),
    "gate evidence for another result": ("gate", lambda: bundle(manifest(gate=evidence(manifest()) | {"result": "x"}))),
    "gate evidence for another base": ("gate", lambda: bundle(manifest(gate=evidence(manifest()) | {"base": "x"}))),
    "sealed with a key that is not held": ("not held here", lambda: bundle(manifest(sealed="0" * 16))),
    # manifest
    "manifest is not json": ("manifest", lambda: signed_bytes(b"\xff")),
    "manifest of another schema": ("schema", lambda: signed_bytes(canonical_json(VALUE | {"schema": "x"}))),
    "manifest with a field too many": ("canonical", lambda: signed_bytes(canonical_json(VALUE | {"root": True}))),
    "manifest without base": (
        "malformed",
        lambda: signed_bytes(canonical_json({k: v for k, v in VALUE.items() if k != "base"})),
    ),
    "manifest with spaces": ("canonical", lambda: signed_bytes(json.dumps(VALUE).encode())),
    "manifest with a key twice": (
        "canonical",
        lambda: signed_bytes(manifest_bytes(manifest()).replace(b'"version":2', b'"version":1,"version":2')),
    ),
    "manifest with escapes": ("canonical", lambda: signed_bytes(manifest_bytes(manifest()).replace(b"sat-1", b"s\\u0061t-1"))),
    "version as text": ("canonical", lambda: signed_bytes(canonical_json(VALUE | {"version": "2"}))),
    "version beyond the range": ("out of range", lambda: signed_bytes(canonical_json(VALUE | {"version": 2**31}))),
    "digest of another kind": ("sha256", lambda: signed_bytes(canonical_json(VALUE | {"base": "md5:0"}))),
    # addressee, version, base
    "another satellite": ("not to sat-1", lambda: bundle(manifest(satellites=("sat-2",)))),
    "no satellite": ("nobody", lambda: bundle(manifest(satellites=()))),
    "a satellite of nearly this name": ("not to sat-1", lambda: bundle(manifest(satellites=("SAT-1", "sat-1 ", "sat-11")))),
    "another model": ("flies here", lambda: bundle(manifest(model="ships"))),
    "the running version": ("not above", lambda: bundle(manifest(1))),
    "another base": ("not the running model", lambda: bundle(manifest(base=digest_tensors(TARGET)))),
    # payload against manifest
    "another payload": ("digest differs", lambda: bundle(payload=PAYLOAD[:-1] + b"x")),
    "longer payload": ("the manifest says", lambda: bundle(payload=PAYLOAD + b"x")),
    "no bytes of payload": ("the manifest says", lambda: bundle(payload=b"")),
    "length lies": ("the manifest says", lambda: bundle(manifest(payload_bytes=1 << 40))),
    # payload, signed for
    "payload is junk": ("magic", lambda: signed_payload(b"junk" * 10)),
    "payload is a pickle": ("magic", lambda: signed_payload(pickle.dumps([1] * 100))),
    "payload is safetensors": ("magic", lambda: signed_payload(save_weights(TARGET))),
    "payload truncated": ("stream", lambda: signed_payload(PAYLOAD[:-5])),
    "payload goes on": ("stream", lambda: signed_payload(PAYLOAD + bytes(5))),
    "table bomb": ("unpack to 67108864 bytes", lambda: signed_payload(table_bomb())),
    "symbol bomb": ("unpack to 67108864 bytes", lambda: signed_payload(block(stepped(zbomb(1 << 26))))),
    "bomb of steps": ("unpack to 67108864 bytes", lambda: signed_payload(block(steps_bomb()))),
    "exact bomb": ("unpack to 67108864 bytes", lambda: signed_payload(block(zbomb(1 << 26), "exact"))),
    "unknown tensor": ("not in the base", lambda: signed_payload(block(b"\0", name="extra"))),
    "another shape": ("base is (8, 16)", lambda: signed_payload(block(b"\0", shape=(16, 8)))),
    "absurd shape": ("base is", lambda: signed_payload(block(b"\0", shape=(1 << 15, 1 << 16)))),
    "unknown codec": ("not known on board", lambda: signed_payload(block(b"\0", "pickle"))),
    "too few symbols": ("w: symbols", lambda: signed_payload(block(stepped(pack_section(bytes(127)))))),
    "infinite step": ("w: a quantisation step", lambda: signed_payload(block(stepped(pack_section(bytes(128)), 2040)))),
    "absurd planes": ("planes", lambda: signed_payload(block(stepped(pack_section(bytes(128)), planes=200)))),
    "oversized symbols": ("out of range", lambda: signed_payload(block(stepped(pack_section(b"\xff" * 384), planes=3)))),
    # result
    "wrong result": ("result differs", lambda: signed_payload(PAYLOAD, TARGET)),
    "nothing changes though a result is promised": ("result differs", lambda: signed_payload(make_delta(BASE, BASE))),
    "part of the tensors": ("result differs", lambda: signed_payload(make_delta(BASE, {"b": TARGET["b"]}))),
    "NaN weights": ("not finite", lambda: signed_payload(*exact("w", np.nan))),
    "infinite weights": ("not finite", lambda: signed_payload(*exact("b", -np.inf))),
}


def lying_frame() -> bytes:
    body = GOOD[:4] + struct.pack(">I", 1 << 31) + GOOD[8:-4]
    return body + struct.pack(">I", zlib.crc32(body))


def misnamed(**about: object) -> bytes:
    """A manifest that says one thing, signed for under the path of another."""
    return signed_bytes(manifest_bytes(manifest(**about)))


@pytest.mark.parametrize("case", BAD)
def test_a_bad_bundle_is_refused_for_its_own_reason_and_changes_nothing(case):
    why, make = BAD[case]
    disk, store, updater = satellite()
    before, operations = disk.contents(), disk.done
    report = updater.receive(make(), NOW_S)
    assert isinstance(report, ApplyReport), "it was taken"
    assert report.outcome is ApplyOutcome.REFUSED
    assert re.search(why, report.reason) or why in report.reason, report.reason
    assert report.active_digest == store.active().digest == digest_tensors(BASE)
    assert (disk.contents(), disk.done) == (before, operations)
    assert isinstance(updater.receive(GOOD, NOW_S), Staged)  # and the good one is still taken


def test_there_are_enough_bad_ones():
    assert len(BAD) >= 40
    assert len({digest_bytes(make()) for _, make in BAD.values()}) == len(BAD)


@pytest.mark.parametrize("survival", ["nothing", "everything", "random 0"])
def test_a_cut_at_any_write_leaves_a_satellite_that_takes_the_same_bundle_again(survival):
    """Between what is believed and what is staged there is a cut, too: neither version may be spent by it."""
    start, _, _ = satellite()
    whole = start.clone()
    assert isinstance(satellite(whole)[2].receive(GOOD, NOW_S), Staged)
    for cut in range(whole.done):
        disk = start.clone(cut_at=cut)
        with pytest.raises(PowerCut):
            satellite(disk)[2].receive(GOOD, NOW_S)
        _, store, rebooted = satellite(disk.crash(survival))
        rebooted.recover(NOW_S)
        assert store.active().digest == digest_tensors(BASE)
        again = rebooted.receive(GOOD, NOW_S)
        assert isinstance(again, Staged) or rebooted.pending() is not None, again


def test_trust_is_renewed_without_an_update_and_then_old_bundles_are_refused():
    world = Authority.from_seed(b"ours", ("farm", "ships"), NOW_S)
    disk, _, updater = satellite()
    for number in range(3):
        world.release("farm", {f"farm/fields/{number}-x": b"x"}, now_s=NOW_S + 1)
    files = carried(world.repository, None)
    before = disk.contents()
    with pytest.raises(TrustError):
        updater.renew(pack_metadata(files | {"timestamp.json": files["timestamp.json"][:-1]}), NOW_S)
    assert disk.contents() == before
    updater.renew(pack_metadata(files), NOW_S)
    report = updater.receive(GOOD, NOW_S)
    assert isinstance(report, ApplyReport)
    assert report.reason.startswith("timestamp")


def test_the_version_is_reported_only_once_the_manifest_is_believed():
    _, _, updater = satellite()
    for case, version in (("unsigned", 0), ("wrong keys", 0), ("another base", 2), ("wrong result", 2)):
        report = updater.receive(BAD[case][1](), NOW_S)
        assert isinstance(report, ApplyReport)
        assert report.version == version


def test_replay_and_downgrade_are_refused_after_each_step():
    disk, store, updater = satellite()
    old, new = bundle(manifest(2)), bundle(manifest(5))
    assert isinstance(updater.receive(new, NOW_S), Staged)
    for stale in (old, new):
        report = updater.receive(stale, NOW_S)
        assert isinstance(report, ApplyReport)
        assert "not above 5" in report.reason or "timestamp" in report.reason
    updater.complete(True, {}, "ok", NOW_S)
    before = disk.contents()
    for stale in (old, new, bundle(manifest(6))):
        report = updater.receive(stale, NOW_S)
        assert isinstance(report, ApplyReport)
        assert "on probation" in report.reason
    assert (disk.contents(), store.active().version) == (before, 5)
    updater.confirm("ok", NOW_S)
    before = disk.contents()
    for stale in (old, new, bundle(manifest(6))):
        report = updater.receive(stale, NOW_S)
        assert isinstance(report, ApplyReport)
    assert "not the running model" in report.reason
    assert (disk.contents(), store.active().version) == (before, 5)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_any_mutation_of_a_good_bundle_is_refused(data):
    disk, _, updater = MUTATION_TARGET
    before = disk.contents()
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(raw) == GOOD:
        return
    for damaged in (bytes(raw), GOOD[: data.draw(st.integers(0, len(GOOD) - 1))], data.draw(st.binary(max_size=60))):
        report = updater.receive(damaged, NOW_S)
        assert isinstance(report, ApplyReport)
        assert report.outcome is ApplyOutcome.REFUSED
    assert disk.contents() == before


MUTATION_TARGET = satellite()


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_signed_but_mutated_payload_is_refused_by_its_result(data):
    disk, _, updater = MUTATION_TARGET
    before = disk.contents()
    raw = bytearray(PAYLOAD)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    report = updater.receive(signed_payload(bytes(raw)), NOW_S)
    assert isinstance(report, ApplyReport)
    assert disk.contents() == before
