"""The model that stays loaded: an `Engine` whose inside can be exchanged while it is used.

Role: hold one loaded model for all who detect, and replace it without a lost or mixed answer. It leaves loading to adapters,
who may fly to `onboard.updates` and `onboard.slots`, and requests to `onboard.service`.

The theory is counting. Each use pins the model that is current when it begins, and ends on that one. A swap changes which one
is current: one assignment under a lock that is never held while anything runs, so a request waits for microseconds at most.
The replaced model is let go when its last pin ends.

At most two models are in memory: the current one, and either the replaced one that still finishes or the next one that loads.
So `replace` takes its place before it loads, and a third is refused, or waits as long as the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock

import numpy as np
import numpy.typing as npt

from orbitloop.errors import BusyError, ModelError
from orbitloop.onboard.engine import Engine
from orbitloop.records.model import ModelMetadata
from orbitloop.records.prediction import Prediction

Loaded = tuple[Engine, str]
"""A model and its digest."""


@dataclass(frozen=True, slots=True)
class ResidentReport:
    """What went through.

    `requests` are inferences; `longest_pause_s` is the longest time that one had to wait for the lock, by whatever held it (0
    without a clock); `loaded` is how many models are in memory.
    """

    digest: str
    requests: int
    tiles: int
    swaps: int
    longest_pause_s: float
    loaded: int


class _Model:
    """One loaded model and how many use it."""

    __slots__ = ("digest", "engine", "users")

    def __init__(self, engine: Engine, digest: str) -> None:
        self.engine, self.digest, self.users = engine, digest, 0


class PinnedEngine:
    """One model for as long as the pin lasts, whatever is swapped meanwhile. `digest` names it."""

    def __init__(self, owner: ResidentEngine, model: _Model) -> None:
        self._owner, self._model = owner, model
        self.digest = model.digest
        self._metadata = model.engine.metadata

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        found = self._model.engine.infer(tiles)
        self._owner._count(len(tiles))
        return found


class ResidentEngine:
    """A loaded model that can be swapped under load; see the module. Safe to use from several threads.

    Args:
        engine: the model to begin with.
        digest: its weights' digest; for reports.
        clock: seconds from any start, to measure waiting with; without one no pause is measured.
    """

    def __init__(self, engine: Engine, digest: str = "", *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._lock = Lock()
        self._drained = Condition(self._lock)
        self._current = _Model(engine, digest)
        self._retired: _Model | None = None
        self._loading = False
        self._requests = self._tiles = self._swaps = 0
        self._longest_pause_s = 0.0

    @property
    def metadata(self) -> ModelMetadata:
        return self._current.engine.metadata

    @property
    def digest(self) -> str:
        """The current model's digest."""
        return self._current.digest

    def infer(self, tiles: npt.NDArray[np.uint8]) -> list[Prediction]:
        with self.pinned() as engine:
            return engine.infer(tiles)

    @contextmanager
    def pinned(self) -> Iterator[PinnedEngine]:
        """Give one model for a whole piece of work, a scene say; a swap meanwhile does not touch it."""
        self._enter()
        try:
            model = self._current
            model.users += 1
        finally:
            self._lock.release()
        engine = PinnedEngine(self, model)
        try:
            yield engine
        finally:
            del engine._model  # what is kept of the pin keeps no model in memory
            with self._lock:
                model.users -= 1
                if model is self._retired and not model.users:
                    self._retired = None
                    self._drained.notify_all()

    def swap(self, engine: Engine, digest: str = "", *, another: bool = False, wait_s: float | None = 0.0) -> None:
        """Replace the model by a loaded one: what has begun ends on the old one, what comes later gets the new one.

        Args:
            engine: the new model.
            digest: its weights' digest.
            another: allow other classes or another tile size.
            wait_s: how long to wait for the model before the last to be let go; None = as long as it takes.

        Raises:
            ModelError: the new model's classes or tile size differ and that was not asked for.
            BusyError: the model before the last is still in use; the current one stays.
        """
        self.replace(lambda: (engine, digest), another=another, wait_s=wait_s)

    def replace(self, load: Callable[[], Loaded], *, another: bool = False, wait_s: float | None = 0.0) -> None:
        """As `swap`, but `load` is called only once there is room for a second model. What it raises goes through.

        Raises:
            ModelError, BusyError: as `swap`; also when another model is being loaded just now.
        """
        self._take_place(wait_s)
        try:
            engine, digest = load()
            if not another:
                _same_work(self._current.engine.metadata, engine.metadata)
            new = _Model(engine, digest)
            with self._lock:
                old, self._current = self._current, new
                self._swaps += 1
                if old.users:
                    self._retired = old
        finally:
            with self._lock:
                self._loading = False
                self._drained.notify_all()

    def report(self) -> ResidentReport:
        """Return the counters."""
        with self._lock:
            loaded = 1 + (self._retired is not None) + self._loading
            return ResidentReport(self._current.digest, self._requests, self._tiles, self._swaps, self._longest_pause_s, loaded)

    def _take_place(self, wait_s: float | None) -> None:
        with self._lock:
            if not self._drained.wait_for(lambda: self._retired is None and not self._loading, wait_s):
                raise BusyError(
                    "another model is being loaded" if self._loading else "the model before this one is still in use",
                    where="swap",
                    remedy="try again when the work that it has begun is done",
                )
            self._loading = True

    def _enter(self) -> None:
        """Take the lock, and note how long that took if it was held."""
        if self._lock.acquire(blocking=False):
            return
        began_s = self._clock() if self._clock else 0.0
        self._lock.acquire()
        if self._clock:
            self._longest_pause_s = max(self._longest_pause_s, self._clock() - began_s)

    def _count(self, tiles: int) -> None:
        with self._lock:
            self._requests += 1
            self._tiles += tiles


def _same_work(old: ModelMetadata, new: ModelMetadata) -> None:
    if old.classes != new.classes:
        raise ModelError(
            f"the new model's classes are {', '.join(new.classes)}, not {', '.join(old.classes)}",
            where="swap",
            remedy="if another kind of model is meant, say so: --another",
        )
    if old.preprocessing.tile_px != new.preprocessing.tile_px:
        raise ModelError(
            f"the new model looks at {new.preprocessing.tile_px} px, not {old.preprocessing.tile_px} px",
            where="swap",
            remedy="if another kind of model is meant, say so: --another",
        )
