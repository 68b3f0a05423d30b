"""Attacks on whom to believe: A1 to A4, A7, A10 to A12, A20 and A21 (threats of TUF and Uptane; the JSON beneath)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

from malicious_world import (
    CLOCKED,
    CROPS,
    CUSTODY,
    DAY_S,
    FARM,
    NEW_FARM,
    NEW_ONLINE,
    NEW_ROOT,
    NOW_S,
    ONLINE,
    ROOT,
    SATELLITE,
    SHIPS,
    STRANGERS,
    TARGETS,
    TENANT,
    YEAR_S,
    Files,
    Variant,
    assigned,
    attack,
    edited,
    ground,
    history,
    latest,
    manifest,
    packed,
    signed_anew,
    trusted,
)
from torture_section import Section
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from orbitloop.delta.bundle import manifest_bytes, open_bundle, target_path
from orbitloop.ground.ceremony import add_tenant, draft_root, revoke_tenant, rotate_root, sign_with
from orbitloop.ground.repository import publish
from orbitloop.trust.carried import pack_metadata
from orbitloop.trust.form import CONTACTS, SIGNED_AT, utc
from orbitloop.trust.keys import SigningKey

Edit = Callable[[Any], object]
ROLES = ("timestamp", "snapshot", "targets", "farm")
OWN = {"timestamp": ONLINE, "snapshot": ONLINE, "targets": TARGETS[:2], "farm": FARM[:2], "root": ROOT[:2]}


def role_edited(role: str, edit: Edit, by: Sequence[SigningKey] | None = None) -> bytes:
    """Return the latest bundle with one role changed and signed by its own keys, or by others."""
    r = latest()
    return r.with_files({r.name(role): edited(r.files[r.name(role)], edit, OWN[role] if by is None else by)})


def nothing(signed: Any) -> None:
    """Change nothing: only the signatures are made anew."""


@cache
def a1_arbitrary() -> list[Variant]:
    wrong = {
        "nobody": [],
        "strangers": STRANGERS,
        "root's keys": ROOT,
        "another tenant's keys": SHIPS,
        "one key of two and a stranger": [FARM[0], STRANGERS[0]],
    }
    found = [
        Variant(f"{role} signed by {who}", role_edited(role, nothing, by), f"{role}.*signed by [01]/")
        for role, (who, by) in product(ROLES, wrong.items())
    ]
    found += [Variant(f"{role} signed by the tenant", role_edited(role, nothing, FARM), role) for role in ROLES[:3]]
    r = latest()
    theirs = draft_root(replace(CUSTODY, root=trusted(STRANGERS, 2)), now_s=NOW_S, expires_s=NOW_S + YEAR_S)
    for number, by in product((1, 2, 3, 9), (STRANGERS, ROOT[:1] + STRANGERS)):
        root = edited(theirs, assigned(version=number), by)
        name = f"self-signed root {number} by {len(by)} keys"
        found.append(Variant(name, r.with_files({f"{max(number, 3)}.root.json": root}), "root|did not come"))
    for byte in range(0, len(r.content), 60):
        twisted = bytearray(r.content)
        twisted[byte] ^= 1
        found.append(Variant(f"manifest with byte {byte} flipped", packed(r.files, r.path, bytes(twisted), r.payload), "farm/"))
    for byte in range(0, len(r.payload), 150):
        twisted = bytearray(r.payload)
        twisted[byte] ^= 1
        found.append(
            Variant(f"payload with byte {byte} flipped", packed(r.files, r.path, r.content, bytes(twisted)), "payload digest")
        )
    return found


@cache
def a2_rollback() -> list[Variant]:
    r, found = latest(), []
    for old, roles in product((2, 3), (ROLES[:1], ROLES[:2], ROLES[:3], ROLES)):
        changes: dict[str, bytes | None] = {
            history()[old].name(role): history()[old].files[history()[old].name(role)] for role in roles
        }
        found.append(Variant(f"{'+'.join(roles)} of release {old}", r.with_files(changes), "timestamp|snapshot|did not come"))
    for old in (2, 3, 4):
        found.append(Variant(f"release {old} as it was", history()[old].bundle(), "timestamp|not above 4"))
    for version in (1, 2, 3, 4):
        g = ground()
        found.append(
            Variant(
                f"model version {version} released again", g.release(manifest(version)), f"version {version} is not above 4"
            )
        )
    for version in (1, 2, 3):
        found.append(
            Variant(
                f"timestamp {version} by the online key", role_edited("timestamp", assigned(version=version)), "timestamp|come"
            )
        )
    for version in (1, 2):
        edit = assigned(snapshot_meta=MetaFile(version))
        found.append(Variant(f"timestamp names snapshot {version}", role_edited("timestamp", edit), "timestamp|snapshot"))
    for name, version in product(("targets.json", "farm.json", "ships.json"), (1, 2, None)):
        found.append(
            Variant(f"snapshot takes {name} back to {version}", role_edited("snapshot", taken_back(name, version)), "snapshot")
        )
    for number in (1, 2):
        old_root = r.ground.repository.roots[number - 1]
        for name in ("3.root.json", "4.root.json"):
            found.append(Variant(f"root {number} as {name}", r.with_files({name: old_root}), "root"))
    return found


def taken_back(name: str, version: int | None) -> Edit:
    def edit(signed: Any) -> None:
        if version is None:
            del signed.meta[name]
        else:
            signed.meta[name] = MetaFile(version)

    return edit


@cache
def a3_freeze() -> list[Variant]:
    found = []
    signed_at = int(latest().ground.now_s)
    for role, earlier_s in product(ROLES, (1, 60, DAY_S, 300 * DAY_S)):
        edit = assigned(expires=utc(signed_at - earlier_s))
        found.append(
            Variant(
                f"{role} expired {earlier_s:.0f} s before it was signed", role_edited(role, edit), f"{role}.*expired|expired"
            )
        )
    r = latest()
    for earlier_s in (1, 60, DAY_S, 300 * DAY_S):
        draft = rotate_root(r.ground.repository.root, CUSTODY, now_s=NOW_S, expires_s=signed_at - earlier_s)
        root = sign_with(draft, ROOT[:2])
        found.append(Variant(f"root expired {earlier_s:.0f} s before", r.with_files({"3.root.json": root}), "expired"))
    for behind in (301, 302, 1000, 10**6):
        contacts = 60 + behind
        found.append(Variant(f"{behind} contacts behind", latest().bundle(), "contacts old", contacts=contacts))
        data = role_edited("timestamp", lambda signed: signed.unrecognized_fields.pop(CONTACTS))
        found.append(Variant(f"{contacts} contacts and a timestamp that names none", data, "contacts old", contacts=contacts))
    for late_s in (1, DAY_S, YEAR_S, 30 * YEAR_S):
        now_s = latest().ground.now_s + 60 * DAY_S + late_s
        about = {"policy": CLOCKED}
        found.append(
            Variant(f"a good clock is {late_s:.0f} s past expiry", latest().bundle(), "expired", about=about, now_s=now_s)
        )
    for version in (5, 6):  # metadata of 4 was renewed long after; the tenant's own expires first
        g = history()[version].ground.fork()
        g.target(target_path(manifest(7)), manifest_bytes(manifest(7)), lives_s=30)
        g.now_s += 3600
        g.publish()
        found.append(
            Variant(
                f"the tenant's word of release {version} has expired",
                packed(g.carried(), target_path(manifest(7)), manifest_bytes(manifest(7)), b""),
                "expired",
            )
        )
    return found


@cache
def a4_mix_and_match() -> list[Variant]:
    old, new = history()[5], history()[6]
    found = []
    for picks in product((old, new), repeat=4):
        if len({p.manifest.version for p in picks}) == 1:
            continue
        for update in (old, new):
            name = "".join(str(p.manifest.version) for p in picks) + f" with update {update.manifest.version}"
            own: Files = {p.name(role): p.files[p.name(role)] for role, p in zip(ROLES, picks, strict=True)}
            found.append(Variant(f"metadata {name}", packed(own, update.path, update.content, update.payload), "."))
            renamed: Files = {new.name(role): p.files[p.name(role)] for role, p in zip(ROLES, picks, strict=True)}
            if picks[0] is new:
                found.append(
                    Variant(f"metadata {name}, renamed", packed(renamed, update.path, update.content, update.payload), ".")
                )
    pairs = {"path": (old.path, new.content, new.payload), "manifest": (new.path, old.content, new.payload)}
    pairs |= {"payload": (new.path, new.content, old.payload), "manifest and payload": (new.path, old.content, old.payload)}
    found += [
        Variant(f"{what} of the other update", packed(new.files, *parts), "farm/|payload") for what, parts in pairs.items()
    ]
    return found


@cache
def a7_fast_forward() -> list[Variant]:
    far = (10_005 + 10, 2**31 - 1, 2**63, 10**40, 10**4000)
    found = []
    for version in far:
        label = f"{str(version)[:9]} of {len(str(version))} digits"
        found.append(Variant(f"timestamp {label}", role_edited("timestamp", assigned(version=version)), "timestamp.*above"))
        stamp = edited(latest().files["timestamp.json"], assigned(snapshot_meta=MetaFile(version)), ONLINE)
        shot = edited(latest().files[latest().name("snapshot")], assigned(version=version), ONLINE)
        changes: dict[str, bytes | None] = {
            "timestamp.json": stamp,
            latest().name("snapshot"): None,
            f"{version}.snapshot.json": shot,
        }
        found.append(Variant(f"snapshot {label}", latest().with_files(changes), "snapshot"))
        for name in ("farm.json", "ships.json", "targets.json"):
            found.append(
                Variant(
                    f"{name} {label} in the snapshot", role_edited("snapshot", taken_back(name, version)), "above|malformed"
                )
            )
    for version in (4 + 10_001, 2**31 - 1, 2**30):
        payload = latest().payload
        m = replace(manifest(6), version=version)
        found.append(Variant(f"model version {version}", ground().release(m, payload), "more than 10000 above"))
    for heard in (2**40, 2**63, 10**4000, -1, True, 1.5e3, "7", None):
        edit = contacts_set(heard)
        data = role_edited("timestamp", edit) if not isinstance(heard, float) else None
        if data is not None and heard is not None:
            found.append(Variant(f"contact counter {str(heard)[:20]}", data, "contact counter"))
    return found


def contacts_set(value: Any) -> Edit:
    def edit(signed: Any) -> None:
        signed.unrecognized_fields[CONTACTS] = {SATELLITE: value}

    return edit


@cache
def a10_below_threshold() -> list[Variant]:
    found, r = [], latest()
    for role, keys in (("farm", FARM), ("targets", TARGETS)):
        for key in keys:
            found.append(Variant(f"{role} by key {keys.index(key)} alone", role_edited(role, nothing, [key]), "signed by 1/2"))
            data = json.loads(edited(r.files[r.name(role)], nothing, [key]))
            row = data["signatures"][0]
            twice: dict[str, list[dict[str, str]]] = {
                "the same entry twice": [row, row],
                "its name in capitals": [row, row | {"keyid": row["keyid"].upper()}],
                "its name cut short": [row, row | {"keyid": row["keyid"][:32]}],
                "under another key's name": [row, row | {"keyid": keys[(keys.index(key) + 1) % 3].key_id}],
                "with an empty second one": [row, {"keyid": keys[(keys.index(key) + 1) % 3].key_id, "sig": ""}],
                "with a name of no key": [row, row | {"keyid": "x"}],
            }
            for how, rows in twice.items():
                raw = as_tuf_writes(data | {"signatures": rows})
                found.append(Variant(f"{role} by key {keys.index(key)}, {how}", r.with_files({r.name(role): raw}), role))
    for count in (2, 3, 9):
        found.append(Variant(f"one key under {count} names", r.with_files(under_names(count)), "Ed25519"))
    for keys in (ROOT[:1], ROOT[:1] + STRANGERS[:1], NEW_ROOT[:2] + ROOT[:1]):
        draft = rotate_root(
            r.ground.repository.root, replace(CUSTODY, root=trusted(NEW_ROOT, 2)), now_s=NOW_S, expires_s=NOW_S + YEAR_S
        )
        root = sign_with(draft, keys)
        found.append(
            Variant(f"root 3 by {len(keys)} keys, one of the old", r.with_files({"3.root.json": root}), "root.*signed by")
        )
    return found


def under_names(count: int) -> dict[str, bytes | None]:
    """Return targets that know one key of the tenant by several names, and the tenant's word signed by it under each."""
    names = [f"{i:064x}" for i in range(count)]

    def edit(signed: Any) -> None:
        key = signed.delegations.keys[FARM[0].key_id]
        signed.delegations.keys |= {n: type(key)(n, key.keytype, key.scheme, dict(key.keyval)) for n in names}
        signed.delegations.roles["farm"].keyids = names

    r = latest()
    alone = json.loads(edited(r.files[r.name("farm")], nothing, FARM[:1]))
    rows = [{"keyid": n, "sig": alone["signatures"][0]["sig"]} for n in names]
    targets = edited(r.files[r.name("targets")], edit, TARGETS[:2])
    return {r.name("targets"): targets, r.name("farm"): as_tuf_writes(alone | {"signatures": rows})}


