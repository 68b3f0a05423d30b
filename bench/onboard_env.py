"""The benchmark's own environment: SAHI and the runtimes that we are measured against, apart from what orbitloop needs.

A virtual environment under `bench/` that also sees the packages of the one that runs the benchmark, so that torch, numpy and
the runtime under test are the same bits on both sides. It is made at the first full run, and again when its pins change.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_HERE = Path(__file__).resolve().parent
FOLDER = _HERE / ".env-onboard"
REQUIREMENTS = _HERE / "peers" / "onboard-requirements.txt"
FORBIDDEN = ("ultralytics",)
"""AGPL: never installed for a comparison."""
_MARK = "made-from"


class NoEnvironment(Exception):
    """The environment is absent and cannot be made; the text says why, for the figures' notes."""


def python(*, make: bool) -> Path:
    """Return the interpreter of the environment, making it if it is absent or stale.

    Raises:
        NoEnvironment: it is absent and `make` is false, or making it fails.
    """
    interpreter = FOLDER / "bin" / "python"
    mark = FOLDER / _MARK
    if mark.is_file() and mark.read_text() == fingerprint() and interpreter.exists():
        return interpreter
    if not make:
        raise NoEnvironment("its environment is not made yet: run the benchmark once without --quick")
    print(f"making {FOLDER.name} (SAHI, OpenVINO, ncnn; about 400 MB)", file=sys.stderr, flush=True)
    _make(interpreter)
    mark.write_text(fingerprint())
    return interpreter


def fingerprint() -> str:
    """Return what the environment is made from: the pins, and the interpreter that it extends."""
    return hashlib.sha256(REQUIREMENTS.read_bytes() + sys.prefix.encode() + sys.version.encode()).hexdigest()


def _make(interpreter: Path) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    commands = [
        [sys.executable, "-m", "venv", "--without-pip", str(FOLDER)],
        [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-deps", "-r", str(REQUIREMENTS)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode:
            raise NoEnvironment(f"its environment cannot be made ({_last(done.stderr)})")
    paths = sysconfig.get_paths(vars={"base": str(FOLDER), "platbase": str(FOLDER)})
    site = Path(paths["purelib"])
    for name in FORBIDDEN:
        if (site / name).exists():
            raise NoEnvironment(f"{name} came with a peer, and its licence does not allow this use")
    # Appended after the environment's own folder, so that its pins win; nested .pth files (editable installs) are followed.
    (site / "zz-shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
