"""A run's state on disk: one JSON file and content-addressed blobs, so that a killed run goes on where it was.

The JSON names every blob by digest and is replaced atomically after all its blobs are written; a kill in between leaves the
earlier checkpoint and some blobs that nobody names, which the next save sweeps away. No pickle.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orbitloop.errors import StateError
from orbitloop.records.ids import digest_bytes

SCHEMA = "orbitloop.run/6"
MAX_STATE_BYTES = 256 << 20


class Checkpoints:
    """The `state` folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "checkpoint.json"
        self.blob_dir = folder / "blobs"

    def clear(self) -> None:
        """Forget an earlier run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def put_aside(self) -> Path | None:
        """Make room for a new run: a finished one is forgotten, any other is kept under another name, one deep.

        Returns:
            Where the other run now lies, or None when there was none worth keeping.
        """
        finished = not self.exists()
        try:
            finished = finished or float(self.load()["course"]["finished_at_s"]) > 0
        except (StateError, KeyError, TypeError, ValueError):
            finished = False
        if finished:
            self.clear()
            return None
        aside = self.folder.with_name(f"{self.folder.name}.unfinished")
        shutil.rmtree(aside, ignore_errors=True)
        self.folder.rename(aside)
        return aside

    def exists(self) -> bool:
        return self.file.exists()

    def save(self, state: Mapping[str, Any], blobs: Iterable[bytes]) -> None:
        """Write a checkpoint: all blobs that are not there yet, then the state, then sweep."""
        self.blob_dir.mkdir(parents=True, exist_ok=True)
        named: set[str] = set()
        for blob in blobs:
            name = digest_bytes(blob)[7:]
            named.add(name)
            target = self.blob_dir / name
            if not target.exists():
                write_whole(target, blob)
        body = _plain(state)
        write_whole(self.file, _plain({"schema": SCHEMA, "digest": digest_bytes(body), "state": state}))
        for stray in self.blob_dir.iterdir():
            if stray.name not in named:
                stray.unlink(missing_ok=True)

    def load(self) -> dict[str, Any]:
        """Read the state.

        Raises:
            StateError: there is none, or it is not, to the byte, what was saved.
        """
        if not self.exists():
            raise StateError("there is no run to resume", where=str(self.file), remedy="start it without --resume")
        if self.file.stat().st_size > MAX_STATE_BYTES:
            raise StateError("the checkpoint is larger than any that we write", where=str(self.file))
        try:
            whole = json.loads(self.file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise StateError(f"the checkpoint is not JSON ({error})", where=str(self.file)) from error
        if not isinstance(whole, dict) or whole.get("schema") != SCHEMA:
            raise StateError(
                f"not a checkpoint of this version ({SCHEMA})", where=str(self.file), remedy="run the mission afresh"
            )
        state = whole.get("state")
        if not isinstance(state, dict) or whole.get("digest") != digest_bytes(_plain(state)):
            raise StateError("the checkpoint is damaged", where=str(self.file), remedy="run the mission afresh")
        return state

    def blob(self, digest: str) -> bytes:
        """Read one blob by its digest.

        Raises:
            StateError: it is missing or damaged.
        """
        name = str(digest).removeprefix("sha256:")
        if not (name.isascii() and name.isalnum()):
            raise StateError(f"{digest!r} is no blob's name", where=str(self.blob_dir))
        try:
            data = (self.blob_dir / name).read_bytes()
        except OSError as error:
            raise StateError(f"blob {name[:12]} cannot be read ({error.strerror})", where=str(self.blob_dir)) from error
        if digest_bytes(data) != f"sha256:{name}":
            raise StateError(f"blob {name[:12]} is damaged", where=str(self.blob_dir), remedy="run the mission afresh")
        return data


def _plain(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def write_whole(target: Path, data: bytes) -> None:
    """Write a file under a spare name, sync it, and rename it: a reader sees the earlier content or all of the new."""
    spare = target.with_name(f".{target.name}.tmp")
    with spare.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    spare.replace(target)