def as_tuf_writes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


@cache
def a11_root_chain() -> list[Variant]:
    r, found = latest(), []
    roots = [r.ground.repository.root]
    for _ in range(4):
        times = {"now_s": NOW_S + 9 * DAY_S, "expires_s": NOW_S + 8 * YEAR_S}
        roots.append(sign_with(rotate_root(roots[-1], CUSTODY, **times), ROOT[:2]))
    chain = {f"{n}.root.json": data for n, data in enumerate(roots, 2)}
    for name in ("3.root.json", "4.root.json", "5.root.json"):
        for what, edit in {
            "of the next version": assigned(version=int(name[0]) + 1),
            "of the version before": assigned(version=int(name[0]) - 1),
            "of version 0": assigned(version=0),
            "far ahead": assigned(version=2**31 - 1),
        }.items():
            found.append(Variant(f"{name} {what}", r.with_files({**chain, name: raw_version(chain[name], edit)}), "root"))
        for who, by in {"nobody": [], "strangers": STRANGERS, "one": ROOT[1:2], "targets' keys": TARGETS}.items():
            found.append(
                Variant(f"{name} signed by {who}", r.with_files({**chain, name: edited(chain[name], nothing, by)}), "root")
            )
        junk = {"junk": b"{}", "cut": chain[name][:-9], "empty": b"", "a snapshot": r.files[r.name("snapshot")]}
        found += [Variant(f"{name} is {what}", r.with_files({**chain, name: data}), "root") for what, data in junk.items()]
    rotated = sign_with(
        rotate_root(roots[0], replace(CUSTODY, root=trusted(NEW_ROOT, 2)), now_s=NOW_S + 9 * DAY_S, expires_s=NOW_S + YEAR_S),
        NEW_ROOT[:2],
    )
    found.append(Variant("new keys that the old ones never named", r.with_files({"3.root.json": rotated}), "root"))
    long = list(roots[:1])
    for _ in range(65):
        long.append(sign_with(rotate_root(long[-1], CUSTODY, now_s=NOW_S + 9 * DAY_S, expires_s=NOW_S + YEAR_S), ROOT[:2]))
    found.append(
        Variant("65 rotations at once", r.with_files({f"{n}.root.json": d for n, d in enumerate(long, 2)}), "64 new roots")
    )
    return found


