"""Orbits and space traffic: SGP4, passes, screening, collision probability, telemetry health, plans; each against its peers.

The parts are modules beside this one (`space_*.py`), each with `figures(quick) -> list[Figure]`; ORBITLOOP_BENCH_SPACE names
some (`passes,pc`), default all. Real data: folder in ORBITLOOP_DATA; a part whose set is not there says so and is left out.
Times are CPU seconds of the process, both sides in one run, interleaved, medians; the machine may be shared.
"""

from __future__ import annotations

import importlib
import os
import sys

from orbitloop.reports.figures import Figure

PARTS = ("sgp4", "catalogue", "passes", "screening", "pc", "conjunctions", "health", "planner")


def run(quick: bool) -> list[Figure]:
    """Measure the parts that are asked for, in order."""
    asked = [name for name in os.environ.get("ORBITLOOP_BENCH_SPACE", "").split(",") if name] or list(PARTS)
    unknown = sorted(set(asked) - set(PARTS))
    if unknown:
        raise SystemExit(f"ORBITLOOP_BENCH_SPACE names {', '.join(unknown)}; there are {', '.join(PARTS)}")
    found: list[Figure] = []
    for name in asked:
        print(f"space: {name}", file=sys.stderr, flush=True)
        found += importlib.import_module(f"space_{name}").figures(quick)
    return found
