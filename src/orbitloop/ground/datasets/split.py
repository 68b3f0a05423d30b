"""Who trains, who gates, who judges, and what the satellite meets: a split by scene, never by tile.

Tiles of one scene are near copies of each other, so a scene lies in exactly one part. Leaves to others: what a selector means
(`index`), pixels and tiles (`load`), the metric.

The draw depends on the seed and on names only: within a domain, scenes are ranked by SHA-256 of seed and image id. So it is
the same on every machine and for every version of numpy, and a scene that joins or leaves a domain moves no other domain's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from orbitloop.errors import DataError
from orbitloop.ground.datasets.index import SceneT, Selector, select_some

_LONE = "\0one-scene domains"


@dataclass(frozen=True, slots=True, eq=False)
class Split(Generic[SceneT]):
    """The parts of a set; no scene is in two of them.

    `base_train` trains the base model; `base_gate` is frozen for the gate's "still knows the old" check; `base_held_out`
    judges the old domains in the report. `phases[i]` is what the satellite meets in phase i, in order, and
    `new_held_out[i]` judges that phase's domains and is met by nobody.
    """

    base_train: tuple[SceneT, ...]
    base_gate: tuple[SceneT, ...]
    base_held_out: tuple[SceneT, ...]
    phases: tuple[tuple[SceneT, ...], ...]
    new_held_out: tuple[tuple[SceneT, ...], ...]


def split_scenes(
    scenes: Iterable[SceneT],
    base_selectors: Sequence[Selector],
    stream_selectors: Sequence[Sequence[Selector]],
    held_out: float,
    gate: float,
    seed: int,
    *,
    where: Mapping[str, Any] | None = None,
) -> Split[SceneT]:
    """Split a set by scene.

    A scene that the base selectors match is base, whatever else matches it; else it belongs to the first phase that matches.
    Of each domain (within base, within a phase) the nearest whole number to `held_out` x n scenes is held out: at least 1
    where n >= 2, never all, none where n = 1; domains of one scene are pooled first. Of what is left of base, `gate` of it in
    the same way goes to the gate, spread over the domains. A share of 0 takes nothing. Parts keep the selectors' order,
    then the set's.

    Args:
        scenes: `DatasetIndex.entries`, or any objects with `image_id` (unique), `domain` and `fields`.
        base_selectors: what the base model knows.
        stream_selectors: one list of selectors per phase, in order.
        held_out: share in 0 .. 1, 1 excluded.
        gate: share in 0 .. 1, 1 excluded.
        seed: of the draw.
        where: a filter over all of it.

    Raises:
        DataError: a selector matches nothing, a phase is left empty by what came before it, a share is outside its range, two
            scenes share an id, or nothing is left to train on.
    """
    every = tuple(scenes)
    _check(every, held_out, gate)
    taken: set[str] = set()
    base = _pick(every, base_selectors, where, taken)
    parts = [_pick(every, selectors, where, taken) for selectors in stream_selectors]
    for number, (part, selectors) in enumerate(zip(parts, stream_selectors, strict=True), 1):
        if not part:
            raise DataError(
                f"phase {number} ({list(selectors)!r}) has no image of its own: all are base or in an earlier phase",
                remedy="narrow the base or the earlier phases, or drop this one",
            )
    known, base_held_out = _hold_out(base, held_out, seed)
    base_train, base_gate = _draw_gate(known, gate, seed)
    if not base_train:
        raise DataError(
            f"{len(base)} base image(s) leave none to train on", remedy="select more base images, or lower the shares"
        )
    pairs = [_hold_out(part, held_out, seed) for part in parts]
    return Split(base_train, base_gate, base_held_out, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))


def _check(scenes: Sequence[SceneT], held_out: float, gate: float) -> None:
    for name, share in (("held_out", held_out), ("gate", gate)):
        if not 0 <= share < 1:
            raise DataError(f"{name} is {share}", remedy="give a share in 0 .. 1, 1 excluded")
    seen: set[str] = set()
    for scene in scenes:
        if scene.image_id in seen:
            raise DataError(f"two images have the id {scene.image_id!r}", remedy="rename one: splits go by id")
        seen.add(scene.image_id)


def _pick(
    scenes: Sequence[SceneT], selectors: Sequence[Selector], where: Mapping[str, Any] | None, taken: set[str]
) -> list[SceneT]:
    """Take what the selectors match and nobody has; each selector must match something, taken or not."""
    out: list[SceneT] = []
    for selector in selectors:
        fresh = [s for s in select_some(scenes, selector, where) if s.image_id not in taken]
        taken.update(s.image_id for s in fresh)
        out.extend(fresh)
    return out


def _by_domain(scenes: Iterable[SceneT]) -> dict[str, list[SceneT]]:
    groups: dict[str, list[SceneT]] = {}
    for scene in scenes:
        groups.setdefault(scene.domain, []).append(scene)
    # Domains of one scene could never be held out; together they are drawn from like one domain (leave one port out).
    lone = [name for name, group in groups.items() if len(group) == 1]
    if len(lone) > 1:
        groups[_LONE] = [groups.pop(name)[0] for name in lone]
    return groups


def _rank(scene: SceneT, purpose: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{purpose}\0{scene.domain}\0{scene.image_id}".encode("utf-8", "surrogatepass")).digest()


def _share(n: int, share: float) -> int:
    """Return the whole number nearest to `share` x n (half goes up), at least 1, never all; 0 where n < 2 or the share is 0."""
    return 0 if n < 2 or share == 0 else min(n - 1, max(1, math.floor(n * share + 0.5)))


def _hold_out(scenes: Sequence[SceneT], share: float, seed: int) -> tuple[tuple[SceneT, ...], tuple[SceneT, ...]]:
    out: set[str] = set()
    for group in _by_domain(scenes).values():
        ranked = sorted(group, key=lambda s: _rank(s, "held-out", seed))
        out.update(s.image_id for s in ranked[: _share(len(group), share)])
    return tuple(s for s in scenes if s.image_id not in out), tuple(s for s in scenes if s.image_id in out)


def _draw_gate(scenes: Sequence[SceneT], share: float, seed: int) -> tuple[tuple[SceneT, ...], tuple[SceneT, ...]]:
    """Take each domain's first by rank, then each one's second ..., so that no domain is missed while there is room."""
    rounds: list[tuple[int, bytes, str]] = []
    for group in _by_domain(scenes).values():
        ranked = sorted((_rank(s, "gate", seed), s.image_id) for s in group)
        # A domain's last scene goes after all others: training should see every domain that the gate judges.
        rounds += [(len(scenes) if turn == len(ranked) - 1 else turn, key, name) for turn, (key, name) in enumerate(ranked)]
    out = {name for _, _, name in sorted(rounds)[: _share(len(scenes), share)]}
    return tuple(s for s in scenes if s.image_id not in out), tuple(s for s in scenes if s.image_id in out)
