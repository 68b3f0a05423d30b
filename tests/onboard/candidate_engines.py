"""Engines that misbehave as a candidate's weights tell them to, in the process in which the candidate is tried.

A model's weights carry one tensor more, `behave` = (what, strength, 100): 0 is the sound engine of ONNX Runtime. The 100 lets
an update move the other two as far as it likes. `build` is named to the trial's process as `candidate_engines:build`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from orbitloop.errors import ModelError
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.engine import to_predictions
from orbitloop.onboard.service_wire import frame
from orbitloop.onboard.trial import TileFinding
from orbitloop.onboard.trial_bench import Failure, Finished, Round, Step
from orbitloop.onboard.trial_wire import event_to_frame
from orbitloop.records.prediction import Detections, Prediction
from orbitloop.records.wire import pack

BEHAVE = "behave"
SOUND = np.array([0, 0, 100], np.float32)
Tiles = npt.NDArray[np.uint8]


class Candidate:
    """An engine that does something before it looks, or after."""

    def __init__(
        self,
        inner: OnnxEngine,
        before: Callable[[Tiles], None] = lambda tiles: None,
        after: Callable[[Tiles, list[Prediction]], list[Prediction]] = lambda tiles, found: found,
    ) -> None:
        self._inner, self._before, self._after = inner, before, after

    @property
    def metadata(self) -> Any:
        return self._inner.metadata

    def infer(self, tiles: Tiles) -> list[Prediction]:
        self._before(tiles)
        return self._after(tiles, self._inner.infer(tiles))


def build(graph: bytes, weights: Mapping[str, npt.NDArray[Any]], *, threads: int = 1) -> Any:
    """Build what the weights ask for."""
    kept = {name: tensor for name, tensor in weights.items() if name != BEHAVE}
    what, strength = (float(value) for value in weights.get(BEHAVE, SOUND)[:2])
    name = NAMES[round(what)]
    if name == "raw":
        return run_raw(graph)
    if name in AT_LOAD:
        AT_LOAD[name](strength)
    inner = OnnxEngine(graph, kept, threads=threads)
    if name in AT_LOOK:
        calls = [0]

        def before(tiles: Tiles) -> None:
            calls[0] += 1
            if calls[0] > strength:
                AT_LOOK[name](strength)

        return Candidate(inner, before)
    if name in IN_RESULT:
        return Candidate(inner, after=lambda tiles, found: IN_RESULT[name](inner, tiles, found, strength))
    return inner


def run_raw(graph: bytes) -> None:
    """Run a graph without inputs in ONNX Runtime as it is, past all that our engine would refuse."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, {})


# -- dying -----------------------------------------------------------------------------------------------------------------


def abort(_: float) -> None:
    os.abort()


def segfault(_: float) -> None:
    ctypes.string_at(0)


def kill(_: float) -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory is out


def illegal(_: float) -> None:
    os.kill(os.getpid(), signal.SIGILL)


def leave(_: float) -> None:
    os._exit(0)


def leave_politely(_: float) -> None:
    sys.exit(3)


def interrupted(_: float) -> None:
    raise KeyboardInterrupt


def odd_error(_: float) -> None:
    raise RuntimeError("an engine that breaks its word\nin two lines \x00")


# -- hanging ---------------------------------------------------------------------------------------------------------------


def sleep(_: float) -> None:
    time.sleep(3600)


def spin(_: float) -> None:
    while True:
        pass


def stop(_: float) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def deaf(_: float) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(3600)


def mute(_: float) -> None:
    _close_all()
    time.sleep(3600)


# -- eating ----------------------------------------------------------------------------------------------------------------


def hog(_: float) -> None:
    held = []
    while True:
        held.append(bytearray(8 << 20))


def hog_some(_: float) -> None:
    """Take 300 MB, once: more than a trial may have in its tests, and no harm where nothing limits it."""
    if not HELD:
        HELD.append(np.ones(300_000_000, np.uint8))


HELD: list[Any] = []


def hog_numpy(_: float) -> None:
    np.ones(1 << 37, np.uint8)


def hog_native(_: float) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    while True:
        at = libc.malloc(64 << 20)
        ctypes.memset(at, 1, 64 << 20)  # as native code does that never looks at what malloc says


def hog_fork(_: float) -> None:
    for _ in range(4):
        if os.fork() == 0:
            hog(0)
    time.sleep(3600)


# -- talking ---------------------------------------------------------------------------------------------------------------


def _pipes() -> list[int]:
    """Return every descriptor that might be the parent's pipe."""
    found = []
    for number in range(3, 64):
        try:
            if (os.fstat(number).st_mode & 0o170000) == 0o010000:
                found.append(number)
        except OSError:
            continue
    return found


def _close_all() -> None:
    for number in (0, 1, 2, *_pipes()):
        os.close(number)


def _say(data: bytes) -> None:
    for number in _pipes():
        os.write(number, data)


def garbage(_: float) -> None:
    _say(np.random.default_rng(1).bytes(4096))


def zeros(_: float) -> None:
    _say(bytes(64))


