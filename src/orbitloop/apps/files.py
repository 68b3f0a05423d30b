"""Files that users name: read up to a limit, written whole or not at all.

What is read may come from anywhere, so that its size is never believed. Which error a reader raises is the caller's to say: it
knows what the file should have been. Every file that cannot be written is a StateError.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable
from pathlib import Path

from orbitloop.errors import OrbitloopError, StateError


def read_bounded(path: Path, limit: int, error: type[OrbitloopError], remedy: str = "check the path") -> bytes:
    """Return a file's bytes.

    Raises:
        OrbitloopError: of the given class: it cannot be read, is no file, or holds more than `limit` bytes.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would block, or never end
            raise error("is no file", where=str(path), remedy=remedy)
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as reason:
        said = getattr(reason, "strerror", None) or str(reason)
        raise error(f"cannot be read ({said})", where=str(path), remedy=remedy) from reason
    if len(data) > limit:
        raise error(f"holds more than {limit} bytes", where=str(path), remedy=remedy)
    return data


def write_whole(path: Path, data: bytes | Iterable[str], *, make_folder: bool = False) -> None:
    """Write bytes, or lines of text as they come. Until all is written, what was there stays there.

    What is no file (a terminal, a pipe) is written to as it is; a link stays a link.

    Raises:
        StateError: it cannot be written.
    """
    try:
        target = path.resolve()
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            _write(target, data)
            return
        beside = target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex[:8]}.part")
        try:
            _write(beside, data)
            beside.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        remedy = "check path, permissions and free space"
        raise StateError(f"cannot be written ({said})", where=str(path), remedy=remedy) from error


def _write(path: Path, data: bytes | Iterable[str]) -> None:
    with path.open("wb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            file.writelines(line.encode("utf-8") for line in data)
