"""A rollout by waves: few satellites first, the rest when those have confirmed; nobody else where one has not.

    idle     nothing is out
    out      a wave's updates are on their way; the others wait, in order
    start              idle -> out
    all of it confirmed     out -> out with the next wave, or idle when none waits
    one ended otherwise     out -> idle, and what waited is let go: a model that one satellite would not keep is sent to no more
    one is silent too long  it is late, and holds nobody up. Where all of a wave are late, another of its size goes out

Who is next is what `Rollout` asks; it knows of beacons and queues, this of neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orbitloop.ground.chains import Edge

Way = tuple[Edge, ...]


@dataclass(slots=True)
class Waves:
    """`sizes` of the first waves; after them the rest goes at once."""

    sizes: tuple[int, ...] = ()
    out: dict[str, str] = field(default_factory=dict)
    """Satellite of the wave that is out -> the digest that it shall come to hold."""
    waiting: list[tuple[str, Way]] = field(default_factory=list)
    """Who comes later, in order, with the way that was found for it."""
    number: int = 0
    """How many waves of this rollout have started, not counting those of which nobody spoke."""
    late: dict[str, str] = field(default_factory=dict)
    """Who was waited for too long -> what it shall come to hold; its word still counts when it comes."""
    confirmed: int = 0
    """How many of the wave that is out hold it."""

    def start(self, ways: Mapping[str, Way], order: Sequence[str]) -> dict[str, Way]:
        """Begin a rollout, in place of any other; return the first wave.

        Args:
            ways: satellite -> its updates.
            order: all names of `ways`, who comes first.
        """
        self.out, self.late, self.number = {}, {}, 0
        self.waiting = [(name, ways[name]) for name in order if ways[name]]
        return self._next()

    def settle(self, name: str, held: str) -> dict[str, Way] | None:
        """Take note that a satellite's updates have come to their end, and of what it then holds.

        Returns:
            The wave that starts now, which may be empty; None when the rollout ends here because this one does not hold it.
        """
        goal = self.out.pop(name, None) or self.late.pop(name, None)
        if goal is None:
            return {}
        if goal != held:
            self.out, self.late, self.waiting = {}, {}, []
            return None
        self.confirmed += 1
        return self._next() if not self.out else {}

    def lapse(self, names: Iterable[str]) -> dict[str, Way]:
        """Wait no longer for satellites of the wave that is out; return the wave that starts now, which may be empty."""
        before = len(self.out)
        for name in [one for one in names if one in self.out]:
            self.late[name] = self.out.pop(name)
        if self.out or len(self.out) == before:
            return {}
        self.number -= not self.confirmed
        return self._next()

    def _next(self) -> dict[str, Way]:
        size = self.sizes[self.number] if self.number < len(self.sizes) else len(self.waiting)
        chosen, self.waiting = self.waiting[:size], self.waiting[size:]
        self.number += bool(chosen)
        self.confirmed = 0
        self.out = {name: way[-1].result for name, way in chosen}
        return dict(chosen)

    def to_json(self) -> dict[str, Any]:
        rows = [[name, [[e.base, e.result, e.bytes, e.round] for e in way]] for name, way in self.waiting]
        plain = {"out": self.out, "late": self.late, "number": self.number, "confirmed": self.confirmed}
        return plain | {"waiting": rows}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Take back what `to_json` wrote."""
        self.out = {str(n): str(d) for n, d in value["out"].items()}
        self.late = {str(n): str(d) for n, d in value["late"].items()}
        self.number, self.confirmed = int(value["number"]), int(value["confirmed"])
        self.waiting = [
            (str(name), tuple(Edge(str(b), str(r), int(size), int(number)) for b, r, size, number in rows))
            for name, rows in value["waiting"]
        ]
