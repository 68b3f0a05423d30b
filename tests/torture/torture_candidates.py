"""Bad candidates: signed, gated, whole, and broken. On the canary in a process of their own, and in flight on probation.

Each goes the whole way: a signed bundle, the agent, a real child process, the slots, the beacon's bytes at the other end of
the link. What must hold: it does not fly after its trial (in flight: after the next contact); the model before flies, and
looks; the reason is kept in the table of slots and stands in the beacon; nothing that it started still runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np
from candidate_engines import AT_LOOK, IN_RESULT, Candidate, build
from candidate_ship import (
    BASE_DIGEST,
    FULL_WH,
    NOW_S,
    PATIENT,
    Ship,
    Weights,
    base,
    behaving,
    bundle,
    contact,
    left_behind,
    process_trial,
    scene,
    seasoned,
    with_objectness,
    worse_by,
)
from torture_section import Outcome, Section, Tick
from torture_tally import Tally

from orbitloop.errors import ModelError
from orbitloop.onboard import engine as engine_port
from orbitloop.onboard.agent import UPDATE, Agent
from orbitloop.onboard.slot_table import SlotState
from orbitloop.onboard.trial import TrialLimits
from orbitloop.onboard.trial_bench import InProcess
from orbitloop.onboard.watchdog import Watchdog
from orbitloop.records.ids import digest_tensors
from orbitloop.records.update import ApplyOutcome

ENDLESS = {"sleep", "spin", "stop", "deaf", "mute", "endless", "fork_and_spin", "hog_fork"}
"""Candidates that no end but ours will end."""
HUNGRY = {"hog", "hog_some", "hog_native", "hog_numpy", "hog_fork"}
SOON_S = 2.5
HUNGRY_BYTES = 250_000_000
"""Three times what the small network takes; so that eating it takes no time."""


@dataclass(frozen=True)
class Bad:
    """One candidate: what it does, its weights, the limits it is tried with."""

    name: str
    weights: Weights
    limits: TrialLimits = PATIENT


def bad_candidates() -> Iterator[Bad]:
    """Yield candidates of every kind in turn, each kind with other strengths and seeds every time round."""
    turn = 0
    while True:
        for name in AT_LOOK:
            limits = replace(PATIENT, seconds=SOON_S if name in ENDLESS else PATIENT.seconds)
            limits = replace(limits, memory_bytes=HUNGRY_BYTES if name in HUNGRY else limits.memory_bytes)
            at_load = turn % 4 == 1 and name not in ("early_end", "another_tile")
            strength = 0.0 if at_load else float((0, 2, 5, 11)[turn % 4])
            yield Bad(f"{name} {turn}", behaving(f"{name}_at_load" if at_load else name, strength), limits)
            if name in KINDS_BETWEEN:
                yield from KINDS_BETWEEN[name](turn)
        turn += 1


def _worse(turn: int) -> Iterator[Bad]:
    for number in range(6):
        points = (10, 10, 10, 12, 20, 40)[number]
        yield Bad(f"-{points} points, seed {turn * 6 + number}", worse_by(points, turn * 6 + number))


def _not_finite(turn: int) -> Iterator[Bad]:
    for dark in (1.0, 40.0, 120.0, 200.0):
        yield Bad(f"not finite below {dark + turn:g}", behaving("nan_in_the_dark", dark + turn))


def _slow(turn: int) -> Iterator[Bad]:
    for times in (40, 60, 100, 200):
        yield Bad(f"{times} times more work", behaving("slow", float(times + turn)))


def _blind_or_flooded(turn: int) -> Iterator[Bad]:
    yield Bad("nothing", behaving("nothing", float(turn)))
    yield Bad("flood", behaving("flood", float(turn)))
    yield Bad("wrong count", behaving("wrong_count", float(turn)))
    for bias in (-12.0, -20.0):
        yield Bad(f"objectness {bias - turn}", with_objectness(bias - turn))


KINDS_BETWEEN: Mapping[str, Callable[[int], Iterator[Bad]]] = {
    "abort": _not_finite,
    "segfault": _worse,
    "kill": _blind_or_flooded,
    "leave": _slow,
}


def tried(bad: Bad, agent: Agent, ship: Ship) -> str:
    """Send a candidate up; return what is wrong afterwards, or nothing."""
    report = agent.receive(UPDATE, bundle(bad.weights), NOW_S)
    if report is None or report.outcome is not ApplyOutcome.ROLLED_BACK:
        return f"{'nothing' if report is None else report.outcome}: {report.reason if report else ''}"
    return aftermath(agent, ship)


def aftermath(agent: Agent, ship: Ship) -> str:
    """Return what is wrong after a candidate was given up, or nothing."""
    table = agent.slots.table()
    given_up = [row for row in table.slots.values() if row.state is SlotState.FAILED]
    if agent.slots.running().digest != BASE_DIGEST or agent.slots.active().digest != BASE_DIGEST:
        return "the base does not fly"
    if len(given_up) != 1 or not given_up[0].reason:
        return "its reason is not kept"
    seen = agent.observe(scene(99), FULL_WH)
    if seen.result is None or {sample.model_digest for sample in seen.hard} != {BASE_DIGEST}:
        return "the base does not look"
    beacon, data = contact(agent, ship)
    told = beacon.reports[-1]
    if (told.version, told.outcome) != (1, ApplyOutcome.ROLLED_BACK) or beacon.model_digest != BASE_DIGEST:
        return f"the beacon says {told.outcome} of {told.version}"
    if told.reason != given_up[0].reason and not told.reason.startswith(f"{given_up[0].reason}; "):
        return f"the beacon gives {told.reason!r}"
    if json.dumps(given_up[0].reason).strip('"').encode() not in data:  # as it stands in the very bytes
        return f"{given_up[0].reason!r} is not in the beacon"
    return ""


def run_bad(count: int, tick: Tick) -> Outcome:
    """Try bad candidates in children of this process."""
    tally = Tally(tick)
    for bad in islice(bad_candidates(), count):
        ship = seasoned()
        agent = ship.agent(process_trial(), bad.limits)
        tally.trial(bad.name, lambda bad=bad, agent=agent, ship=ship: tried(bad, agent, ship))  # type: ignore[misc]
    left = left_behind()
    tally.trial("processes", lambda: ", ".join(left))
    return tally.outcome()


# -- in flight -------------------------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """The computer goes down with whatever runs on it."""


class Ticks:
    """CPU seconds that engines spend."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def slightly() -> Weights:
    """Return a sound candidate that is another model than the base: good on any canary."""
    return {name: array + np.float32(1e-6) if name.endswith(".bias") else array for name, array in base().items()}


