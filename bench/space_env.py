"""The environment of the peers that orbits and space traffic are measured against."""

from __future__ import annotations

from pathlib import Path

import peer_env

_HERE = Path(__file__).resolve().parent
FOLDER = _HERE / ".env-space"
REQUIREMENTS = _HERE / "peers" / "space-requirements.txt"


def python(*, make: bool) -> Path:
    """Return its interpreter; see `peer_env.python`."""
    return peer_env.python(FOLDER, REQUIREMENTS, "peers of bench space", make=make)
