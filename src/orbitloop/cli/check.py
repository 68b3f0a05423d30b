"""Command that checks mission files without running them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitloop.cli.options import DEFAULT_DATA, DataDir, Json, Overrides
from orbitloop.cli.terminal import note, print_json, show
from orbitloop.errors import ManifestError, OrbitloopError

if TYPE_CHECKING:
    from orbitloop.ground.datasets.repeats import RepeatedBoxes

MAX_WARNINGS = 20
"""Images of a data set that are named on the terminal; `--json` names all."""


def validate(
    missions: Annotated[list[Path], typer.Argument(metavar="MISSION.yaml", help="Mission files.")],
    data: DataDir = DEFAULT_DATA,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Check mission files, and say everything that is wrong with them: file, line, field, and what would be right.

    A file of alerts or proposals alone (ConjunctionAlert, AvoidanceOption, ...) needs no mission.

    Where the data folder holds the mission's set, its labels are read too: malformed ones and selectors that match nothing are
    told, and objects that seem to be labelled twice are warned of.

    \b
    Examples:
      orbitloop validate missions/farmland-demo.yaml missions/ships.yaml
      orbitloop validate missions/aircraft.yaml --data ../data

    \b
    Exit codes: 0 all are sound, with or without warnings; 10 one is not.
    """
    files = [_checked(path, overrides or (), data, json_output) for path in missions]
    if json_output:
        print_json({"files": files})
    if not all(file["sound"] for file in files):
        raise typer.Exit(ManifestError.exit_code)


def _checked(path: Path, overrides: Sequence[str], data: Path, quiet: bool) -> dict[str, Any]:
    """Check one file, tell of it unless `quiet`, and return its entry of `--json`."""
    from orbitloop.apps.missions import look_at_labels, open_mission
    from orbitloop.resources.manifest import load_standalone
    from orbitloop.resources.problems import InvalidManifest, Problem

    found: dict[str, Any] = {"file": str(path), "sound": False, "mission": None, "digest": None, "labels": "not read"}
    problems: Sequence[Problem] = ()
    repeats: tuple[RepeatedBoxes, ...] | None = None
    try:
        if (alone := load_standalone(path)) is not None:
            if not quiet:
                show(f"{path}: sound ({len(alone)} of kind {', '.join(sorted({one.kind for one in alone}))}; no mission)")
            return found | {"sound": True, "problems": [], "warnings": [], "resources": [one.name for one in alone]}
        plan = open_mission(path, overrides, data)
        found |= {"mission": plan.name, "digest": plan.digest()}
        try:
            repeats = look_at_labels(plan, data)
        except OrbitloopError as error:
            problems = [Problem(error.where, None, "", error.what, error.remedy)]
            raise InvalidManifest(problems) from error
    except InvalidManifest as error:
        problems = error.problems
        if not quiet:
            note(f"error: {error}")
    else:
        found |= {"sound": True, "labels": "not read" if repeats is None else "read"}
        if not quiet:
            unread = f"; labels not read, there is no {data / str(plan.dataset.spec.path)}" if repeats is None else ""
            show(f"{path}: sound ({plan.name}){unread}")
            _warn(repeats or (), plan.dataset.spec.duplicate_boxes)
    names = ("source", "line", "field", "what", "remedy")
    found["problems"] = [{name: getattr(problem, name) for name in names} for problem in problems]
    return found | {"warnings": [_warning(one) for one in repeats or ()]}


def _warning(one: RepeatedBoxes) -> dict[str, Any]:
    return {"source": str(one.file), "image": one.image_id, "repeated": one.repeated, "boxes": one.boxes, "what": one.what}


def _warn(repeats: Sequence[RepeatedBoxes], duplicate_boxes: str) -> None:
    for one in repeats[:MAX_WARNINGS]:
        note(f"warning: {one.file}: {one.what}")
    if len(repeats) > MAX_WARNINGS:
        note(f"warning: ... and {len(repeats) - MAX_WARNINGS} more images")
    if repeats:
        done = "kept; to leave them out: Dataset.duplicateBoxes: drop" if duplicate_boxes == "keep" else "left out"
        note(f"  -> {sum(one.repeated for one in repeats)} boxes of {len(repeats)} images, {done}")
