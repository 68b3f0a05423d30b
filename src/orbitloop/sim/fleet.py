"""The satellites of a mission: orbit, contacts, eclipses, battery, and the on-board agent over a simulated flash.

A composition root of the simulator: here the agent meets its adapters, the same agent that a real satellite runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitloop.clock import parse_utc_s
from orbitloop.delta.codecs import BUILT_IN
from orbitloop.link.session import Endpoint
from orbitloop.onboard.adapters.onnx_engine import OnnxEngine
from orbitloop.onboard.adapters.trial_process import ProcessTrial
from orbitloop.onboard.agent import Agent, AgentSettings
from orbitloop.onboard.power import PowerGuard
from orbitloop.onboard.slots import SlotStore
from orbitloop.onboard.storage import Storage
from orbitloop.onboard.trial import TrialLimits
from orbitloop.onboard.trust_store import TrustStore
from orbitloop.onboard.updates import Updater
from orbitloop.onboard.weights import save_weights
from orbitloop.orbit.elements import Elements, from_orbit, sun_synchronous_inclination_deg
from orbitloop.orbit.energy import Harvest, Panel, PowerModel, advance_battery, harvest
from orbitloop.orbit.formats.omm import parse_omm
from orbitloop.orbit.formats.tle import parse_tle
from orbitloop.orbit.link_budget import LinkRates
from orbitloop.orbit.passes import Station
from orbitloop.orbit.plan import PlanSettings, contact_plan
from orbitloop.plugins.registry import Registry
from orbitloop.records.contact import ContactPlan
from orbitloop.resources.fleet import ElementsOrbit, GroundStation, OmmOrbit, Satellite, TleOrbit
from orbitloop.resources.jobs import Update
from orbitloop.resources.mission import MissionPlan
from orbitloop.sim.flash import MemoryFlash
from orbitloop.trust.refresh import Policy
from orbitloop.trust.sealed import seal_key_id

if TYPE_CHECKING:  # so that listing contacts does not load torch
    from orbitloop.sim.flight import Flight


@dataclass(slots=True)
class SimulatedSatellite:
    """One satellite and its surroundings. `blobs` and `flash` hold all bytes that a saved run must bring back."""

    name: str
    spec: Satellite
    elements: Elements
    sun: Harvest
    power: PowerModel
    flash: MemoryFlash
    sample_blobs: dict[str, bytes]
    space_blobs: dict[str, bytes]
    ground_blobs: dict[str, bytes]
    agent: Agent
    ground: Endpoint
    battery_wh: float
    battery_at_s: float
    captured: int = 0
    held_digest: str = ""
    held_trust: tuple[int, int, int] = (0, 0, 0)
    """Contacts, root and targets version by its last beacon."""
    held_version: int = 0
    held_before: str = ""
    """What it held before that: where it falls back to."""
    heard_reports: set[str] = field(default_factory=set)
    """Version and outcome of each report that has come down."""
    given_up: set[str] = field(default_factory=set)
    """Models that it has tried and gone back from."""

    def advance(self, to_s: float, *, compute_j: float = 0.0, transmit_s: float = 0.0) -> None:
        """Move the battery to `to_s`; computing and sending fall into the end of that time."""
        until_s = max(to_s, self.battery_at_s)
        extra_j = compute_j + transmit_s * self.power.transmit_w
        self.battery_wh, _ = advance_battery(self.power, self.battery_wh, self.sun, self.battery_at_s, until_s, extra_j)
        self.battery_at_s = until_s


def power_of(satellite: Satellite) -> PowerModel:
    """Return a satellite's power as the energy model takes it."""
    given = satellite.spec.power
    plain = {name: getattr(given, name) for name in PowerModel.__dataclass_fields__ if name != "panels"}
    panels = tuple(Panel(one.area_m2, one.efficiency, one.normal, one.tracks_sun) for one in given.panels)
    return PowerModel(**plain, panels=panels)


