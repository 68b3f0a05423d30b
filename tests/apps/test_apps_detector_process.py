"""What the detector asks of the system: a log that never waits, figures of its own process."""

from __future__ import annotations

import json
import os

import pytest

from orbitloop.apps.detector_process import Log, loading, process_state, settle, tame_memory
from orbitloop.errors import StateError


def lines(descriptor: int) -> list[dict]:
    return [json.loads(line) for line in os.read(descriptor, 1 << 20).splitlines()]


def test_the_log_counts_what_it_lost():
    out, into = os.pipe()
    log = Log(True, into)
    for turn in range(5000):
        log("full", turn=turn, text="x" * 100)
    kept = lines(out)
    log("again", text="\ud800\n")
    (again,) = lines(out)
    assert [row["turn"] for row in kept] == list(range(len(kept)))
    assert again["lost"] == 5000 - len(kept) > 0
    assert again["text"] == "\ud800\n"
    log("long", text="x" * 10_000)
    os.close(out)
    log("nobody")
    os.close(into)
    log("closed")


def test_plain_lines():
    out, into = os.pipe()
    Log(False, into)("cut", client=3, why="too\nslow é")
    assert os.read(out, 100) == b"cut client=3 why=too slow \\xe9\n"
    os.close(out)
    os.close(into)


def test_the_process_knows_itself_and_memory_calls_do_no_harm():
    tame_memory()
    with loading(8 << 20):
        pass
    state = process_state()
    assert 0 < state["rss_bytes"] <= state["peak_rss_bytes"]
    assert state["pid"] == os.getpid()


def test_cpus_that_are_not_there_are_told():
    with pytest.raises(StateError, match="cannot be set"):
        settle(frozenset({4095}), 0)
