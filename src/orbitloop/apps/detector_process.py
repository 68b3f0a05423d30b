"""What the resident detector asks of its operating system: memory given back, CPUs, priority, a log, readiness, its figures.

Role: the few calls of Linux and glibc, each harmless where it does not exist. It leaves everything else to `apps.detector`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orbitloop.errors import StateError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of glibc's <malloc.h>."""
LOADING_BYTES = 1 << 20


def tame_memory() -> None:
    """Let glibc keep one arena, whatever the number of threads."""
    _mallopt(M_ARENA_MAX, 1)


@contextlib.contextmanager
def loading(keep_bytes: int) -> Iterator[None]:
    """Give back what loading a model leaves behind.

    Meanwhile blocks of 1 MiB and more are mapped by themselves, so that weights leave no holes in the heap. Afterwards only
    larger ones than `keep_bytes` are, for activations that are mapped anew for each tile cost a quarter of its time. Setting
    the thresholds also stops glibc from raising them to the largest block that was ever freed.
    """
    _keep(LOADING_BYTES)
    try:
        yield
    finally:
        _keep(keep_bytes)
        give_back_memory()


def give_back_memory() -> None:
    """Return free pages to the system, also those between what is in use; takes about a millisecond."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _keep(most_bytes: int) -> None:
    _mallopt(M_MMAP_THRESHOLD, most_bytes)
    _mallopt(M_TRIM_THRESHOLD, most_bytes)


def _mallopt(parameter: int, value: int) -> None:
    mallopt = getattr(_libc(), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(parameter, value)


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


class Log:
    """One line an event, to standard output; never waits and never fails.

    A reader that has gone, a full disk or a full pipe costs lines, not service: what is lost is counted, and told in the `lost`
    of the next line that can be written.
    """

    def __init__(self, as_json: bool, descriptor: int = 1) -> None:
        self._as_json, self._descriptor = as_json, descriptor
        self._lock = threading.Lock()
        self._lost = 0

    def __call__(self, event: str, **fields: object) -> None:
        with self._lock:
            fields |= {"lost": self._lost} if self._lost else {}
            if self._as_json:
                line = json.dumps({"event": event, "at_s": round(time.time(), 3), **fields}, ensure_ascii=True, default=str)
            else:
                line = " ".join([event, *(f"{name}={value}" for name, value in fields.items())]).replace("\n", " ")
            self._lost = 0 if self._write(line.encode("ascii", "backslashreplace") + b"\n") else self._lost + 1

    def _write(self, line: bytes) -> bool:
        """Write a line that fits into a pipe at once, when there is room for it."""
        if len(line) > select.PIPE_BUF:
            return False
        poll = select.poll()
        try:
            poll.register(self._descriptor, select.POLLOUT)
            ready = poll.poll(0)  # a pipe is ready when PIPE_BUF bytes fit, so the write below does not wait
            return bool(ready) and ready[0][1] & select.POLLOUT != 0 and os.write(self._descriptor, line) == len(line)
        except OSError:
            return False


def _libc() -> Any:
    try:
        return ctypes.CDLL(None)
    except OSError:  # no dynamic C library: nothing to set
        return None
