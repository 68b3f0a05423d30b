"""brahe's side of the passes' benchmark, run by the interpreter of the peers' environment: sets and stations in, windows out.

Reads one JSON object from stdin: TLE lines, places, mask, start, end; writes one with its windows and CPU seconds. One thread,
its own defaults otherwise (60 s steps, 1 ms tolerance), UT1 = UTC and the pole fixed.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any


def main() -> None:
    """Measure and print."""
    bh: Any = importlib.import_module("brahe")
    asked = json.load(sys.stdin)
    # Named by its own method: `from_values` of 1.8.0 takes its first value for the pole, 160 km off.
    bh.set_global_eop_provider_from_static_provider(bh.StaticEOPProvider.from_zero())
    begin, end = (bh.Epoch.from_unix_timestamp(asked[name]) for name in ("start_s", "end_s"))
    fleet = [bh.SGPPropagator.from_3le(*three, 60.0) for three in asked["sets"]]
    places = [bh.PointLocation(lon, lat, height_m).with_name(name) for name, lat, lon, height_m in asked["places"]]
    mask = bh.ElevationConstraint(asked["mask_deg"], None)
    config = bh.AccessSearchConfig(parallel=False)
    began = time.process_time()
    found = bh.location_accesses(places, fleet, begin, end, mask, config=config)
    cpu_s = time.process_time() - began
    rows = [(w.satellite_name, w.location_name, w.window_open.unix_timestamp(), w.window_close.unix_timestamp()) for w in found]
    print(json.dumps({"cpu_s": cpu_s, "windows": rows, "version": bh.__version__}))


if __name__ == "__main__":
    main()