Wrap = Callable[[Any, Ticks], Any]


@dataclass(frozen=True)
class BadInFlight:
    """A model that is sound in its trial; `wrap` makes of it what flies. `light` is the scenes'."""

    name: str
    wrap: Wrap
    light: float = 1.0


def bad_in_flight() -> Iterator[BadInFlight]:
    """Yield models that go bad on probation, each kind with another strength every time round."""
    turn = 0
    while True:
        late, turn = turn % 3, turn + 1
        for light in (0.1, 0.3, 0.5):
            yield BadInFlight(f"not finite at {light} of the light, {turn}", _not_finite_at(255 * light), light)
        yield BadInFlight(f"out of memory from look {late}", _raises_from(late, MemoryError()))
        yield BadInFlight(f"runtime fails from look {late}", _raises_from(late, ModelError("the runtime fails")))
        for name in ("nothing", "flood"):
            yield BadInFlight(f"{name}, {turn}", _answers(name))
        for times in (10.0, 20.0 + turn):
            yield BadInFlight(f"{times:g} times as slow on full tiles", _slow_on_full_tiles(times))
        yield BadInFlight(f"takes the computer down from look {late}", _raises_from(late, PowerCut()))
        yield BadInFlight(f"does not load in flight, {turn}", _does_not_load)


def _not_finite_at(most: float) -> Wrap:
    def after(tiles: Any, found: Any) -> Any:
        if any(5 < tile.mean() < most for tile in tiles):
            raise ModelError("the network's output is not finite")
        return found

    return lambda sound, clock: Candidate(sound, after=after)


def _raises_from(look: int, error: BaseException) -> Wrap:
    def wrap(sound: Any, clock: Ticks) -> Any:
        looks = [0]

        def before(tiles: Any) -> None:
            looks[0] += 1
            if looks[0] > look:
                raise error

        return Candidate(sound, before=before)

    return wrap


def _answers(name: str) -> Wrap:
    return lambda sound, clock: Candidate(sound, after=lambda t, f: IN_RESULT[name](sound, t, f, 0.0))


def _slow_on_full_tiles(times: float) -> Wrap:
    def wrap(sound: Any, clock: Ticks) -> Any:
        def spend(tiles: Any, found: list[Any]) -> list[Any]:
            clock.now_s += sum(0.1 * (times if len(one.detections) > 10 else 1.0) for one in found)
            return found

        return Candidate(sound, after=spend)

    return wrap


def _does_not_load(sound: Any, clock: Ticks) -> Any:
    raise ModelError("no memory for it")


