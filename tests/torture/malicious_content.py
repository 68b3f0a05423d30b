"""Attacks on what is carried: A5, A8, A9, A13, A15, A17 to A19 and A28; all but the first signed by keys that are good.

Who holds a tenant's keys may sign anything. So behind the signatures each word of the manifest and each byte of the payload is
held against what the satellite is, flies, and may become.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import zstandard
from malicious_trust import role_edited
from malicious_world import (
    SEAL_KEY,
    Variant,
    attack,
    base,
    change,
    ground,
    history,
    latest,
    manifest,
    packed,
    target,
)
from torture_section import Section
from tuf.api.metadata import TargetFile

from orbitloop.delta.blocks import Block, write_blocks
from orbitloop.delta.bundle import VERSION, manifest_bytes, pack_bundle, seal_binding, target_path
from orbitloop.delta.codecs import Exact
from orbitloop.delta.make import make_delta
from orbitloop.delta.sections import pack_frame
from orbitloop.records.ids import canonical_json, digest_bytes, digest_tensors
from orbitloop.records.wire import MAGIC as RECORD_MAGIC
from orbitloop.records.wire import pack
from orbitloop.trust.carried import pack_metadata
from orbitloop.trust.sealed import seal, seal_key_id

Array = np.ndarray
Tensors = dict[str, Array]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def framed(section: bytes, stream: bytes = b"") -> bytes:
    """Return a payload of named blocks, as they are."""
    return b"OLU1" + varint(2 * len(section) + bool(stream)) + section + stream


def exactly(changes: Tensors, names: dict[str, str] | None = None) -> bytes:
    """Return a payload that sets tensors bit by bit, whatever is in them; `names` gives some of them another name."""
    called = names or {}
    blocks = [Block(called.get(n, n), "exact", a.shape, Exact().encode(base()[n], a)) for n, a in changes.items()]
    return framed(write_blocks(blocks))


def signed(payload: bytes, result: Tensors | str | None = None, **changes: Any) -> bytes:
    """Return a bundle of a payload that its tenant has signed, with evidence that it is good."""
    digest = result if isinstance(result, str) else digest_tensors(result) if result is not None else None
    m = manifest(6, payload, digest, **changes)
    return ground().release(m, payload)


def with_length(record: bytes, length: int) -> bytes:
    body = record[:4] + struct.pack(">I", length) + record[8:-4]
    return body + struct.pack(">I", zlib.crc32(body))


def a_record(header: Any, rest: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else canonical_json(header)
    body = RECORD_MAGIC + struct.pack(">I", len(text)) + text + rest
    return body + struct.pack(">I", zlib.crc32(body))


@cache
def a5_endless() -> list[Variant]:
    r, found = latest(), []
    good = r.bundle()
    for length in (0, 1, 2**20 + 1, 2**31 - 1, 2**32 - 1, len(good) * 2):
        found.append(Variant(f"a header of {length} bytes", with_length(good, length), "bundle"))
    header = {"kind": "update", "v": 2, "fields": {"path": r.path}, "blobs": [["trust", 1]]}
    for sizes in (
        [["trust", 2**63]],
        [["trust", -1], ["manifest", 2]],
        [["trust", 1]] * 1000,
        [["x", 0]] * 50_000,
        [["trust", 10**400]],
    ):
        found.append(Variant(f"blobs of {str(sizes)[:30]}", a_record(header | {"blobs": sizes}, b"x"), "bundle"))
    for depth in (1000, 100_000):
        found.append(Variant(f"JSON {depth} deep", a_record(b"[" * depth), "bundle"))
        deep = b'{"signatures":[],"signed":' + b"[" * depth + b"]" * depth + b"}"
        data = packed(r.files | {"timestamp.json": deep}, r.path, r.content, r.payload)
        found.append(Variant(f"metadata {depth} deep", data, "timestamp"))
    found.append(Variant("a header of a million zeros", a_record(b"0" * (1 << 20)), "bundle"))
    found.append(Variant("a number of 100,000 digits", a_record(b'{"v":' + b"9" * 100_000 + b"}"), "bundle"))
    for name, size in (("trust", 1 << 18), ("manifest", 1 << 20)):
        parts = {"trust": pack_metadata(r.files), "manifest": pack_frame(r.content), "payload": r.payload} | {
            name: bytes(size + 1)
        }
        found.append(
            Variant(f"{name} of {size + 1} bytes", pack("update", VERSION, {"path": r.path}, parts), "bundle.*over the limit")
        )
    silent = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    frames = {
        "a bomb": (pack_frame(bytes(1 << 28)), "manifest is over the limit"),
        "a frame without its size": (silent.compress(r.content) + silent.flush(), "manifest is over the limit"),
        "two frames": (pack_frame(r.content) * 2, "manifest does not unpack"),
        "half a frame": (pack_frame(r.content)[:-9], "manifest does not unpack"),
        "no frame": (r.content, "manifest does not unpack"),
    }
    for how, (frame, why) in frames.items():
        parts = {"trust": pack_metadata(r.files), "manifest": frame, "payload": r.payload}
        found.append(Variant(f"a manifest of {how}", pack("update", VERSION, {"path": r.path}, parts), why))
    for size in (301, 10_000, 500_000):
        found.append(
            Variant(f"a path of {size} characters", pack_bundle(pack_metadata(r.files), "a" * size, r.content, b""), "path")
        )
    for path in ("\ud800", "farm/\ud800/1", "a\nb", "\x00", "farm/fields/\u202e", ""):
        text = json.dumps(
            {"kind": "update", "v": VERSION, "fields": {"path": path}, "blobs": sizes_of(r)},
            separators=(",", ":"),
            sort_keys=True,
        )
        data = a_record(text.encode(), pack_metadata(r.files) + pack_frame(r.content) + r.payload)
        found.append(Variant(f"a path of {path.encode('unicode_escape').decode()!r}", data, "path"))
    for name in ("\ud800", "\n\x1b[2J", "\u202e", "x" * 60_000):

        def strange(signed: Any, name: str = name) -> None:
            signed.delegations.keys[name] = next(iter(signed.delegations.keys.values()))

        found.append(Variant(f"a key named {ascii(name)[:12]}", role_edited("targets", strange, []), "targets"))
    for count in (65, 3000):
        rows = [{"keyid": f"{i:064x}", "sig": "00" * 64} for i in range(count)]
        found.append(Variant(f"{count} signatures", twisted(r, {"signatures": rows}), "timestamp|metadata"))
    found.append(Variant("a timestamp of 300 kB", twisted(r, {"x": "y" * 300_000}), "timestamp.*over the limit|metadata"))
    many = {f"{i}.x{i}.json": b"{}" for i in range(200)}
    found.append(Variant("200 files of metadata", packed(r.files | many, r.path, r.content, r.payload), "something else"))
    huge = {f"t/{i}": TargetFile.from_data(f"t/{i}", b"", ["sha256"]) for i in range(3000)}
    found.append(
        Variant("3,000 targets", role_edited("farm", lambda s: s.targets.update(huge)), "farm.*over the limit|metadata")
    )
    found += [Variant(f"chunks without end: {n} kB of zeros after it", good + bytes(n << 10), "bundle") for n in (1, 64, 4096)]
    return found


def sizes_of(r: Any) -> list[list[Any]]:
    return [["trust", len(pack_metadata(r.files))], ["manifest", len(pack_frame(r.content))], ["payload", len(r.payload)]]


def twisted(r: Any, changes: dict[str, Any]) -> bytes:
    value = json.loads(r.files["timestamp.json"]) | changes
    raw = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    return packed(r.files | {"timestamp.json": raw}, r.path, r.content, r.payload)


@cache
def a8_wrong_software() -> list[Variant]:
    found = []
    near = ("sat-2", "sat-11", "sat-", "SAT-1", " sat-1", "sat-1 ", "ѕat-1", "sat-1\u200b", "*", "sat-?", "")
    for name in near:
        found.append(Variant(f"for the satellite {name!r}", signed(latest().payload, satellites=(name,)), "addressed to"))
    found.append(Variant("for no satellite", signed(latest().payload, satellites=()), "addressed to nobody"))
    found.append(
        Variant("for 5,000 others", signed(latest().payload, satellites=tuple(f"x{i}" for i in range(5000))), "addressed to")
    )
    for name in ("", "raspberry", "Jetson", "jetson2", "jet son", "*", "jetson\u200b"):
        found.append(Variant(f"for the hardware {name!r}", signed(latest().payload, hardware=name), "for the hardware"))
    for name in ("", "ships", "Farm", "root"):
        m = replace(manifest(6), tenant=name)
        data = ground().release(m, path=latest().path)
        found.append(Variant(f"a manifest of the tenant {name!r} under farm's path", data, "signed for as"))
    for path in (
        "farm/fields/7-x",
        "farm/ships/6-0",
        "farm/fields/6-" + "0" * 12,
        "farm/fields2/" + latest().path.split("/")[2],
    ):
        found.append(Variant(f"signed as {path}", ground().release(manifest(6), path=path), "signed for as"))
    return found


@cache
def a9_extraneous() -> list[Variant]:
    r, found = latest(), []
    parts = {"trust": pack_metadata(r.files), "manifest": pack_frame(r.content), "payload": r.payload}
    for name in ("graph", "weights", "requires", "", "payload2", "../payload", "trust\0"):
        found.append(
            Variant(f"a further part {name!r}", pack("update", VERSION, {"path": r.path}, parts | {name: b"x"}), "bundle")
        )
    for field in ("requires", "url", "script", "paths"):
        found.append(
            Variant(f"a further field {field}", pack("update", VERSION, {"path": r.path, field: "x"}, parts), "bundle")
        )
    for name in (
        "evil.json",
        "1.other.json",
        "root.json",
        "4.root.json",
        "99.root.json",
        "../timestamp.json",
        "x",
        "6.ships.json",
        "timestamp.json.json",
    ):
        found.append(Variant(f"a further file {name}", r.with_files({name: r.files["timestamp.json"]}), "."))
    for name in ("other.weight", "conv9.weight", "conv0.weight2", "", "../../conv0.weight"):
        data = bytearray(exactly({"conv0.weight": target(6)["conv0.weight"]}, {"conv0.weight": name or "?"}))
        found.append(Variant(f"a tensor {name!r} that the model has not", signed(bytes(data)), "conv|other|tensor|\\?"))
    for codec in ("python", "exec", "exact2", "zstd:1"):
        block = Block("conv0.weight", codec, base()["conv0.weight"].shape, b"import os")
        found.append(Variant(f"a codec {codec}", signed(framed(write_blocks([block]))), "codec"))
    for role in ("timestamp", "snapshot", "targets"):
        data = role_edited(role, lambda s: s.unrecognized_fields.update({"x-requires": {"pip": "evil"}}), [])
        found.append(Variant(f"a field that {role} was not signed with", data, role))
    return found


@cache
def a13_partial() -> list[Variant]:
    """Some of what was signed for together: files, parts, tensors; each good by itself."""
    r, found = latest(), []
    for name in [n for n in r.files if n != "2.root.json"]:
        found.append(Variant(f"without {name}", r.with_files({name: None}), "did not come"))
    only = {n: d for n, d in r.files.items() if n == "timestamp.json"}
    found.append(Variant("the timestamp alone", packed(only, r.path, r.content, r.payload), "did not come"))
    found.append(Variant("no metadata", packed({}, r.path, r.content, r.payload), "timestamp.json did not come"))
    layers = sorted(n for n in base() if n.startswith("conv") and n.endswith("weight"))
    whole = target(6)
    promised = base() | {n: whole[n] for n in layers}
    for kept in ([0, 1, 2], [0], [4], [1, 3], [0, 1, 2, 3], [2, 3, 4], [0, 2, 4]):
        payload = exactly({layers[i]: whole[layers[i]] for i in kept})
        found.append(Variant(f"layers {kept} of 5", signed(payload, promised), "result differs"))
    good = exactly({n: whole[n] for n in layers})
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        cut = good[: int(len(good) * share)]
        found.append(Variant(f"{share:.0%} of the payload, signed so", signed(cut, promised), "."))
        found.append(
            Variant(
                f"{share:.0%} of the payload that was signed",
                packed(r.files, r.path, r.content, r.payload[: int(len(r.payload) * share)]),
                "payload has",
            )
        )
    for part in ("trust", "manifest", "payload"):
        parts = {"trust": pack_metadata(r.files), "manifest": pack_frame(r.content), "payload": r.payload}
        found.append(Variant(f"an empty {part}", pack("update", VERSION, {"path": r.path}, parts | {part: b""}), "."))
        parts.pop(part)
        found.append(Variant(f"no {part}", pack("update", VERSION, {"path": r.path}, parts), "bundle"))
    return found


@cache
def a15_mixed_models() -> list[Variant]:
    """Two models of one tenant fly together: parts of the one's update in the other's."""
    found = []
    for name in ("fieldS", "Fields", "fields2", "field", "", "fields/", "fields ", "../fields", "fields\u200b", "FIELDS"):
        found.append(
            Variant(
                f"an update of the model {name!r}",
                signed(latest().payload, model=name),
                "for the model|not a path|signed for as|path",
            )
        )
    for name in ("boats", "cars", "trees"):
        other = replace(manifest(6), model=name)
        r = latest()
        g = ground()
        g.target(target_path(other), manifest_bytes(other))
        g.publish()
        parts = {
            "its path": (target_path(other), r.content, r.payload),
            "its manifest": (r.path, manifest_bytes(other), r.payload),
            "its manifest and path": (target_path(other), manifest_bytes(other), r.payload),
            "its payload": (r.path, r.content, make_delta(base(), target(int.from_bytes(name.encode()[:1], "big")))),
        }
        found += [Variant(f"{what} of {name}", packed(g.carried(), *three), ".") for what, three in parts.items()]
    return found


@cache
def a17_other_base() -> list[Variant]:
    found = []
    for seed in range(10):
        other = target(20 + seed)
        payload = make_delta(other, target(6))
        found.append(
            Variant(
                f"made on base {seed}, and says so",
                signed(payload, target(6), base=digest_tensors(other)),
                "is not the running model",
            )
        )
        found.append(Variant(f"made on base {seed}, and says ours", signed(payload, target(6)), "."))
    for digest in ("sha256:" + "0" * 64, "sha256:" + "f" * 64, digest_tensors({}), digest_tensors(target(6))):
        found.append(Variant(f"base {digest[:15]}", signed(latest().payload, base=digest), "is not the running model"))
    for name, bad in (("short", "sha256:00"), ("md5", "md5:" + "0" * 64), ("capitals", "sha256:" + "A" * 64)):
        m = json.loads(manifest_bytes(manifest(6))) | {"base": bad}
        found.append(
            Variant(
                f"a base that is no digest ({name})", ground().release_raw(latest().path, canonical_json(m), b""), "base is not"
            )
        )
    return found


@cache
def a18_other_result() -> list[Variant]:
    found = []
    payload, yields = change(6)
    for seed in range(8):
        found.append(Variant(f"promises result {seed}", signed(payload, target(30 + seed)), "result differs"))
    for digest in ("sha256:" + "0" * 64, digest_tensors(base()), digest_bytes(payload)):
        found.append(Variant(f"promises {digest[:15]}", signed(payload, digest), "result differs"))
    for name in base():  # one value of one tensor is another
        moved = {n: a.copy() for n, a in target(6).items()}
        moved[name].reshape(-1)[0] += np.float32(0.01)
        found.append(Variant(f"one value of {name} is another", signed(exactly(moved), target(6)), "result differs"))
        renamed = yields[:-1] + ("0" if yields[-1] != "0" else "1")
        found.append(
            Variant(
                f"one digit of the digest ({name})",
                signed(make_delta(base(), base() | {name: moved[name]}), renamed),
                "result differs",
            )
        )
    return found


@cache
def a19_gate() -> list[Variant]:
    found = []
    m = manifest(6)
    good = {"passed": True, "base": m.base, "result": m.result}
    other = {
        "base of another": {"base": digest_tensors(target(40))},
        "result of another": {"result": digest_tensors(target(41))},
    }
    other |= {
        "both of another": {"base": m.result, "result": m.base},
        "not passed": {"passed": False},
        "passed by 1": {"passed": 1},
    }
    other |= {
        "passed by a word": {"passed": "true"},
        "passed by null": {"passed": None},
        "passed by a list": {"passed": [True]},
    }
    other |= {
        "base in capitals": {"base": m.base.upper()},
        "base cut": {"base": m.base[:40]},
        "result with a space": {"result": m.result + " "},
    }
    other |= {"base null": {"base": None}, "result a list": {"result": [m.result]}, "result a number": {"result": 0}}
    for what, changes in other.items():
        found.append(Variant(what, signed(latest().payload, gate=good | changes), "gate"))
    for left in ("passed", "base", "result"):
        found.append(
            Variant(f"without {left}", signed(latest().payload, gate={k: v for k, v in good.items() if k != left}), "gate")
        )
    found.append(Variant("none", signed(latest().payload, gate={}), "gate"))
    for v in (5, 4, 3):
        h = history()[v].manifest
        found.append(
            Variant(f"of release {v}", signed(latest().payload, gate=good | {"base": h.base, "result": h.result}), "gate")
        )
    for what in ("[]", '"passed"', "null", "true", '[["passed",true]]'):
        value = json.loads(manifest_bytes(m)) | {"gate": json.loads(what)}
        found.append(
            Variant(
                f"evidence that is {what}", ground().release_raw(latest().path, canonical_json(value), b""), "manifest|gate"
            )
        )
    return found


@cache
def a28_poisoned() -> list[Variant]:
    """Weights that are signed, with evidence, and must still not fly; what the gate and the canary see is another section's."""
    found = []
    for label, value in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf), ("3e38", 3e38)):
        for name in ("conv0.weight", "conv4.weight", "bn0.var", "conv4.bias"):
            moved = base()[name].copy()
            moved.reshape(-1)[3] = value
            result = base() | {name: moved}
            found.append(Variant(f"{label} in {name}", signed(exactly({name: moved}), result), f"{name}.*(finite|moves)"))
    for times in (10.0, 100.0, 1e4, -20.0, 1e30):
        for name in ("conv0.weight", "bn0.var"):
            moved = (base()[name] * np.float32(times)).astype(np.float32)
            found.append(
                Variant(f"{name} times {times:g}", signed(exactly({name: moved}), base() | {name: moved}), f"{name}: moves")
            )
    every = {n: (a * np.float32(30)).astype(np.float32) for n, a in base().items()}
    found.append(Variant("all of it times 30", signed(exactly(every), every), "moves"))
    spike = base()["conv2.weight"].copy()
    spike[0, 0] = 1e3  # a trigger's filter: nine weights of 288
    found.append(
        Variant(
            "one filter of 1,000",
            signed(exactly({"conv2.weight": spike}), base() | {"conv2.weight": spike}),
            "conv2.weight: moves",
        )
    )
    for what, gate in (("flipped labels, gate against it", {"passed": False}), ("a backdoor, evidence of the clean one", {})):
        moved = {n: a.copy() for n, a in target(6).items()}
        moved["conv4.bias"] = -moved["conv4.bias"]
        digest = digest_tensors(moved)
        evidence = {"passed": True, "base": digest_tensors(base()), "result": manifest(6).result} | gate
        found.append(Variant(what, signed(exactly(moved), digest, gate=evidence), "gate"))
    return found


