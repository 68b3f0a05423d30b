"""Conjunctions for people: messages and screening results in, the probability to believe for each, events and alerts out.

Every update carries what its probability rests on: a measured covariance, a model of one
(named, with its age), or none. What an event is, when an alert is due, and what a burn does are `orbit.conjunction`'s work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from orbitloop.apps.conjunction_files import read_message, read_screening
from orbitloop.apps.conjunction_store import EventStore, Stored
from orbitloop.clock import iso_utc
from orbitloop.errors import OrbitloopError
from orbitloop.orbit.conjunction.alerts import Alert, Thresholds, alerts_of
from orbitloop.orbit.conjunction.approach import Approach
from orbitloop.orbit.conjunction.assess import Assessment, assess, sensitivity
from orbitloop.orbit.conjunction.cdm import ConjunctionMessage
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.events import Event, EventUpdate, Knowledge, Party, Source, period_of
from orbitloop.orbit.conjunction.rtn import covariance_to_rtn
from orbitloop.orbit.conjunction.uncertainty import SigmaClass, model_covariance, shipped_text
from orbitloop.orbit.conjunction.uncertainty_fit import ClassFit, differences, fit_bands, with_fitted
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.propagate import states
from orbitloop.resources.meta import Metadata
from orbitloop.resources.traffic import ConjunctionAlert, ConjunctionAlertSpec, SpaceObject

FAST_KM_S: Final = 1.0
_SIZES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
DEFAULT_RADIUS_M: Final = 20.0
"""Hard-body radius of a pair of element sets: CARA's where nothing is known of the objects."""


def judge(encounter: Encounter) -> Assessment:
    """Judge an encounter: in the plane where that holds, else on the sphere, which is asked in any case.

    Raises:
        ConjunctionError: an object has no covariance, or nothing can be said of the encounter.
    """
    return assess(encounter)


def judge_quickly(encounter: Encounter) -> Assessment:
    """Judge as `judge`, but ask the sphere only where a short passing does not settle it: for screenings with thousands.

    Raises:
        ConjunctionError: as for `judge`.
    """
    if encounter.speed_km_s > FAST_KM_S:
        plain = assess(encounter, method="2d")
        if not plain.plane_violated:
            return plain
    return assess(encounter)


@dataclass(frozen=True, slots=True)
class FileImport:
    """What came of one file: how many of its updates were new, or why it was skipped."""

    path: Path
    stored: Stored | None
    error: OrbitloopError | None


def import_messages(
    store: EventStore, files: Sequence[Path], *, hard_body_radius_m: float | None = None, again: bool = False
) -> Iterator[FileImport]:
    """Take messages into a store, one transaction each, and yield what came of each; a bad one does not stop the others.

    Raises:
        StateError: the store cannot be written.
    """
    for path in files:
        try:
            update = update_of_message(read_message(path), hard_body_radius_m)
        except OrbitloopError as error:
            yield FileImport(path, None, error)
            continue
        yield FileImport(path, store.add([update], again=again), None)


def update_of_message(message: ConjunctionMessage, hard_body_radius_m: float | None = None) -> EventUpdate:
    """Judge what a message says, and return it as an update of an event.

    Raises:
        ConjunctionError: it gives no hard-body radius and neither does the caller, or its encounter cannot be judged.
    """
    encounter = message.encounter(hard_body_radius_m)
    return _update(
        encounter,
        judge(encounter),
        source=Source.CDM,
        message_id=message.message_id,
        created_s=message.created_s,
        knowledge=Knowledge.MEASURED,
        given=message.probability,
        statements=message.notes,
    )


