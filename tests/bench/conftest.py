"""The benchmarks' modules lie beside the package, and import each other as scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
for folder in (BENCH, BENCH / "peers"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
