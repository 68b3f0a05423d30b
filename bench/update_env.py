"""The environment of the codecs that updates are measured against.

nncodec is Fraunhofer's own implementation of the standard. Its licence (Clear BSD) grants no patents: it is installed for the
comparison, here alone, and nothing that we ship imports it.
"""

from __future__ import annotations

from pathlib import Path

import peer_env

_HERE = Path(__file__).resolve().parent
FOLDER = _HERE / ".env-update"
REQUIREMENTS = _HERE / "peers" / "update-requirements.txt"


def python(*, make: bool) -> Path:
    """Return its interpreter; see `peer_env.python`."""
    return peer_env.python(FOLDER, REQUIREMENTS, "nncodec, bsdiff4; 23 MB, compiled here in minutes", make=make)