def import_screening(
    store: EventStore,
    path: Path,
    elements: Sequence[Elements],
    *,
    hard_body_radius_m: float | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FileImport:
    """Take what `orbitloop screen` wrote (.jsonl, or .json) into a store, one transaction for all of it.

    Pairs that stay together are left out: they have no closest approach to avoid. Covariances are modelled.

    Raises:
        StateError: the store cannot be written.
    """
    try:
        created_s, approaches = read_screening(path, elements)
        updates = []
        for done, one in enumerate(approaches):
            if progress is not None:
                progress(done, len(approaches))
            radius_m = hard_body_radius_m or DEFAULT_RADIUS_M
            updates.append(update_of_approach(one, elements, created_s, hard_body_radius_m=radius_m))
    except OrbitloopError as error:
        return FileImport(path, None, error)
    return FileImport(path, store.add(updates, again=again), None)


def update_of_approach(
    approach: Approach,
    elements: Sequence[Elements],
    created_s: float,
    *,
    hard_body_radius_m: float = DEFAULT_RADIUS_M,
    table: tuple[SigmaClass, ...] | None = None,
) -> EventUpdate:
    """Judge an approach that a screening of element sets found, with modelled covariances, and return it as an update.

    Raises:
        ConjunctionError: the model has no class for an object, or the encounter cannot be judged.
        ElementsError: an object cannot be propagated to the closest approach.
    """
    objects, said = [], []
    for one in (elements[approach.primary], elements[approach.secondary]):
        r, v = states(one, [approach.tca_s])
        model = model_covariance(one, approach.tca_s, r[0], v[0], table=table)
        objects.append(ObjectState(one.name, str(one.norad_id), r[0], v[0], model.covariance_km))
        said.append(f"{one.name}: {model.statement}")
    encounter = Encounter(approach.tca_s, objects[0], objects[1], hard_body_radius_m)
    changed = [one for one in sensitivity(encounter, factors=_SIZES) if one.what == "both"]
    greatest = max(changed, key=lambda one: one.value)
    said += [
        f"with {changed[0].factor:g} to {changed[-1].factor:g} times the model's sigmas: up to {greatest.value:.1e} in 2-D",
        f"hard-body radius {hard_body_radius_m:g} m, taken for the pair",
    ]
    return _update(
        encounter,
        judge_quickly(encounter),
        source=Source.SCREENING,
        message_id=f"screening {iso_utc(created_s)}",
        created_s=created_s,
        knowledge=Knowledge.MODEL,
        given=None,
        statements=tuple(said),
    )


def _update(
    encounter: Encounter,
    judged: Assessment,
    *,
    source: Source,
    message_id: str,
    created_s: float,
    knowledge: Knowledge,
    given: float | None,
    statements: tuple[str, ...],
) -> EventUpdate:
    first, second = encounter.primary, encounter.secondary
    together = covariance_to_rtn(encounter.relative_covariance_km[:3, :3], first.r_km, first.v_km_s)
    sigma = np.sqrt(np.maximum(np.diag(together), 0.0))
    r, t, n = encounter.relative_rtn_km.tolist()
    return EventUpdate(
        source=source,
        message_id=message_id,
        created_s=created_s,
        tca_s=encounter.tca_s,
        primary=Party(first.name, first.designator.lstrip("0")),
        secondary=Party(second.name, second.designator.lstrip("0")),
        miss_km=encounter.miss_km,
        speed_km_s=encounter.speed_km_s,
        rtn_km=(r, t, n),
        probability=judged.value,
        method=judged.method,
        two_d_probability=None if judged.plane is None else judged.plane.value,
        two_d_holds=not judged.plane_violated,
        given_probability=given,
        sigma_rtn_km=(float(sigma[0]), float(sigma[1]), float(sigma[2])),
        knowledge=knowledge,
        statements=(*statements, *judged.flags),
        period_s=min(period_of(o.r_km, o.v_km_s) for o in (first, second)),
        encounter=encounter,
    )


ORDERS: Final[dict[str, Callable[[Event], Any]]] = {
    "risk": lambda event: (-(event.latest.probability if event.latest.probability is not None else -1.0), event.latest.miss_km),
    "tca": lambda event: event.tca_s,
    "age": lambda event: -event.latest.created_s,
    "miss": lambda event: event.latest.miss_km,
}
"""How a list of events may be ordered."""


def alerts_for(events: Iterable[Event], thresholds: Thresholds, since_tca_s: float = -math.inf) -> list[Alert]:
    """Return the alerts of all events whose closest approach is after a time, oldest first."""
    found = [alert for event in events if event.tca_s > since_tca_s for alert in alerts_of(event, thresholds)]
    return sorted(found, key=lambda alert: (alert.raised_s, alert.id))


def alert_resource(alert: Alert, extra: tuple[str, ...] = ()) -> ConjunctionAlert:
    """Return an alert as the resource that people read."""
    update = alert.update
    return ConjunctionAlert(
        metadata=Metadata(name=alert.id),
        spec=ConjunctionAlertSpec(
            event=alert.event_id,
            level="red" if alert.level.word == "red" else "yellow",
            urgent=alert.urgent,
            raised=iso_utc(alert.raised_s),
            tca=iso_utc(update.tca_s),
            primary=space_object(update.primary),
            secondary=space_object(update.secondary),
            probability=None if update.probability is None else rounded(update.probability),
            method=update.method,
            miss_km=round(update.miss_km, 6),
            speed_km_s=round(update.speed_km_s, 6),
            covariance=update.knowledge.value,
            remarks=(*alert.remarks, *extra),
        ),
    )


def rounded(probability: float) -> float:
    """Return a probability with the four digits that people read."""
    return float(f"{probability:.3e}")


def space_object(party: Party) -> SpaceObject:
    """Return one of a pair as resources name it."""
    return SpaceObject(name=party.name[:200], designator=party.designator[:40])


def fit_table(
    snapshots: Sequence[Sequence[Elements]], progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], list[ClassFit], int]:
    """Derive the table of uncertainty: the shipped one with its fitted classes replaced, the fits, how many differences.

    Raises:
        ConjunctionError: there is too little to fit.
    """
    data = differences(snapshots, progress)
    fits = fit_bands(data)
    return with_fitted(json.loads(shipped_text()), fits), fits, int(data.age_d.size)
