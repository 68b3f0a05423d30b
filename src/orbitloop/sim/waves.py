"""A rollout by waves: few satellites first, the rest when those have confirmed; nobody else where one has not.

    idle     nothing is out
    out      a wave's updates are on their way; the others wait, in order
    start              idle -> out
    all of it confirmed     out -> out with the next wave, or idle when none waits
    one ended otherwise     out -> idle, and what waited is let go: a model that one satellite would not keep is sent to no more

Who is next is what `Rollout` asks; it knows of beacons and queues, this of neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """How many waves of this rollout have started."""

    def start(self, ways: Mapping[str, Way], order: Sequence[str]) -> dict[str, Way]:
        """Begin a rollout, in place of any other; return the first wave.

        Args:
            ways: satellite -> its updates.
            order: all names of `ways`, who comes first.
        """
        self.out, self.number = {}, 0
        self.waiting = [(name, ways[name]) for name in order if ways[name]]
        return self._next()

    def settle(self, name: str, held: str) -> dict[str, Way] | None:
        """Take note that a satellite's updates have come to their end, and of what it then holds.

        Returns:
            The wave that starts now, which may be empty; None when the rollout ends here because this one does not hold it.
        """
        if name not in self.out:
            return {}
        if self.out.pop(name) != held:
            self.out, self.waiting = {}, []
            return None
        return self._next() if not self.out else {}

    def _next(self) -> dict[str, Way]:
        size = self.sizes[self.number] if self.number < len(self.sizes) else len(self.waiting)
        chosen, self.waiting = self.waiting[:size], self.waiting[size:]
        self.number += bool(chosen)
        self.out = {name: way[-1].result for name, way in chosen}
        return dict(chosen)

    def to_json(self) -> dict[str, Any]:
        rows = [[name, [[e.base, e.result, e.bytes, e.round] for e in way]] for name, way in self.waiting]
        return {"out": self.out, "waiting": rows, "number": self.number}

    def restore(self, value: Mapping[str, Any]) -> None:
        """Take back what `to_json` wrote."""
        self.out = {str(n): str(d) for n, d in value["out"].items()}
        self.number = int(value["number"])
        self.waiting = [
            (str(name), tuple(Edge(str(b), str(r), int(size), int(number)) for b, r, size, number in rows))
            for name, rows in value["waiting"]
        ]
