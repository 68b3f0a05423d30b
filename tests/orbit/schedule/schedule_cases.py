"""Random planning problems for tests: windows by chance, no orbits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orbitloop.orbit.schedule.problem import DataClass, Energy, Problem, Request, Supply

TWO = (DataClass("samples", 5.0, 3600.0), DataClass("bulk", 1.0, 6 * 3600.0))


def random_problem(
    seed: int,
    *,
    satellites: int = 5,
    stations: int = 2,
    windows: int = 25,
    ticks: int = 240,
    antennas: int = 1,
    storage: bool = False,
    energy: bool = False,
    requests: bool = False,
    two_classes: bool = False,
    guard: int = 0,
    tick_s: float = 60.0,
) -> Problem:
    """Return a problem whose windows last 4 to 12 ticks."""
    rng = np.random.default_rng(seed)
    length = rng.integers(4, 13, windows)
    opened = rng.integers(0, ticks - 12, windows)
    order = np.argsort(opened, kind="stable")
    profiles = np.array([[0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.1, 0.5, 0.9, 1.0]])
    classes = TWO if two_classes else TWO[1:]
    n = satellites
    rate = rng.choice([0.2e6, 1e6, 3e6], (n, len(classes)))
    supply = Supply(
        rate,
        rng.choice([0.0, 1e9], (n, len(classes))),
        rate.sum(axis=1) * 4000.0 if storage else np.full(n, np.inf),
        rng.choice([1.0, 2.0], n),
        (np.arange(n) % 2).astype(np.int32),
        classes,
    )
    problem = Problem(
        1.8e9,
        tick_s,
        ticks,
        tuple(f"s{k}" for k in range(n)),
        tuple(f"g{k}" for k in range(stations)),
        np.full(stations, antennas, np.int32),
        rng.integers(0, 3, stations).astype(np.int32),
        rng.integers(0, n, windows).astype(np.int32)[order],
        rng.integers(0, stations, windows).astype(np.int32)[order],
        opened[order].astype(np.int32),
        (opened + length)[order].astype(np.int32),
        (length * tick_s * rng.choice([5e6, 2e7], windows))[order],
        rng.integers(0, 2, windows).astype(np.int16)[order],
        profiles,
        supply,
        guard,
        2 * guard + 2,
        tenants=("a", "b"),
    )
    if energy:
        half = ticks // 2
        problem = replace(
            problem,
            energy=Energy(
                np.full(n, 40e3),
                np.full(n, 20e3),
                np.full(n, 30e3),
                np.full(n, 40.0),
                np.arange(n + 1, dtype=np.int64) * 2,
                np.tile(np.array([half, ticks], np.int32), n),
                np.tile(np.array([4.0, -1.0]), n),
            ),
        )
    if requests:
        at_s = problem.start_s
        urgent = Request(0, at_s + 600, at_s + 9000, 5e8, 20.0, name="picture")
        command = Request(1 % n, at_s, at_s + 12000, 1e6, 1000.0, up=True, name="command")
        problem = replace(problem, requests=(urgent, command))
    return problem