def long_frame(_: float) -> None:
    _say(b"\xff\xff\xff\xff" + bytes(4096))


def half_frame(_: float) -> None:
    _say(event_to_frame(Step("candidate", "loads"))[:-5])
    os._exit(0)


def strange_record(_: float) -> None:
    _say(frame(pack("poetry", 1, {"who": "candidate"})))


def strange_who(_: float) -> None:
    _say(frame(pack("step", 1, {"who": ["x"], "what": 5})))


def strange_tile(_: float) -> None:
    one = Detections(np.full((1, 4), np.nan, np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    _say(event_to_frame(TileFinding(0, one, one)))


def another_tile(_: float) -> None:
    none = Detections.empty()
    _say(event_to_frame(TileFinding(999, none, none)))


def early_end(_: float) -> None:
    _say(event_to_frame(Round(1.0, 1.0)) + event_to_frame(Finished()))
    time.sleep(3600)


def blames_the_other(_: float) -> None:
    _say(event_to_frame(Failure("running", "it was not me")))
    time.sleep(3600)


def endless(_: float) -> None:
    word = event_to_frame(Step("candidate", "looks at a black tile")) * 512
    while True:
        _say(word)


def chatter(_: float) -> None:
    for number in (1, 2):
        os.write(number, b"WARNING: a runtime that talks\n" * 1000)
    os.abort()


# -- forking ---------------------------------------------------------------------------------------------------------------


def fork_and_die(_: float) -> None:
    if os.fork() == 0:
        time.sleep(3600)
    os.abort()


def fork_and_leave(_: float) -> None:
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(3600)
    os._exit(0)


def fork_and_spin(_: float) -> None:
    for _ in range(2):
        if os.fork() == 0:
            spin(0)
    time.sleep(3600)


# -- answering -------------------------------------------------------------------------------------------------------------


def slow(inner: OnnxEngine, tiles: Tiles, found: list[Prediction], strength: float) -> list[Prediction]:
    for _ in range(round(strength)):
        inner.infer(tiles)
    return found


def nan_in_the_dark(inner: OnnxEngine, tiles: Tiles, found: list[Prediction], strength: float) -> list[Prediction]:
    """As a network does whose activations overflow there; `strength` is the brightness from which it is dark."""
    dark = [tile.mean() < strength for tile in tiles]
    if not any(dark):
        return found
    classes, size = len(inner.metadata.classes), len(found[0].embedding)
    rows = np.full((len(tiles), 1, 5 + classes), np.nan, np.float32)
    broken = to_predictions(rows, np.ones((len(tiles), size), np.float32), inner.metadata)
    return [none if is_dark else one for is_dark, none, one in zip(dark, broken, found, strict=True)]


def nan_at_dusk(inner: OnnxEngine, tiles: Tiles, found: list[Prediction], strength: float) -> list[Prediction]:
    """Not on tiles that are quite black, which every trial has."""
    if any(5 < tile.mean() < 5 + strength for tile in tiles):
        raise ModelError("the network's output is not finite")
    return found


def nothing(inner: OnnxEngine, tiles: Tiles, found: list[Prediction], strength: float) -> list[Prediction]:
    return [Prediction(Detections.empty(), one.embedding) for one in found]


def flood(inner: OnnxEngine, tiles: Tiles, found: list[Prediction], strength: float) -> list[Prediction]:
    """Report as many boxes as may be, wherever."""
    rules = inner.metadata.preprocessing
    count = rules.max_detections
    at = np.linspace(0, rules.tile_px - 9, count, dtype=np.float32)
    boxes = np.stack([at, at[::-1], at + 8, at[::-1] + 8], axis=1)
    full = Detections(boxes, np.full(count, 0.9, np.float32), np.zeros(count, np.int32))
    return [Prediction(full, one.embedding) for one in found]


def wrong_count(inner: OnnxEngine, tiles: Tiles, found: list[Prediction], strength: float) -> list[Prediction]:
    return found[:-1]


AT_LOOK: dict[str, Callable[[float], None]] = {
    one.__name__: one
    for one in (
        *(abort, segfault, kill, illegal, leave, leave_politely, interrupted, odd_error),
        *(sleep, spin, stop, deaf, mute),
        *(hog, hog_some, hog_numpy, hog_native, hog_fork),
        *(garbage, zeros, long_frame, half_frame, strange_record, strange_who, strange_tile, another_tile, early_end),
        *(blames_the_other, endless, chatter),
        *(fork_and_die, fork_and_leave, fork_and_spin),
    )
}
AT_LOAD = {f"{name}_at_load": function for name, function in AT_LOOK.items()}
IN_RESULT = {one.__name__: one for one in (slow, nan_in_the_dark, nan_at_dusk, nothing, flood, wrong_count)}
NAMES = ["sound", "raw", *AT_LOOK, *AT_LOAD, *IN_RESULT]


def told(name: str, strength: float = 0.0) -> npt.NDArray[np.float32]:
    """Return the tensor that makes an engine behave so; of `AT_LOOK`, after `strength` sound looks."""
    return np.array([NAMES.index(name), strength, 100], np.float32)
