"""May this step run now, by the battery's charge? Pure arithmetic; it leaves generation and load to the mission's energy model.

The floor is `min_soc` of the capacity: below it the satellite only survives. What is above may be spent, less what the caller
keeps back for later, such as the next pass's transmission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

J_PER_WH = 3600.0


@dataclass(frozen=True, slots=True)
class PowerGuard:
    """The rule: never draw the battery below `min_soc` (0..1) of `capacity_wh`.

    Raises:
        ValueError: the capacity is not above 0, or `min_soc` not in 0..1.
    """

    capacity_wh: float
    min_soc: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.capacity_wh) and self.capacity_wh > 0 and 0.0 <= self.min_soc <= 1.0):
            raise ValueError(f"no battery of {self.capacity_wh!r} Wh with a floor of {self.min_soc!r}")

    def allowed_j(self, battery_wh: float, *, reserve_j: float = 0.0) -> float:
        """Return how many joules may be spent now, 0 or more; an unknown charge (NaN) allows none."""
        spare_j = (min(battery_wh, self.capacity_wh) - self.min_soc * self.capacity_wh) * J_PER_WH - reserve_j
        return spare_j if spare_j > 0 else 0.0

    def may_spend(self, step_j: float, battery_wh: float, *, reserve_j: float = 0.0) -> bool:
        """Say whether one step of `step_j` joules may run now. A step that costs nothing always may."""
        return step_j <= self.allowed_j(battery_wh, reserve_j=reserve_j)

    def affordable(self, wanted: int, each_j: float, battery_wh: float, *, reserve_j: float = 0.0) -> int:
        """Return how many of `wanted` equal steps (tiles, samples) of `each_j` joules may run now."""
        if each_j <= 0:
            return max(0, wanted)
        return max(0, min(wanted, math.floor(self.allowed_j(battery_wh, reserve_j=reserve_j) / each_j)))
