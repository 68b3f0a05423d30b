"""The process in which a candidate is tried: `python -m orbitloop.onboard.adapters.trial_child ENGINE THREADS MEMORY`.

Reads the job from standard input (a file), writes events to what was standard output, and ends. Before anything of the
model is touched it binds itself: memory is limited, no core dump, low priority, first to go when the system is out of memory,
and dead when its parent is. Whatever a runtime prints goes nowhere, for the pipe is kept under another number.

ENGINE is `module:name` of what builds an engine from graph and weights; the composition root names it, never an update.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

PRIORITY = 10
PR_SET_PDEATHSIG = 1
MAX_JOB_BYTES = 256 << 20


def main(arguments: list[str]) -> int:
    """Run one trial; return the exit code: 0 when all was told, whatever it was."""
    engine, threads, memory_bytes = arguments[0], int(arguments[1]), int(arguments[2])
    bind(memory_bytes)
    pipe = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    # Only now: what is imported here is large, and the limits must hold for it too.
    from orbitloop.onboard.trial_bench import bench
    from orbitloop.onboard.trial_wire import event_to_frame, job_from_bytes

    module, _, name = engine.partition(":")
    build = getattr(import_module(module), name)
    job = job_from_bytes(sys.stdin.buffer.read(min(os.fstat(0).st_size, MAX_JOB_BYTES)))  # read() takes all that it may
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection in the middle would be charged to one of the two models
    for event in bench(job, lambda graph, weights: build(graph, weights, threads=threads), time.process_time):
        data = event_to_frame(event)
        while data:
            data = data[os.write(pipe, data) :]
    return 0


def bind(memory_bytes: int) -> None:
    """Limit this process; what the system does not know is left out."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.nice(PRIORITY)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Private writable memory: what a model really takes. Address space is no measure, a runtime reserves more than it uses. And
    # no RLIMIT_CPU: with it Linux counts this process's CPU time by ticks, too coarse to time a tile with.
    for what, limit in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
