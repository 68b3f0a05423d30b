"""A Unix-domain socket served by one thread: frames in, frames out, and no client that can stop the others.

Role: accept, cut the streams into frames, send what is posted, and end who is slow. It leaves the meaning of frames to its
handler. All sockets are non-blocking; a client is cut when a frame that it began does not end in time, when it does not read
its answers in time, or when it hangs up before they come. Memory is bounded: so many clients, so many bytes of requests in all
(`held_bytes`, from the announced length of a frame until it has been answered), so many bytes of unread answers a client.

The socket's file has mode 0600. A file left by a process that was killed is replaced only if nobody answers on it; a lock
beside it, which the system lets go when its holder dies, keeps two processes from starting at the same moment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import selectors
import socket
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orbitloop.errors import BusyError, StateError, WireError
from orbitloop.onboard.service_wire import Deframer, Failed, answer_to_bytes, frame

CHUNK_BYTES = 1 << 18
MAX_PATH_BYTES = 107
"""`sockaddr_un.sun_path` holds 108 with the closing zero."""
TICK_S = 0.5
FULL = frame(answer_to_bytes(Failed(0, BusyError("too many clients", where="detector", remedy="try again later"))))


class Handler(Protocol):
    """Who deals with frames. Called by the server's thread only."""

    def on_frame(self, client: int, data: bytes) -> None:
        """Take a whole frame."""

    def held_bytes(self) -> int:
        """Return how many bytes of requests the handler holds."""

    def on_passed_over(self, client: int) -> None:
        """A frame was passed over: there was no room for it."""

    def on_gone(self, client: int, reason: str) -> None:
        """The client has gone, or was cut."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Bounds of the server.

    So many clients; bytes of one frame, of all requests held, of one client's unread answers; seconds for a frame to end or an
    answer to be read.
    """

    clients: int = 32
    frame_bytes: int = 8 << 20
    held_bytes: int = 16 << 20
    unread_bytes: int = 1 << 20
    timeout_s: float = 5.0


class _Client:
    """One connection."""

    def __init__(self, number: int, connection: socket.socket, deframer: Deframer, now_s: float) -> None:
        self.number, self.connection, self.deframer = number, connection, deframer
        self.out: deque[memoryview] = deque()
        self.out_bytes = 0
        self.reading_bytes = 0
        """Announced length of the frame that is being read."""
        self.unanswered = 0
        self.frame_since_s: float | None = None
        self.stuck_since_s: float | None = None
        self.seen_s = now_s
        self.ended = False
        """It will send nothing more, but may still read."""


