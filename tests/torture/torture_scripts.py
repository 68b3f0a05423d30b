"""Scripts of what a satellite does with a model, and every moment in them at which power may fail.

One run of a script over the disk that forgets keeps the disk as it was before each operation: each of these moments is a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

from cutting_disk import CuttingDisk
from torture_satellite import Ground, Satellite

Step = Callable[[Satellite, "Script"], object]


@dataclass(frozen=True)
class Script:
    """Steps over the disk of a satellite with a past, each with the version that flies once it has returned.

    `bundle` is the update `new` from `base`, `respun` the one after it from the same base, for a number that was spent.
    """

    name: str
    past: tuple[Step, ...]
    flying: int
    base: int
    new: int
    steps: tuple[tuple[Step, int], ...]

    @cached_property
    def ground(self) -> Ground:
        return Ground(self.name.encode())

    @cached_property
    def ready(self) -> CuttingDisk:
        disk = CuttingDisk()
        satellite = self.satellite(disk)
        satellite.install()
        for step in self.past:
            step(satellite, self)
        return disk.clone()

    @cached_property
    def stamps(self) -> frozenset[int]:
        """Versions of the timestamp that may be believed, from before the script to its end."""
        before = self.satellite(self.ready.clone()).trust.load().version("timestamp")
        self.bundles  # noqa: B018  (made when asked for)
        return frozenset({before, self.ground.stamp - 1, self.ground.stamp})

    @cached_property
    def bundles(self) -> tuple[bytes, bytes]:
        self.ready  # noqa: B018  (its bundles come first)
        return self.ground.bundle(self.new, self.base), self.ground.bundle(self.new + 1, self.base)

    def satellite(self, disk: CuttingDisk) -> Satellite:
        return Satellite(disk, self.ground.anchor)

    @cached_property
    def moments(self) -> list[Moment]:
        """Run the steps once; return every moment at which power may fail."""
        disk, flying = self.ready.clone(), self.flying
        disk.moments = []
        satellite = self.satellite(disk)
        allowed: list[frozenset[int]] = []
        for step, version in self.steps:
            step(satellite, self)
            allowed += [frozenset({flying, version})] * (disk.done - len(allowed))
            flying = version
        disks = [*disk.moments, disk.clone()]
        return [Moment(self, *pair) for pair in zip(disks, [*allowed, frozenset({flying})], strict=True)]


@dataclass(frozen=True, slots=True)
class Moment:
    """The disk before one operation, and what may fly after a cut there."""

    script: Script
    disk: CuttingDisk
    allowed: frozenset[int]


def lived(version: int, base: int, end: str = "confirmed") -> Step:
    """Return a step of the past: an update that was confirmed, flies on probation, waits, is tried, or failed."""

    def step(satellite: Satellite, script: Script) -> None:
        refused = satellite.receive(script.ground.bundle(version, base))
        assert not refused, refused
        if end == "trial":
            satellite.store.begin_trial()
        elif end != "staged":
            satellite.try_it(passed=end != "failed")
        if end == "confirmed":
            satellite.contact()

    return step


def to_golden(satellite: Satellite, script: Script) -> None:
    """Both slots given up in flight: the golden model flies."""
    while satellite.store.running().version:
        satellite.store.roll_back("drift")


def _applied(old: int, new: int) -> tuple[tuple[Step, int], ...]:
    """An update from its pass to the contact that confirms it, with the same bundle coming three times."""
    return (
        (lambda s, _: s.contact(), old),
        (lambda s, x: s.receive(x.bundles[0]), old),
        (lambda s, _: s.store.begin_trial(), old),
        (lambda s, _: s.store.accept(), new),
        (lambda s, x: s.receive(x.bundles[0]), new),
        (lambda s, _: s.store.note_boot(), new),
        (lambda s, _: s.store.note_healthy(), new),
        (lambda s, _: s.contact(), new),
        (lambda s, x: s.receive(x.bundles[0]), new),
    )


@cache
def applies() -> tuple[Script, ...]:
    return (
        Script("first update", (), 0, 0, 1, _applied(0, 1)),
        Script("second update", (lived(1, 0),), 1, 1, 2, _applied(1, 2)),
        Script("third update", (lived(1, 0), lived(2, 1)), 2, 2, 3, _applied(2, 3)),
        Script("over a failed one", (lived(1, 0), lived(2, 1, "failed")), 1, 1, 3, _applied(1, 3)),
        Script("over one that waits", (lived(1, 0), lived(2, 1, "staged")), 1, 1, 3, _applied(1, 3)),
        Script("from the golden model", (lived(1, 0), lived(2, 1), to_golden), 0, 0, 3, _applied(0, 3)),
    )


def _rolled(old: int, new: int) -> tuple[tuple[Step, int], ...]:
    return ((lambda s, _: s.store.roll_back("drift"), new), (lambda s, _: s.store.recover(), new))


def _looped(old: int, new: int) -> tuple[tuple[Step, int], ...]:
    """Three boots that nothing good comes of: once the third is counted, the next one flies the fallback."""
    boots = tuple((lambda s, _: s.store.note_boot(), version) for version in (old, old, new))
    return (*boots, (lambda s, _: s.store.recover(), new))


@cache
def rollbacks() -> tuple[Script, ...]:
    one, golden = lived(1, 0), (lived(1, 0), lived(2, 1), to_golden)
    return (
        Script("trial rolled back", (one, lived(2, 1, "trial")), 1, 1, 3, _rolled(1, 1)),
        Script("trial over golden rolled back", (*golden, lived(3, 0, "trial")), 0, 0, 4, _rolled(0, 0)),
        Script("probation rolled back", (one, lived(2, 1, "probation")), 2, 1, 3, _rolled(2, 1)),
        Script("probation rolled back to golden", (*golden, lived(3, 0, "probation")), 3, 0, 4, _rolled(3, 0)),
        Script("confirmed rolled back", (one, lived(2, 1)), 2, 1, 3, _rolled(2, 1)),
        Script("confirmed rolled back to golden", (*golden, lived(3, 0)), 3, 0, 4, _rolled(3, 0)),
        Script("crash loop", (one, lived(2, 1, "probation")), 2, 1, 3, _looped(2, 1)),
        Script("crash loop to golden", (*golden, lived(3, 0, "probation")), 3, 0, 4, _looped(3, 0)),
        Script("trial ended by a reboot", (one, lived(2, 1, "trial")), 1, 1, 3, ((lambda s, _: s.store.recover(), 1),)),
    )
