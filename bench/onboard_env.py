"""The environment of SAHI and the runtimes that we are measured against on board."""

from __future__ import annotations

from pathlib import Path

import peer_env
from peer_env import NoEnvironment

_HERE = Path(__file__).resolve().parent
FOLDER = _HERE / ".env-onboard"
REQUIREMENTS = _HERE / "peers" / "onboard-requirements.txt"
FORBIDDEN = ("ultralytics",)
"""AGPL: never installed for a comparison."""

__all__ = ["FOLDER", "FORBIDDEN", "REQUIREMENTS", "NoEnvironment", "fingerprint", "python"]


def python(*, make: bool) -> Path:
    """Return its interpreter; see `peer_env.python`."""
    about = "SAHI, OpenVINO, ncnn; about 400 MB"
    return peer_env.python(FOLDER, REQUIREMENTS, about, make=make, forbidden=FORBIDDEN)


def fingerprint() -> str:
    """Return what it is made from."""
    return peer_env.fingerprint(REQUIREMENTS)
