"""What the ground knows of each satellite's model, and what is on its way up: one update at a time, then the next.

The ground learns from beacons only, and never assumes that an update has arrived. By satellite:

    idle      nothing is on its way; it holds what it said last
    awaited   an update was queued and its end is not told; being tried or on probation is no end
    delivered its link has acknowledged all of it: what follows starts from its result, and waits for its end
    routed    more updates follow, each queued when the satellite says that it holds that one's base

    release or catch-up      idle -> awaited (routed where the way has several updates)
    acknowledged             awaited -> delivered
    told confirmed           awaited -> awaited by the next update of the route, or idle
    told rolled back         awaited -> idle; the route ends, and no way leads over that model again
    told refused             awaited -> idle; the route ends
    a newer release          when the job's patience is over. awaited -> awaited: the old update is taken from the queue, unless
                             the way begins with it; delivered -> delivered and routed

A round's updates go out by the waves that the job names (`waves`); without any, to all satellites at once.

A satellite that is idle and behind the champion (its golden model after a disaster, a missed round) is sent after it, once for
each time that it has told of a good end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orbitloop.ground.chains import Edge, Route
from orbitloop.link.events import Acknowledged
from orbitloop.records.health import Beacon
from orbitloop.records.update import ApplyOutcome, ApplyReport
from orbitloop.reports.rounds import Applied
from orbitloop.sim.checkpoint import write_whole
from orbitloop.sim.waves import Waves, Way

if TYPE_CHECKING:
    from orbitloop.sim.runner import MissionRun

UPDATE_PRIORITY = 10
ENDS = (ApplyOutcome.CONFIRMED, ApplyOutcome.ROLLED_BACK, ApplyOutcome.REFUSED)
KEPT_VERSIONS = 64


class Rollout:
    """Sends updates out for a run, and follows each to its end."""

    def __init__(self, run: MissionRun) -> None:
        self.run = run
        self.awaited: dict[str, tuple[int, float]] = {}
        """Satellite -> version and time of release of the update whose end it has not told yet."""
        self.routes: dict[str, tuple[Edge, ...]] = {}
        """Satellite -> what follows the update that is awaited."""
        self.items: dict[str, str] = {}
        """Satellite -> id of the link's item that holds the awaited update, until it is acknowledged."""
        self.sent: dict[int, Edge] = {}
        """Version -> the update that was signed under it."""
        self.tried: dict[str, int] = {}
        """Satellite -> the round whose model it was last sent after, or had no way to, and does not fly by its own word."""
        self.waves = Waves(run.plan.job.spec.update.waves)

    def roll_out(self, routes: Mapping[str, Route], now_s: float) -> None:
        """Send a round's updates out, the first wave of them now: first who has the next contacts."""
        if not self.waves.sizes:
            self.release(routes, now_s)
            return
        coming = dict.fromkeys(w.satellite for w in self.run.windows.windows[self.run.next_window :])
        order = [*(name for name in coming if name in routes), *(name for name in routes if name not in coming)]
        self._send(self.waves.start({name: route.edges for name, route in routes.items()}, order), now_s)

    def release(self, routes: Mapping[str, Route], now_s: float) -> None:
        """Queue the first update of each way; equal ones for equal hardware go under one signature."""
        groups: dict[tuple[Edge, str], list[str]] = {}
        for name, route in routes.items():
            if not route.edges:
                continue
            if self.delivered(name):
                self.routes[name] = route.edges
                continue
            first, *rest = route.edges
            self.routes[name] = tuple(rest)
            if self._goes_up(name) != first:
                groups.setdefault((first, self.run.plan.satellites[name].spec.hardware), []).append(name)
        for (edge, _), names in groups.items():
            self._offer(edge, names, now_s)

    def hear(self, beacon: Beacon, now_s: float) -> None:
        """Learn what flies from the satellite's own word, and send what follows from it."""
        run, satellite = self.run, self.run.satellites[beacon.satellite]
        if beacon.model_digest != satellite.held_digest:
            satellite.held_before = satellite.held_digest
        satellite.held_digest, satellite.held_version = beacon.model_digest, beacon.model_version
        satellite.held_trust = beacon.trust
        for report in beacon.reports:
            version = report.version or self._answered(satellite.name, report)
            told = f"{version} {report.outcome.value}"
            if version and told not in satellite.heard_reports:
                satellite.heard_reports.add(told)
                self._note(satellite.name, version, report)
        held = [s.held_digest for s in run.satellites.values() if s.held_digest in run.models_by_digest]
        if held:  # of two copies of the newest, the one that is the champion already
            run.champion = max(held, key=lambda digest: (run.models_by_digest[digest].round, digest == run.champion))
        self._go_on(satellite.name, now_s)
        self._settle(satellite.name, now_s)
        self._wait_no_longer(now_s)

    def acknowledged(self, name: str, event: Acknowledged) -> None:
        """Learn that an item has come up whole."""
        if self.items.get(name) == event.item_id:
            del self.items[name]

    def delivered(self, name: str) -> bool:
        """Say whether a satellite has the update whose end it has not told."""
        return name in self.awaited and name not in self.items

    def standing(self, name: str) -> str:
        """Return the digest of the model that the next update of a satellite starts from."""
        edge = self._goes_up(name)
        return edge.result if edge and self.delivered(name) else self.run.satellites[name].held_digest

    def all_heard(self, now_s: float | None = None) -> bool:
        """Say whether every satellite has told how its last update ended; with `now_s`, or has been waited for long enough."""
        if now_s is None:
            return not self.awaited and not self.waves.waiting
        return all(now_s - released_s > self.patience_s for _, released_s in self.awaited.values())

    @property
    def patience_s(self) -> float:
        """How long a satellite is waited for, from the release of its update on."""
        return self.run.plan.job.spec.training.trigger.patience_hours * 3600.0

    def round_of(self, version: int) -> int | None:
        """Return the round whose model an update leads to; None for a version that was never signed."""
        edge = self.sent.get(version)
        return edge.round if edge else None

    def under_way(self) -> set[str]:
        """Return the digests of all models that an update on its way starts from or leads to."""
        edges = [edge for route in self.routes.values() for edge in route]
        edges += [edge for _, way in self.waves.waiting for edge in way]
        edges += [edge for name in self.awaited if (edge := self._goes_up(name))]
        return {digest for edge in edges for digest in (edge.base, edge.result)}

    def to_json(self) -> dict[str, Any]:
        return {
            "awaited": self.awaited,
            "items": self.items,
            "routes": {name: [_plain(edge) for edge in route] for name, route in self.routes.items()},
            "sent": [[version, *_plain(edge)] for version, edge in self.sent.items()],
            "tried": self.tried,
            "waves": self.waves.to_json(),
        }

    def restore(self, value: Mapping[str, Any]) -> None:
        """Take back what `to_json` wrote."""
        self.awaited = {str(n): (int(v), float(t)) for n, (v, t) in value["awaited"].items()}
        self.items = {str(n): str(i) for n, i in value["items"].items()}
        self.routes = {str(n): tuple(_edge(row) for row in rows) for n, rows in value["routes"].items()}
        self.sent = {int(row[0]): _edge(row[1:]) for row in value["sent"]}
        self.tried = {str(n): int(r) for n, r in value["tried"].items()}
        self.waves.restore(value["waves"])

    def _goes_up(self, name: str) -> Edge | None:
        """Return the update that was queued for a satellite and whose end it has not told."""
        return self.sent.get(self.awaited[name][0]) if name in self.awaited else None

    def _answered(self, satellite: str, report: ApplyReport) -> int:
        """Return the update that a report without a version is about: it could not be read, and only one was on its way."""
        version, released_s = self.awaited.get(satellite, (0, 0.0))
        return version if report.outcome in ENDS and report.at_s >= released_s else 0

    def _note(self, name: str, version: int, report: ApplyReport) -> None:
        edge = self.sent.get(version)
        if report.outcome in ENDS and self.awaited.get(name, (0, 0.0))[0] == version:
            del self.awaited[name]
            self.items.pop(name, None)
            if report.outcome is ApplyOutcome.CONFIRMED:
                self.tried.pop(name, None)
            else:
                self.routes.pop(name, None)
        if edge is None:
            return
        if report.outcome is ApplyOutcome.ROLLED_BACK:
            self.run.satellites[name].given_up.add(edge.result)
        self.run.course.note_applied(edge.round, Applied(name, report), final=report.outcome in ENDS)

    def _go_on(self, name: str, now_s: float) -> None:
        """Queue the next update of the satellite's way; where it has none and is behind, find one."""
        run, satellite = self.run, self.run.satellites[name]
        if name in self.awaited:
            return
        rest = self.routes.pop(name, ())
        if rest and rest[0].base == satellite.held_digest:
            self.routes[name] = rest[1:]
            self._offer(rest[0], [name], now_s)
        elif self._behind(name):
            self.tried[name] = run.models_by_digest[run.champion].round
            self.release({name: run.maker.catch_up(name)}, now_s)

    def _settle(self, name: str, now_s: float) -> None:
        """Where a satellite of the wave that is out has come to its end, start the next one, or end the rollout."""
        if name in self.awaited or name in self.routes:
            return
        others = [one for one, _ in self.waves.waiting]
        wave = self.waves.settle(name, self.run.satellites[name].held_digest)
        if wave is None:
            said = f"the rollout ends: {name} does not fly the update" + (f"; kept from {', '.join(others)}" if others else "")
            self.run.watcher.event(now_s, said)
        else:
            self._send(wave, now_s)

    def _wait_no_longer(self, now_s: float) -> None:
        """Let no silent satellite hold up a rollout for ever."""
        overdue = [
            n for n, (_, released_s) in self.awaited.items() if n in self.waves.out and now_s - released_s > self.patience_s
        ]
        if overdue:
            self.run.watcher.event(now_s, f"not waited for any longer: {', '.join(overdue)}")
            self._send(self.waves.lapse(overdue), now_s)

    def _send(self, wave: Mapping[str, Way], now_s: float) -> None:
        if not wave:
            return
        self.run.watcher.event(now_s, f"wave {self.waves.number}: {', '.join(wave)}")
        routes = {}
        for name, way in wave.items():  # who came to fly another model while it waited gets a way from there
            stale = way[0].base != self.standing(name)
            routes[name] = self.run.maker.catch_up(name) if stale else Route(way, "its wave has come")
        self.release(routes, now_s)

    def _behind(self, name: str) -> bool:
        """Say whether a satellite should be sent after the champion: it can be, was not yet, and no round is about to do so."""
        run, satellite = self.run, self.run.satellites[name]
        held, newest = run.models_by_digest.get(satellite.held_digest), run.models_by_digest.get(run.champion)
        if held is None or newest is None or run.pending is not None:
            return False
        return max(held.round, self.tried.get(name, 0)) < newest.round and run.champion not in satellite.given_up

    def _offer(self, edge: Edge, names: Sequence[str], now_s: float) -> None:
        run = self.run
        version, bundle = run.maker.releases.sign(edge, names)
        self.sent = dict([*self.sent.items(), (version, edge)][-KEPT_VERSIONS:])
        run.maker.note_release(edge, version, bundle, names)
        run.updates.mkdir(parents=True, exist_ok=True)
        write_whole(run.updates / f"v{version:03d}.bundle", bundle)  # for `orbitloop update inspect`
        for name in names:
            # A keyed item takes the place of the one before it: what is overtaken is not worth its airtime.
            ground, model = run.satellites[name].ground, run.base.metadata.name
            self.items[name] = ground.offer("update", bundle, priority=UPDATE_PRIORITY, now_s=now_s, key=model)
            self.awaited[name] = (version, now_s)


def _plain(edge: Edge) -> list[Any]:
    return [edge.base, edge.result, edge.bytes, edge.round]


def _edge(row: Sequence[Any]) -> Edge:
    base, result, size, number = row
    return Edge(str(base), str(result), int(size), int(number))
