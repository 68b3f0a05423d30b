"""Models on disk: whole or not at all, and every damage a ModelError that says where."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ModelError
from orbitloop.ground.adapters import model_store
from orbitloop.ground.adapters.model_store import cache_dir, load_model, save_model
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE

WEIGHTS = {"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.float32).T}


def test_a_model_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    save_model(folder, b"graph", WEIGHTS)
    graph, weights = load_model(folder)
    assert graph == b"graph"
    assert weights.keys() == WEIGHTS.keys()
    assert all(np.array_equal(weights[n], WEIGHTS[n]) and weights[n].dtype == np.float32 for n in WEIGHTS)
    assert sorted(p.name for p in folder.iterdir()) == [GRAPH_FILE, WEIGHTS_FILE]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_equal_weights_give_equal_files(tmp_path: Path) -> None:
    save_model(tmp_path / "one", b"graph", WEIGHTS)
    save_model(tmp_path / "other", b"graph", dict(reversed(WEIGHTS.items())))
    assert (tmp_path / "one" / WEIGHTS_FILE).read_bytes() == (tmp_path / "other" / WEIGHTS_FILE).read_bytes()


def test_an_earlier_model_is_replaced_whole(tmp_path: Path) -> None:
    save_model(tmp_path / "model", b"old", WEIGHTS)
    (tmp_path / "model" / "request.json").write_text("{}")
    save_model(tmp_path / "model", b"new", {"c": np.zeros(1, np.float32)})
    graph, weights = load_model(tmp_path / "model")
    assert (graph, list(weights)) == (b"new", ["c"])
    assert not (tmp_path / "model" / "request.json").exists()


@pytest.mark.parametrize("moment", ["save", "write_bytes", "rename"])
def test_what_fails_half_way_leaves_the_earlier_model_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    save_model(tmp_path / "model", b"old", WEIGHTS)
    # An interrupt is no OSError, so `rename` cannot take it for a folder in the way.

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_store if moment == "save" else Path, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(tmp_path / "model", b"new", WEIGHTS)
    monkeypatch.undo()
    assert load_model(tmp_path / "model")[0] == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_another_process_may_have_been_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def meanwhile(path: Path, data: bytes) -> int:
        if not (tmp_path / "model").exists():
            (tmp_path / "model").mkdir()
            write(tmp_path / "model" / GRAPH_FILE, b"theirs")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", meanwhile)
    save_model(tmp_path / "model", b"ours", WEIGHTS)
    assert load_model(tmp_path / "model")[0] == b"ours"


def saved(folder: Path) -> Path:
    save_model(folder, b"graph", WEIGHTS)
    return folder


@pytest.mark.parametrize("lost", [GRAPH_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(tmp_path: Path, lost: str) -> None:
    folder = saved(tmp_path / "model")
    (folder / lost).unlink()
    with pytest.raises(ModelError, match=f"{lost} is missing") as caught:
        load_model(folder)
    assert caught.value.where == str(folder)
    assert caught.value.remedy


def test_no_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model here"):
        load_model(tmp_path / "nothing")


GOOD = safetensors.numpy.save(WEIGHTS)
HALF = safetensors.numpy.save({"a": np.zeros(2, np.float16)})
MALFORMED = {
    "empty": b"",
    "header cut": GOOD[:20],
    "data cut": GOOD[:-3],
    "data added": GOOD + b"\0",
    "header of 2^60 bytes": struct.pack("<Q", 1 << 60) + GOOD[8:],
    "no JSON": struct.pack("<Q", 4) + b"{{{{",
    "not a map": struct.pack("<Q", 2) + b"[]",
    "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
    "float64": safetensors.numpy.save({"a": np.zeros(2)}),
    "float16": HALF,
    "whole numbers": safetensors.numpy.save({"a": np.zeros(2, np.int64)}),
    "bfloat16": safetensors.torch.save({"a": torch.zeros(2, dtype=torch.bfloat16)}),
    "unknown dtype": HALF.replace(b'"F16"', b'"X99"'),
    "lying offsets": HALF.replace(b"[0,4]", b"[0,9]"),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_malformed_weights_are_a_model_error(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "model")
    (folder / WEIGHTS_FILE).write_bytes(MALFORMED[name])
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert caught.value.where == str(folder)
    assert "delete the folder" in caught.value.remedy


def test_a_folder_where_a_file_should_be_is_a_model_error(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    (folder / WEIGHTS_FILE).unlink()
    (folder / WEIGHTS_FILE).mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_damage_is_read_or_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("m")
    data = bytearray(GOOD)
    data[place] = value
    (folder / GRAPH_FILE).write_bytes(b"graph")
    (folder / WEIGHTS_FILE).write_bytes(bytes(data[:place] if cut else data))
    try:
        _, weights = load_model(folder)
    except ModelError:
        return
    finally:
        shutil.rmtree(folder)
    assert all(a.dtype == np.float32 for a in weights.values())


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORBITLOOP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("ORBITLOOP_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "orbitloop"