def elements_of(name: str, spec: Satellite, start_s: float) -> Elements:
    """Return a satellite's elements from whichever form its manifest gives.

    Raises:
        ElementsError: TLE or OMM is malformed, or the orbit cannot be.
    """
    orbit = spec.spec.orbit
    if isinstance(orbit, TleOrbit):
        return parse_tle(*orbit.tle, name=name, where=f"Satellite {name}")
    if isinstance(orbit, OmmOrbit):
        return parse_omm(orbit.omm, where=f"Satellite {name}")
    assert isinstance(orbit, ElementsOrbit)
    inclination = orbit.inclination_deg
    if inclination is None:
        inclination = sun_synchronous_inclination_deg(orbit.altitude_km)
    return from_orbit(
        name,
        parse_utc_s(orbit.epoch) if orbit.epoch else start_s,
        orbit.altitude_km,
        inclination,
        raan_deg=orbit.raan_deg,
        ltan_h=orbit.ltan_hours,
        mean_anomaly_deg=orbit.mean_anomaly_deg,
    )


def station_of(name: str, station: GroundStation) -> Station:
    """Return a station's place and means as the search for passes takes them."""
    spec = station.spec
    return Station(
        name,
        spec.latitude_deg,
        spec.longitude_deg,
        spec.altitude_m,
        spec.min_elevation_deg,
        horizon=spec.horizon,
        antennas=spec.antennas,
        setup_s=spec.setup_s,
        bands=spec.bands,
    )


def link_rates(satellite: Satellite, station: GroundStation) -> LinkRates | None:
    """Return the rates of a satellite over a station, in the best band of each direction; None where they share no band.

    A satellite without bands has the rates of its `link` everywhere; a station without bands hears in all.
    """
    spec, wanted = satellite.spec, station.spec.bands
    shared = [one for one in spec.bands if not wanted or one.band in wanted]
    if not spec.bands:
        down, up = spec.link.downlink_bps, spec.link.uplink_bps
    elif not shared:
        return None
    else:
        down, up = max(one.downlink_bps for one in shared), max(one.uplink_bps for one in shared)
    return LinkRates(down, up, spec.link.by_elevation)


def contacts(plan: MissionPlan) -> ContactPlan:
    """Return all contact windows of a mission, with the bytes that each is worth.

    Raises:
        ElementsError: an orbit is malformed or decays within the mission.
        PlanningError: contested passes cannot be planned.
    """
    stations = [station_of(n, s) for n, s in plan.stations.items()]
    elements = {n: elements_of(n, s, plan.start_s) for n, s in plan.satellites.items()}
    rates = {(n, m): link_rates(s, station) for n, s in plan.satellites.items() for m, station in plan.stations.items()}
    guard_s = max((s.spec.link.guard_s for s in plan.satellites.values()), default=5.0)
    asked = plan.mission.spec.planning
    settings = PlanSettings(asked.policy, asked.min_contact_s, asked.pieces, plan.seed)
    return contact_plan(elements, stations, rates, plan.start_s, plan.end_s, guard_s, settings)


def policy_of(plan: MissionPlan) -> Policy:
    """Return how strict the mission's satellites are about what is signed."""
    trust = plan.mission.spec.trust
    grace_s = trust.grace_days * 86_400.0
    return Policy(max_contacts=trust.max_contacts_behind, use_clock=trust.disciplined_clock, grace_s=grace_s)


