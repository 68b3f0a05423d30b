"""One arm of `space_screening`, in a process of its own: CPU seconds, peak memory, and what was found.

Arguments: `ours ENGINE`, or `astroz`; then the number of objects (0: all, else that many drawn with seed 0), hours, and a file
for the events. Prints one JSON object. Peak memory is the kernel's high-water mark of this address space; a process's
`ru_maxrss` would begin with its parent's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD_KM = 5.0
START_S = 1_787_485_620.0  # 2026-08-23 11:47 UTC, the newest epoch of the catalogue, rounded up to a minute


def catalogue() -> list[str]:
    """Return the element sets as texts of two lines."""
    folder = Path(os.environ["ORBITLOOP_DATA"]) / "orbits" / "catalog"
    lines = [line.rstrip() for name in ("active.tle", "debris.tle") for line in (folder / name).read_text().splitlines()]
    pairs = [line for line in lines if line.startswith(("1 ", "2 ")) and len(line) == 69]
    return [f"{one}\n{two}" for one, two in zip(pairs[::2], pairs[1::2], strict=True)]


def drawn(texts: list[str], count: int) -> list[str]:
    """Return `count` of the sets, drawn with seed 0, in their order; all for 0."""
    if not count:
        return texts
    places = np.sort(np.random.default_rng(0).choice(len(texts), count, replace=False))
    return [texts[n] for n in places.tolist()]


def peak_mb() -> float:
    """Return the high-water mark of this process's memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024.0
    return float("nan")


def ours(texts: list[str], hours: float, engine: str) -> dict[str, Any]:
    """Run our screening; CPU is from elements in memory to approaches, compiled code from the cache if it is there."""
    from orbitloop.orbit.conjunction.screening import screen
    from orbitloop.orbit.formats.tle import parse_tle_file

    elements, _ = parse_tle_file("\n".join(texts))
    begin = time.process_time()
    found = screen(elements, START_S, START_S + hours * 3600.0, engine=engine)  # type: ignore[arg-type]
    cpu_s = time.process_time() - begin
    numbers = np.array([one.norad_id for one in elements])
    table = found.approaches
    return {
        "cpu_s": cpu_s,
        "engine": found.engine,
        "failed": len(found.failures),
        "first": numbers[table.primary],
        "second": numbers[table.secondary],
        "tca_s": table.tca_s,
        "miss_km": table.miss_km,
        "speed_km_s": table.speed_km_s,
        "enter_s": table.enter_s,
        "leave_s": table.leave_s,
        "kind": table.kind,
    }


def peer(texts: list[str], hours: float) -> dict[str, Any]:
    """Run astroz's."""
    from astroz import Constellation
    from astroz import screen as theirs

    begin = time.process_time()
    fleet = Constellation("\n".join(texts))  # type: ignore[no-untyped-call]
    start = datetime.fromtimestamp(START_S, UTC)
    found = theirs(fleet, hours * 60.0, threshold=THRESHOLD_KM, start_time=start)  # type: ignore[no-untyped-call]
    cpu_s = time.process_time() - begin
    numbers = np.asarray(fleet.satnums)
    return {
        "cpu_s": cpu_s,
        "first": numbers[np.asarray(found.i)],
        "second": numbers[np.asarray(found.j)],
        "tca_s": START_S + 60.0 * np.asarray(found.time),
        "miss_km": np.asarray(found.distance),
        "speed_km_s": np.asarray(found.speed),
    }


def main(arguments: list[str]) -> None:
    """Run the arm that the command line names."""
    kind = arguments.pop(0)
    engine = arguments.pop(0) if kind == "ours" else ""
    count, hours, out = int(arguments[0]), float(arguments[1]), arguments[2]
    texts = drawn(catalogue(), count)
    result = ours(texts, hours, engine) if kind == "ours" else peer(texts, hours)
    arrays = {name: value for name, value in result.items() if isinstance(value, np.ndarray)}
    np.savez(out, **arrays)  # type: ignore[arg-type]
    plain = {name: value for name, value in result.items() if name not in arrays}
    fast = int((result["speed_km_s"] > 0.1).sum())
    print(json.dumps({**plain, "objects": len(texts), "events": len(result["tca_s"]), "fast": fast, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(sys.argv[1:])
