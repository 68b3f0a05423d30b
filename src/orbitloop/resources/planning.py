"""How a mission plans its contacts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orbitloop.resources.meta import Integral, Section


class Planning(Section):
    """Who gets an antenna where passes compete. What each station can do stands at the station (`antennas`, `setupS`)."""

    policy: Literal["balanced", "first-come", "greedy", "withhold", "urgent"] = "balanced"
    """`balanced` weighs what a second of antenna brings and searches on; `first-come` and `greedy` are what it is measured by;
    `withhold` holds data back for stations that are less asked for; `urgent` is `balanced`, repaired for requests."""
    min_contact_s: float = Field(default=0.0, ge=0, le=3600)
    """Shortest contact, s, guard times included."""
    pieces: Annotated[int, Field(ge=1, le=8), Integral] = 1
    """Into how many contacts a pass may be split."""
