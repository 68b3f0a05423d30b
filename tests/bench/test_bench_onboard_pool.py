"""Workers and turns: who runs when, what a side that fails leaves behind, and what is counted."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import worker

import onboard_pool
from onboard_pool import Side, Spent, Worker, WorkerFailed, take_turns


def recorder(name: str, log: list[str]) -> Callable[[], dict[str, list[float]]]:
    def turn() -> dict[str, list[float]]:
        log.append(name)
        return {"rows": [float(len(log))]}

    return turn


def test_who_begins_moves_on_each_round_and_the_first_round_does_not_count() -> None:
    log: list[str] = []
    times, failed = take_turns({name: recorder(name, log) for name in "abc"}, rounds=2)
    assert not failed
    assert "".join(log) == "abcbcacab"
    assert {name: len(kinds["rows"].samples_s) for name, kinds in times.items()} == {"a": 2, "b": 2, "c": 2}
    assert times["a"]["rows"].samples_s == (6.0, 8.0)


def test_nobody_takes_no_turn() -> None:
    assert take_turns({}, rounds=3) == ({}, {})


def test_a_side_that_fails_is_left_out_and_the_others_go_on() -> None:
    log: list[str] = []
    good, bad = recorder("good", log), recorder("bad", log)

    def fails_late() -> dict[str, list[float]]:
        if log.count("bad") == 2:
            raise WorkerFailed("it broke")
        return bad()

    times, failed = take_turns({"good": good, "bad": fails_late}, rounds=4)
    assert failed == {"bad": "it broke"}
    assert len(times["good"]["rows"].samples_s) == 4
    assert "bad" not in times


def test_spread_is_least_over_median() -> None:
    spent = Spent((1.0, 4.0, 2.0))
    assert (spent.median_s, spent.least_s, spent.spread) == (2.0, 1.0, 0.5)


class Echo:
    def say(self, text: str) -> str:
        print("a library talks")
        return text

    def fail(self) -> None:
        raise ValueError("no such thing")


def test_a_worker_answers_each_command_and_survives_what_its_side_raises() -> None:
    commands = [{"op": "say", "text": "one"}, {"op": "fail"}, {"op": "memory"}, {"op": "nothing"}]
    out = io.StringIO()
    worker.serve(Echo(), io.StringIO("".join(json.dumps(c) + "\n" for c in commands)), out)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [("value" in a, "error" in a) for a in answers] == [(True, False), (False, True), (True, False), (False, True)]
    assert answers[0]["value"] == "one"
    assert answers[1]["error"] == "ValueError: no such thing"
    assert 0 < answers[2]["value"]["rss_mb"] <= answers[2]["value"]["peak_mb"]
    assert all(a["cpu_s"] >= 0 and a["wall_s"] >= 0 for a in answers)


SCRIPT = """
import json, sys
for line in sys.stdin:
    command = json.loads(line)
    if command["op"] == "die":
        sys.exit("my last words")
    text = {"error": "refused"} if command["op"] == "refuse" else {"value": command}
    print(json.dumps({**text, "cpu_s": 0.5, "wall_s": 1.0}), flush=True)
"""


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(onboard_pool, "SCRIPT", script)
    return Side("echo", "any", Path(sys.executable), "float32", {"depth": 3})


def test_a_worker_process_loads_its_model_and_answers(side: Side) -> None:
    with Worker(side, {"float32": Path("/models/f")}) as process:
        answer = process.call("scene", file="x")
        assert (answer.value, answer.cpu_s, answer.wall_s) == ({"op": "scene", "file": "x"}, 0.5, 1.0)
        with pytest.raises(WorkerFailed, match="echo: refused"):
            process.call("refuse")


def test_a_worker_that_ends_is_told_with_its_last_words(side: Side) -> None:
    with Worker(side, {"float32": Path("/models/f")}) as process, pytest.raises(WorkerFailed, match="my last words"):
        process.call("die")


def test_a_worker_that_hangs_is_ended(side: Side, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(SCRIPT.replace('"die":', '"hang":\n        import time; time.sleep(60)\n    if 0:'))
    with Worker(side, {"float32": Path("/models/f")}) as process, pytest.raises(WorkerFailed, match="echo ended"):
        process.call("hang", limit_s=0.05)
