"""What an update costs: in how many of its passes a satellite has it, and which kind of tensor takes the bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from orbitloop.delta.apply import inspect_delta
from orbitloop.reports.rounds import tensor_kind
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import contacts

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Uplink:
    """In how many of its passes an update comes up to a satellite, and when it is whole; None: not within the mission."""

    satellite: str
    passes: int | None
    done_at_s: float | None


def uplinks(plan: MissionPlan, size_bytes: int, satellites: Sequence[str] = (), from_s: float | None = None) -> list[Uplink]:
    """Plan an upload over a mission's real passes, when nothing is lost and nothing else goes up.

    Args:
        plan: the mission.
        size_bytes: of the bundle.
        satellites: those of the mission that it is for; all, if none of them is the mission's.
        from_s: when it is ready, UTC seconds; the mission's start if not given.

    Raises:
        ElementsError: an orbit is malformed or decays within the mission.
    """
    budget = plan.job.spec.budgets.uplink_bytes_per_pass
    names = [name for name in plan.satellites if name in satellites] or list(plan.satellites)
    windows = contacts(plan).windows
    found = []
    for name in names:
        left, passes, done_at_s = size_bytes, 0, None
        for window in windows:
            if window.satellite != name or window.los_s <= (plan.start_s if from_s is None else from_s):
                continue
            passes += 1
            left -= window.uplink_bytes if budget is None else min(budget, window.uplink_bytes)
            if left <= 0:
                done_at_s = window.los_s
                break
        found.append(Uplink(name, passes if done_at_s is not None else None, done_at_s))
    return found


def costs_by_kind(payload: bytes, base: Tensors) -> dict[str, int]:
    """Return the bytes of a payload by kind of tensor, most first.

    Raises:
        UpdateError: the payload is malformed, or not for this base.
    """
    sums: dict[str, float] = {}
    for cost in inspect_delta(payload, base):
        kind = tensor_kind(cost.name)
        sums[kind] = sums.get(kind, 0.0) + cost.bytes
    return {kind: round(size) for kind, size in sorted(sums.items(), key=lambda item: -item[1])}
