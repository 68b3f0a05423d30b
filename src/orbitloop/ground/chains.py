"""From the model that a satellite holds to the one it shall hold: by the updates that exist already, or by one jump.

Versions of a model are nodes, named by the digest of all their weights; an update is an edge from its base to its result, and
costs the bytes in which it goes up. A satellite that was there for every round stands at the last edge's base. One that missed
rounds, fell back, or flies its factory model stands further behind, and has two ways: the chain of known edges, or a new edge
that codes the whole difference at once.

    chain    the cheapest path of known edges by bytes; of equals the one with fewer updates, then the newer ones
    choice   the jump, unless   chain bytes < jump bytes x (1 - LEAST_SAVING x (updates of the chain - 1))

An update is on probation until the next contact, and the one after it goes up no sooner: a chain of n updates takes n - 1
contacts more at least, and each of them is a trial that can fail. So a chain must save bytes to be worth it, and the more so
the longer it is. A path never leads over a model that the satellite has tried and given up.

Pure: it leaves to the rounds what the jump costs and what was given up, and to `release` that each update is signed for its
satellite under a version that rises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

LEAST_SAVING = 0.1
"""What a chain must save for each update beyond the first, as a share of the jump's bytes."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An update: digests of the weights before and after, bytes as it goes up, the round that made it."""

    base: str
    result: str
    bytes: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """Updates in order, and why they and not others. No updates: there is no way, or nowhere to go.

    `compared` says whether there was a choice.
    """

    edges: tuple[Edge, ...]
    reason: str
    compared: bool = False

    @property
    def bytes(self) -> int:
        return sum(edge.bytes for edge in self.edges)

    @property
    def result(self) -> str:
        """Digest of the model at its end; empty for no way."""
        return self.edges[-1].result if self.edges else ""


def cheapest_chain(edges: Iterable[Edge], base: str, goal: str, avoid: Collection[str] = ()) -> tuple[Edge, ...] | None:
    """Return the path of known updates from one model to another that takes the fewest bytes.

    Args:
        edges: updates that exist, in any order.
        base: digest of what is held.
        goal: digest of what shall be.
        avoid: digests of models that no path may lead to.

    Returns:
        The updates in order, none if base is the goal; None if there is no path.
    """
    leaving: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.bytes >= 0 and edge.result not in avoid and edge.result != edge.base:
            leaving.setdefault(edge.base, []).append(edge)
    settled: set[str] = set()
    open_paths: dict[str, tuple[Edge, ...]] = {base: ()}
    while open_paths:  # Dijkstra (Numerische Mathematik 1, 1959) on as many models as there were rounds
        at = min(open_paths, key=lambda node: _order(open_paths[node], node))
        path = open_paths.pop(at)
        if at == goal:
            return path
        settled.add(at)
        for edge in leaving.get(at, ()):
            longer = (*path, edge)
            held = open_paths.get(edge.result)
            if edge.result not in settled and (held is None or _order(longer, "") < _order(held, "")):
                open_paths[edge.result] = longer
    return None


def choose(chain: Sequence[Edge] | None, jump: Edge | None, least_saving: float = LEAST_SAVING) -> Route:
    """Return the chain or the jump, by the rule above, and say why.

    Args:
        chain: see `cheapest_chain`; None = there is none.
        jump: one update over the whole difference; None = it cannot be made.
        least_saving: see `LEAST_SAVING`.
    """
    if not chain:
        return Route((jump,), "one update, there are none to chain") if jump else Route((), "no update leads there")
    edges = tuple(chain)
    chain_bytes, further = sum(edge.bytes for edge in edges), len(edges) - 1
    if jump is None:
        return Route(edges, f"{len(edges)} known updates of {chain_bytes} B, and no other way")
    if not further:
        if chain_bytes <= jump.bytes:
            return Route(edges, f"the known update of {chain_bytes} B; a new one would take {jump.bytes} B", True)
        return Route((jump,), f"one update of {jump.bytes} B; the known one takes {chain_bytes} B", True)
    compared = f"{len(edges)} known updates take {chain_bytes} B and {further} more contact{'s' if further > 1 else ''}"
    if chain_bytes < jump.bytes * (1 - least_saving * further):
        return Route(edges, f"{compared}; one jump would take {jump.bytes} B", True)
    return Route((jump,), f"one jump of {jump.bytes} B; {compared}", True)


def _order(path: Sequence[Edge], node: str) -> tuple[int, int, tuple[int, ...], tuple[str, ...], str]:
    """Order paths: bytes, number of updates, newer rounds first; then digests, so that the choice is one on every machine."""
    rounds, results = tuple(-edge.round for edge in path), tuple(edge.result for edge in path)
    return sum(edge.bytes for edge in path), len(path), rounds, results, node