def raw_version(data: bytes, edit: Edit) -> bytes:
    metadata: Any = Metadata.from_bytes(data)
    edit(metadata.signed)
    return signed_anew(metadata, ROOT[:2])


@cache
def a12_revoked() -> list[Variant]:
    found: list[Variant] = []
    times = {"now_s": NOW_S + 20 * DAY_S, "expires_s": NOW_S + 4 * YEAR_S}
    held = latest().ground.repository.roles["targets"]
    rotated = {
        "tenant's keys replaced": add_tenant(held, TENANT, trusted(NEW_FARM, 2), **times),
        "threshold raised": add_tenant(held, TENANT, trusted([*FARM[:2], NEW_FARM[0]], 3), **times),
        "tenant revoked": revoke_tenant(held, TENANT, **times),
    }
    for what, draft in rotated.items():
        g = ground()
        g.now_s = times["now_s"]
        g.accept(draft, "targets")
        if what != "tenant revoked":
            g.signers["farm"] = NEW_FARM[:2] if what.startswith("tenant's") else [*FARM[:2], NEW_FARM[0]]
            g.target("farm/fields/5-new", b"x")
        g.publish()
        told = (pack_metadata(g.carried(None)),)
        found += [Variant(f"{what}: release {v} of before", history()[v].bundle(), ".", before=told) for v in (5, 6)]
        for label, by in {
            "old": FARM[:2],
            "all old": FARM,
            "old and new": [FARM[0], NEW_FARM[0]],
            "strangers": STRANGERS,
        }.items():
            new = g.fork()
            new.now_s += 60
            path, content = target_path(manifest()), manifest_bytes(manifest())
            files = with_tenant(new.repository.files(), new, path, content, by)
            found.append(
                Variant(f"{what}: signed by {label}", packed(files, path, content, latest().payload), ".", before=told)
            )
    found += revoked_online(times)
    return found