def flown(bad: BadInFlight) -> str:
    """Let a model fly on probation until the next contact; return what is wrong then, or nothing."""
    ship, clock = seasoned(), Ticks()

    def load(graph: bytes, weights: Mapping[str, Any]) -> Any:
        sound, is_base = build(graph, weights), digest_tensors(weights) == BASE_DIGEST
        normal = _slow_on_full_tiles(1.0)(sound, clock)
        return normal if is_base else bad.wrap(sound, clock)

    agent = ship.agent(InProcess(build), engine_factory=load, cpu_clock=clock)
    agent.boot(NOW_S)
    agent.observe(scene(1), FULL_WH)
    report = agent.receive(UPDATE, bundle(slightly()), NOW_S)
    if bad.wrap is _does_not_load:
        return aftermath(agent, ship) if report and report.outcome is ApplyOutcome.ROLLED_BACK else "it flies"
    if report is None or report.outcome is not ApplyOutcome.ACCEPTED:
        return f"its trial found {report.reason if report else 'nothing'}"
    for number in range(9):
        try:
            agent.observe(scene(60 + number, light=bad.light), FULL_WH)
        except PowerCut:
            agent = ship.agent(InProcess(build), engine_factory=load, cpu_clock=clock)
            agent.boot(NOW_S + number)
    if agent.slots.running().state is SlotState.PROBATION:
        contact(agent, ship, NOW_S + 3000)  # at the latest, it is given up now
    return aftermath(agent, ship)


def run_in_flight(count: int, tick: Tick) -> Outcome:
    """Let models go bad in flight."""
    tally = Tally(tick)
    for bad in islice(bad_in_flight(), count):
        tally.trial(bad.name, lambda bad=bad: flown(bad))  # type: ignore[misc]
    return tally.outcome()


# -- controls: one safeguard less ------------------------------------------------------------------------------------------


def _without(limits: TrialLimits, make: Callable[[], Bad]) -> Callable[[int, Tick], Outcome]:
    def run(count: int, tick: Tick) -> Outcome:
        tally, ship, bad = Tally(tick), seasoned(), make()
        agent = ship.agent(process_trial(), limits)
        tally.trial(bad.name, lambda: tried(bad, agent, ship))
        return tally.outcome()

    return run


no_memory_limit = _without(replace(PATIENT, memory_bytes=1 << 40), lambda: Bad("hog 300 MB", behaving("hog_some", 2.0)))
no_slowness_limit = _without(replace(PATIENT, max_slowdown=1000.0), lambda: Bad("60 times more", behaving("slow", 60.0)))
no_loss_limit = _without(replace(PATIENT, max_loss=1.0), lambda: Bad("-20 points", worse_by(20, 1)))


def no_time_limit(count: int, tick: Tick) -> Outcome:
    """Without its limit of time a trial of a candidate that hangs goes on; it is ended here, from outside."""
    tally, ship = Tally(tick), seasoned()
    agent = ship.agent(process_trial(), replace(PATIENT, seconds=1e6))
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **more))
        return started[-1]

    with mock.patch("orbitloop.onboard.adapters.trial_process.subprocess.Popen", noted):
        trial = threading.Thread(target=lambda: agent.receive(UPDATE, bundle(behaving("sleep", 2.0)), NOW_S), daemon=True)
        trial.start()
        trial.join(SOON_S)
    hangs = trial.is_alive()
    for child in started:
        os.killpg(child.pid, signal.SIGKILL)
    trial.join()
    tally.trial("sleep", lambda: f"the trial had no end after {SOON_S} s" if hangs else "")
    return tally.outcome()


def no_finite_check(count: int, tick: Tick) -> Outcome:
    """Without the check of outputs, what is not finite on dark tiles passes for a tile without objects."""
    tally, ship = Tally(tick), seasoned()
    bad = Bad("not finite in the dark", behaving("nan_in_the_dark", 1.0))
    agent = ship.agent(InProcess(build))
    with mock.patch.object(engine_port.np, "isfinite", lambda values: np.ones_like(values, bool)):
        tally.trial(bad.name, lambda: tried(bad, agent, ship))
    return tally.outcome()


def no_watchdog(count: int, tick: Tick) -> Outcome:
    """Without the watchdog a model that has gone silent is confirmed by the next contact."""
    tally = Tally(tick)
    with mock.patch.object(Watchdog, "saw", return_value=False):
        tally.trial("nothing", lambda: flown(BadInFlight("nothing", _answers("nothing"))))
    return tally.outcome()


def _control(name: str, run: Callable[[int, Tick], Outcome]) -> Section:
    return Section(f"control: {name}", "caught", run, 1, 1, control=True)


SECTIONS = (
    Section("bad candidates", "0 fly, every reason kept and sent down", run_bad, 150, 3),
    Section("bad candidates in flight", "0 confirmed, every reason kept and sent down", run_in_flight, 110, 4),
    _control("no time limit in trial", no_time_limit),
    _control("no memory limit in trial", no_memory_limit),
    _control("no finite check", no_finite_check),
    _control("no slowness limit", no_slowness_limit),
    _control("no loss limit", no_loss_limit),
    _control("no watchdog in flight", no_watchdog),
)
