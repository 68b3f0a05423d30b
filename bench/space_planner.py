"""Planning of contacts: gap to the optimum on small cases, the large case with its bound, repair, policies on a real fleet.

Small: 50 cases, fixed seeds, of real geometry (orbits by chance, real stations), a minute's ticks, half of them with full
stores, a third with batteries that bind; CP-SAT proves the optimum, or its bound stands in. Large: a Walker constellation of
1,000 over 100 real stations for 7 days; passes are found before and told apart. Policies: the 167 satellites of `resource.tle`
over all 117 stations, a day. Baselines are policies of the same scheduler: first-come (in order of AOS, whole passes), and
greedy by value, looked at anew as the plan grows.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from orbitloop.apps.constellation import walker_elements
from orbitloop.clock import parse_utc_s
from orbitloop.orbit.elements import Elements, from_orbit
from orbitloop.orbit.energy import PowerModel
from orbitloop.orbit.fleet_passes import fleet_passes
from orbitloop.orbit.formats.geojson import parse_stations
from orbitloop.orbit.formats.sets import parse_sets
from orbitloop.orbit.link_budget import LinkRates
from orbitloop.orbit.passes import Station
from orbitloop.orbit.schedule.board import Board
from orbitloop.orbit.schedule.bounds import upper_bound
from orbitloop.orbit.schedule.check import check_plan
from orbitloop.orbit.schedule.exact import solve_exact
from orbitloop.orbit.schedule.heuristic import Effort, solve
from orbitloop.orbit.schedule.opportunities import energy_of, problem_of
from orbitloop.orbit.schedule.policies import POLICIES
from orbitloop.orbit.schedule.problem import Problem, Request, Supply
from orbitloop.orbit.schedule.replan import Failure, push_request, repair
from orbitloop.orbit.schedule.value import Outcome, evaluate
from orbitloop.orbit.sun import eclipse_intervals
from orbitloop.orbit.walker import parse_walker
from orbitloop.reports.figures import Figure, figure_of

NETWORKS = ("ksat", "nen", "leaf", "aws", "atlas", "ssc", "viasat", "dsn")
START_S = parse_utc_s("2026-06-01T00:00:00Z")
DAY_S = 86_400.0
RATES = LinkRates(200e6, 1e6, ((5.0, 0.25), (10.0, 0.35), (20.0, 0.5), (40.0, 0.8), (60.0, 1.0)))
EXACT_S = 40.0


def figures(quick: bool) -> list[Figure]:
    """Measure; quick takes fewer and smaller cases."""
    data = Path(os.environ.get("ORBITLOOP_DATA", "../shared/data")) / "orbits"
    if not (data / "ground_stations" / "ksat.geojson").is_file():
        return [Figure("planner", "left out", "", note=f"no stations under {data}")]
    stations = _stations(data)
    return [*_small(stations, quick), *_large(stations, quick), *_policies(data, stations, quick)]


def _stations(data: Path, setup_s: float = 60.0) -> list[Station]:
    out = []
    for network in NETWORKS:
        text = (data / "ground_stations" / f"{network}.geojson").read_text("utf-8")
        out += [replace(s, name=f"{network} {s.name}", setup_s=setup_s) for s in parse_stations(text, network)]
    return out


def small_case(stations: list[Station], seed: int) -> Problem:
    """Return one of the small cases: 4 to 9 satellites, 2 or 3 stations, 6 to 10 hours."""
    rng = np.random.default_rng(seed)
    n, hours = int(rng.integers(4, 10)), float(rng.integers(6, 11))
    base, spread = float(rng.uniform(0, 360)), float(rng.choice([8.0, 40.0, 360.0]))
    fleet = [
        from_orbit(
            f"s{k}",
            START_S,
            float(rng.uniform(450, 700)),
            float(rng.uniform(60, 100)),
            raan_deg=float(base + rng.uniform(0, spread)) % 360,
            mean_anomaly_deg=float(base + rng.uniform(0, spread)) % 360,
        )
        for k in range(n)
    ]
    places = [
        replace(stations[k], setup_s=float(rng.choice([0.0, 60.0, 120.0]))) for k in rng.choice(36, int(rng.integers(2, 4)))
    ]
    places = [replace(s, name=f"{s.name} {k}") for k, s in enumerate(places)]
    if seed % 5 == 0:
        places[0] = replace(places[0], antennas=2)
    end_s = START_S + hours * 3600
    rate = float(rng.choice([0.02, 0.05, 0.1, 0.2])) * 25e6
    supply = Supply.even(n, rate, rate * 5400.0 if seed % 2 else np.inf)
    supply = replace(supply, weight=rng.choice([1.0, 1.0, 2.0], n))
    energy = None
    if seed % 3 == 0:
        power = PowerModel(20.0, 14.0, 8.0, 0.0, 60.0, initial_soc=0.6, min_soc=0.4)
        dark = [eclipse_intervals(e, START_S, end_s) for e in fleet]
        energy = energy_of([power] * n, dark, START_S, int(hours * 60), 60.0)
    requests = [Request(0, START_S + 3600, START_S + 4 * 3600, 2e9, 5.0, name="urgent")] if seed % 4 == 0 else []
    table = fleet_passes(fleet, places, START_S, end_s)
    return problem_of(
        table, fleet, places, [RATES] * n, supply, START_S, end_s, tick_s=60.0, guard_s=0.0, min_contact_s=120.0,
        energy=energy, requests=requests,
    )  # fmt: skip


def _small(stations: list[Station], quick: bool) -> list[Figure]:
    gaps, open_gaps, proven, sizes, plain = [], [], 0, [], {"first-come": [], "greedy": []}  # type: ignore[var-annotated]
    for seed in range(6 if quick else 50):
        problem = small_case(stations, seed)
        found = solve(problem, POLICIES["balanced"], np.random.default_rng(0))
        assert not check_plan(problem, found.plan())
        best = solve_exact(problem, found.plan(), EXACT_S / (10 if quick else 1))
        assert not check_plan(problem, best.plan)
        top = max(best.gain if best.optimal else best.bound, found.gain)
        if top <= 0:
            continue
        proven += best.optimal
        sizes.append(problem.size)
        (gaps if best.optimal else open_gaps).append(100 * (1 - found.gain / top))
        for name, values in plain.items():
            other = solve(problem, POLICIES[name], np.random.default_rng(0))
            values.append(100 * (1 - other.gain / top))
    unproven = f"; {len(open_gaps)} more unproven, against the bound: worst {max(open_gaps):.1f}" if open_gaps else ""
    note = (
        f"{len(gaps)} cases that CP-SAT proves in {EXACT_S:g} deterministic s{unproven}; {min(sizes)} to {max(sizes)} passes; "
        "share of the gain over silence"
    )
    others = ", ".join(f"{name} mean {statistics.mean(v):.1f} worst {max(v):.1f}" for name, v in plain.items())
    return [
        figure_of("planner: gap on small cases, mean", statistics.mean(gaps), "%", at_most=3, note=f"{note}; {others}"),
        figure_of("planner: gap on small cases, worst", max(gaps), "%", at_most=3, note="a case a seed, 0 to 49"),
        Figure("planner: small cases proven", proven, "cases", note=f"of {len(gaps) + len(open_gaps)}"),
    ]


def large_case(stations: list[Station], quick: bool) -> tuple[Problem, float, int]:
    """Return the large case, and the CPU seconds and number of its passes."""
    pattern, count, days = ("97.6:100/10/1", 20, 1.0) if quick else ("97.6:1000/20/1", 100, 7.0)
    fleet = walker_elements(parse_walker(pattern), 550.0, START_S, prefix="w")
    began_s = time.process_time()
    table = fleet_passes(fleet, stations[:count], START_S, START_S + days * DAY_S)
    passes_s = time.process_time() - began_s
    supply = Supply.even(len(fleet), 0.35 * count * 25e6 / len(fleet))
    problem = problem_of(
        table, fleet, stations[:count], [RATES] * len(fleet), supply, START_S, START_S + days * DAY_S, min_contact_s=60.0
    )
    return problem, passes_s, len(table)


def _warm(stations: list[Station]) -> None:
    """Compile the loops outside of what is measured."""
    problem = small_case(stations, 1)
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0), Effort(1, 10, 10))
    upper_bound(problem, board.tables, 2, board.gain)
    repair(board, Failure(START_S + 3600, station=0), START_S + 3600)
    push_request(board, Request(0, START_S + 7200, START_S + 5 * 3600, 1e8), START_S + 7200)


def _large(stations: list[Station], quick: bool) -> list[Figure]:
    _warm(stations)
    problem, passes_s, passes = large_case(stations, quick)
    began_s, clock_s = time.process_time(), time.perf_counter()
    board = solve(problem, POLICIES["balanced"], np.random.default_rng(0))
    cpu_s, wall_s = time.process_time() - began_s, time.perf_counter() - clock_s
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ours = evaluate(problem, board.plan())
    assert not check_plan(problem, board.plan())
    began_s = time.process_time()
    bound = upper_bound(problem, board.tables, 12 if quick else 25, board.gain)
    bound_s = time.process_time() - began_s
    about = f"{len(problem.satellites)} satellites x {len(problem.stations)} stations x {problem.horizon_ticks / DAY_S:g} days"
    worth = float(problem.supply.weight @ problem.supply.rate_bytes_s[:, 0]) * problem.horizon_ticks
    out = [
        figure_of(
            "planner: large case, CPU", cpu_s, "s", at_most=60,
            note=f"{about}: {problem.size} passes of 60 s or more (of {passes}, found before in {passes_s:.1f} s CPU), "
            f"{ours.contacts} contacts; {wall_s:.0f} s by the clock of a shared machine; lazy insertion alone",
        ),
        Figure("planner: large case, memory of the process", memory_mb, "MB", note="all of it, passes and NumPy included"),
        figure_of(
            "planner: large case, gap to the upper bound", 100 * bound.gap(board.gain), "%",
            note=f"Lagrangian, {bound.rounds} rounds, {bound_s:.0f} s CPU; share of the gain over silence; the same in "
            f"share of what all bytes are worth at once: {100 * (bound.gain - board.gain) / worth:.2f} %",
        ),
    ]  # fmt: skip
    for name in ("first-come", "greedy"):
        began_s = time.process_time()
        other = solve(problem, POLICIES[name], np.random.default_rng(0))
        theirs = evaluate(problem, other.plan())
        out += _against(f"large case against {name}", ours, theirs, time.process_time() - began_s)
    return out + _repairs(problem, board)


def _against(what: str, ours: Outcome, theirs: Outcome, cpu_s: float) -> list[Figure]:
    return [
        Figure(
            f"planner: {what}, bytes down", 100 * (ours.throughput_bytes / theirs.throughput_bytes - 1), "% more",
            note=f"{ours.throughput_bytes / 1e12:.1f} and {theirs.throughput_bytes / 1e12:.1f} TB; theirs with its judging "
            f"{cpu_s:.0f} s CPU",
        ),
        Figure(
            f"planner: {what}, P90 latency", ours.latency_s[1] / 60, "min", peer=what.rsplit(" ", 1)[1],
            peer_value=round(float(theirs.latency_s[1]) / 60, 1),
            note=f"of what comes down; medians {ours.latency_s[0] / 60:.0f} and {theirs.latency_s[0] / 60:.0f}",
        ),
    ]  # fmt: skip


def _repairs(problem: Problem, board: Board) -> list[Figure]:
    times, moved, back = [], [], []
    now_s = problem.start_s + 0.3 * problem.horizon_ticks * problem.tick_s
    busiest = np.argsort(-np.asarray(board.state.sta_count))
    for station in busiest[:3].tolist():
        began_s = time.process_time()
        done = repair(board, Failure(now_s, station=station), now_s)
        times.append(time.process_time() - began_s)
        moved.append(len(done.moved))
        back.append(100 * done.recovered)
    lost = len(done.lost)
    began_s = time.process_time()
    repair(board, Failure(now_s, satellite=1), now_s)
    satellite_s = time.process_time() - began_s
    began_s = time.process_time()
    asked = push_request(board, Request(5, now_s, now_s + 6 * 3600, 1e8, 100.0), now_s)
    request_s = time.process_time() - began_s
    assert not check_plan(board.problem, board.plan())
    return [
        figure_of(
            "planner: repair after a failed station, CPU", max(times), "s", at_most=1,
            note=f"the busiest three one after the other, out for the rest of the plan (the third: {lost} contacts lost, "
            f"{moved[-1]} others moved, {back[-1]:.0f} % of the gain back), board kept warm; a satellite {satellite_s:.2f} s",
        ),
        figure_of(
            "planner: an urgent request placed, CPU", request_s, "s", at_most=1,
            note=f"served: {asked.served}; {len(asked.moved)} contacts moved, {len(asked.lost)} lost, {len(asked.made)} made",
        ),
    ]  # fmt: skip


def real_case(data: Path, stations: list[Station], quick: bool) -> tuple[Problem, list[Elements]]:
    """Return 167 real satellites over 117 real stations, a day; quick takes 40 over 30, half a day."""
    fleet, _ = parse_sets((data / "constellations_2026-05-30" / "resource.tle").read_text("utf-8"), "resource.tle")
    places, hours = stations, 24.0
    if quick:
        fleet, places, hours = fleet[:40], stations[:30], 12.0
    start_s = np.ceil(max(e.epoch_s for e in fleet) / 60) * 60
    end_s = start_s + hours * 3600
    table = fleet_passes(fleet, places, start_s, end_s)
    supply = Supply.even(len(fleet), 0.5 * len(places) * 25e6 * 0.5 / len(fleet), 100e9)
    supply = replace(supply, tenant=(np.arange(len(fleet)) % 4).astype(np.int32))
    problem = problem_of(
        table, fleet, places, [RATES] * len(fleet), supply, start_s, end_s, min_contact_s=60.0, tenants=("a", "b", "c", "d")
    )
    return problem, fleet


def _policies(data: Path, stations: list[Station], quick: bool) -> list[Figure]:
    problem, fleet = real_case(data, stations, quick)
    out, results = [], {}
    for name, policy in POLICIES.items():
        if policy.urgent:
            continue
        began_s = time.process_time()
        board = solve(problem, policy, np.random.default_rng(0))
        cpu_s = time.process_time() - began_s
        results[name] = result = evaluate(problem, board.plan())
        share = 100 * result.throughput_bytes / float(result.captured_bytes.sum())
        late = result.latency_s / 60
        out.append(
            Figure(
                f"planner: {name}, real fleet, bytes down", share, "% of captured",
                note=f"{len(fleet)} satellites, {len(problem.stations)} stations, {problem.size} passes; latency median "
                f"{late[0]:.0f}, P90 {late[1]:.0f} min; Jain over 4 tenants {result.fairness:.4f}; {result.contacts} contacts; "
                f"{cpu_s:.1f} s CPU",
            )
        )  # fmt: skip
    first, held = results["first-come"], results["withhold"]
    out.append(
        Figure(
            "planner: withholding against first-come, bytes down",
            100 * (held.throughput_bytes / first.throughput_bytes - 1), "% more", peer="Umbra (MobiCom 2023), published",
            peer_value="13 to 31",
            note="Umbra's gain is against greedy sending where the way from station to cloud is the bottleneck; here it is the "
            f"antennas, and that way is free. P90 latency {held.latency_s[1] / 60:.0f} and {first.latency_s[1] / 60:.0f} min",
        )
    )  # fmt: skip
    return out