def with_tenant(files: Files, g: Any, path: str, content: bytes, by: Sequence[SigningKey]) -> Files:
    """Return what an attacker with old tenant keys and the online key would send."""
    old = latest().ground.repository.roles["farm"]
    number = g.repository.versions["farm"] + 1

    def edit(signed: Any) -> None:
        signed.version = number
        signed.targets = {path: TargetFile.from_data(path, content, ["sha256"])}
        signed.unrecognized_fields[SIGNED_AT] = int(g.now_s)

    snapshot, stamp = g.repository.versions["snapshot"] + 1, g.repository.versions["timestamp"] + 1
    shot = edited(
        g.repository.roles["snapshot"],
        lambda s: (setattr(s, "version", snapshot), s.meta.update({"farm.json": MetaFile(number)})),
        ONLINE,
    )
    time = edited(g.repository.roles["timestamp"], assigned(version=stamp, snapshot_meta=MetaFile(snapshot)), ONLINE)
    kept = {f"{g.repository.versions['targets']}.targets.json", "2.root.json"}
    carried = {name: data for name, data in files.items() if name in kept}
    return carried | {"timestamp.json": time, f"{snapshot}.snapshot.json": shot, f"{number}.farm.json": edited(old, edit, by)}


def revoked_online(times: dict[str, float]) -> list[Variant]:
    """Return bundles by an online key, or root keys, that a newer root no longer names."""
    found = []
    for what, custody, by in (
        ("online key", replace(CUSTODY, online=trusted(NEW_ONLINE, 1)), ROOT[:2]),
        ("root keys", replace(CUSTODY, root=trusted(NEW_ROOT, 2)), [*ROOT[:2], *NEW_ROOT[:2]]),
    ):
        g = ground()
        g.now_s = times["now_s"]
        g.accept(rotate_root(g.repository.root, custody, **times), "root", by)
        if what == "online key":
            g.signers |= {"timestamp": NEW_ONLINE, "snapshot": NEW_ONLINE}
        g.publish()
        told = (pack_metadata(g.carried(None)),)
        if what == "online key":
            found += [Variant(f"{what} revoked: release {v}", history()[v].bundle(), "timestamp", before=told) for v in (5, 6)]
            for step in (1, 2, 50):
                data = role_edited("timestamp", assigned(version=g.repository.versions["timestamp"] + step))
                found.append(Variant(f"{what} revoked: timestamp {step} ahead", data, "timestamp", before=told))
        else:
            for signers in (ROOT[:2], ROOT, [ROOT[0], NEW_ROOT[0]]):
                draft = rotate_root(g.repository.root, CUSTODY, now_s=g.now_s + 9, expires_s=NOW_S + 9 * YEAR_S)
                files = g.carried() | {"4.root.json": sign_with(draft, signers)}
                data = packed(files, latest().path, latest().content, latest().payload)
                found.append(
                    Variant(f"{what} revoked: root 4 by {len(signers)} and {signers[-1].key_id[:4]}", data, "root", before=told)
                )
    return found


