"""Arguments that several commands share, so that they are called the same and mean the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitloop.errors import StateError

if TYPE_CHECKING:
    from orbitloop.resources.mission import MissionPlan

MissionFile = Annotated[Path, typer.Argument(metavar="MISSION.yaml", help="The mission file.")]
DataDir = Annotated[
    Path, typer.Option("--data", metavar="DIR", envvar="ORBITLOOP_DATA", help="Folder that holds the data sets.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Seed, instead of the mission's own.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KIND.PATH=VALUE",
        help="Set a field of a resource, inside its spec; VALUE is YAML. Repeatable. KIND/NAME.PATH where there are several.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

DEFAULT_DATA = Path("data")
_EARLIEST_S, _LATEST_S = -410_227_200.0, 5_901_206_400.0  # 1957 and 2157 begin: the years that an element set can tell


def check_out(folder: Path) -> Path:
    """Return the folder of results, when it can be made and written: told before hours of training, not after.

    Raises:
        StateError: it cannot.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    reason = "is not a folder" if not there.is_dir() else "" if os.access(there, os.W_OK | os.X_OK) else "is not writable"
    if reason:
        raise StateError(f"results cannot go there: {there} {reason}", where=str(folder), remedy="name another --out")
    return folder


def load_plan(mission: Path, overrides: list[str] | None, seed: int | None = None, data: Path | None = None) -> MissionPlan:
    """Read a mission file with what the command line changes in it.

    `data` holds the element sets that a constellation may be imported from; without it they are sought in ORBITLOOP_DATA.

    Raises:
        ManifestError: the file or an override is not what it should be.
    """
    from orbitloop.apps.missions import open_mission

    folder = data or Path(os.environ.get("ORBITLOOP_DATA") or DEFAULT_DATA)
    plan = open_mission(mission, overrides or (), folder)
    return plan if seed is None else plan.with_seed(seed)


def parse_time(text: str, option: str) -> float:
    """Read a time of the command line, ISO 8601, as UTC seconds."""
    from orbitloop.clock import parse_utc_s

    try:
        when_s = parse_utc_s(text)
    except (ValueError, OverflowError) as error:
        what = f"{text[:40]!r} is not a time; write it like 2026-06-01T12:00:00Z"
        raise typer.BadParameter(what, param_hint=option) from error
    if not _EARLIEST_S <= when_s < _LATEST_S:
        raise typer.BadParameter(f"{text[:40]!r} is outside 1957 to 2156", param_hint=option)
    return when_s
