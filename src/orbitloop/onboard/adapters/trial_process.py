"""A trial in a process of its own, so that a model which crashes the runtime, hangs or eats memory takes nobody along.

Role: a `TrialRunner` that starts `trial_child`, listens within limits of time and bytes, and ends it whatever it does. A new
interpreter, not a fork: a forked copy of a process with threads may hang by itself. Jobs go in by a file in memory, so that a
child that does not read holds up nobody; events come over a pipe, at most `MAX_ANSWER_BYTES` of them.

The child leads a session of its own, and the whole session is killed at the end, children of the child too. What leaves the
session (`setsid`) escapes; no runtime that we know does. Starting costs about a third of a second.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import IO

from orbitloop.errors import WireError
from orbitloop.onboard.service_wire import Deframer
from orbitloop.onboard.trial import Findings, TrialJob
from orbitloop.onboard.trial_bench import Collector
from orbitloop.onboard.trial_wire import MAX_EVENT_BYTES, event_from_bytes, job_to_bytes

CHILD = "orbitloop.onboard.adapters.trial_child"
ENGINE = "orbitloop.onboard.adapters.onnx_engine:OnnxEngine"
MAX_ANSWER_BYTES = 64 << 20
READ_BYTES = 1 << 16
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Pools of threads that numpy and runtimes start unasked; each thread would count against the limit of memory."""
LOOK_S, POLL_S = 0.2, 0.02
REAP_S = 10.0


class ProcessTrial:
    """A `TrialRunner` in a process of its own; see the module.

    Args:
        engine: `module:name` of what builds an engine from graph and weights, with a keyword `threads`.
        threads: how many threads one inference may use.
        environment: of the child, beside ours.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        engine: str = ENGINE,
        *,
        threads: int = 1,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._threads = engine, threads
        self._environment, self._clock = dict(environment or {}), clock

    def run(self, job: TrialJob) -> Findings:
        """Run a trial in a child; whatever becomes of it is a finding."""
        collector = Collector()
        deadline_s = self._clock() + job.limits.seconds
        try:
            with _in_memory(job_to_bytes(job)) as file:
                child = self._start(job, file)
        except (OSError, ValueError) as error:
            return collector.findings(f"a process cannot be started ({error})")
        try:
            ended = self._listen(child, job, collector, deadline_s)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            code = self._reap(child)
        if not ended:
            ended = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
        return collector.findings(ended)

    def _start(self, job: TrialJob, file: IO[bytes]) -> subprocess.Popen[bytes]:
        limits = job.limits
        return subprocess.Popen(
            [sys.executable, "-P", "-m", CHILD, self._engine, str(self._threads), str(limits.memory_bytes)],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {name: str(self._threads) for name in POOLS} | self._environment,
            start_new_session=True,
        )

    def _listen(self, child: subprocess.Popen[bytes], job: TrialJob, collector: Collector, deadline_s: float) -> str:
        """Take events until all is told; return what ended it instead, nothing if the child itself did."""
        assert child.stdout is not None
        descriptor, heard, deframer = child.stdout.fileno(), 0, Deframer(MAX_EVENT_BYTES)
        os.set_blocking(descriptor, False)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not collector.finished:
            left_s = deadline_s - self._clock()
            if left_s <= 0:
                return f"no end within {job.limits.seconds:g} s"
            if not poll.poll(min(left_s, LOOK_S) * 1000):
                if _has_ended(child):  # and something it has left behind holds the pipe open
                    return ""
                continue
            chunk = os.read(descriptor, READ_BYTES)
            if not chunk:
                return "" if _ends_within(child, min(left_s, REAP_S)) else "it stopped talking"
            heard += len(chunk)
            if heard > MAX_ANSWER_BYTES:
                return f"more than {MAX_ANSWER_BYTES >> 20} MiB of answers"
            try:
                for data in deframer.feed(chunk):
                    collector.take(event_from_bytes(data or b"", len(job.tiles)))
            except WireError as error:
                return f"what it says cannot be read ({error.what})"
        return ""

    def _reap(self, child: subprocess.Popen[bytes]) -> int:
        if child.stdout is not None:
            child.stdout.close()
        try:
            return child.wait(REAP_S)
        except subprocess.TimeoutExpired:  # it hangs inside the kernel: nothing more can be done to it
            return -signal.SIGKILL


def _in_memory(data: bytes) -> IO[bytes]:
    """Return an open file without a name that holds the data; in memory where the system can."""
    create: Callable[[str], int] | None = getattr(os, "memfd_create", None)
    file: IO[bytes] = tempfile.TemporaryFile() if create is None else os.fdopen(create("trial"), "w+b")  # noqa: SIM115
    file.write(data)
    file.flush()
    file.seek(0)
    return file


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Say whether the child has ended, without reaping it: its number must stay its own until its session is killed."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ends_within(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a child that has closed its end, so that how it ended is its own doing and not ours."""
    for _ in range(math.ceil(seconds / POLL_S)):
        if _has_ended(child):
            return True
        time.sleep(POLL_S)
    return _has_ended(child)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