@cache
def a20_other_tenant() -> list[Variant]:
    """Whatever ships may sign, it is not for a satellite of farm; nor may it come by way of another role."""
    found = []
    by_ships = {"farm/fields/7-x": SHIPS, "farm/fields/6-y": SHIPS}
    for path in ("ships/fields/7-x", "ships/boats/7-x", f"ships/fields/{target_path(manifest(7)).split('/')[-1]}"):
        for m in (manifest(7), replace(manifest(7), tenant="ships"), replace(manifest(7), tenant="ships", model="boats")):
            name = f"{path} with a manifest of {m.tenant}/{m.model}"
            found.append(Variant(name, ground().release(m, path=path), "signed by ships, not by farm"))
    for path in by_ships:
        g = ground()
        g.now_s += 60

        def sign_for(signed: Any, path: str = path) -> None:
            signed.version += 1
            signed.targets[path] = TargetFile.from_data(path, manifest_bytes(manifest(7)), ["sha256"])

        for role, by in (("ships", SHIPS[:1]), ("farm", SHIPS), ("farm", CROPS)):
            metadata = edited(g.repository.roles[role], sign_for, by)
            forged = replace(
                g.repository,
                roles={**g.repository.roles, role: metadata},
                versions={**g.repository.versions, role: g.repository.versions[role] + 1},
            )
            published = publish(forged, ONLINE, now_s=g.now_s)
            wanted = ("timestamp", "snapshot", "targets", "farm", "ships")
            files = {n: d for n, d in published.files().items() if n.removesuffix(".json").rpartition(".")[2] in wanted}
            name = f"{role} by {len(by)} keys of {'ships' if by != CROPS else 'crops'} signs for {path}"
            found.append(
                Variant(name, packed(files | {"2.root.json": g.repository.root}, path, manifest_bytes(manifest(7)), b""), ".")
            )
    for tenant in ("ships", "guest-2", "root", "timestamp", "farm2", "Farm"):
        about = {"tenant": tenant}
        found.append(
            Variant(
                f"a satellite of {tenant} is sent farm's update",
                latest().bundle(),
                "signed by farm, not by|not for",
                about=about,
            )
        )
    return found


