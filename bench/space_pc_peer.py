"""Two sides of the collision probability's benchmark in turns, run by the interpreter of the peers' environment.

Reads one JSON object from stdin: message files with their radii, and rounds; writes one with what kessler-toolkit says of each
and the CPU seconds of a call, theirs and ours. Theirs goes the way its documentation shows: its own parser, then `compute_pc`
with the relative state and both covariances as parsed. What is timed is the probability alone, messages being read before.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.orbit.conjunction.cdm import read_cdm
from orbitloop.orbit.conjunction.pc2d import disc_probability, pc2d


def main() -> None:
    """Measure and print."""
    import kessler_toolkit as peer  # type: ignore[import-not-found]

    logging.disable(logging.WARNING)
    asked = json.load(sys.stdin)
    theirs: list[dict[str, Any]] = []
    encounters = []
    for path, radius_m in asked["messages"]:
        text = Path(path).read_text()
        parsed = peer.parse_cdm_kvn(text)
        theirs.append(
            {
                "miss_m": parsed.miss_distance_m,
                "hbr_m": radius_m,
                "r_rel_m": parsed.rel_position_rtn_m,
                "v_rel_ms": parsed.rel_velocity_rtn_ms,
                "cov1_m2": parsed.sat1.cov_rtn_m2,
                "cov2_m2": parsed.sat2.cov_rtn_m2,
            }
        )
        encounters.append(read_cdm(text).encounter(radius_m))
    values = [float(peer.compute_pc(**one).value) for one in theirs]
    pc2d(encounters[0])
    times: dict[str, list[float]] = {"theirs": [], "ours": [], "bulk": []}
    miss, covariance, radius = _bulk(encounters)
    for _ in range(asked["rounds"]):
        began = time.process_time()
        for one in theirs:
            peer.compute_pc(**one)
        between = time.process_time()
        for encounter in encounters:
            pc2d(encounter)
        after = time.process_time()
        disc_probability(miss, covariance, radius)
        end = time.process_time()
        times["theirs"].append((between - began) / len(theirs))
        times["ours"].append((after - between) / len(encounters))
        times["bulk"].append((end - after) / len(miss))
    print(json.dumps({"values": values, "times": times}))


def _bulk(encounters: list[Any]) -> tuple[Any, Any, Any]:
    """Return each encounter's plane a hundred times over."""
    planes = [pc2d(one) for one in encounters]
    miss = np.repeat([one.miss_km for one in planes], 100, 0)
    covariance = np.repeat([one.covariance.matrix for one in planes], 100, 0)
    return miss, covariance, np.repeat([one.hard_body_radius_km for one in encounters], 100)


if __name__ == "__main__":
    main()
