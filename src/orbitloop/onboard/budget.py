"""What detection may spend in a period, and what it has spent: tiles, joules, CPU seconds.

Role: a `Budget` is told, a `Ledger` charges against it and says beforehand how many tiles are still allowed. It leaves the
battery to `onboard.power` (`Budget.guarded` takes what the guard allows as a further limit in joules), the clock and the CPU
time's measurement to who runs it, and the order of tiles to the pipeline.

How it is kept. A batch is asked for (`may`) and charged once it has run (`spend`), by what it really took. Tiles, and joules at
a fixed price a tile, are known beforehand and never exceeded. CPU seconds, and joules at a price a second, are known only
afterwards: `may` allows as many tiles as fit by the mean of the last few batches, so at most the last batch can go over, by
less than its own cost. That holds for one caller at a time; each further one that asks before the first has been charged can
add a batch of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from orbitloop.errors import StateError
from orbitloop.onboard.power import PowerGuard

MOST = 2**63
MEMORY_TILES = 64
"""How many tiles the running mean of CPU seconds a tile remembers."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in one period; None = no limit of this kind.

    `seconds` are CPU seconds. `period_s` is how long a period lasts (an orbit, say); None = until it is told anew.

    Raises:
        ValueError: a limit is negative or no number, or the period is not above 0.
    """

    tiles: int | None = None
    joules: float | None = None
    seconds: float | None = None
    period_s: float | None = None

    def __post_init__(self) -> None:
        whole = self.tiles is None or (isinstance(self.tiles, int) and not isinstance(self.tiles, bool))
        limits = [v for v in (self.tiles, self.joules, self.seconds) if v is not None]
        if not whole or not all(_number(v) and v >= 0 for v in limits):
            raise ValueError(f"no budget of {self.tiles!r} tiles, {self.joules!r} J, {self.seconds!r} s")
        if self.period_s is not None and not (_number(self.period_s) and self.period_s > 0):
            raise ValueError(f"no period of {self.period_s!r} s")

    def guarded(self, guard: PowerGuard, battery_wh: float, *, reserve_j: float = 0.0) -> Budget:
        """Return this budget, its joules limited by what the battery can spare now as well."""
        spare_j = guard.allowed_j(battery_wh, reserve_j=reserve_j)
        return replace(self, joules=spare_j if self.joules is None else min(self.joules, spare_j))

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Budget:
        """Read what `to_json` wrote; a limit that is not named is none.

        Raises:
            ValueError: a limit is unknown, negative or no number (the caller re-raises as its own error).
        """
        unknown = sorted(set(value) - set(cls.__slots__))
        if unknown:
            raise ValueError(f"a budget has no {unknown[0]!r}")
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Price:
    """How joules are told: by the tile, or by the CPU second; 0 and 0 = they are not told.

    Raises:
        ValueError: a price is negative or no number, or both are given.
    """

    joules_per_tile: float = 0.0
    watts: float = 0.0

    def __post_init__(self) -> None:
        if not all(_number(v) and v >= 0 for v in (self.joules_per_tile, self.watts)):
            raise ValueError(f"no price of {self.joules_per_tile!r} J a tile and {self.watts!r} W")
        if self.joules_per_tile and self.watts:
            raise ValueError("joules are told by the tile or by the second, not by both")

    @property
    def known(self) -> bool:
        """Whether joules can be told at all."""
        return bool(self.joules_per_tile or self.watts)

    def joules(self, tiles: int, cpu_s: float) -> float:
        """Return what `tiles` that took `cpu_s` have drawn."""
        return tiles * self.joules_per_tile + cpu_s * self.watts


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """What was spent in this period and what is left (None = no limit). `refused_tiles` were asked for and not allowed."""

    budget: Budget
    spent_tiles: int
    spent_joules: float
    spent_seconds: float
    left_tiles: int | None
    left_joules: float | None
    left_seconds: float | None
    refused_tiles: int
    period: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; joules and seconds to a millionth."""
        rows: dict[str, Any] = {"budget": self.budget.to_json(), "period": self.period, "refused_tiles": self.refused_tiles}
        for kind in ("tiles", "joules", "seconds"):
            spent, left = getattr(self, f"spent_{kind}"), getattr(self, f"left_{kind}")
            rows[kind] = {"spent": round(spent, 6), "left": None if left is None else round(left, 6)}
        return rows


