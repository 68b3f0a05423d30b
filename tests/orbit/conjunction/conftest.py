from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cdm_folder() -> Path:
    """The real conjunction data messages."""
    root = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "orbits" / "cdm"
    if not (root / "reference_pc.csv").is_file():
        pytest.skip("no conjunction data messages: set ORBITLOOP_DATA")
    return root
