"""What the resident detector and its clients say to each other: frames, requests and answers. Sans-io, for both ends.

A frame is a u32 length (big-endian) and one record of `records.wire`. A request's kind says what is wanted; an answer is
`detections`, `done` or `failed`, and carries the request's `id`, so that several may be under way on one connection.

| kind | fields | blobs | answer |
|---|---|---|---|
| `detect` | `count`, `tile_px`, `embeddings` | `tiles`: uint8 RGB, count x tile x tile x 3 | `detections`, tile pixels |
| `scene` | `path` below the scenes' root | | `detections`, scene pixels; counts of tiles; the file of all, if any |
| `status` | | | `done` with the state |
| `swap` | `model` below the models' root, `digest` (may be empty), `another` | | `done` |
| `budget` | `budget` | | `done` with the report |
| `stop` | | | `done`, then the process ends what is under way |
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

import orbitloop.errors
from orbitloop.errors import OrbitloopError, WireError
from orbitloop.onboard.budget import Budget
from orbitloop.records.prediction import Detections
from orbitloop.records.wire import Packed, pack, unpack

VERSION = 1
LENGTH = struct.Struct(">I")
MIN_FRAME_BYTES = 12
MAX_FRAME_BYTES = 64 << 20
MAX_TEXT = 4096
MAX_ID = 2**53
DETECT, SCENE, STATUS, SWAP, BUDGET, STOP = "detect", "scene", "status", "swap", "budget", "stop"
DETECTIONS, DONE, FAILED = "detections", "done", "failed"


@dataclass(frozen=True, slots=True, eq=False)
class DetectTiles:
    """Look at tiles (B, S, S, 3) uint8 RGB, B at least 1. `embeddings`: send the tiles' fingerprints as well."""

    request_id: int
    tiles: npt.NDArray[np.uint8]
    embeddings: bool = False


@dataclass(frozen=True, slots=True)
class DetectScene:
    """Look at a scene's file, named relative to the scenes' root."""

    request_id: int
    path: str


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Say how you are."""

    request_id: int


@dataclass(frozen=True, slots=True)
class SwapModel:
    """Load a model's folder, named relative to the models' root. `digest`: the weights must have it; empty = any."""

    request_id: int
    model: str
    digest: str = ""
    another: bool = False


@dataclass(frozen=True, slots=True)
class TellBudget:
    """Keep within this budget from now on."""

    request_id: int
    budget: Budget


@dataclass(frozen=True, slots=True)
class Stop:
    """End, when what is under way has been answered."""

    request_id: int


Request = DetectTiles | DetectScene | AskStatus | SwapModel | TellBudget | Stop


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The answer to tiles or a scene: detections per tile (one entry for a scene); (B, D) float32 embeddings if asked for."""

    request_id: int
    digest: str
    detections: tuple[Detections, ...]
    embeddings: npt.NDArray[np.float32] | None = None
    about: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to what is no detection."""

    request_id: int
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The request was refused or failed; `report` is the budget's where it was the budget."""

    request_id: int
    error: OrbitloopError
    report: dict[str, Any] | None = None


Answer = Found | Done | Failed


class Deframer:
    """Cuts a stream into frames; holds at most one.

    Args:
        max_bytes: a longer frame is an error, told before any of it is stored.
        admit: asked when a frame's length is known; if it says no, the frame is passed over, and `None` stands in its place.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES, admit: Callable[[int], bool] | None = None) -> None:
        self._max_bytes, self._admit = max_bytes, admit
        self._head = bytearray()
        self._body: bytearray | None = None
        self._left = 0

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._head) or self._left > 0

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield the frames that end in this chunk, in order. Take all of them before feeding again.

        Raises:
            WireError: a frame is announced that is too short or too long; the stream cannot be read further.
        """
        view = memoryview(chunk)
        while view:
            if not self._left:
                view = self._read_head(view)
                continue
            part, view = view[: self._left], view[self._left :]
            if self._body is not None:
                self._body += part
            self._left -= len(part)
            if not self._left:
                frame, self._body = self._body, None
                yield None if frame is None else bytes(frame)

    def _read_head(self, view: memoryview) -> memoryview:
        wanted = LENGTH.size - len(self._head)
        self._head += view[:wanted]
        if len(self._head) == LENGTH.size:
            (length,) = LENGTH.unpack(self._head)
            if not MIN_FRAME_BYTES <= length <= self._max_bytes:
                raise WireError(f"a frame of {length} bytes is announced; the limit is {self._max_bytes}", where="socket")
            self._head.clear()
            self._left = length
            self._body = bytearray() if self._admit is None or self._admit(length) else None
        return view[wanted:]


def frame(record: bytes) -> bytes:
    """Return a record as it goes over the stream."""
    return LENGTH.pack(len(record)) + record


def request_to_bytes(request: Request) -> bytes:
    """Serialise a request as a record."""
    fields: dict[str, Any] = {"id": request.request_id}
    blobs: dict[str, bytes] = {}
    match request:
        case DetectTiles():
            count, side = request.tiles.shape[:2]
            fields |= {"count": count, "tile_px": side, "embeddings": request.embeddings}
            blobs["tiles"] = np.ascontiguousarray(request.tiles).tobytes()
        case DetectScene():
            fields |= {"path": request.path}
        case SwapModel():
            fields |= {"model": request.model, "digest": request.digest, "another": request.another}
        case TellBudget():
            fields |= {"budget": request.budget.to_json()}
        case _:
            pass
    return pack(_KINDS[type(request)], VERSION, fields, blobs)


