"""A mission's report as a run would fill it: one satellite on a sun-synchronous circle, three stations, five rounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from orbitloop.clock import parse_utc_s
from orbitloop.records.pixels import encode_image
from orbitloop.records.update import ApplyOutcome, ApplyReport
from orbitloop.records.verdict import GateVerdict
from orbitloop.reports.mission import Accuracy, ByteCounts, Counts, MissionReport, ModelSummary, Scores
from orbitloop.reports.observed import BatteryPoint, GalleryItem, PassSummary, StationSite, TimelinePoint, TrackPoint
from orbitloop.reports.rounds import Applied, NewOld, Round, TensorChange, TrainingSummary, UpdateSummary

START_S = parse_utc_s("2026-03-02T06:00:00Z")
DAYS = 3.2
SATELLITE = "tiansuan-1"
STATIONS = (
    StationSite("Svalbard", 78.23, 15.39),
    StationSite("Beijing", 40.07, 116.27),
    StationSite("Punta Arenas", -52.94, -70.85),
)
NEW_DOMAINS, OLD_DOMAINS = ("new airports", "cloud", "haze", "low sun"), ("site_00 clear", "site_01 clear")


def track(satellite: str = SATELLITE, step_s: float = 60.0, phase: float = 0.0) -> tuple[TrackPoint, ...]:
    points = []
    for i in range(int(DAYS * 86400 / step_s)):
        t = i * step_s
        u, tilt = 2 * math.pi * t / 5700 + phase, math.radians(97.5)
        lat = math.asin(math.sin(tilt) * math.sin(u))
        lon = math.atan2(math.cos(tilt) * math.sin(u), math.cos(u)) - 2 * math.pi * t / 86164 + 1.0
        points.append(TrackPoint(satellite, START_S + t, math.degrees(lat), (math.degrees(lon) + 180) % 360 - 180))
    return tuple(points)


def contacts(points: tuple[TrackPoint, ...]) -> list[PassSummary]:
    found = []
    for site in STATIONS:
        inside: list[tuple[float, float]] = []
        for p in points:
            a, b, d = map(math.radians, (p.lat_deg, site.lat_deg, p.lon_deg - site.lon_deg))
            angle = math.acos(min(1, math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(d)))
            elevation = math.degrees(math.atan2(math.cos(angle) - 6378 / 6908, math.sin(angle) + 1e-9))
            if elevation > 5:
                inside.append((p.at_s, elevation))
            elif inside:
                found.append(PassSummary(p.satellite, site.name, inside[0][0], inside[-1][0] + 30, max(e for _, e in inside)))
                inside = []
    return sorted(found, key=lambda w: w.aos_s)


def tile(rng: np.random.Generator, size: int = 320):
    """A made-up airport apron: fields, a runway, aeroplanes as crosses; returns pixels and boxes."""
    pixels = np.full((size, size, 3), rng.integers(90, 130, 3), np.uint8)
    for _ in range(14):
        x, y, w, h = rng.integers(0, size - 40), rng.integers(0, size - 40), rng.integers(40, 160), rng.integers(40, 160)
        pixels[y : y + h, x : x + w] = (rng.integers(70, 150), rng.integers(95, 150), rng.integers(60, 100))
    pixels[int(size * 0.4) : int(size * 0.62)] = 118
    boxes = []
    for _ in range(int(rng.integers(1, 7))):
        s = int(rng.integers(22, 52))
        x, y = int(rng.integers(4, size - s - 4)), int(rng.integers(size * 0.38, size * 0.6))
        if any(abs(x - b[0]) < 50 and abs(y - b[1]) < 50 for b in boxes):
            continue
        pixels[y : y + s, x + s // 2 - 3 : x + s // 2 + 3] = 235
        pixels[y + s // 3 : y + s // 3 + 6, x : x + s] = 228
        boxes.append((float(x), float(y), float(x + s), float(y + s), 0.0))
    noisy = pixels + rng.normal(0, 7, pixels.shape)
    if rng.random() < 0.4:
        noisy = noisy * 0.55 + 105
    return np.clip(noisy, 0, 255).astype(np.uint8), boxes


def jitter(rng: np.random.Generator, boxes, share: float, score: float, spread: float):
    rows = []
    for box in boxes:
        if rng.random() < share:
            shift = rng.normal(0, spread, 4)
            rows.append(
                (
                    *(float(v + d) for v, d in zip(box[:4], shift, strict=True)),
                    float(np.clip(score + rng.normal(0, 0.1), 0.26, 0.98)),
                    0.0,
                )
            )
    return tuple(rows)


def gallery(count: int) -> tuple[tuple[GalleryItem, ...], dict[str, bytes]]:
    rng = np.random.default_rng(5)
    items, pictures = [], {}
    for i in range(count):
        pixels, boxes = tile(rng)
        sample = f"{SATELLITE}/scene_{i // 3:02d}/{i % 3 * 288}-{i * 32 % 288}"
        reason = ("mean entropy over the objects", "scores near the threshold", "far from all that was seen")[i % 3]
        before, after = jitter(rng, boxes, 0.5, 0.42, 4.5), jitter(rng, boxes, 0.96, 0.84, 1.5)
        stray = ((250.0, 20.0, 290.0, 52.0, 0.31, 0.0),) if i % 4 == 0 else ()
        items.append(
            GalleryItem(sample, f"scene_{i // 3:02d}", NEW_DOMAINS[i % 4], reason, float(rng.uniform(0.5, 0.95)), 320, 320,
                        before + stray, tuple(boxes), after, START_S + 7200 * (i + 1), i // 3 + 1)
        )  # fmt: skip
        pictures[sample] = encode_image(pixels, quality=75)
    return tuple(items), pictures


def make_rounds() -> tuple[Round, ...]:
    accuracy = [(0.692, 0.910), (0.768, 0.921), (0.829, 0.931), (0.829, 0.931), (0.853, 0.936), (0.868, 0.939)]
    tensors = (
        "conv1.weight",
        "conv2.weight",
        "conv3.weight",
        "bn1.weight",
        "bn1.bias",
        "bn2.weight",
        "head.out1.weight",
        "head.out2.weight",
    )
    rounds, version = [], 1
    for i in range(5):
        began = START_S + 3600 * (3 + 14.5 * i)
        passed = i != 2
        before, after = NewOld(*accuracy[i]), NewOld(*accuracy[i + 1])
        metrics = {
            "new_ap50": {"champion": before.new, "candidate": after.new if passed else 0.834},
            "old_ap50": {"champion": before.old, "candidate": after.old if passed else 0.902},
        }
        reason = (
            "new domains gain 7.6 points, more than the 0.5 asked for"
            if passed
            else "old domains lose 2.9 points, more than the 1.0 allowed"
        )
        version += passed
        changes = tuple(TensorChange(t, 412_000 // (2 + k * k), 310_000 // (2 + k * k)) for k, t in enumerate(tensors))
        report = ApplyReport(
            version,
            ApplyOutcome.CONFIRMED,
            "canary: 11 of 12 objects found, 8 before",
            "sha256:" + "ab" * 32,
            began + 30000,
            {"recall": 0.92},
        )
        rounds.append(
            Round(i + 1, began, SATELLITE, STATIONS[i % 3].name, 96 + 8 * i, 2_310_000 + 90_000 * i, 88 + 8 * i, 88.0 + 8 * i,
                  TrainingSummary(5400.0, 640, 2.31 - 0.3 * i, 0.94 - 0.08 * i), GateVerdict(passed, (reason,), metrics),
                  UpdateSummary(version, 431_000 + 9000 * i, changes) if passed else None, 452_000 if passed else 0,
                  (Applied(SATELLITE, report),) if passed else (), before, after, began + 36000)
        )  # fmt: skip
    return tuple(rounds)


def make_timeline(rounds: tuple[Round, ...]) -> tuple[TimelinePoint, ...]:
    def domains(new: float, old: float) -> dict[str, float | None]:
        return {d: new + 0.05 - 0.03 * i for i, d in enumerate(NEW_DOMAINS)} | {
            d: old + 0.01 - 0.02 * i for i, d in enumerate(OLD_DOMAINS)
        }

    points = [TimelinePoint(START_S, 0.692, 0.910, 1, domains=domains(0.692, 0.910))]
    for r in rounds:
        for a in r.applied:
            new, old = r.accuracy_after.new, r.accuracy_after.old
            points.append(TimelinePoint(a.report.at_s, new, old, a.report.version, True, domains(new, old)))
    return tuple(points)


def build(cards: int = 12) -> tuple[MissionReport, dict[str, bytes]]:
    rounds = make_rounds()
    way = track()
    windows = [replace(w, bytes_down=1_400_000, bytes_up=90_000) if i % 2 == 0 else w for i, w in enumerate(contacts(way))]
    items, pictures = gallery(cards)
    battery = tuple(
        BatteryPoint(SATELLITE, p.at_s, 62 + 14 * math.sin((p.at_s - START_S) / 905) - 5 * (i % 480 > 400))
        for i, p in enumerate(way)
        if i % 8 == 0
    )
    report = MissionReport(
        mission="aircraft",
        seed=7,
        complete=True,
        started_at_s=START_S,
        finished_at_s=START_S + DAYS * 86400,
        model=ModelSummary("yolov3-tiny", 8_669_876, 34_700_000, 412_338, ("conv1-5", "bn.*", "out*"), ("aeroplane",)),
        bytes=ByteCounts(
            captured=4_180_000_000,
            downlinked=12_700_000,
            uplinked=1_808_000,
            full_model=34_700_000,
            downlinked_by_kind={"samples": 12_450_000, "protocol": 196_000, "beacons": 54_000},
            uplinked_by_kind={"updates": 1_766_000, "protocol": 31_000, "acknowledgements": 11_000},
        ),
        accuracy=Accuracy("AP50", 0.692, 0.868, 0.910, 0.939, 0.878, Scores(0.315, 0.404, 0.435, 0.467, 0.417)),
        summary="Two airports as base; then the satellite meets new airports, cloud, haze and low sun.",
        rounds=rounds,
        timeline=make_timeline(rounds),
        passes=tuple(windows),
        ground_track=way,
        stations=STATIONS,
        battery=battery,
        battery_capacity_wh={SATELLITE: 80.0},
        gallery=items,
        counts=Counts(scenes=42, tiles_seen=13_600, hard=2140, stored=1400, sent=560, received=560, duplicates=6, labelled=520),
        old_domains=OLD_DOMAINS,
        new_domains=NEW_DOMAINS,
        wall={"train": 812.4, "evaluate": 96.0, "detect": 41.2, "orbit": 1.9},
        environment={"orbitloop": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "mission file": "/home/ada/aircraft.yaml"},
    )  # fmt: skip
    return report, pictures


@pytest.fixture(scope="session")
def outcome() -> tuple[MissionReport, dict[str, bytes]]:
    """A whole mission's report and its pictures."""
    return build(4)


@pytest.fixture
def empty() -> MissionReport:
    """What a run leaves that was interrupted before its first pass."""
    return MissionReport("early", 1, False, START_S, START_S, ModelSummary("m", 0, 0, 0), ByteCounts(0, 0, 0, 0), Accuracy())
