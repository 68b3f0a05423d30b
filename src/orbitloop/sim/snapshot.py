"""A run's state between two windows as JSON and blobs, and back.

What is here is all that a run remembers: everything else follows from plan and seed. A field that is added to the run must be
added here, and `SCHEMA` of `checkpoint` raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orbitloop.records.ids import digest_bytes
from orbitloop.sim.course import Course
from orbitloop.sim.fleet import saved_state

if TYPE_CHECKING:
    from orbitloop.sim.runner import MissionRun


def snapshot(run: MissionRun) -> tuple[dict[str, Any], list[bytes]]:
    """Return a run's state, and the bytes that it names by digest."""
    rows: dict[str, Any] = {}
    blobs: dict[str, bytes] = dict(run.blobs)
    for name, satellite in run.satellites.items():
        state, held = saved_state(satellite)
        named = {place: {n: digest_bytes(b) for n, b in files.items()} for place, files in held.items()}
        rows[name] = {"state": state, "blobs": named}
        blobs |= {digest_bytes(b): b for files in held.values() for b in files.values()}
    rounds = run.maker.saved(run.pending)
    blobs |= rounds.blobs
    state = {
        "identity": run.identity,
        "next_window": run.next_window,
        "now_s": run.clock.now_s(),
        "flying_version": run.flying_version,
        "flying_round": run.flying_round,
        "champion": run.champion,
        "rollout": run.rollout.to_json(),
        "satellites": rows,
        "segment": run.segment.to_json(),
        "segment_blobs": sorted(run.blobs),
        "course": run.course.to_json(),
        "rounds": rounds.state,
    }
    return state, list(blobs.values())


def restore(run: MissionRun, state: dict[str, Any]) -> None:
    """Take a state back into a run whose satellites are already wired.

    Raises:
        StateError: a blob is missing or damaged.
        KeyError, TypeError, ValueError, AttributeError: a field is not what it should be (the caller re-raises as StateError).
    """
    run.next_window, run.flying_version = int(state["next_window"]), int(state["flying_version"])
    run.flying_round = int(state["flying_round"])
    run.clock.advance_to(float(state["now_s"]))
    run.blobs.update({digest: run.checkpoints.blob(digest) for digest in state["segment_blobs"]})
    run.segment.restore(state["segment"])
    run.course = Course.from_json(state["course"])
    run.pending = run.maker.restore(state["rounds"], run.checkpoints)
    run.champion = str(state["champion"])
    run.rollout.restore(state["rollout"])
