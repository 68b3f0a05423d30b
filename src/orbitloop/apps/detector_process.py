"""What the resident detector asks of its operating system: memory given back, CPUs, priority, readiness, its own figures.

Role: the few calls of Linux and glibc, each harmless where it does not exist. It leaves everything else to `apps.detector`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from pathlib import Path
from typing import Any

from orbitloop.errors import StateError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of glibc's <malloc.h>."""
ARENAS = 1
LARGE_BYTES = 1 << 20


def tame_memory() -> None:
    """Let glibc keep one arena and map large blocks by themselves, so that what is freed goes back to the system.

    Setting the threshold also stops glibc from raising it to the largest block that was ever freed, after which activations
    and weights would be kept on the heap.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES)):
            mallopt(parameter, value)


def give_back_memory() -> None:
    """Return what is freed to the system; after a model has been loaded or let go."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def settle(cpus: frozenset[int] | None, nice: int) -> None:
    """Keep this process to some CPUs and lower its priority; to be called before any thread begins.

    Raises:
        StateError: the system refuses.
    """
    try:
        if cpus:
            os.sched_setaffinity(0, cpus)
        if nice:
            os.nice(nice)
    except (OSError, ValueError) as error:
        raise StateError(
            f"CPUs or priority cannot be set ({error})", where="detector", remedy="see --cpus and --nice"
        ) from error


def notify_systemd(text: str) -> None:
    """Tell the service manager, if it asked for it (`sd_notify(3)`: one datagram to $NOTIFY_SOCKET)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def process_state() -> dict[str, Any]:
    """Return resident memory now and at most (bytes; 0 where the system does not say), CPU seconds and the process id."""
    rows: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                rows[name] = int(value.split()[0]) * 1024
    times = os.times()
    return {
        "rss_bytes": rows.get("VmRSS", 0),
        "peak_rss_bytes": rows.get("VmHWM", 0),
        "cpu_s": round(times.user + times.system, 3),
        "pid": os.getpid(),
    }


def _libc() -> Any:
    try:
        return ctypes.CDLL(None)
    except OSError:  # no dynamic C library: nothing to set
        return None
