"""The ways to plan that a mission may choose from: the same scheduler with other settings.

- `first-come`: in order of AOS, each pass goes to whom it comes first, whole, as long as it brings anything. What stations do
  that nobody plans for.
- `greedy`: by what the pass would bring, most first, looked at anew as the plan grows.
- `balanced`: by what a second of antenna would bring, most first; contacts end when the store is empty; then local search.
- `withhold`: in order of AOS, but a satellite holds its data back from a pass whose antenna is worth more to others, or if a
  later pass is worth more at the going prices (after Umbra, MobiCom 2023, whose prices come from a time-expanded flow; ours are
  those of the relaxation in `bounds`).
- `urgent`: `balanced`, with requests pushed in first come, first served, by `replan` (after Serval, NSDI 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitloop.errors import PlanningError


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the scheduler.

    `order` is "aos", "gain" or "density"; `trim` ends contacts when the store is empty; `prices` are rounds of the relaxation
    whose prices satellites withhold by; `search` is local search; `fairness` rounds of weighing tenants anew.
    """

    name: str
    order: str
    trim: bool = False
    search: bool = False
    prices: int = 0
    urgent: bool = False


POLICIES = {
    p.name: p
    for p in (
        Policy("balanced", "density", trim=True, search=True),
        Policy("first-come", "aos"),
        Policy("greedy", "gain"),
        Policy("withhold", "aos", trim=True, prices=25),
        Policy("urgent", "density", trim=True, search=True, urgent=True),
    )
}
"""By name, the default first."""


def policy_named(name: str) -> Policy:
    """Return a policy.

    Raises:
        PlanningError: there is none of that name.
    """
    if name not in POLICIES:
        raise PlanningError(f"there is no planning policy {name!r}", remedy=f"take one of {', '.join(POLICIES)}")
    return POLICIES[name]
