"""Environments of the benchmarks' own, for peers that orbitloop neither needs nor ships.

Each is a virtual environment under `bench/` that also sees the packages of the one that runs the benchmark, so that what both
sides use is the same bits. It is made at the first full run, and again when its pins change.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

_MARK = "made-from"


class NoEnvironment(Exception):
    """The environment is absent and cannot be made; the text says why, for the figures' notes."""


def python(folder: Path, requirements: Path, about: str, *, make: bool, forbidden: Sequence[str] = ()) -> Path:
    """Return the interpreter of an environment, making it if it is absent or stale.

    Args:
        folder: of the environment.
        requirements: its pins; installed without their dependencies.
        about: what is in it and how large it is, told when it is made.
        make: False refuses instead.
        forbidden: packages whose licence does not allow this use.

    Raises:
        NoEnvironment: it is absent and `make` is false, or making it fails.
    """
    interpreter, mark = folder / "bin" / "python", folder / _MARK
    if mark.is_file() and mark.read_text() == fingerprint(requirements) and interpreter.exists():
        return interpreter
    if not make:
        raise NoEnvironment("its environment is not made yet: run the benchmark once without --quick")
    print(f"making {folder.name} ({about})", file=sys.stderr, flush=True)
    _make(folder, requirements, forbidden)
    mark.write_text(fingerprint(requirements))
    return interpreter


def fingerprint(requirements: Path) -> str:
    """Return what an environment is made from: the pins, and the interpreter that it extends."""
    return hashlib.sha256(requirements.read_bytes() + sys.prefix.encode() + sys.version.encode()).hexdigest()


def _make(folder: Path, requirements: Path, forbidden: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    interpreter = str(folder / "bin" / "python")
    commands = [
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--no-deps", "-r", str(requirements)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode:
            raise NoEnvironment(f"its environment cannot be made ({_last(done.stderr)})")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    site = Path(paths["purelib"])
    for name in forbidden:
        if (site / name).exists():
            raise NoEnvironment(f"{name} came with a peer, and its licence does not allow this use")
    # Appended after the environment's own folder, so that its pins win; nested .pth files (editable installs) are followed.
    (site / "zz-shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
