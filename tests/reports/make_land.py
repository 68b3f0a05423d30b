"""How `reports/static/land.json` was made from npm package world-atlas 2.0.2: `python make_land.py land-110m.json land.json`.

The package's rings are stitched over the antimeridian and around the pole; an equirectangular map needs them cut again. So each
ring is unwrapped, the one around the pole is closed along the map's lower edge, and all are clipped to 180 degrees W and E.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

STEP_DEG = 0.1
Ring = list[tuple[float, float]]


def decode_arcs(topology: dict) -> list[Ring]:
    (sx, sy), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        x = y = 0
        line = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            line.append((x * sx + tx, y * sy + ty))
        arcs.append(line)
    return arcs


def rings_of(topology: dict) -> list[Ring]:
    arcs = decode_arcs(topology)
    rings = []
    for geometry in topology["objects"]["land"]["geometries"]:
        polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
        for polygon in polygons:
            for indices in polygon:
                ring: Ring = []
                for index in indices:
                    part = arcs[index] if index >= 0 else arcs[~index][::-1]
                    ring.extend(part[1:] if ring else part)
                rings.append(ring)
    return rings


def unwrap(ring: Ring) -> Ring:
    lon = ring[0][0]
    out = [ring[0]]
    for x, y in ring[1:]:
        lon += (x - lon + 180) % 360 - 180
        out.append((lon, y))
    if abs(out[-1][0] - out[0][0]) > 180:  # around the pole: close along the edge of the map
        out += [(out[-1][0], -90.0), (out[0][0], -90.0)]
    return out


def clip(ring: Ring, edge: float, sign: int) -> Ring:
    out: Ring = []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        inside0, inside1 = sign * x0 <= sign * edge, sign * x1 <= sign * edge
        if inside0:
            out.append((x0, y0))
        if inside0 != inside1:
            out.append((edge, y0 + (edge - x0) / (x1 - x0) * (y1 - y0)))
    return out


def coded(ring: Ring) -> list[int]:
    flat: list[int] = []
    last = None
    for x, y in ring:
        point = (round(x / STEP_DEG), round(y / STEP_DEG))
        if last is None:
            flat += point
        elif point != last:
            flat += [point[0] - last[0], point[1] - last[1]]
        last = point
    return flat


def main(source: str, target: str) -> None:
    rings = []
    for ring in map(unwrap, rings_of(json.loads(Path(source).read_text()))):
        for turn in (-360, 0, 360):
            cut = clip(clip([(x + turn, y) for x, y in ring], 180, 1), -180, -1)
            if len(cut) > 2 and len(flat := coded(cut)) >= 6:
                rings.append(flat)
    land = {
        "source": "Natural Earth 1:110m land, by way of the npm package world-atlas 2.0.2 (land-110m.json)",
        "licence": "Natural Earth: public domain. world-atlas: ISC, Copyright 2013-2019 Michael Bostock; see NOTICE",
        "step_deg": STEP_DEG,
        "form": "each ring: lon, lat of its first point, then differences, all in steps",
        "rings": rings,
    }
    Path(target).write_text(json.dumps(land, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
