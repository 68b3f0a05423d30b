"""What leaves a scene as it is looked at: whole files or none, and the best in memory that does not grow."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from orbitloop.apps.scene_results import Best, stream_features, whole_file
from orbitloop.errors import StateError
from orbitloop.onboard.geojson import Origin
from orbitloop.records.prediction import Detections


def test_a_whole_file_or_none(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with whole_file(target) as stream:
        stream.write("é")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "é"
    with pytest.raises(ZeroDivisionError), whole_file(target) as stream:
        stream.write(f"half of {1 / 0}")
    assert target.read_text(encoding="utf-8") == "é"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_and_a_link_in_its_place_are_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".a.{os.getpid()}.part").symlink_to(tmp_path / "mine")
    with whole_file(tmp_path / "a") as stream:
        stream.write("new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "a").read_text() == "new"
    assert not (tmp_path / "a").is_symlink()


def test_a_full_disk_is_told_with_the_option_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left") as told, whole_file(tmp_path / "a", "--results") as stream:
        stream.write("half")
    assert "--results" in told.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_the_best_are_kept_whatever_the_order_and_memory_does_not_grow() -> None:
    rng, best, seen = np.random.default_rng(0), Best(10), []
    for _ in range(200):
        scores = np.sort(rng.random(7).astype(np.float32))[::-1]
        seen.append(scores)
        best.add(Detections(np.zeros((7, 4), np.float32), scores, np.zeros(7, np.int32)))
        assert sum(len(part) for part in best._parts) <= 50
    assert best.found == 1400
    np.testing.assert_array_equal(best.take().scores, np.sort(np.concatenate(seen))[::-1][:10])


def test_memory_does_not_grow_with_the_number_of_detections(tmp_path: Path) -> None:
    origin = Origin(("x",), "a", None, "sha256:0")
    part = Detections(np.ones((50, 4), np.float32), np.full(50, 0.5, np.float32), np.zeros(50, np.int32))

    def peak_bytes(parts: int) -> int:
        tracemalloc.start()
        best = Best(100)
        stream_features((part for _ in range(parts)), origin, best, out=tmp_path / "a")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert best.found == 50 * parts
        return peak

    peak_bytes(20)  # what is made once
    assert peak_bytes(200) < 1.2 * peak_bytes(20)
