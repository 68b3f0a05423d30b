"""Avoidance options: small burns along the track before a close approach, what each does and costs. Proposals, never acts.

A burn half a revolution (and whole ones more) before the approach moves the satellite most in radius for its size; the earlier,
the further along the track (`motion`). Of each burn the new closest approach is found, the probability there, the propellant,
and the ground passes that fall into it. What remains is a choice between three goods, so options are marked by Pareto
dominance in (probability, delta-v, passes lost) and put in order: those that reach the goal first, without new close
approaches, then by passes lost, by delta-v, by probability. Doing nothing is an option among them.

Limits, told with the options: impulses only (a low-thrust arc is not one), in-track only, no differential drag; the
covariance of the satellite is as before the burn plus the burn's own error (a share of its size along the displacement).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from orbitloop.errors import ConjunctionError
from orbitloop.orbit.conjunction.covariance import remedy_position
from orbitloop.orbit.conjunction.encounter import Encounter, ObjectState
from orbitloop.orbit.conjunction.events import period_of
from orbitloop.orbit.conjunction.motion import after_burn, hill_displacement, two_body
from orbitloop.orbit.conjunction.pc2d import disc_probability
from orbitloop.orbit.conjunction.rtn import covariance_from_rtn, covariance_to_rtn, rtn_rotation
from orbitloop.orbit.earth import EGM96_MU_KM3_S2
from orbitloop.orbit.frames import FloatArray
from orbitloop.orbit.passes import Pass

STANDARD_GRAVITY_M_S2 = 9.80665
NEGLIGIBLE = 1e-10
"""Probabilities below this are equally good: no covariance is known so well that they could be told apart."""
_TCA_STEPS = 8

Judge = Callable[[Encounter], tuple[float, str]]
"""Returns the probability of an encounter and the method that gave it; for where the 2-D one does not hold."""


@dataclass(frozen=True, slots=True)
class AvoidanceSettings:
    """What burns are tried, and what a satellite needs around one.

    `revolutions` before the TCA; `sizes_m_s` are tried in both directions. From `prepare_s` before to `settle_s` after a burn
    no pass serves. `lead_s`: the earliest burn after now. `execution_error`: one sigma, as a share of the burn. `mass_kg`,
    `specific_impulse_s` and `propellant_kg` give the share of propellant, where known. A pass of which less than
    `least_contact_s` remains is lost.

    Raises:
        ConjunctionError: a number is out of range.
    """

    revolutions: tuple[float, ...] = (0.5, 1.5, 2.5, 3.5, 5.5, 7.5, 10.5, 15.5, 22.5, 30.5)
    sizes_m_s: tuple[float, ...] = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
    goal_probability: float = 1e-6
    prepare_s: float = 900.0
    settle_s: float = 1800.0
    lead_s: float = 3600.0
    execution_error: float = 0.02
    least_contact_s: float = 120.0
    mass_kg: float | None = None
    specific_impulse_s: float | None = None
    propellant_kg: float | None = None

    def __post_init__(self) -> None:
        positive = (*self.revolutions, *self.sizes_m_s, self.goal_probability)
        optional = (x for x in (self.mass_kg, self.specific_impulse_s, self.propellant_kg) if x is not None)
        if not positive or not all(0 < x < math.inf for x in (*positive, *optional)) or max(self.sizes_m_s, default=0) > 50:
            raise ConjunctionError("burn times, sizes, the goal and the satellite's figures are positive, sizes at most 50 m/s")
        if min(self.prepare_s, self.settle_s, self.lead_s, self.execution_error, self.least_contact_s) < 0:
            raise ConjunctionError("times around a burn, and its error, are not negative")

    def propellant_share(self, size_m_s: float) -> float | None:
        """Return the share of the propellant that a burn takes (rocket equation), or None where the satellite is not known."""
        if self.mass_kg is None or self.specific_impulse_s is None or self.propellant_kg is None:
            return None
        used_kg = self.mass_kg * -math.expm1(-size_m_s / (self.specific_impulse_s * STANDARD_GRAVITY_M_S2))
        return used_kg / self.propellant_kg


@dataclass(frozen=True, slots=True)
class NewApproach:
    """A close approach that a burn brings with a third object, or brings nearer."""

    name: str
    designator: str
    tca_s: float
    miss_km: float
    before_km: float | None
    """How far it would have stayed without the burn; None where it did not come near."""


@dataclass(frozen=True, slots=True)
class PassImpact:
    """What a burn costs in contacts: passes lost, passes cut, seconds of contact, and how far any other pass moves."""

    lost: int = 0
    cut: int = 0
    lost_s: float = 0.0
    moved_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class AvoidanceOption:
    """One option. `along_m_s` is signed: positive speeds up, which brings the satellite later and higher; 0 is doing nothing.

    `rtn_km` is the secondary's place at the new TCA in the burned satellite's RTN; `displacement_rtn_km` what the burn moved it
    by at the old TCA, `hill_difference_km` how far linear theory differs from that. `new_approaches` None: nobody looked.
    `commandable`: a pass comes before the burn in which it can be sent up; None where no stations are known.
    """

    burn_s: float | None
    along_m_s: float
    revolutions: float
    tca_s: float
    miss_km: float
    rtn_km: tuple[float, float, float]
    displacement_rtn_km: tuple[float, float, float]
    hill_difference_km: float
    two_d_probability: float
    probability: float
    method: str
    propellant_share: float | None = None
    passes: PassImpact | None = None
    new_approaches: tuple[NewApproach, ...] | None = None
    commandable: bool | None = None
    meets_goal: bool = False
    pareto: bool = False
    encounter: Encounter | None = field(default=None, repr=False)

    @property
    def size_m_s(self) -> float:
        return abs(self.along_m_s)


def avoidance_options(encounter: Encounter, now_s: float, settings: AvoidanceSettings) -> list[AvoidanceOption]:
    """Return every burn that there is still time for, and doing nothing (first), with the effect of each; not yet in order.

    Raises:
        ConjunctionError: an object has no covariance, the objects stand still against each other, or an orbit is not elliptic.
    """
    period_s = period_of(encounter.primary.r_km, encounter.primary.v_km_s)
    latest_s = encounter.tca_s - now_s - settings.lead_s
    burns = [(0.0, 0.0)]
    for count in settings.revolutions:
        if count * period_s <= latest_s:
            burns += [(count, sign * size) for size in settings.sizes_m_s for sign in (1, -1)]
    revolutions, along_m_s = np.array(burns).T
    return _evaluated(encounter, revolutions, along_m_s, period_s, settings)


def _evaluated(
    encounter: Encounter, revolutions: FloatArray, along_m_s: FloatArray, period_s: float, settings: AvoidanceSettings
) -> list[AvoidanceOption]:
    first, second = encounter.primary, encounter.secondary
    elapsed = revolutions * period_s
    burn = np.zeros((along_m_s.size, 3))
    burn[:, 1] = along_m_s / 1000.0
    r1, v1 = after_burn(first.r_km, first.v_km_s, elapsed, burn)
    shift, r1n, v1n, r2n, v2n = _closest(r1, v1, second, period_s)
    moved = (r1 - first.r_km) @ rtn_rotation(first.r_km, first.v_km_s).T
    hill = hill_displacement(2 * math.pi / period_s, elapsed, burn[:, 1])
    made = []
    for n in range(along_m_s.size):
        error_km = settings.execution_error * moved[n]
        after = _encounter_after(encounter, shift[n], (r1n[n], v1n[n]), (r2n[n], v2n[n]), error_km)
        made.append((n, after))
    probabilities = _probabilities([after for _, after in made])
    return [
        AvoidanceOption(
            burn_s=encounter.tca_s - float(elapsed[n]) if along_m_s[n] else None,
            along_m_s=float(along_m_s[n]),
            revolutions=float(revolutions[n]),
            tca_s=after.tca_s,
            miss_km=after.miss_km,
            rtn_km=_triple(after.relative_rtn_km),
            displacement_rtn_km=_triple(moved[n]),
            hill_difference_km=float(np.linalg.norm(moved[n] - _bent(hill[n], first.r_km))),
            two_d_probability=float(probability),
            probability=float(probability),
            method="2d",
            propellant_share=settings.propellant_share(abs(float(along_m_s[n]))),
            meets_goal=float(probability) <= settings.goal_probability,
            encounter=after,
        )
        for (n, after), probability in zip(made, probabilities, strict=True)
    ]


def _bent(hill_km: FloatArray, r_km: FloatArray) -> FloatArray:
    """Lay a displacement along the track on its circle: Hill's T is an arc, which lies T^2 / 2r lower than a tangent."""
    radius = float(np.linalg.norm(r_km))
    angle = hill_km[1] / radius
    return np.array([(radius + hill_km[0]) * math.cos(angle) - radius, (radius + hill_km[0]) * math.sin(angle), hill_km[2]])