class Ledger:
    """What has been spent of a budget; see the module. Safe to use from several threads.

    Raises:
        StateError: joules are limited where nobody says what a tile or a second draws.
    """

    def __init__(self, budget: Budget | None = None, price: Price | None = None) -> None:
        self._lock = Lock()
        self._price = price or Price()
        self._each_s: float | None = None
        self._period = 0
        self._since_s: float | None = None
        self.tell(budget or Budget())

    def tell(self, budget: Budget, now_s: float | None = None) -> None:
        """Take a new budget and begin a new period.

        Raises:
            StateError: joules are limited where nobody says what a tile or a second draws; the old budget stays.
        """
        if budget.joules is not None and not self._price.known:
            raise StateError(
                "a budget in joules cannot be kept: no energy price is set",
                where="budget",
                remedy="start with --joules-per-tile or --watts, or limit tiles or seconds",
            )
        with self._lock:
            self._budget, self._since_s = budget, now_s
            self._clear()

    def roll(self, now_s: float) -> None:
        """Begin a new period if the present one is over; the first call starts the first one."""
        with self._lock:
            length_s = self._budget.period_s
            if length_s is None:
                return
            if self._since_s is None:
                self._since_s = now_s
            passed_s = now_s - self._since_s
            if passed_s >= length_s:
                self._since_s = now_s - math.fmod(passed_s, length_s)  # a quotient may be infinite: periods can be minute
                self._clear()

    def may(self, tiles: int, *, whole: bool = False, beside: int = 0) -> int:
        """Return how many of `tiles` may be looked at now, 0 or more. What is not allowed is counted as refused.

        Args:
            tiles: how many are asked for.
            whole: allow all or none.
            beside: tiles of the same batch that were allowed and are not charged yet.
        """
        with self._lock:
            fit = min(self._fits(left, each) for left, each in self._limits()) - beside
            granted = int(max(0, min(tiles, fit)))
            if whole and granted < tiles:
                granted = 0
            self._refused += max(0, tiles - granted)
            return granted

    def spend(self, tiles: int, cpu_s: float) -> None:
        """Charge tiles that have been looked at, and the CPU seconds that they took; a negative time counts as 0."""
        taken_s = cpu_s if _number(cpu_s) and cpu_s > 0 else 0.0
        with self._lock:
            self._tiles += tiles
            self._seconds += taken_s
            self._joules += self._price.joules(tiles, taken_s)
            if tiles > 0:
                mean_s = taken_s / tiles
                weight = min(1.0, tiles / MEMORY_TILES)
                self._each_s = mean_s if self._each_s is None else self._each_s + weight * (mean_s - self._each_s)

    def report(self) -> BudgetReport:
        """Return what was spent and is left."""
        with self._lock:
            tiles, joules, seconds = (left for left, _ in self._limits())
            return BudgetReport(
                self._budget,
                self._tiles,
                self._joules,
                self._seconds,
                None if tiles is None else math.floor(tiles),
                joules,
                seconds,
                self._refused,
                self._period,
            )

    def _limits(self) -> tuple[tuple[float | None, float | None], ...]:
        """Return, for tiles, joules and seconds, what is left and what one tile costs (None = no limit, not yet known)."""
        budget, price = self._budget, self._price
        each_j: float | None = price.joules_per_tile
        if not each_j:
            each_j = None if self._each_s is None else self._each_s * price.watts
        return (
            (_left(budget.tiles, self._tiles), 1.0),
            (_left(budget.joules, self._joules), each_j),
            (_left(budget.seconds, self._seconds), self._each_s),
        )

    @staticmethod
    def _fits(left: float | None, each: float | None) -> float:
        """Return how many tiles fit, not rounded; infinite where nothing limits or nothing is known."""
        if left is None:
            return math.inf
        if left <= 0:
            return 0
        return math.inf if not each else left / each * (1 + 1e-12)  # 3 x 0.1 J are paid by 0.3 J

    def _clear(self) -> None:
        self._tiles = self._refused = 0
        self._joules = self._seconds = 0.0
        self._period += 1


def _left(limit: float | None, spent: float) -> float | None:
    return None if limit is None else max(0.0, limit - spent)


def _number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < MOST
    return isinstance(value, float) and math.isfinite(value)