@cache
def a21_not_canonical() -> list[Variant]:
    """Bytes whose signature holds, for TUF signs the canonical form of what they mean, and which may be read in two ways."""
    r, found = latest(), []
    twists: dict[str, Callable[[bytes], bytes]] = {
        "a space": lambda d: d.replace(b":", b": ", 1),
        "a line feed at the end": lambda d: d + b"\n",
        "a byte order mark": lambda d: b"\xef\xbb\xbf" + d,
        "UTF-16": lambda d: d.decode().encode("utf-16"),
        "keys in another order": lambda d: json.dumps(dict(reversed(json.loads(d).items())), separators=(",", ":")).encode(),
        "indented": lambda d: json.dumps(json.loads(d), indent=1, sort_keys=True).encode(),
        "version twice": lambda d: d.replace(b'"version":', b'"version":99999,"version":', 1),
        "_type twice": lambda d: d.replace(b'"_type":', b'"_type":"root","_type":', 1),
        "signed twice": lambda d: d.replace(b'"signed":', b'"signed":{},"signed":', 1),
        "an escape": lambda d: d.replace(b'"expires"', b'"\\u0065xpires"', 1),
        "an escaped slash": lambda d: d.replace(b'"keyid"', b'"key\\u0069d"', 1),
        "a float for an integer": lambda d: d.replace(b'"version":', b'"version":1.0e0,"x-v":', 1),
        "a large exponent": lambda d: d.replace(b'"x-orbitloop-signed-at":', b'"x-orbitloop-signed-at":1e9,"x":', 1),
        "a field beside": lambda d: d[:-1] + b',"extra":1}',
        "NaN": lambda d: d[:-1] + b',"extra":NaN}',
    }
    for role, (how, twist) in product(("timestamp", "snapshot", "targets", "farm"), twists.items()):
        twisted = twist(r.files[r.name(role)])
        if twisted != r.files[r.name(role)]:
            found.append(Variant(f"{role} with {how}", r.with_files({r.name(role): twisted}), role))
    for how, twist in (*list(twists.items())[:6], ("a float", lambda d: d.replace(b'"version":7', b'"version":7.0'))):
        m = manifest(7)
        twisted = twist(manifest_bytes(m))
        if twisted != manifest_bytes(m):
            found.append(Variant(f"signed manifest with {how}", ground().release_raw(target_path(m), twisted, b""), "manifest"))
    for key, value in (
        ("version", "true"),
        ("version", '"7"'),
        ("payload_bytes", "-1"),
        ("satellites", '"sat-1"'),
        ("gate", "[]"),
    ):
        m = json.loads(manifest_bytes(manifest(7)))
        raw = json.dumps(m | {key: json.loads(value)}, sort_keys=True, separators=(",", ":")).encode()
        found.append(Variant(f"manifest whose {key} is {value}", ground().release_raw(target_path(manifest(7)), raw, b""), "."))
    for field in ("x", "schema2", "requires"):
        raw = json.dumps(json.loads(manifest_bytes(manifest(7))) | {field: 1}, sort_keys=True, separators=(",", ":")).encode()
        found.append(
            Variant(f"manifest with the field {field}", ground().release_raw(target_path(manifest(7)), raw, b""), "canonical")
        )
    return found


