"""What the satellite's process and a trial's process say to each other: one job in, a stream of events out. Sans-io.

The job is one record of `records.wire`; events come as frames of `service_wire`: a u32 length and a record each. What comes
from a trial's process is not trusted: it may be what a broken model left of it. So a frame has a bound, a tile's number and its
boxes must fit the job, and whatever is not to the letter is a WireError.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import WireError
from orbitloop.onboard.service_wire import frame
from orbitloop.onboard.trial import ModelBytes, TileFinding, TrialJob, TrialLimits, limits_to_json
from orbitloop.onboard.trial_bench import MAX_TEXT, NAMES, Event, Failure, Finished, Round, Step
from orbitloop.records.prediction import Detections
from orbitloop.records.wire import Packed, pack, unpack

VERSION = 1
JOB, STEP, TILE, ROUND, FAILURE, FINISHED = "trial", "step", "tile", "round", "failure", "finished"
MAX_EVENT_BYTES = 4 << 20
MAX_TILES = 10_000
MAX_SIDE_PX = 16_384
MAX_SECONDS = 1e9
SIDES = ("running", "candidate")


def job_to_bytes(job: TrialJob) -> bytes:
    """Serialise a job."""
    fields = {"tiles": [list(tile.shape[:2]) for tile in job.tiles], "limits": limits_to_json(job.limits)}
    blobs = {
        "running-graph": job.running.graph,
        "running-weights": job.running.weights,
        "candidate-graph": job.candidate.graph,
        "candidate-weights": job.candidate.weights,
        "tiles": b"".join(np.ascontiguousarray(tile).tobytes() for tile in job.tiles),
    }
    return pack(JOB, VERSION, fields, blobs)


def job_from_bytes(data: bytes) -> TrialJob:
    """Read what `job_to_bytes` wrote.

    Raises:
        WireError: malformed. Never anything else.
    """
    record = unpack(data, expect=JOB)
    try:
        sides = [(_whole(height, MAX_SIDE_PX), _whole(width, MAX_SIDE_PX)) for height, width in record.fields["tiles"]]
        sizes = [height * width * 3 for height, width in sides]
        whole = record.blobs["tiles"]
        if len(sides) > MAX_TILES or sum(sizes) != len(whole) or 0 in sizes:
            raise ValueError("the tiles do not fit their bytes")
        starts = np.cumsum([0, *sizes]).tolist()
        tiles = tuple(
            np.frombuffer(whole, np.uint8, size, start).reshape(height, width, 3)
            for (height, width), size, start in zip(sides, sizes, starts, strict=False)
        )
        models = [ModelBytes(record.blobs[f"{side}-graph"], record.blobs[f"{side}-weights"]) for side in SIDES]
        limits = TrialLimits(**{str(name): _number(value) for name, value in record.fields["limits"].items()})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WireError(f"trial job is malformed ({error!r:.200})", where="trial") from error
    return TrialJob(models[0], models[1], tiles, limits)


def event_to_frame(event: Event) -> bytes:
    """Serialise an event as it goes over the pipe."""
    match event:
        case Step():
            record = pack(STEP, VERSION, {"who": event.who, "what": event.what})
        case Round():
            record = pack(ROUND, VERSION, {"running_s": event.running_s, "candidate_s": event.candidate_s})
        case Failure():
            what = event.what[:MAX_TEXT].encode("utf-8", "replace").decode()
            record = pack(FAILURE, VERSION, {"who": event.who, "what": what})
        case Finished():
            record = pack(FINISHED, VERSION, {})
        case TileFinding():
            record = _tile_to_bytes(event)
    return frame(record)


def event_from_bytes(data: bytes, tiles: int) -> Event:
    """Read an event.

    Args:
        data: a frame's record.
        tiles: how many tiles the job has.

    Raises:
        WireError: malformed, of an unknown kind, or not about this job. Never anything else.
    """
    record = unpack(data)
    try:
        return _event(record, tiles)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"event {record.kind!r:.40} is malformed ({error!r:.200})", where="trial") from error


def _event(record: Packed, tiles: int) -> Event:
    fields = record.fields
    if record.version != VERSION:
        raise ValueError(f"version {record.version}")
    match record.kind:
        case "step":
            return Step(_who(fields["who"]), _text(fields["what"]))
        case "failure":
            return Failure(_who(fields["who"]), _text(fields["what"]))
        case "round":
            return Round(_number(fields["running_s"]), _number(fields["candidate_s"]))
        case "finished":
            return Finished()
        case "tile":
            index = _whole(fields["index"], tiles - 1)
            counts = [_whole(count, 1 << 20) for count in fields["counts"]]
            if len(counts) != len(SIDES):
                raise ValueError("counts of two models are expected")
            found = [_detections(record.blobs, side, count) for side, count in zip(SIDES, counts, strict=True)]
            return TileFinding(index, found[0], found[1])
        case _:
            raise ValueError("unknown kind")


def _tile_to_bytes(tile: TileFinding) -> bytes:
    both = {"running": tile.running, "candidate": tile.candidate}
    blobs: dict[str, bytes] = {}
    for side, found in both.items():
        blobs[f"{side}-boxes"] = found.boxes_xyxy_px.astype("<f4").tobytes()
        blobs[f"{side}-scores"] = found.scores.astype("<f4").tobytes()
        blobs[f"{side}-classes"] = found.classes.astype("<i4").tobytes()
    return pack(TILE, VERSION, {"index": tile.index, "counts": [len(found) for found in both.values()]}, blobs)


def _detections(blobs: dict[str, bytes], side: str, count: int) -> Detections:
    boxes: npt.NDArray[Any] = np.frombuffer(blobs[f"{side}-boxes"], "<f4").reshape(-1, 4)
    scores, classes = np.frombuffer(blobs[f"{side}-scores"], "<f4"), np.frombuffer(blobs[f"{side}-classes"], "<i4")
    if not len(boxes) == len(scores) == len(classes) == count:
        raise ValueError("counts do not fit")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("a detection is not finite")
    return Detections(boxes, scores, classes)


def _who(value: object) -> str:
    if value not in NAMES:
        raise ValueError("neither of the two models")
    return str(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("no text, or too long")
    value.encode()  # a lone surrogate, which JSON can write, is no text
    return "".join(char if char.isprintable() else "?" for char in value)


def _whole(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.50} is no whole number up to {most}")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not -1 <= value <= 1e15:  # type: ignore[arg-type,operator]
        raise ValueError(f"{value!r:.50} is no number that can be meant")
    return value  # type: ignore[return-value]
