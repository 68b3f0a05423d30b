"""The resident detector's mind: which request is answered, refused or queued, and how tiles and scenes share one engine.

Role: requests in (bytes), answers out (bytes), over a `ResidentEngine` and a `Ledger`. It leaves sockets, threads, files and
clocks to who runs it (`apps.detector`); they come in as ports and arguments. Two threads meet here, under one lock: the one
that speaks to clients (`receive`, `forget`) and the one that computes (`work`).

    receive -> answered at once    status, budget, what is malformed, too much (BusyError), over the budget
            -> queued              tiles and scenes, first come first served; tiles that wait together are one batch
            -> handed out          swap and stop, to who runs it

A scene is long. It is one job on one pinned model, and before each of its batches, and after each piece of it that needs none
(open sea, no data), one batch of waiting tiles is served, so neither starves the other. Nothing is dropped silently: each
request gets exactly one answer, if its client is still there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orbitloop.errors import BudgetError, BusyError, LinkError, ModelError, OrbitloopError
from orbitloop.onboard.budget import Ledger
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.resident import PinnedEngine, ResidentEngine
from orbitloop.onboard.service_wire import (
    Answer,
    AskStatus,
    DetectScene,
    DetectTiles,
    Done,
    Failed,
    Found,
    Stop,
    SwapModel,
    TellBudget,
    answer_to_bytes,
    request_from_bytes,
    request_id_of,
)
from orbitloop.records.model import ModelMetadata
from orbitloop.records.prediction import Detections, Prediction

Send = Callable[[int, bytes], None]
"""Gives an answer to a client; must not raise, whoever has gone."""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What the service holds at most.

    `queue` requests wait, `per_client` of one client; a request has `tiles` at most; `batch` tiles are inferred together.
    """

    queue: int = 64
    per_client: int = 16
    tiles: int = 16
    batch: int = 1


class Clocks:
    """Time as ports: `now_s` monotonic, `cpu_s` CPU seconds of what computes."""

    def __init__(self, now_s: Callable[[], float], cpu_s: Callable[[], float]) -> None:
        self.now_s, self.cpu_s = now_s, cpu_s


class KnownEngine(Engine, Protocol):
    """An engine whose weights have a name."""

    @property
    def digest(self) -> str: ...


