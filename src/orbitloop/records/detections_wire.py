"""A scene's detections on their way down: a GeoJSON FeatureCollection, deflated, in the common container.

The satellite's product. It costs some 60 bytes a box where the picture costs megabytes, so it goes down before any sample.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from orbitloop.errors import WireError
from orbitloop.records.wire import pack, unpack

KIND = "detections"
VERSION = 1
MAX_GEOJSON_BYTES = 16 << 20


def detections_to_bytes(collection: Mapping[str, Any]) -> bytes:
    """Serialise a FeatureCollection."""
    text = json.dumps(collection, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    return pack(KIND, VERSION, {"bytes": len(text)}, {"geojson": zlib.compress(text, 9)})


def detections_from_bytes(data: bytes) -> dict[str, Any]:
    """Read what `detections_to_bytes` wrote.

    Raises:
        WireError: malformed, truncated, or more than 16 MiB of text. Never anything else.
    """
    record = unpack(data, expect=KIND)
    if "geojson" not in record.blobs:
        raise WireError("a detections record without its GeoJSON")
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(record.blobs["geojson"], MAX_GEOJSON_BYTES)
        if not inflate.eof or inflate.unused_data:
            raise WireError("GeoJSON is truncated, or larger than any that we send")
        collection = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise WireError(f"GeoJSON is malformed ({error})") from error
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list) or not all(isinstance(f, dict) for f in features):
        raise WireError("not a FeatureCollection")
    return dict(collection)
