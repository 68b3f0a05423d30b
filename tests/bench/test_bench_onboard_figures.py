"""From samples to figures: the ratios, their aims, and what is said of what was not measured. Timing decides nothing here."""

from __future__ import annotations

import math

import numpy as np
import pytest

import onboard_detector
import onboard_scenes
import onboard_tiles
from onboard_detector import Tally
from onboard_models import Model, Subject
from onboard_pool import Spent
from onboard_tiles import BASE, OURS, REFERENCE, Setting
from orbitloop.records.label import Boxes
from orbitloop.records.prediction import Detections
from orbitloop.reports.figures import Figure

SETTING = Setting(320, 8, 2, 1)


def spent(*samples_s: float) -> Spent:
    return Spent(samples_s)


def by_name(figures: list[Figure], name: str) -> list[Figure]:
    return [figure for figure in figures if figure.name == name]


TIMES = {
    OURS: {"rows": spent(0.04, 0.04), "infer": spent(0.048)},
    BASE: {"rows": spent(0.128), "net": spent(0.12)},
    REFERENCE: {"rows": spent(0.24), "net": spent(0.232)},
    "roof": {"int8": spent(0.02), "float32": spent(0.2)},
}


def test_tile_figures_are_per_tile_and_the_speed_up_is_of_the_same_work() -> None:
    figures = onboard_tiles.figures_of(SETTING, TIMES, 10**9, "a note", {})
    rows = {figure.peer: figure for figure in by_name(figures, SETTING.name)}
    assert (rows[BASE].value, rows[BASE].peer_value) == (5.0, 16.0)
    assert "network alone 29.0 ms" in rows[REFERENCE].note
    (ratio,) = by_name(figures, f"{SETTING.name}: speed-up")
    assert (ratio.value, ratio.holds) == (3.2, True)
    assert "3.00 x against the peer's network alone" in ratio.note
    (share,) = by_name(figures, f"{SETTING.name}: share of the int8 roof")
    roof = 2 * 2048**3 / 0.02 / 1e9
    assert share.value == round(100 * 200 / roof, 1)


def test_without_our_int8_model_nothing_is_invented() -> None:
    times = {name: spans for name, spans in TIMES.items() if name != OURS}
    figures = onboard_tiles.figures_of(SETTING, times, 10**9, "", {OURS: "no such model", "ncnn fp32": "not installed"})
    assert all(figure.value == "not measured" for figure in by_name(figures, SETTING.name))
    assert not by_name(figures, f"{SETTING.name}: speed-up")
    (absent,) = by_name(figures, f"{SETTING.name}: peers not measured")
    assert "ncnn fp32: not installed" in str(absent.value)


def test_a_peer_that_computes_something_else_is_named() -> None:
    figures = onboard_tiles.figures_of(SETTING, TIMES, 10**9, "", {BASE: "computes something else"})
    assert "computes something else" in next(f.note for f in figures if f.peer == BASE)


def way(cpu_s: float) -> dict[str, Spent]:
    return {"cpu": spent(cpu_s), "wall": spent(2 * cpu_s)}


def test_scene_figures_compare_each_way_and_judge_the_ratio() -> None:
    times = {onboard_scenes.OURS: way(0.3), onboard_scenes.OURS_FLOAT: way(0.9), onboard_scenes.SAHI: way(1.8)}
    figures = onboard_scenes.time_figures("scene", "note", times, 2, {"seen": 40, "blank": 3}, {})
    assert {f.peer: (f.value, f.peer_value) for f in by_name(figures, "scene")} == {
        onboard_scenes.OURS_FLOAT: (0.15, 0.45),
        onboard_scenes.SAHI: (0.15, 0.9),
    }
    (ratio,) = by_name(figures, "scene: speed-up")
    assert (ratio.value, ratio.holds) == (6.0, True)
    assert "blank 3, seen 40" in ratio.note


def test_without_sahi_its_absence_is_a_figure() -> None:
    figures = onboard_scenes.time_figures("scene", "", {onboard_scenes.OURS: way(0.3)}, 1, {}, {"sahi": "no network"})
    assert by_name(figures, "scene: not measured")[0].value == "sahi: no network"


def test_accuracy_figures_hold_int8_to_float_and_ours_to_the_better_merge() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 70, 70]], np.float32)
    truth = [Boxes(boxes, np.zeros(2, np.int32))]

    def found(count: int) -> list[Detections]:
        return [Detections(boxes[:count], np.full(count, 0.9, np.float32), np.zeros(count, np.int32))]

    class About:
        classes = ("thing",)

    model = type("M", (), {"metadata": About})()
    subject = Subject("set", model, None, (), (), True, "")
    ways = {
        onboard_scenes.OURS: found(1),
        onboard_scenes.OURS_UNSCREENED: found(1),
        onboard_scenes.OURS_FLOAT: found(2),
        onboard_scenes.SAHI: found(1),
        onboard_scenes.SAHI_NMS: found(2),
    }
    figures = {figure.name: figure for figure in onboard_scenes.accuracy_figures(subject, ways, truth, "as labelled")}
    assert figures["AP50 lost by int8, set"].value == pytest.approx(49.5, abs=0.1)
    assert figures["AP50 lost by int8, set"].holds is False
    assert figures["whole scene, set: AP50"].peer_value == 100.0
    assert figures["whole scene, set: AP50"].holds is False
    assert "1 held-out scenes, 2 objects" in figures["whole scene, set: AP"].note


def test_hot_swap_figures_count_what_was_lost_and_what_was_wrong() -> None:
    tallies = [Tally([0.01, 0.02], [0.05], ["3: gone"], 1), Tally([0.01], [0.08], [], 0)]
    lost, pause = onboard_detector.figures_of(tallies, [0.1, 0.3], 6, {"longest_pause_s": 0.002}, "int8")
    assert (lost.value, lost.holds, lost.unit) == (1, False, "of 6")
    assert "1 answers differed" in lost.note
    assert "First: 3: gone" in lost.note
    assert pause.value == 80.0
    assert "2.000 ms" in pause.note


def test_a_nudged_model_has_other_float_weights_only() -> None:
    weights = {"a": np.ones(3, np.int8), "b": np.ones(2, np.float32), "c": np.ones(1, np.float32)}
    other = onboard_detector.nudged(Model(b"", weights))
    assert other.weights["a"] is weights["a"]
    assert math.isclose(float(other.weights["b"][0]), 1.01, rel_tol=1e-6)
    assert other.weights["c"] is weights["c"]