class UnixServer:
    """Serves one socket; see the module.

    Args:
        path: of the socket.
        handler: takes frames.
        clock: monotonic seconds.
        limits: bounds.

    Raises:
        StateError: the path cannot be used, or somebody answers there.
    """

    def __init__(self, path: Path, handler: Handler, clock: Callable[[], float], limits: SocketLimits | None = None) -> None:
        self._path, self._handler, self._clock = path, handler, clock
        self.limits = limits or SocketLimits()
        self._clients: dict[int, _Client] = {}
        self._next = 0
        self._posted: deque[tuple[int, bytes]] = deque()
        self._stopping = False
        self._lock_file, self._listener = _claim(path)
        self._inode = path.lstat().st_ino
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for part in (self._listener, self._wake_in, self._wake_out):
            part.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)

    def post(self, client: int, record: bytes) -> None:
        """Send an answer; from any thread. Who has gone gets nothing."""
        self._posted.append((client, frame(record)))
        self.wake()

    def wake(self) -> None:
        """Let the server look around; from any thread or signal handler."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._wake_out.send(b"x")

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    @property
    def unsent(self) -> bool:
        """Whether an answer waits to be sent or read."""
        return bool(self._posted) or any(client.out for client in self._clients.values())

    def turn(self) -> None:
        """Do what is ready, or wait for half a second at most."""
        for key, events in self._selector.select(TICK_S):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_in:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            else:
                client = key.data
                if events & selectors.EVENT_WRITE:
                    self._write(client)
                if events & selectors.EVENT_READ and client.number in self._clients:
                    self._read(client)
        self._deliver()
        self._cut_slow()

    def stop_listening(self) -> None:
        """Accept nobody from now on; the file goes, so that another process may take its place."""
        if self._stopping:
            return
        self._stopping = True
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()

    def close(self) -> None:
        """End: cut everybody, remove the file, let the lock go."""
        self.stop_listening()
        for client in list(self._clients.values()):
            self._cut(client, "the detector has ended")
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
        os.close(self._lock_file)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone again, or descriptors are used up: the others are served
            return
        if len(self._clients) >= self.limits.clients and not self._evict():
            with contextlib.suppress(OSError), connection:
                connection.setblocking(False)
                connection.send(FULL)
            return
        connection.setblocking(False)
        self._next += 1
        client = _Client(self._next, connection, Deframer(self.limits.frame_bytes), self._clock())
        client.deframer = Deframer(self.limits.frame_bytes, lambda length: self._admit(client, length))
        self._clients[client.number] = client
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _evict(self) -> bool:
        """Make room by ending who has been silent for longest, and for longer than the timeout, and waits for nothing."""
        idle = [c for c in self._clients.values() if not (c.unanswered or c.out or c.deframer.partial)]
        oldest = min(idle, key=lambda c: c.seen_s, default=None)
        if oldest is None or self._clock() - oldest.seen_s < self.limits.timeout_s:
            return False
        self._cut(oldest, "silent, and others want its place")
        return True

    def _admit(self, client: _Client, length: int) -> bool:
        held = self._handler.held_bytes() + sum(other.reading_bytes for other in self._clients.values())
        if held and held + length > self.limits.held_bytes:
            return False
        client.reading_bytes = length
        return True

    def _read(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._cut(client, error.strerror or "reset")
            return
        now_s = client.seen_s = self._clock()
        if not chunk:
            client.ended = True
            if client.deframer.partial or not (client.unanswered or client.out):
                self._cut(client, "truncated a frame" if client.deframer.partial else "")
            else:
                self._register(client)
            return
        try:
            for data in client.deframer.feed(chunk):
                client.frame_since_s = None
                client.reading_bytes = 0
                client.unanswered += 1
                if data is None:
                    self._handler.on_passed_over(client.number)
                else:
                    self._handler.on_frame(client.number, data)
        except WireError as error:
            self._cut(client, error.what)
            return
        if not client.deframer.partial:
            client.frame_since_s = None
        elif client.frame_since_s is None:
            client.frame_since_s = now_s
        self._register(client)

    def _deliver(self) -> None:
        touched = set()
        while self._posted:
            number, data = self._posted.popleft()
            client = self._clients.get(number)
            if client is None:
                continue
            client.unanswered -= 1
            client.out.append(memoryview(data))
            client.out_bytes += len(data)
            touched.add(number)
        for number in touched:
            if number in self._clients:
                self._write(self._clients[number])

    def _write(self, client: _Client) -> None:
        try:
            while client.out:
                sent = client.connection.send(client.out[0])
                client.stuck_since_s = None
                client.out_bytes -= sent
                client.seen_s = self._clock()
                if sent == len(client.out[0]):
                    client.out.popleft()
                else:
                    client.out[0] = client.out[0][sent:]
        except (BlockingIOError, InterruptedError):
            if client.stuck_since_s is None:
                client.stuck_since_s = self._clock()
        except OSError as error:
            self._cut(client, error.strerror or "reset")
            return
        if client.ended and not (client.unanswered or client.out):
            self._cut(client, "")
            return
        self._register(client)

    def _register(self, client: _Client) -> None:
        """Read only from who reads its own answers, write only where something waits."""
        reads = not client.ended and client.out_bytes < self.limits.unread_bytes
        events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if client.out else 0)
        try:
            if events:
                self._selector.modify(client.connection, events, client)
            else:
                self._selector.unregister(client.connection)
        except KeyError:  # it was not registered, for there was nothing to wait for
            if events:
                self._selector.register(client.connection, events, client)

    def _cut_slow(self) -> None:
        now_s, most_s = self._clock(), self.limits.timeout_s
        for client in list(self._clients.values()):
            if client.frame_since_s is not None and now_s - client.frame_since_s > most_s:
                self._cut(client, f"a frame took more than {most_s:g} s")
            elif client.stuck_since_s is not None and now_s - client.stuck_since_s > most_s:
                self._cut(client, f"did not read its answers for {most_s:g} s")
            elif client.ended and _hung_up(client.connection):
                self._cut(client, "has gone, and waits for nothing any more")

    def _cut(self, client: _Client, reason: str) -> None:
        del self._clients[client.number]
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.connection)
        client.connection.close()
        client.out.clear()
        self._handler.on_gone(client.number, reason)


def _hung_up(connection: socket.socket) -> bool:
    """Say whether the other end is closed both ways; one that only sends no more still reads its answers."""
    poll = select.poll()
    poll.register(connection, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _claim(path: Path) -> tuple[int, socket.socket]:
    """Take the path: return the lock's descriptor and the listening socket."""
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise StateError(f"a socket's path has at most {MAX_PATH_BYTES} bytes", where=str(path), remedy="use a shorter one")
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateError(f"the socket cannot be made ({error.strerror})", where=str(path), remedy="name another") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_stale(path)
        return lock, _listen(path)
    except BlockingIOError as error:
        os.close(lock)
        raise _taken(path) from error
    except OSError as error:
        os.close(lock)
        raise StateError(f"the socket cannot be made ({error.strerror})", where=str(path), remedy="name another") from error
    except StateError:
        os.close(lock)
        raise


def _taken(path: Path) -> StateError:
    return StateError("somebody answers on this socket already", where=str(path), remedy="stop it, or name another socket")


def _remove_stale(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise StateError("there is a file that is no socket", where=str(path), remedy="name another socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:  # its owner is there, but busy, or another user's
                raise _taken(path) from error
            path.unlink()
            return
    raise _taken(path)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
