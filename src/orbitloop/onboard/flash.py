"""The port through which the satellite keeps what must survive a power cut: a flat set of named files.

What an implementation promises, and all that `slots` relies on:

- `write_atomic`: after a cut at any moment a reader finds the earlier content or the new one, whole, never a mixture; once it
  has returned, the new one. (On a POSIX file system: write a temporary file, fsync it, rename it, fsync the folder.)
- `delete`: after a cut the file is there or not; once it has returned, it is not.
- Different calls take effect in the order in which they were made.

It promises nothing about bits that flip later; readers hold digests against what they read.
"""

from __future__ import annotations

from typing import Protocol


class Flash(Protocol):
    """Named files that are whole. Names are lower-case letters, digits, `-` and `.`, 1 to 64 of them."""

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return the content.

        Raises:
            StateError: there is no such file, it is larger than `max_bytes`, or it cannot be read.
        """

    def write_atomic(self, name: str, data: bytes) -> None:
        """Put the content in place, whole and durable.

        Raises:
            StateError: it cannot be written (no space, device error); the earlier content stays, or, where only its durability
                failed, the new one is there, whole.
        """

    def delete(self, name: str) -> None:
        """Remove the file, durably; a file that is not there is no error.

        Raises:
            StateError: it cannot be removed.
        """

    def exists(self, name: str) -> bool:
        """Say whether there is such a file."""

    def list(self) -> list[str]:
        """Return the names of all files, in order."""
