"""The other end of the resident detector's socket, for programs on board and for `orbitloop onboard`.

One request at a time, answered in order. Refusals come back as the typed error that the detector named: `BusyError` is worth
another try, `BudgetError` is not before the next period.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitloop.errors import LinkError, WireError
from orbitloop.onboard.budget import Budget
from orbitloop.onboard.service_wire import (
    LENGTH,
    MAX_FRAME_BYTES,
    Answer,
    AskStatus,
    DetectScene,
    DetectTiles,
    Done,
    Failed,
    Found,
    Request,
    Stop,
    SwapModel,
    TellBudget,
    answer_from_bytes,
    frame,
    request_to_bytes,
)

CHUNK_BYTES = 1 << 18


class DetectorClient:
    """A connection to a resident detector. Use it as a context manager; one thread at a time.

    Args:
        path: of the detector's socket.
        timeout_s: for connecting, and for each answer.

    Raises:
        LinkError: nobody answers there. Each method raises it when the connection breaks or the answer does not come in time,
            and what the detector answers with.
    """

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self._path, self._number = path, 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise LinkError(
                f"no detector answers here ({error.strerror or error})",
                where=str(path),
                remedy="start one: orbitloop onboard serve --model DIR --socket PATH",
            ) from error

    def __enter__(self) -> DetectorClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def detect(self, tiles: npt.NDArray[np.uint8], *, embeddings: bool = False) -> Found:
        """Detect in tiles (B, S, S, 3) uint8 RGB; boxes in tile pixels."""
        return self._found(DetectTiles(self._next(), tiles, embeddings))

    def scene(self, path: str) -> Found:
        """Detect in a scene's file, named relative to the detector's scenes; boxes in scene pixels."""
        return self._found(DetectScene(self._next(), path))

    def status(self) -> dict[str, Any]:
        """Return the detector's state."""
        return self._done(AskStatus(self._next()))

    def swap(self, model: str, *, digest: str = "", another: bool = False) -> dict[str, Any]:
        """Replace the model by one of the detector's models; whoever asks after this returns gets the new one."""
        return self._done(SwapModel(self._next(), model, digest, another))

    def budget(self, budget: Budget) -> dict[str, Any]:
        """Tell a budget; return the report."""
        return self._done(TellBudget(self._next(), budget))

    def stop(self) -> dict[str, Any]:
        """Let the detector end, once it has answered what is under way."""
        return self._done(Stop(self._next()))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _found(self, request: Request) -> Found:
        answer = self._ask(request)
        if not isinstance(answer, Found):
            raise WireError("the detector answers with something else", where=str(self._path))
        return answer

    def _done(self, request: Request) -> dict[str, Any]:
        answer = self._ask(request)
        if not isinstance(answer, Done):
            raise WireError("the detector answers with something else", where=str(self._path))
        return answer.about

    def _ask(self, request: Request) -> Answer:
        try:
            self._socket.sendall(frame(request_to_bytes(request)))
        except TimeoutError as error:
            raise LinkError("the detector takes no request", where=str(self._path), remedy="ask for its status") from error
        except OSError:
            pass  # it has ended the connection, and may have said why: the answer is read all the same
        answer = answer_from_bytes(self._receive())
        if isinstance(answer, Failed):
            raise answer.error
        if answer.request_id != request.request_id:
            raise WireError("the answer is to another request", where=str(self._path))
        return answer

    def _receive(self) -> bytes:
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise WireError(f"an answer of {length} bytes is announced", where=str(self._path))
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                chunk = self._socket.recv(min(CHUNK_BYTES, count - len(data)))
            except TimeoutError as error:
                raise LinkError("no answer in time", where=str(self._path), remedy="ask for the detector's status") from error
            except OSError as error:
                raise LinkError(f"the connection broke ({error.strerror})", where=str(self._path)) from error
            if not chunk:
                raise LinkError("the detector ended the connection", where=str(self._path), remedy="ask for its status")
            data += chunk
        return bytes(data)