def by_trust_alone(variants: Callable[[], list[Variant]]) -> Callable[[], list[Variant]]:
    """Add what the same metadata is as a message of its own, where the reason lies in metadata that such a message has."""

    def both() -> list[Variant]:
        found = list(variants())
        seen: set[bytes] = set()
        for variant in list(found):
            section = open_bundle(variant.data).trust
            if section in seen or variant.about.get("tenant") or not ALONE.search(variant.name):
                continue
            seen.add(section)
            found.append(replace(variant, name=f"alone: {variant.name}", data=section, kind="trust", says="."))
        return found

    return both


ALONE = re.compile(r"^(timestamp|snapshot|targets|root|\d\.root|self-signed|one key under|targets by|\d+ contacts)")
_MOST = "0 accepted, no byte changed, reason told"


def sections() -> tuple[Section, ...]:
    return (
        attack("A1 arbitrary install", _MOST, by_trust_alone(a1_arbitrary)),
        attack("A2 rollback", _MOST, a2_rollback),
        attack("A3 freeze", _MOST, by_trust_alone(a3_freeze)),
        attack("A4 mix and match", _MOST, a4_mix_and_match),
        attack("A7 fast-forward", _MOST, a7_fast_forward),
        attack("A10 keys below threshold", _MOST, by_trust_alone(a10_below_threshold)),
        attack("A11 root chain", _MOST, by_trust_alone(a11_root_chain)),
        attack("A12 revoked keys", _MOST, a12_revoked),
        attack("A20 another tenant", _MOST, a20_other_tenant),
        attack("A21 not canonical", _MOST, by_trust_alone(a21_not_canonical)),
    )
