"""Checkpoints: whole or not at all, swept, and refused when they are not what they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import StateError
from orbitloop.records.ids import digest_bytes
from orbitloop.sim.checkpoint import SCHEMA, Checkpoints

OURS = f'{{"schema": "{SCHEMA}"}}'.encode()
CHANGED = f'{{"schema": "{SCHEMA}", "digest": "{digest_bytes(b"{}")}", "state": {{"turn": 3}}}}'.encode()
BLOBS = [b"one", b"two" * 1000]


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "state")
    checkpoints.save({"identity": "x", "turn": 1}, BLOBS)
    return checkpoints


def test_what_is_saved_is_loaded(kept):
    assert kept.exists()
    assert kept.load() == {"identity": "x", "turn": 1}
    assert [kept.blob(digest_bytes(b)) for b in BLOBS] == BLOBS


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_save_that_is_cut_short_leaves_the_earlier_checkpoint(kept, monkeypatch, stop_at):
    replace, calls = Path.replace, []

    def cut(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            kept.save({"identity": "x", "turn": 2}, [b"new", b"newer", BLOBS[0]])
    assert kept.load()["turn"] == 1
    assert [kept.blob(digest_bytes(b)) for b in BLOBS] == BLOBS
    kept.save({"identity": "x", "turn": 2}, [b"new", b"newer", BLOBS[0]])
    assert kept.load()["turn"] == 2
    assert sorted(p.name for p in kept.blob_dir.iterdir()) == sorted(digest_bytes(b)[7:] for b in (b"new", b"newer", BLOBS[0]))


def test_a_save_that_is_cut_short_in_the_sweep_is_whole(kept, monkeypatch):
    def cut(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut)
        with pytest.raises(KeyboardInterrupt):
            kept.save({"turn": 2}, [b"new"])
    assert kept.load()["turn"] == 2
    assert kept.blob(digest_bytes(b"new")) == b"new"


def test_a_blob_that_is_there_is_not_written_again(kept, monkeypatch):
    monkeypatch.setattr("orbitloop.sim.checkpoint.write_whole", lambda target, data: written.append(target.name))
    written: list[str] = []
    kept.save({"turn": 2}, BLOBS)
    assert written == ["checkpoint.json"]


def test_clear_forgets(kept):
    kept.clear()
    assert not kept.exists()
    with pytest.raises(StateError, match="no run to resume"):
        kept.load()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"schema": "orbitloop.run/2"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"NaN",
        b'{"schema": 1}',
    ],
    ids=lambda b: b[:12].decode("latin-1"),
)
def test_a_damaged_state_is_refused_by_name(kept, text):
    kept.file.write_bytes(text)
    with pytest.raises(StateError) as caught:
        kept.load()
    assert str(kept.file) in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(text=st.binary(max_size=200))
def test_any_state_is_read_or_refused(tmp_path_factory, text):
    checkpoints = Checkpoints(tmp_path_factory.getbasetemp() / "any")
    checkpoints.folder.mkdir(exist_ok=True)
    checkpoints.file.write_bytes(text)
    try:
        checkpoints.load()
    except StateError:
        return
    assert json.loads(text)["schema"] == SCHEMA


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "folder"])
def test_a_damaged_blob_is_refused(kept, damage):
    name = digest_bytes(BLOBS[1])
    path = kept.blob_dir / name[7:]
    if damage == "flip":
        path.write_bytes(b"T" + BLOBS[1][1:])
    elif damage == "cut":
        path.write_bytes(BLOBS[1][:-1])
    else:
        path.unlink()
    if damage == "folder":
        path.mkdir()
    with pytest.raises(StateError):
        kept.blob(name)


@pytest.mark.parametrize("name", ["sha256:../checkpoint", "../../etc/passwd", "", "sha256:", "a/b", "sha256:\0", "."])
def test_a_blob_name_never_leaves_the_folder(kept, name):
    with pytest.raises(StateError):
        kept.blob(name)


@pytest.mark.parametrize(("finished_at_s", "kept"), [(0.0, True), (5.0, False)])
def test_an_unfinished_run_is_put_aside_and_a_finished_one_forgotten(tmp_path: Path, finished_at_s: float, kept: bool) -> None:
    checkpoints = Checkpoints(tmp_path / "state")
    checkpoints.save({"course": {"finished_at_s": finished_at_s}}, [b"blob"])
    aside = checkpoints.put_aside()
    assert not checkpoints.exists()
    assert (aside is not None) == kept
    if aside is not None:
        assert Checkpoints(aside).load() == {"course": {"finished_at_s": 0.0}}


def test_a_damaged_run_is_put_aside_too(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "state")
    checkpoints.save({}, [])
    checkpoints.file.write_bytes(b"{")
    assert checkpoints.put_aside() == tmp_path / "state.unfinished"
