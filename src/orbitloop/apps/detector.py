"""The on-board process: a model that stays loaded and serves whoever asks over a Unix-domain socket.

Role: wire `onboard.service` to a socket, a worker, files, clocks and signals. It is a composition root that flies: it imports
nothing of the ground, and no torch, pydantic, typer or rich.

Three threads. The main one speaks to the clients; the worker computes, one batch at a time; a third loads and checks the next
model while the first goes on answering. The options stand in `apps.detector_options`.

It prints one line when it is ready (and tells systemd, if that started it), and one for each event; with `--json` each line is
an object. It ends with 0 after `stop` or SIGTERM, 130 after SIGINT, else with the code of the error, as
`docs/reference/exit-codes.md` has them. What is under way is answered first, within `--grace` seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from orbitloop.apps.detector_files import inside, load_folder, self_check
from orbitloop.apps.detector_options import read_options
from orbitloop.apps.detector_process import Log, give_back_memory, loading, notify_systemd, process_state, settle, tame_memory
from orbitloop.apps.detector_scenes import scene_looker
from orbitloop.errors import BusyError, ModelError, OrbitloopError
from orbitloop.onboard.adapters.unix_socket import SocketLimits, UnixServer
from orbitloop.onboard.budget import Budget, Ledger, Price
from orbitloop.onboard.resident import Loaded, ResidentEngine
from orbitloop.onboard.service import Clocks, Handed, Service, ServiceLimits
from orbitloop.onboard.service_wire import Answer, Done, Failed, SwapModel

INTERRUPTED = 130
FRAME_OVERHEAD_BYTES = 1 << 16
TIDY_S = 0.2
"""How often memory is given back while there is work. Without it 25 MB of holes build up (int8, 320 px)."""
LAST_WORDS_S = 1.0
"""How long refusals may take to go out when the grace is over."""


class Detector:
    """The running process: `onboard.adapters.unix_socket.Handler`, worker and loader.

    Args:
        options: of the command line (`detector_options.read_options`).
        say: writes a line of the log: an event and its fields.

    Raises:
        ModelError: the model does not load or compute.
        StateError: the socket cannot be used, or a budget cannot be kept.
    """

    def __init__(self, options: argparse.Namespace, say: Callable[..., None]) -> None:
        self._options, self._say = options, say
        price = Price(options.joules_per_tile, options.watts)
        ledger = Ledger(Budget(options.tiles, options.joules, options.seconds, options.period), price)
        with loading(options.keep_mb << 20):
            engine, digest = self._load(options.model, "")
        # With one thread the runtime computes in the caller's; with more, only the whole process's time has it all.
        cpu = time.thread_time if options.threads == 1 else time.process_time
        self.engine = ResidentEngine(engine, digest, clock=time.monotonic)
        limits = ServiceLimits(options.queue, options.per_client, options.request_tiles, options.batch)
        scene = None
        if options.scenes:
            scene = scene_looker(
                options.scenes,
                options.batch,
                options.screen,
                bands=options.bands,
                stretch=options.stretch,
                results=options.results,
            )
        self.service = Service(
            self.engine, ledger, Clocks(time.monotonic, cpu), self._post, limits=limits, scene=scene, state=self._state
        )
        self._server = UnixServer(options.socket, self, time.monotonic, self._socket_limits())
        self._work, self._busy, self._over = threading.Event(), False, False
        self._loader: threading.Thread | None = None
        self._swapping = False
        self._stop_by_s: float | None = None
        self._began_s = self._tidied_s = time.monotonic()
        self._tidied_at = 0
        self._broken: BaseException | None = None

    def request_stop(self) -> None:
        """End soon; a second time: at once. Safe in a signal handler."""
        grace_s = 0.0 if self._stop_by_s is not None else float(self._options.grace)
        self._stop_by_s = time.monotonic() + grace_s
        self._server.wake()

    def run(self) -> None:
        """Serve until told to stop."""
        worker = threading.Thread(target=self._compute, name="worker", daemon=True)
        worker.start()
        try:
            while not self._may_end():
                self._server.turn()
                self._tidy()
        finally:
            self._over = True
            self._work.set()
            worker.join(self._options.grace)
            self._server.close()
        if self._broken is not None:
            raise self._broken

    def _tidy(self) -> None:
        """Give back, now and then, what requests and activations have left as holes between each other."""
        now_s, inferences = time.monotonic(), self.engine.report().requests
        if inferences != self._tidied_at and now_s - self._tidied_s >= TIDY_S:
            self._tidied_s, self._tidied_at = now_s, inferences
            give_back_memory()

    def held_bytes(self) -> int:
        return self.service.held_bytes

    def on_frame(self, client: int, data: bytes) -> None:
        handed = self.service.receive(client, data)
        if handed is None:
            self._work.set()
        elif isinstance(handed.request, SwapModel):
            self._begin_swap(handed)
        else:
            self.service.answer(client, Done(handed.request.request_id, {"waiting": self.service.waiting}))
            if self._stop_by_s is None:  # two clients that ask for the same are no hurry
                self._say("stopping", why="asked by a client")
                self.request_stop()

    def on_passed_over(self, client: int) -> None:
        self.service.refuse(client)

    def on_gone(self, client: int, reason: str) -> None:
        self.service.forget(client)
        if reason:
            self._say("cut", client=client, why=reason)

    def _post(self, client: int, record: bytes) -> None:
        self._server.post(client, record)

    def _compute(self) -> None:
        """Serve the queue until the process ends. A mistake of ours ends the process, told, rather than leave it deaf."""
        try:
            while not self._over:
                self._work.wait()
                self._busy = True
                self._work.clear()
                while self.service.work() and not self._over:
                    pass
                self._busy = False
                self._server.wake()
        except BaseException as error:  # handed to the main thread, which raises it
            self._broken = error
            self.request_stop()

    def _may_end(self) -> bool:
        if self._broken is not None:
            return True
        if self._stop_by_s is None:
            return False
        self.service.close()
        self._server.stop_listening()
        if time.monotonic() >= self._stop_by_s:
            self.service.abort()
            return not (self._busy or self._server.unsent) or time.monotonic() >= self._stop_by_s + LAST_WORDS_S
        loading = self._loader is not None and self._loader.is_alive()
        return not (self._busy or self._work.is_set() or self.service.waiting or loading or self._server.unsent)

    def _begin_swap(self, handed: Handed) -> None:
        if self._stop_by_s is not None or self._swapping:
            busy = BusyError("another model is being loaded, or the detector is stopping", where="swap", remedy="try again")
            self.service.answer(handed.client, Failed(handed.request.request_id, busy))
            return
        self._swapping = True
        self._loader = threading.Thread(target=self._swap, args=(handed,), name="loader", daemon=True)
        self._loader.start()

    def _swap(self, handed: Handed) -> None:
        """Load, check, swap and answer. The next swap may come once the answer is out, not only when this thread is gone."""
        request = handed.request
        assert isinstance(request, SwapModel)
        try:
            answer: Answer = Done(request.request_id, self._replace(request))
        except Exception as error:  # whatever it was: the model that runs goes on, and the client is told
            known = error if isinstance(error, OrbitloopError) else ModelError(f"the model does not load ({error!r:.200})")
            self._say("swap-refused", model=request.model, why=known.what)
            answer = Failed(request.request_id, known)
        self._swapping = False
        self.service.answer(handed.client, answer)

    def _replace(self, request: SwapModel) -> dict[str, Any]:
        began_s, old = time.monotonic(), self.engine.digest
        folder = inside(self._options.models, request.model, "--models")
        load = partial(self._load, folder, request.digest)
        with loading(self._options.keep_mb << 20):
            self.engine.replace(load, another=request.another, wait_s=self._options.timeout)
        self._server.limits = self._socket_limits()  # for who connects from now on; the tile size may be another
        about = {"old": old, "digest": self.engine.digest, "seconds": round(time.monotonic() - began_s, 4)}
        self._say("swapped", model=request.model, **about)
        return about

    def _load(self, folder: Path, digest: str) -> Loaded:
        loaded = load_folder(folder, self._options.threads, self._options.engine, digest)
        self_check(loaded[0], folder)
        return loaded

    def _state(self) -> dict[str, Any]:
        up_s = round(time.monotonic() - self._began_s, 3)
        return {**process_state(), "up_s": up_s, "clients": self._server.clients, "threads": self._options.threads}

    def _socket_limits(self) -> SocketLimits:
        side = self.engine.metadata.preprocessing.tile_px
        one = self._options.request_tiles * side * side * 3 + FRAME_OVERHEAD_BYTES
        most = max(self._options.held_mb << 20, 2 * one)
        return SocketLimits(clients=self._options.clients, frame_bytes=one, held_bytes=most, timeout_s=self._options.timeout)


def main(arguments: list[str] | None = None) -> int:
    """Run a detector in this process; return the exit code."""
    options = read_options(arguments)
    say = Log(options.json)
    tame_memory()
    interrupted = threading.Event()
    try:
        settle(options.cpus, options.nice)
        detector = Detector(options, say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, partial(_on_signal, detector, interrupted))
        about = detector.service.status()
        say("ready", socket=str(options.socket), digest=about["model"]["digest"], rss_bytes=about["rss_bytes"], pid=os.getpid())
        notify_systemd("READY=1")
        detector.run()
        say("ended", tiles=detector.service.status()["tiles"])
    except (OrbitloopError, ValueError) as error:
        known = error if isinstance(error, OrbitloopError) else OrbitloopError(str(error), where="command line")
        say("failed", error=type(known).__name__, why=known.what)
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return INTERRUPTED if interrupted.is_set() else 0


def _on_signal(detector: Detector, interrupted: threading.Event, number: int, _frame: object) -> None:
    if number == signal.SIGINT:
        interrupted.set()
    detector.request_stop()


if __name__ == "__main__":
    sys.exit(main())