LookAtScene = Callable[[KnownEngine, str, Ledger, Callable[[], float], Callable[[], None]], tuple[Detections, dict[str, Any]]]
"""Detects in a scene's file with an engine, asking the ledger before each batch and charging it by the CPU clock that it is
given; calls the last argument between pieces of the scene, which gives way to others, or raises when there is no time left.
Returns the detections in scene pixels (all, or the best where a file has all), and what is to be said of the scene. Raises
OrbitloopError."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    client: int
    request: DetectTiles | DetectScene

    @property
    def bytes(self) -> int:
        return self.request.tiles.nbytes if isinstance(self.request, DetectTiles) else 0


@dataclass(frozen=True, slots=True)
class Handed:
    """A request that who runs the service must act on, and answer with `Service.answer`."""

    client: int
    request: SwapModel | Stop


class Service:
    """One resident detector; see the module.

    Args:
        engine: the model.
        ledger: what may be spent.
        clocks: what tells the time.
        send: takes answers; called by either thread.
        scene: looks at a scene; None where scenes are not served.
        state: adds what the process says of itself to a status.
    """

    def __init__(
        self,
        engine: ResidentEngine,
        ledger: Ledger,
        clocks: Clocks,
        send: Send,
        *,
        limits: ServiceLimits | None = None,
        scene: LookAtScene | None = None,
        state: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.engine, self.ledger = engine, ledger
        self.limits = limits or ServiceLimits()
        self._clocks, self._send, self._scene, self._state = clocks, send, scene, state
        self._lock = Lock()
        self._tiles: deque[_Job] = deque()
        self._scenes: deque[_Job] = deque()
        self._held: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()
        self._held_bytes = 0
        self._scene_client: int | None = None
        self._closing = self._aborted = self._deserted = False

    def receive(self, client: int, data: bytes) -> Handed | None:
        """Take one request. It is answered at once, queued, or handed out."""
        try:
            request = request_from_bytes(data, max_tiles=self.limits.tiles)
        except OrbitloopError as error:
            self._tally("malformed")
            self.answer(client, Failed(request_id_of(data), error))
            return None
        try:
            match request:
                case AskStatus():
                    self.answer(client, Done(request.request_id, self.status()))
                case TellBudget():
                    self.ledger.tell(request.budget, self._clocks.now_s())
                    self.answer(client, Done(request.request_id, self.ledger.report().to_json()))
                case SwapModel() | Stop():
                    return Handed(client, request)
                case DetectTiles() | DetectScene():
                    self._queue(_Job(client, request))
        except OrbitloopError as error:
            self._tally("refused")
            self.answer(client, Failed(request.request_id, error))
        return None

    def refuse(self, client: int) -> None:
        """Answer a request that was not even read, for there was no room for it."""
        self._tally("refused")
        self.answer(client, Failed(0, BusyError("no room to read this request", where="detector", remedy="try again")))

    def forget(self, client: int) -> None:
        """Drop what a client that has gone was waiting for; its scene that is under way ends before its next piece."""
        with self._lock:
            self._deserted = self._deserted or client == self._scene_client
            for queue in (self._tiles, self._scenes):
                gone = [job for job in queue if job.client == client]
                for job in gone:
                    queue.remove(job)
                    self._held_bytes -= job.bytes
                self._counts["forgotten"] += len(gone)
            self._held.pop(client, None)

    def close(self) -> None:
        """Take no new work; what is queued will still be answered."""
        with self._lock:
            self._closing = True

    def abort(self) -> None:
        """Refuse all that waits, and end the scene that is under way at its next batch: there is no time left for them."""
        self.close()
        self._aborted = True
        with self._lock:
            jobs = [*self._tiles, *self._scenes]
            self._tiles.clear()
            self._scenes.clear()
        for job in jobs:
            self._finish(job, Failed(job.request.request_id, _stopping()))

    @property
    def waiting(self) -> int:
        """How many requests are queued."""
        return len(self._tiles) + len(self._scenes)

    @property
    def held_bytes(self) -> int:
        """Bytes of the tiles that are queued or being looked at."""
        return self._held_bytes

    def work(self) -> bool:
        """Do one batch of tiles, then one scene, if they wait; say whether there was anything to do."""
        served = self._serve_tiles()
        with self._lock:
            job = self._scenes.popleft() if self._scenes else None
        if job is None:
            return served
        self._serve_scene(job)
        return True

    def status(self) -> dict[str, Any]:
        """Return the state, as JSON."""
        seen = self.engine.report()
        about = self.engine.metadata
        self.ledger.roll(self._clocks.now_s())
        return {
            "model": {"name": about.name, "digest": seen.digest, "classes": list(about.classes), "loaded": seen.loaded},
            "tile_px": about.preprocessing.tile_px,
            "inferences": seen.requests,
            "tiles": seen.tiles,
            "swaps": seen.swaps,
            "longest_pause_s": round(seen.longest_pause_s, 6),
            "waiting": self.waiting,
            "answered": self._counts["answered"],
            "failed": self._counts["failed"],
            "refused": self._counts["refused"],
            "malformed": self._counts["malformed"],
            "scenes": self._counts["scenes"],
            "budget": self.ledger.report().to_json(),
            **self._state(),
        }

    def answer(self, client: int, answer: Answer) -> None:
        """Send an answer; one that has no form on the wire (a name that is no text, a number that is none) is a failure."""
        try:
            data = answer_to_bytes(answer)
        except (ValueError, TypeError) as error:
            answer = Failed(answer.request_id, _known(error))
            data = answer_to_bytes(answer)
        self._tally("failed" if isinstance(answer, Failed) else "answered")
        self._send(client, data)

    def _tally(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _queue(self, job: _Job) -> None:
        with self._lock:
            if self._closing:
                raise _stopping()
            if self.waiting >= self.limits.queue or self._held[job.client] >= self.limits.per_client:
                raise BusyError("the queue is full", where="detector", remedy="try again when answers have come")
            if isinstance(job.request, DetectScene):
                if self._scene is None:
                    raise ModelError("scenes are not served here", where="detector", remedy="start it with --scenes DIR")
                self._scenes.append(job)
            else:
                self._tiles.append(job)
            self._held[job.client] += 1
            self._held_bytes += job.bytes

    def _take_tiles(self) -> list[_Job]:
        """Take waiting requests while they fit into one batch; the first is taken whatever its size."""
        taken: list[_Job] = []
        size = 0
        with self._lock:
            while self._tiles:
                request = self._tiles[0].request
                assert isinstance(request, DetectTiles)
                if taken and size + len(request.tiles) > self.limits.batch:
                    break
                size += len(request.tiles)
                taken.append(self._tiles.popleft())
        return taken

    def _serve_tiles(self, beside: int = 0) -> bool:
        """Serve one batch of waiting tiles, `beside` tiles of a scene that were allowed and are not charged yet.

        They are taken before the model: who asks after a swap never gets the old one.
        """
        jobs = self._take_tiles()
        if jobs:
            with self.engine.pinned() as engine:
                self._serve_jobs(engine, jobs, beside)
        return bool(jobs)

    def _serve_jobs(self, engine: PinnedEngine, jobs: list[_Job], beside: int) -> None:
        """Answer each job of a batch: refused if it does not fit the model or the budget, else inferred together."""
        self.ledger.roll(self._clocks.now_s())
        side = engine.metadata.preprocessing.tile_px
        fit: list[tuple[_Job, DetectTiles]] = []
        for job in jobs:
            request = job.request
            assert isinstance(request, DetectTiles)
            count = len(request.tiles)
            if request.tiles.shape[1] != side:
                wrong = ModelError(f"tiles of {request.tiles.shape[1]} px for a model of {side} px", where="detector")
                self._finish(job, Failed(request.request_id, wrong))
            elif self.ledger.may(count, whole=True, beside=beside) < count:
                self._finish(job, self._over_budget(request.request_id, count))
            else:
                beside += count
                fit.append((job, request))
        if fit:
            self._infer(engine, fit)

    def _infer(self, engine: PinnedEngine, fit: list[tuple[_Job, DetectTiles]]) -> None:
        try:
            found = self._predict(engine, [request.tiles for _, request in fit])
        except Exception as error:  # whatever it was, each of these clients gets its answer, and the others are served
            for job, request in fit:
                self._finish(job, Failed(request.request_id, _known(error)))
            return
        start = 0
        for job, request in fit:
            part = found[start : start + len(request.tiles)]
            start += len(part)
            marks = np.stack([p.embedding for p in part]) if request.embeddings else None
            self._finish(job, Found(request.request_id, engine.digest, tuple(p.detections for p in part), marks))

    def _predict(self, engine: Engine, groups: list[npt.NDArray[np.uint8]]) -> list[Prediction]:
        """Infer all tiles of a batch, at most `batch` at a time, and charge what it took."""
        tiles = groups[0] if len(groups) == 1 else np.concatenate(groups)
        found: list[Prediction] = []
        step = self.limits.batch
        for start in range(0, len(tiles), step):
            part = tiles[start : start + step]
            began_s = self._clocks.cpu_s()
            try:
                found += engine.infer(part)
            finally:
                self.ledger.spend(len(part), self._clocks.cpu_s() - began_s)
        return found

    def _serve_scene(self, job: _Job) -> None:
        request = job.request
        assert isinstance(request, DetectScene)
        assert self._scene is not None
        self._tally("scenes")
        with self._lock:
            self._scene_client = job.client
        try:
            with self.engine.pinned() as engine:
                polite = _Polite(engine, self)
                found, about = self._scene(polite, request.path, self.ledger, polite.cpu_s, polite.give_way)
                about["budget"] = self.ledger.report().to_json()
                answer: Answer = Found(request.request_id, engine.digest, (found,), None, about)
        except BudgetError as error:
            answer = Failed(request.request_id, error, self.ledger.report().to_json())
        except Exception as error:  # as above: a scene that cannot be read never ends the service
            answer = Failed(request.request_id, _known(error))
        with self._lock:
            self._scene_client, self._deserted = None, False
        self._finish(job, answer)

    def _over_budget(self, request_id: int, tiles: int) -> Failed:
        report = self.ledger.report().to_json()
        what = f"the budget of this period does not allow {tiles} more tiles"
        return Failed(request_id, BudgetError(what, where="detector", remedy="wait for the next period, or raise it"), report)

    def _finish(self, job: _Job, answer: Answer) -> None:
        with self._lock:
            self._held_bytes -= job.bytes
            self._held[job.client] -= 1
            if self._held[job.client] <= 0:  # below 0: the client has gone meanwhile
                del self._held[job.client]
        self.answer(job.client, answer)


class _Polite:
    """An engine for a scene that lets waiting tiles go first, before each of its batches, and has a clock without them."""

    def __init__(self, inner: PinnedEngine, service: Service) -> None:
        self._inner, self._service = inner, service
        self.digest = inner.digest
        self._others_s, self._has_served = 0.0, False

    @property
    def metadata(self) -> ModelMetadata:
        return self._inner.metadata

    def cpu_s(self) -> float:
        """Return the CPU seconds, less what the tiles of others took."""
        return self._service._clocks.cpu_s() - self._others_s

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        self._serve_others(len(tiles))
        self._has_served = True
        self._service.ledger.roll(self._service._clocks.now_s())
        return self._inner.infer(tiles)

    def give_way(self) -> None:
        """Let waiting tiles go first where no batch has since the last time.

        Raises:
            BusyError: the detector is stopping.
            LinkError: who asked for the scene has gone.
        """
        if not self._has_served:
            self._serve_others(0)
        self._has_served = False

    def _serve_others(self, beside: int) -> None:
        service = self._service
        began_s = service._clocks.cpu_s()
        service._serve_tiles(beside)
        self._others_s += service._clocks.cpu_s() - began_s
        if service._aborted:
            raise _stopping()
        if service._deserted:
            raise LinkError("nobody waits for this scene any more", where="detector")


def _known(error: Exception) -> OrbitloopError:
    if isinstance(error, OrbitloopError):
        return error
    return OrbitloopError(f"the detector failed on this request ({type(error).__name__}: {error})"[:300], where="detector")


def _stopping() -> BusyError:
    return BusyError("the detector is stopping", where="detector", remedy="start it again")
