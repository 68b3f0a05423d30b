"""One side of a comparison, as a process of its own: commands come as JSON lines on stdin, answers go as JSON lines to stdout.

    python worker.py KIND

Every answer carries what the process itself spent: CPU seconds of all its threads (`time.process_time`), so that what else the
machine does meanwhile does not count, and wall seconds. What a library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Any

import numpy as np


def memory_mb() -> dict[str, float]:
    """Return the process's resident set now and at its highest, MB (10^6 B; Linux counts in KiB)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[key].split()[0]) * 1024 / 1e6 for name, key in (("rss_mb", "VmRSS"), ("peak_mb", "VmHWM"))}


def load_tiles(file: str) -> Any:
    """Return tiles (B, S, S, 3) uint8 from a .npy file."""
    return np.load(file, allow_pickle=False)


def timed(call: Any, repeats: int) -> list[float]:
    """Return the CPU seconds of each of some calls; one more comes first, since the others' turns have emptied the caches."""
    call()
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        spent.append(time.process_time() - begin)
    return spent


def side_of(kind: str) -> Any:
    """Return the object behind a kind: each public method is a command, its JSON arguments by keyword, its result JSON.

    Only what the kind needs is imported, so that its memory is its own.
    """
    if kind == "ours":
        import ours

        return ours.Ours()
    if kind == "sahi":
        import slicing

        return slicing.Sahi()
    if kind in ("nnc", "bsdiff4"):
        import coders

        return coders.SIDES[kind]()
    import networks

    return networks.SIDES[kind]()


def serve(side: Any, commands: IO[str], answers: IO[str]) -> None:
    """Answer commands until the input ends."""
    for line in commands:
        command: dict[str, Any] = json.loads(line)
        name = command.pop("op")
        cpu_s, wall_s = time.process_time(), time.monotonic()
        try:
            value = memory_mb() if name == "memory" else getattr(side, name)(**command)
            answer: dict[str, Any] = {"value": value}
        except Exception as error:  # a rim: whatever a peer raises is its answer
            traceback.print_exc(file=sys.stderr)
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answer |= {"cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - wall_s}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve one kind over stdin and stdout, on one core: the same one for all kinds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(side_of(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    main()