def _closest(
    r1: FloatArray, v1: FloatArray, second: ObjectState, period_s: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the shift of the TCA (M,) and both states there, by Newton's method on the range rate of two-body motion."""
    shift = np.zeros(len(r1))
    for _ in range(_TCA_STEPS):
        a, va = two_body(r1, v1, shift)
        b, vb = two_body(second.r_km, second.v_km_s, shift)
        d, w = b - a, vb - va
        gravity = -EGM96_MU_KM3_S2 * (b / np.linalg.norm(b, axis=1)[:, None] ** 3 - a / np.linalg.norm(a, axis=1)[:, None] ** 3)
        slope = np.sum(w * w, axis=1) + np.sum(d * gravity, axis=1)
        # Where the range is concave Newton would climb to a maximum: there straight flight decides.
        slope = np.where(slope > 0.1 * np.sum(w * w, axis=1), slope, np.sum(w * w, axis=1))
        step = -np.sum(d * w, axis=1) / np.maximum(slope, 1e-18)
        shift = np.clip(shift + np.clip(step, -0.05 * period_s, 0.05 * period_s), -0.25 * period_s, 0.25 * period_s)
        if np.abs(step).max(initial=0.0) < 1e-6:
            break
    a, va = two_body(r1, v1, shift)
    b, vb = two_body(second.r_km, second.v_km_s, shift)
    return shift, a, va, b, vb


def _encounter_after(
    before: Encounter,
    shift_s: float,
    first: tuple[FloatArray, FloatArray],
    second: tuple[FloatArray, FloatArray],
    error_rtn_km: FloatArray,
) -> Encounter:
    """Return the encounter at the new closest approach; each covariance keeps its shape in its own RTN."""
    own = _carried(before.primary, *first)
    burned = np.zeros((6, 6))
    burned[:3, :3] = np.outer(error_rtn_km, error_rtn_km)
    primary = ObjectState(before.primary.name, before.primary.designator, *first, own + covariance_from_rtn(burned, *first))
    secondary = ObjectState(before.secondary.name, before.secondary.designator, *second, _carried(before.secondary, *second))
    return Encounter(before.tca_s + float(shift_s), primary, secondary, before.hard_body_radius_m)


def _carried(state: ObjectState, r_km: FloatArray, v_km_s: FloatArray) -> FloatArray:
    local = covariance_to_rtn(state.known_covariance_km, state.r_km, state.v_km_s)
    return covariance_from_rtn(local, r_km, v_km_s)


def _probabilities(encounters: Sequence[Encounter]) -> FloatArray:
    """Return the 2-D probability of each: one call for all of them, since there are hundreds."""
    miss, covariance = np.empty((len(encounters), 2)), np.empty((len(encounters), 2, 2))
    for n, one in enumerate(encounters):
        along = one.relative_v_km_s
        speed = float(np.linalg.norm(along))
        if not speed > 0:
            raise ConjunctionError("the objects do not move against each other, so no burn can be judged in a plane")
        # Any two directions across serve: the probability does not know them.
        axes = np.linalg.svd((along / speed)[None])[2][1:]
        miss[n] = axes @ one.relative_r_km
        covariance[n] = remedy_position(axes @ one.relative_covariance_km[:3, :3] @ axes.T, one.hard_body_radius_km).matrix
    return disc_probability(miss, covariance, encounters[0].hard_body_radius_km)


def judged(option: AvoidanceOption, judge: Judge, settings: AvoidanceSettings) -> AvoidanceOption:
    """Return the option with the probability of a better method than the plane's."""
    if option.encounter is None:
        return option
    value, method = judge(option.encounter)
    return replace(option, probability=value, method=method, meets_goal=value <= settings.goal_probability)


def pass_impact(
    option: AvoidanceOption,
    passes: Sequence[Pass],
    settings: AvoidanceSettings,
    after: Sequence[Pass] | None = None,
) -> PassImpact:
    """Count what a burn costs of `passes`; with those of the burned orbit (`after`) also what vanishes or moves.

    A pass is cut by the time that the satellite turns, burns and settles, and lost when too little of it remains.
    """
    if option.burn_s is None:
        return PassImpact()
    start_s, end_s = option.burn_s - settings.prepare_s, option.burn_s + settings.settle_s
    lost = cut = 0
    gone_s = moved_s = 0.0
    for one in passes:
        twin = None if after is None else _twin(one, after)
        overlap_s = min(end_s, one.los_s) - max(start_s, one.aos_s)
        if after is not None and twin is None and one.aos_s > option.burn_s:
            lost, gone_s = lost + 1, gone_s + one.duration_s
        elif overlap_s > 0:
            remains_s = max(start_s - one.aos_s, one.los_s - end_s, 0.0)
            if remains_s < settings.least_contact_s:
                lost, gone_s = lost + 1, gone_s + one.duration_s
            else:
                cut, gone_s = cut + 1, gone_s + overlap_s
        elif twin is not None:
            moved_s = max(moved_s, abs(twin.aos_s - one.aos_s), abs(twin.los_s - one.los_s))
    return PassImpact(lost, cut, gone_s, moved_s)


def _twin(one: Pass, others: Sequence[Pass]) -> Pass | None:
    near = [p for p in others if p.station == one.station and p.aos_s < one.los_s and p.los_s > one.aos_s]
    return min(near, key=lambda p: abs(p.tca_s - one.tca_s), default=None)


def ranked(options: Sequence[AvoidanceOption]) -> list[AvoidanceOption]:
    """Return the options in order of preference, those on the Pareto front marked.

    Order: can be commanded; reaches the goal; brings no new close approach; fewer passes lost; smaller; less probable. Where
    the goal is not reached the less probable comes first.
    """
    goods = np.array([[max(o.probability, NEGLIGIBLE), o.size_m_s, float(o.passes.lost if o.passes else 0)] for o in options])
    front = pareto_front(goods)
    marked = [replace(option, pareto=bool(on)) for option, on in zip(options, front, strict=True)]

    def order(option: AvoidanceOption) -> tuple[float, ...]:
        lost = option.passes.lost if option.passes else 0
        rest = (
            (lost, option.size_m_s, max(option.probability, NEGLIGIBLE))
            if option.meets_goal
            else (option.probability, lost, option.size_m_s)
        )
        return (option.commandable is False, not option.meets_goal, bool(option.new_approaches), *rest)

    return sorted(marked, key=order)


def pareto_front(goods: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which rows (N, K), each to be small, no other row beats: as good in all, better in one."""
    as_good = (goods[:, None, :] <= goods[None, :, :]).all(axis=2)
    better = (goods[:, None, :] < goods[None, :, :]).any(axis=2)
    return np.asarray(~(as_good & better).any(axis=0))


def new_approaches(
    before: Sequence[NewApproach], after: Sequence[NewApproach], within_km: float, apart_s: float = 1800.0
) -> tuple[NewApproach, ...]:
    """Return the approaches of `after` within a distance that `before` does not have, or has a tenth farther off.

    Both lists are of one satellite, with and without the burn; approaches are the same when object and time agree.
    """
    found = []
    for one in after:
        if one.miss_km > within_km:
            continue
        same = [o for o in before if o.designator == one.designator and abs(o.tca_s - one.tca_s) < apart_s]
        was_km = min((o.miss_km for o in same), default=None)
        if was_km is None or one.miss_km < 0.9 * was_km:
            found.append(replace(one, before_km=was_km))
    return tuple(sorted(found, key=lambda o: o.miss_km))


def _triple(values: FloatArray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
