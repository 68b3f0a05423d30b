"""Mission files opened for use: read, and held against what is installed here, before hours of training begin.

`resources` knows the form of a mission. What it leaves to others is checked here, so that it is told at once, with file, line
and field: whether there are such plug-ins and whether they take such parameters, whether the renderer can draw such a domain,
whether an orbit can be flown from the first day to the last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from orbitloop.apps.constellation import expand
from orbitloop.errors import ElementsError, ManifestError, PluginError
from orbitloop.ground.datasets.repeats import RepeatedBoxes
from orbitloop.orbit.track import ground_track
from orbitloop.plugins.registry import Registry, default_registry
from orbitloop.resources.manifest import Check, Remark, load_mission
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.fleet import elements_of
from orbitloop.sim.imagery_parameters import FarmlandParameters
from orbitloop.sim.world import open_world


def open_mission(path: str | os.PathLike[str], overrides: Sequence[str] = (), data_dir: Path = Path("data")) -> MissionPlan:
    """Read a mission file that shall be run. Constellations come expanded, those of real satellites from files in `data_dir`.

    Raises:
        ManifestError: anything in it is wrong, all of it in one error.
        PluginError: two installed packages claim one plug-in name.
    """
    registry = default_registry()
    checks: tuple[Check, ...] = (lambda plan: _plug_ins(plan, registry), _rendered, _orbits)
    return load_mission(path, overrides, checks, lambda constellation: expand(constellation, data_dir))


def look_at_labels(plan: MissionPlan, data_dir: Path) -> tuple[RepeatedBoxes, ...] | None:
    """Read the labels of a mission's data set and split it; no picture is decoded.

    Returns:
        The images whose objects are labelled twice; None when the set's folder is not there. A rendered set has none.

    Raises:
        OrbitloopError: what would stop a run of the mission too: malformed labels, a selector that matches nothing.
    """
    spec = plan.dataset.spec
    if spec.format == "procedural":
        return ()
    if not (data_dir / str(spec.path)).is_dir():
        return None
    return open_world(plan, data_dir, plan.seed).repeats


def _plug_ins(plan: MissionPlan, registry: Registry) -> Iterator[Remark]:
    job = plan.job.spec
    chosen_ones = (
        ("screen", "screening", job.screening),
        ("miner", "mining", job.mining),
        ("selector", "selection", job.selection),
    )
    for kind, field, chosen in chosen_ones:
        part = "parameters" if chosen.name in registry.names(kind) else "name"
        try:
            registry.create(kind, chosen.name, chosen.parameters)
        except PluginError as error:
            yield Remark(plan.job, ("spec", field, part), error.what, error.remedy)
    try:
        registry.entry("codec", job.update.codec)
    except PluginError as error:
        yield Remark(plan.job, ("spec", "update", "codec"), error.what, error.remedy)


def _rendered(plan: MissionPlan) -> Iterator[Remark]:
    drawn = plan.dataset.spec.procedural
    for name, values in drawn.domains.items() if drawn else ():
        try:
            FarmlandParameters.from_mapping(values)
        except ManifestError as error:
            # `where` is the parameter, when it is one that exists.
            inner = (error.where,) if error.where in values else ()
            yield Remark(plan.dataset, ("spec", "procedural", "domains", name, *inner), error.what, error.remedy)


def _orbits(plan: MissionPlan) -> Iterator[Remark]:
    for name, satellite in plan.satellites.items():
        try:
            ground_track(elements_of(name, satellite, plan.start_s), np.array([plan.start_s, plan.end_s]))
        except ElementsError as error:
            yield Remark(satellite, ("spec", "orbit"), error.what, error.remedy)
