"""The outcome of a mission: one structure, from which every rendering is made.

Belongs here: the figures and their JSON form (`orbitloop.report/1`). Left to others: filling them (the runner), words
(`story`), the page (`html`), files (`write`).

The digest says whether two runs did the same: it covers everything but the wall clock (`wall`) and what names the machine
(`environment`: versions, host, paths). It stands last in `report.json`, and reading checks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orbitloop.errors import StateError
from orbitloop.records.ids import digest_json
from orbitloop.reports.codec import from_plain, to_plain
from orbitloop.reports.observed import BatteryPoint, GalleryItem, PassSummary, StationSite, TimelinePoint, TrackPoint
from orbitloop.reports.rounds import Round

SCHEMA = "orbitloop.report/1"
NOT_DIGESTED = ("digest", "wall", "environment")


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What flies. `bytes` is the full model on board; `trainable` names the partition that training may change.

    `form` is how it computes on board; where that is not how it was trained, `float_ap50` and `form_ap50` say what it costs on
    the frozen base scenes (fractions). Boxes below `report_score` are candidates only: shown faintly, never counted.
    """

    name: str
    parameters: int
    bytes: int
    trainable_parameters: int
    trainable: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    report_score: float = 0.25
    form: str = "float32"
    float_ap50: float | None = None
    form_ap50: float | None = None


@dataclass(frozen=True, slots=True)
class ByteCounts:
    """Bytes of the whole mission. `captured` is uncompressed pixels: what sending everything would cost.

    The two breakdowns map a kind (`samples`, `beacons`, `update`, `labels`, `protocol` ...) to its bytes over the link.
    """

    captured: int
    downlinked: int
    uplinked: int
    full_model: int
    downlinked_by_kind: dict[str, int] = field(default_factory=dict)
    uplinked_by_kind: dict[str, int] = field(default_factory=dict)

    @property
    def not_sent(self) -> float | None:
        """Share of the captured bytes that stayed on board (negative if more went down than was captured)."""
        return 1 - self.downlinked / self.captured if self.captured > 0 else None


@dataclass(frozen=True, slots=True)
class Scores:
    """One metric (fractions 0..1) before and after, on held-out scenes of the new and the old domains."""

    new_before: float | None = None
    new_after: float | None = None
    old_before: float | None = None
    old_after: float | None = None
    new_ceiling: float | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the mission gained. `new_ceiling`: the same network fully fine-tuned with all labels, where the mission asks for it.

    The figures are of `metric`; `ap` holds the same for AP averaged over IoU 0.5 to 0.95.
    """

    metric: str = "AP50"
    new_before: float | None = None
    new_after: float | None = None
    old_before: float | None = None
    old_after: float | None = None
    new_ceiling: float | None = None
    ap: Scores = field(default_factory=Scores)

    @property
    def gap_recovered(self) -> float | None:
        """Return (after - before) / (ceiling - before) on the new domains; None without a ceiling above the start."""
        if self.new_before is None or self.new_after is None or self.new_ceiling is None:
            return None
        gap = self.new_ceiling - self.new_before
        return (self.new_after - self.new_before) / gap if gap > 1e-9 else None

    @property
    def new_gain(self) -> float | None:
        return _gain(self.new_before, self.new_after)

    @property
    def old_gain(self) -> float | None:
        return _gain(self.old_before, self.old_after)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many samples came how far."""

    scenes: int = 0
    tiles_dropped: int = 0
    tiles_seen: int = 0
    hard: int = 0
    stored: int = 0
    sent: int = 0
    received: int = 0
    duplicates: int = 0
    labelled: int = 0
    detections: int = 0


@dataclass(frozen=True, slots=True)
class MissionReport:
    """Everything that a report shows. `complete` is false for what an interrupted run leaves.

    `summary` says in a sentence what the mission is. `old_domains` are those that the base model knew, `new_domains` those that
    the satellite met. `wall` maps a stage to wall seconds, `environment` a word to a version or place; neither is part of the
    digest. `notes` are sentences for the reader.
    """

    mission: str
    seed: int
    complete: bool
    started_at_s: float
    finished_at_s: float
    model: ModelSummary
    bytes: ByteCounts
    accuracy: Accuracy
    summary: str = ""
    rounds: tuple[Round, ...] = ()
    timeline: tuple[TimelinePoint, ...] = ()
    passes: tuple[PassSummary, ...] = ()
    ground_track: tuple[TrackPoint, ...] = ()
    stations: tuple[StationSite, ...] = ()
    battery: tuple[BatteryPoint, ...] = ()
    battery_capacity_wh: dict[str, float] = field(default_factory=dict)
    gallery: tuple[GalleryItem, ...] = ()
    counts: Counts = field(default_factory=Counts)
    old_domains: tuple[str, ...] = ()
    new_domains: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    wall: dict[str, float] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return `sha256:...` of the canonical JSON of all but `wall` and `environment`."""
        return _digest(self._plain())

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values; `digest` comes last."""
        plain = self._plain()
        return plain | {"digest": _digest(plain)}

    @classmethod
    def from_json(cls, value: Any, *, where: str = "report") -> MissionReport:
        """Read what `to_json` wrote; fields of a newer version are dropped.

        Raises:
            StateError: another schema, a field is missing or of the wrong kind, or the digest differs. Never anything else.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            found = value.get("schema") if isinstance(value, dict) else type(value).__name__
            raise StateError(f"not a mission report (schema {str(found)[:80]!r})", where=where, remedy=f"expected {SCHEMA!r}")
        report = from_plain(cls, value, where)
        try:
            actual = _digest(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise StateError(f"report has no canonical form ({str(error)[:120]})", where=where) from error
        if value.get("digest") != actual:
            raise StateError(
                "digest differs: the report was changed after the run", where=where, remedy="run the mission again"
            )
        return report

    @property
    def satellites(self) -> tuple[str, ...]:
        """Names of all satellites that appear, sorted."""
        names = {p.satellite for p in self.passes} | {r.satellite for r in self.rounds}
        names |= {t.satellite for t in self.ground_track} | {b.satellite for b in self.battery}
        return tuple(sorted(names - {""}))

    @property
    def update_share(self) -> float | None:
        """Mean size of an update over the size of the full model; None before the first update."""
        sizes = [r.update.bytes for r in self.rounds if r.update is not None]
        return sum(sizes) / len(sizes) / self.model.bytes if sizes and self.model.bytes > 0 else None

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = to_plain(MissionReport, self)
        return {"schema": SCHEMA} | plain


def _digest(plain: dict[str, Any]) -> str:
    return digest_json({name: value for name, value in plain.items() if name not in NOT_DIGESTED})


def _gain(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
