"""What crosses the uplink as one update: the metadata that says whom to believe, the manifest as their target, and the payload.

The bundle is a `records.wire` record of kind `update` with the blobs `trust` (see `trust.carried`), `manifest` and `payload`,
and the path under which the manifest is a target. The manifest goes up compressed, and is signed and kept as it was. It knows
no keys: the ground has `manifest_bytes` signed before it packs, and the satellite verifies metadata and manifest after
`open_bundle` and before anything else is read. Only then do `read_manifest` and `check_payload` run, and only then is the
payload unsealed and parsed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orbitloop.delta.sections import pack_frame, unpack_frame
from orbitloop.errors import UpdateError, WireError
from orbitloop.records.ids import canonical_json, digest_bytes
from orbitloop.records.update import UpdateManifest
from orbitloop.records.wire import pack, unpack

KIND = "update"
VERSION = 3
SCHEMA = "orbitloop.update/1"
MAX_TRUST_BYTES = 1 << 18
MAX_MANIFEST_BYTES = 1 << 20
_PATH = re.compile(r"[!-~]{1,300}")
MAX_UPDATE_VERSION = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """Metadata, the path of the manifest as a target, the manifest and the payload as they came; nothing is believed yet."""

    trust: bytes
    path: str
    manifest: bytes
    payload: bytes


def pack_bundle(trust: bytes, path: str, manifest: bytes, payload: bytes) -> bytes:
    """Return the bytes that go up."""
    return pack(KIND, VERSION, {"path": path}, {"trust": trust, "manifest": pack_frame(manifest), "payload": payload})


def open_bundle(data: bytes) -> Bundle:
    """Split what came up into its parts; nothing in it is believed yet.

    Raises:
        UpdateError: the bytes are not a bundle. Never anything else.
    """
    try:
        record = unpack(data, expect=KIND)
    except WireError as error:
        raise UpdateError(error.what, where="bundle") from error
    parts, path = record.blobs, record.fields.get("path")
    if record.version != VERSION or set(parts) != {"trust", "manifest", "payload"} or set(record.fields) != {"path"}:
        raise UpdateError("record holds something else than metadata, one manifest and one payload", where="bundle")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise UpdateError("the manifest's path is malformed", where="bundle")
    for name, limit in (("trust", MAX_TRUST_BYTES), ("manifest", MAX_MANIFEST_BYTES)):
        if len(parts[name]) > limit:
            raise UpdateError(f"{name} is over the limit of {limit} bytes", where="bundle")
    return Bundle(parts["trust"], path, unpack_frame(parts["manifest"], MAX_MANIFEST_BYTES, "manifest"), parts["payload"])


def target_path(manifest: UpdateManifest) -> str:
    """Return the path under which a manifest is a target: TENANT/MODEL/VERSION-RESULT, where the tenant may sign it."""
    return f"{manifest.tenant}/{quote(manifest.model, safe='')}/{manifest.version}-{manifest.result[7:19]}"


def seal_binding(manifest: UpdateManifest) -> bytes:
    """Return what a sealed payload is tied to: whose update of what it is, and from which base to which result."""
    m = manifest
    return canonical_json([m.tenant, m.model, m.hardware, m.version, m.base, m.result])


def manifest_bytes(manifest: UpdateManifest) -> bytes:
    """Return the one form of a manifest that is signed.

    Raises:
        UpdateError: the manifest holds what the satellite would refuse.
    """
    try:
        data = canonical_json(UpdateManifest.from_json(manifest.to_json()).to_json())
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UpdateError(f"manifest cannot be written ({error})", where="manifest") from error
    read_manifest(data)
    return data


def read_manifest(data: bytes) -> UpdateManifest:
    """Read a verified manifest. Strict: unknown or missing fields, other types and any second way to write it are refused.

    Raises:
        UpdateError: malformed. Never anything else.
    """
    try:
        value: Any = json.loads(data)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise UpdateError(f"schema is not {SCHEMA}", where="manifest", remedy="update the agent first")
        manifest = UpdateManifest.from_json(value)
        same = canonical_json(manifest.to_json()) == data
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UpdateError(f"malformed ({type(error).__name__}: {error})", where="manifest") from error
    if not same:
        raise UpdateError("not in canonical form, or with fields that are not known", where="manifest")
    if not 1 <= manifest.version <= MAX_UPDATE_VERSION:
        raise UpdateError(f"version {manifest.version} is out of range", where="manifest")
    if manifest.payload_bytes < 0:
        raise UpdateError("payload_bytes is negative", where="manifest")
    for field in ("base", "result", "payload_digest"):
        digest = getattr(manifest, field)
        if len(digest) != 71 or not digest.startswith("sha256:") or set(digest[7:]) - set("0123456789abcdef"):
            raise UpdateError(f"{field} is not a sha256 digest", where="manifest")
    if any(len(box) != 5 for case in manifest.canary for box in case.boxes):
        raise UpdateError("a canary box is not five numbers", where="manifest")
    return manifest


def check_payload(manifest: UpdateManifest, payload: bytes) -> None:
    """Hold the payload against the manifest: length first, then digest.

    Raises:
        UpdateError: it is not the payload that was signed for.
    """
    if len(payload) != manifest.payload_bytes:
        raise UpdateError(f"payload has {len(payload)} bytes, the manifest says {manifest.payload_bytes}", where="payload")
    if digest_bytes(payload) != manifest.payload_digest:
        raise UpdateError("payload digest differs from the manifest's", where="payload")