@cache
def sealed_wrong() -> list[Variant]:
    """A16, the other half: sealed with another key, for another update, or twisted."""
    found = []
    keys = {"seal_keys": {seal_key_id(SEAL_KEY): SEAL_KEY}}
    plain, _ = change(6)
    first = replace(manifest(6), sealed=seal_key_id(SEAL_KEY))
    first = replace(first, gate={"passed": True, "base": first.base, "result": first.result})
    other_key = bytes(reversed(SEAL_KEY))
    good = seal(plain, SEAL_KEY, bound_to=seal_binding(first), nonce=bytes(12))
    elsewhere = replace(first, version=5)
    forms = {
        "sealed with another key": seal(plain, other_key, bound_to=seal_binding(first), nonce=bytes(12)),
        "sealed for another update": seal(plain, SEAL_KEY, bound_to=seal_binding(elsewhere), nonce=bytes(12)),
        "not sealed": plain,
        "too short": good[:20],
        "without its tag": good[:-16],
        "with another nonce": b"\x01" + good[1:],
        "with a flipped bit": good[:40] + bytes((good[40] ^ 1,)) + good[41:],
    }
    for what, payload in forms.items():
        m = replace(first, payload_digest=digest_bytes(payload), payload_bytes=len(payload))
        found.append(Variant(what, ground().release(m, payload), "payload", about=keys))
    m = replace(first, payload_digest=digest_bytes(good), payload_bytes=len(good))
    found.append(Variant("the key is not held", ground().release(m, good), "not held here"))
    for name in ("", "0" * 16, "../key"):
        changed = replace(m, sealed=name)
        found.append(Variant(f"names the key {name!r}", ground().release(changed, good), ".", about=keys))
    return found


_AIM = "0 accepted, no byte changed, reason told"


def sections() -> tuple[Section, ...]:
    return (
        attack("A5 endless data", f"{_AIM}, bounded", a5_endless),
        attack("A8 wrong software", _AIM, a8_wrong_software),
        attack("A9 extraneous", _AIM, a9_extraneous),
        attack("A13 partial bundle", _AIM, a13_partial),
        attack("A15 mixed models", _AIM, a15_mixed_models),
        attack("A16 wrong seals", _AIM, sealed_wrong, least=10, quick=10),
        attack("A17 another base", _AIM, a17_other_base),
        attack("A18 another result", _AIM, a18_other_result),
        attack("A19 gate evidence", _AIM, a19_gate),
        attack("A28 poisoned weights", _AIM, a28_poisoned),
    )