def request_from_bytes(data: bytes, *, max_tiles: int = 64) -> Request:
    """Read a request.

    Raises:
        WireError: malformed, of an unknown kind, or over the limits. Never anything else.
    """
    record = unpack(data)
    try:
        return _request(record, max_tiles)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"request {record.kind!r} is malformed ({error!r:.200})", where="socket") from error


def request_id_of(data: bytes) -> int:
    """Return the id of a request that may be malformed otherwise; 0 if there is none."""
    try:
        return _whole(unpack(data).fields.get("id", 0), MAX_ID)
    except (WireError, ValueError):
        return 0


def answer_to_bytes(answer: Answer) -> bytes:
    """Serialise an answer as a record."""
    match answer:
        case Found():
            each = answer.detections
            blobs = {
                "boxes": _bytes([d.boxes_xyxy_px for d in each], "<f4"),
                "scores": _bytes([d.scores for d in each], "<f4"),
                "classes": _bytes([d.classes for d in each], "<i4"),
            }
            if answer.embeddings is not None:
                blobs["embeddings"] = answer.embeddings.astype("<f4", copy=False).tobytes()
            fields = {"id": answer.request_id, "digest": answer.digest, "counts": [len(d) for d in each]}
            return pack(DETECTIONS, VERSION, fields | {"about": answer.about or {}}, blobs)
        case Done():
            return pack(DONE, VERSION, {"id": answer.request_id, "about": answer.about})
        case Failed():
            error = answer.error
            texts = {key: _sendable(getattr(error, key)) for key in ("what", "where", "remedy")}
            about = {"error": type(error).__name__, **texts}
            return pack(FAILED, VERSION, {"id": answer.request_id, **about, "report": answer.report})


def answer_from_bytes(data: bytes) -> Answer:
    """Read an answer.

    Raises:
        WireError: malformed or of an unknown kind. Never anything else.
    """
    record = unpack(data)
    try:
        return _answer(record)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"answer {record.kind!r} is malformed ({error!r:.200})", where="socket") from error


_KINDS: dict[type[Any], str] = {
    DetectTiles: DETECT,
    DetectScene: SCENE,
    AskStatus: STATUS,
    SwapModel: SWAP,
    TellBudget: BUDGET,
    Stop: STOP,
}


def _request(record: Packed, max_tiles: int) -> Request:
    fields, name = record.fields, _whole(record.fields["id"], MAX_ID)
    if record.version != VERSION:
        raise ValueError(f"version {record.version}")
    match record.kind:
        case "detect":
            count, side = _whole(fields["count"], max_tiles), _whole(fields["tile_px"], 8192)
            blob = record.blobs["tiles"]
            if count < 1 or side < 1 or len(blob) != count * side * side * 3:
                raise ValueError(f"{len(blob)} bytes are not {count} tiles of {side} px")
            tiles = np.frombuffer(blob, np.uint8).reshape(count, side, side, 3)
            return DetectTiles(name, tiles, _flag(fields.get("embeddings", False)))
        case "scene":
            return DetectScene(name, _text(fields["path"]))
        case "status":
            return AskStatus(name)
        case "swap":
            another = _flag(fields.get("another", False))
            return SwapModel(name, _text(fields["model"]), _text(fields.get("digest", "")), another)
        case "budget":
            budget = fields["budget"]
            if not isinstance(budget, dict):
                raise TypeError("no budget")
            return TellBudget(name, Budget.from_json(budget))
        case "stop":
            return Stop(name)
        case _:
            raise ValueError("unknown kind")


def _answer(record: Packed) -> Answer:
    fields, blobs, name = record.fields, record.blobs, _whole(record.fields["id"], MAX_ID)
    match record.kind:
        case "detections":
            counts = [_whole(count, 1 << 24) for count in fields["counts"]]
            boxes = np.frombuffer(blobs["boxes"], "<f4").reshape(-1, 4)
            scores, classes = np.frombuffer(blobs["scores"], "<f4"), np.frombuffer(blobs["classes"], "<i4")
            if not len(boxes) == len(scores) == len(classes) == sum(counts):
                raise ValueError("counts do not fit")
            cuts = [slice(a, b) for a, b in pairwise(np.cumsum([0, *counts]))]
            each = tuple(Detections(boxes[cut], scores[cut], classes[cut]) for cut in cuts)
            about = dict(fields.get("about") or {})
            if "embeddings" not in blobs:
                return Found(name, _text(fields["digest"]), each, None, about)
            embeddings = np.frombuffer(blobs["embeddings"], "<f4").reshape(len(counts), -1)
            return Found(name, _text(fields["digest"]), each, embeddings, about)
        case "done":
            return Done(name, dict(fields["about"]))
        case "failed":
            kind = getattr(orbitloop.errors, _text(fields["error"]), OrbitloopError)
            known = kind if isinstance(kind, type) and issubclass(kind, OrbitloopError) else OrbitloopError
            report = fields.get("report")
            texts = {key: _text(fields[key]) for key in ("what", "where", "remedy")}
            error = known(texts["what"], where=texts["where"], remedy=texts["remedy"])
            return Failed(name, error, report if isinstance(report, dict) else None)
        case _:
            raise ValueError("unknown kind")


def _bytes(arrays: Iterable[npt.NDArray[Any]], kind: str) -> bytes:
    return b"".join(array.astype(kind, copy=False).tobytes() for array in arrays)


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{value!r:.50} is no whole number up to {most}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.50} is neither true nor false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
        raise ValueError("no text, or too long")
    value.encode()  # a lone surrogate, which JSON can write, is no text
    return value


def _sendable(text: str) -> str:
    return text[:MAX_TEXT].replace("\0", "?").encode("utf-8", "replace").decode()