def build_satellite(
    plan: MissionPlan,
    name: str,
    model: Flight,
    anchor: bytes,
    registry: Registry,
    saved: Mapping[str, Any] | None,
    blobs: Mapping[str, dict[str, bytes]] | None,
    seal_key: bytes | None = None,
) -> SimulatedSatellite:
    """Wire one satellite, new with its factory model or as a saved run left it.

    `seal_key` is the tenant's encryption key, which it then holds.

    Raises:
        PluginError: the mission names a miner, selector or codec that there is not.
        StateError: the saved state is malformed.
    """
    spec, job = plan.satellites[name], plan.job.spec
    kept = blobs or {}
    flash = MemoryFlash(dict(kept.get("flash", {})))
    samples, space, ground = (dict(kept.get(k, {})) for k in ("samples", "space", "ground"))
    slots, codec = SlotStore(flash, max_trial_boots=job.update.probation.boots), job.update.codec
    if saved is None:
        slots.install_factory(model.graph, save_weights(model.launched.tensors))
    storage_bytes = int(spec.spec.storage_mb * 1e6)
    power = power_of(spec)
    agent = Agent(
        AgentSettings(
            satellite=name,
            image_format=job.samples.format,
            quality=job.samples.quality,
            keep_easy=job.samples.keep_easy,
            energy_per_tile_j=spec.spec.energy_per_tile_j,
            transmit_j_per_byte=8 * power.transmit_w / spec.spec.best_downlink_bps,
            trial=_limits(job.update),
        ),
        slots=slots,
        updater=Updater(
            name,
            model.metadata.name,
            slots,
            TrustStore(flash, anchor),
            tenant=plan.model.spec.tenant,
            hardware=spec.spec.hardware,
            seal_keys={seal_key_id(seal_key): seal_key} if seal_key else None,
            policy=policy_of(plan),
            codecs={**BUILT_IN, codec: type(registry.create("codec", codec))},
        ),
        storage=Storage.from_json(saved["agent"]["storage"], samples)
        if saved
        else Storage(storage_bytes, samples, keep_sent_bytes=storage_bytes // 10),
        endpoint=Endpoint.from_json(saved["agent"]["endpoint"], space) if saved else Endpoint(space),
        screen=registry.create("screen", job.screening.name, job.screening.parameters, "IncrementalLearningJob spec.screening"),
        miner=registry.create("miner", job.mining.name, job.mining.parameters, "IncrementalLearningJob spec.mining"),
        selector=registry.create(
            "selector", job.selection.name, job.selection.parameters, "IncrementalLearningJob spec.selection"
        ),
        guard=PowerGuard(power.battery_wh, power.min_soc),
        engine_factory=lambda graph, weights: OnnxEngine(graph, weights, threads=plan.mission.spec.threads),
        runner=ProcessTrial(threads=plan.mission.spec.threads) if job.update.canary.isolated else None,
    )
    elements = elements_of(name, spec, plan.start_s)
    satellite = SimulatedSatellite(
        name,
        spec,
        elements,
        harvest(power, elements, plan.start_s, plan.end_s),
        power,
        flash,
        samples,
        space,
        ground,
        agent,
        Endpoint.from_json(saved["ground"], ground) if saved else Endpoint(ground),
        power.initial_wh,
        plan.start_s,
        held_digest=slots.active().digest,
    )
    if saved is not None:
        agent.restore(saved["agent"])
        satellite.battery_wh, satellite.battery_at_s = float(saved["battery_wh"]), float(saved["battery_at_s"])
        satellite.captured, satellite.held_digest = int(saved["captured"]), str(saved["held_digest"])
        satellite.held_version, satellite.held_before = int(saved["held_version"]), str(saved["held_before"])
        contacts, root, targets = (int(n) for n in saved["held_trust"])
        satellite.held_trust = contacts, root, targets
        satellite.heard_reports, satellite.given_up = set(saved["heard_reports"]), set(saved["given_up"])
    if saved is None:  # a run that is resumed is no reboot of its satellites: boots count against a model on probation
        agent.boot(satellite.battery_at_s)
    return satellite


def _limits(update: Update) -> TrialLimits:
    canary, probation = update.canary, update.probation
    return TrialLimits(
        canary.max_loss,
        canary.max_slowdown,
        canary.seconds,
        int(canary.memory_mb * 1e6),
        probation.contacts,
        probation.contacts_unproven,
        probation.boots,
    )


def saved_state(satellite: SimulatedSatellite) -> tuple[dict[str, Any], dict[str, dict[str, bytes]]]:
    """Return a satellite's state as JSON, and the bytes it speaks of, by place and name."""
    state = {
        "agent": satellite.agent.to_json(),
        "ground": satellite.ground.to_json(),
        "battery_wh": satellite.battery_wh,
        "battery_at_s": satellite.battery_at_s,
        "captured": satellite.captured,
        "held_digest": satellite.held_digest,
        "held_trust": list(satellite.held_trust),
        "held_version": satellite.held_version,
        "held_before": satellite.held_before,
        "heard_reports": sorted(satellite.heard_reports),
        "given_up": sorted(satellite.given_up),
    }
    blobs = {
        "flash": dict(satellite.flash.files),
        "samples": dict(satellite.sample_blobs),
        "space": dict(satellite.space_blobs),
        "ground": dict(satellite.ground_blobs),
    }
    return state, blobs


def track(satellite: SimulatedSatellite, start_s: float, end_s: float, step_s: float) -> list[tuple[float, float, float]]:
    """Return (time, latitude, longitude) of the subpoint, thinned to `step_s`."""
    from orbitloop.orbit.track import ground_track

    times = np.arange(start_s, end_s, step_s)
    latitude, longitude = ground_track(satellite.elements, times)
    return [(float(t), float(a), float(o)) for t, a, o in zip(times, latitude, longitude, strict=True)]
