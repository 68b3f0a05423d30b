"""The service's mind without sockets and threads: queue, batches, refusals, sharing with a scene, charging the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orbitloop.errors import BudgetError, BusyError, ImageError, ModelError, OrbitloopError, WireError
from orbitloop.onboard.budget import Budget, Ledger
from orbitloop.onboard.resident import ResidentEngine
from orbitloop.onboard.service import Clocks, Handed, Service, ServiceLimits
from orbitloop.onboard.service_wire import (
    AskStatus,
    DetectScene,
    DetectTiles,
    Done,
    Failed,
    Found,
    Stop,
    SwapModel,
    TellBudget,
    answer_from_bytes,
    request_to_bytes,
)
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction

METADATA = ModelMetadata("fake", ("a",), 1.0, (8,), (((1.0, 1.0),),), Preprocessing(4, 0))


class Fake:
    """Takes a CPU second a tile; remembers its batches."""

    metadata = METADATA

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.cpu_s = 0.0
        self.fails: Exception | None = None

    def infer(self, tiles: np.ndarray) -> list[Prediction]:
        self.batches.append([int(tile[0, 0, 0]) for tile in tiles])
        self.cpu_s += len(tiles)
        if self.fails:
            raise self.fails
        marks = [np.array([tile[0, 0, 0]], np.float32) for tile in tiles]
        return [Prediction(Detections.empty(), mark) for mark in marks]


class Bench:
    """A service, what it answered by client, and a clock that is set by hand."""

    def __init__(self, budget: Budget | None = None, scene: Any = None, **limits: int) -> None:
        self.model, self.now_s, self.answers = Fake(), 0.0, []
        self.ledger = Ledger(budget)
        clocks = Clocks(lambda: self.now_s, lambda: self.model.cpu_s)
        self.service = Service(
            ResidentEngine(self.model, "one"),
            self.ledger,
            clocks,
            lambda client, data: self.answers.append((client, answer_from_bytes(data))),
            limits=ServiceLimits(**limits),
            scene=scene,
            state=lambda: {"pid": 7},
        )

    def ask(self, client: int, request: Any) -> Handed | None:
        return self.service.receive(client, request_to_bytes(request))

    def tiles(self, client: int, number: int, *values: int, side: int = 4, marks: bool = True) -> None:
        stack = np.stack([np.full((side, side, 3), value, np.uint8) for value in values])
        self.ask(client, DetectTiles(number, stack, marks))

    def work(self) -> list[tuple[int, Any]]:
        while self.service.work():
            pass
        said, self.answers = self.answers, []
        return said


def kinds(answers: list[tuple[int, Any]]) -> list[tuple[int, int, str]]:
    return [(c, a.request_id, type(a.error).__name__ if isinstance(a, Failed) else type(a).__name__) for c, a in answers]


def test_tiles_that_wait_together_are_one_batch_and_each_client_gets_its_own():
    bench = Bench(batch=4)
    bench.tiles(1, 10, 1, 2)
    bench.tiles(2, 20, 3)
    bench.tiles(1, 11, 4, 5)
    answers = bench.work()
    assert bench.model.batches == [[1, 2, 3], [4, 5]]
    assert [(c, a.request_id, a.digest, a.embeddings[:, 0].tolist()) for c, a in answers] == [
        (1, 10, "one", [1, 2]),
        (2, 20, "one", [3]),
        (1, 11, "one", [4, 5]),
    ]
    assert bench.service.held_bytes == bench.service.waiting == 0


def test_a_request_larger_than_the_batch_is_cut_and_one_answer():
    bench = Bench(batch=2)
    bench.tiles(1, 1, 1, 2, 3, 4, 5)
    ((_, answer),) = bench.work()
    assert bench.model.batches == [[1, 2], [3, 4], [5]]
    assert answer.embeddings[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_full_queue_and_a_greedy_client_are_told_busy_and_served_again_later():
    bench = Bench(queue=3, per_client=2)
    for number in range(3):
        bench.tiles(1, number, 0)
    bench.tiles(2, 3, 0)
    bench.tiles(2, 4, 0)
    assert kinds(bench.answers) == [(1, 2, "BusyError"), (2, 4, "BusyError")]
    assert bench.service.held_bytes == 3 * 48
    assert [k[2] for k in kinds(bench.work())] == ["BusyError", "BusyError", "Found", "Found", "Found"]
    bench.tiles(1, 5, 0)
    assert kinds(bench.work()) == [(1, 5, "Found")]


def test_what_fails_in_the_engine_is_answered_whatever_it_is():
    bench = Bench(batch=2)
    for error, kind in ((ModelError("bad"), "ModelError"), (MemoryError(), "OrbitloopError")):
        bench.model.fails = error
        bench.tiles(1, 1, 0)
        bench.tiles(2, 2, 0)
        assert kinds(bench.work()) == [(1, 1, kind), (2, 2, kind)]
    assert bench.ledger.report().spent_tiles == 4, "what was tried was paid"
    bench.model.fails = None
    bench.tiles(1, 3, 0)
    assert kinds(bench.work()) == [(1, 3, "Found")]


def test_tiles_of_another_size_are_refused_beside_good_ones():
    bench = Bench(batch=4)
    bench.tiles(1, 1, 0, side=5)
    bench.tiles(1, 2, 0)
    assert kinds(bench.work()) == [(1, 1, "ModelError"), (1, 2, "Found")]


def test_a_batch_never_goes_over_the_budget_of_tiles():
    bench = Bench(Budget(tiles=4, period_s=10.0), batch=8)
    bench.tiles(1, 1, 0, 0, 0)
    bench.tiles(1, 2, 0, 0)
    bench.tiles(1, 3, 0)
    answers = bench.work()
    assert kinds(answers) == [(1, 2, "BudgetError"), (1, 1, "Found"), (1, 3, "Found")]
    assert answers[0][1].report["refused_tiles"] == 2
    assert bench.ledger.report().spent_tiles == 4
    bench.now_s = 11.0
    bench.tiles(1, 4, 0)
    assert kinds(bench.work()) == [(1, 4, "Found")]


def test_status_budget_and_what_is_handed_out():
    bench = Bench()
    bench.ask(1, AskStatus(1))
    bench.ask(1, TellBudget(2, Budget(tiles=3)))
    bench.ask(1, TellBudget(3, Budget(joules=3.0)))
    assert isinstance(bench.answers[0][1], Done)
    assert (bench.answers[0][1].about["pid"], bench.answers[0][1].about["model"]["digest"]) == (7, "one")
    assert bench.answers[1][1].about["tiles"]["left"] == 3
    assert kinds(bench.answers)[2] == (1, 3, "StateError")
    for request in (SwapModel(4, "m"), Stop(5)):
        handed = bench.ask(1, request)
        assert (handed.client, handed.request) == (1, request)


def test_malformed_requests_are_counted_and_answered():
    bench = Bench()
    bench.service.receive(3, b"nonsense")
    bench.service.refuse(3)
    assert [(c, type(a.error)) for c, a in bench.answers] == [(3, WireError), (3, BusyError)]
    status = bench.service.status()
    assert (status["malformed"], status["refused"], status["failed"]) == (1, 1, 2)


def test_who_has_gone_is_forgotten():
    bench = Bench()
    bench.tiles(1, 1, 0)
    bench.tiles(2, 2, 0)
    bench.service.forget(1)
    assert kinds(bench.work()) == [(2, 2, "Found")]
    assert bench.service.held_bytes == 0


def scene_of(batches: int, then: Exception | None = None, during: Any = None) -> Any:
    """Return a scene of so many batches of two tiles; `during` is called before each."""

    def look(engine: Any, name: str, ledger: Ledger, cpu_s: Any, give_way: Any) -> tuple[Detections, dict[str, Any]]:
        before_s = cpu_s()
        for turn in range(batches):
            if during:
                during(turn)
            granted = ledger.may(2)
            engine.infer(np.full((granted, 4, 4, 3), 100 + turn, np.uint8))
            ledger.spend(granted, cpu_s() - before_s)
            before_s = cpu_s()
        if then:
            raise then
        return Detections.empty(), {"name": name}

    return look


def test_a_scene_that_nobody_waits_for_ends_and_the_next_one_does_not():
    bench = Bench(scene=scene_of(4, during=lambda turn: bench.service.forget(1) if turn == 1 else None), batch=2)
    bench.ask(1, DetectScene(8, "left.tif"))
    assert kinds(bench.work()) == [(1, 8, "LinkError")]
    assert len(bench.model.batches) == 1
    bench.ask(2, DetectScene(9, "s.tif"))
    assert kinds(bench.work()) == [(2, 9, "Found")]


def test_tiles_go_between_the_batches_of_a_scene_and_each_is_charged_once():
    bench = Bench(scene=scene_of(3, during=lambda turn: bench.tiles(1, turn, turn)), batch=2)
    bench.ask(2, DetectScene(9, "s.tif"))
    answers = bench.work()
    assert kinds(answers) == [(1, 0, "Found"), (1, 1, "Found"), (1, 2, "Found"), (2, 9, "Found")]
    assert bench.model.batches == [[0], [100, 100], [1], [101, 101], [2], [102, 102]]
    assert answers[3][1].about["name"] == "s.tif"
    report = bench.ledger.report()
    assert (report.spent_tiles, report.spent_seconds) == (9, 9.0)


def test_tiles_between_do_not_take_what_the_scene_was_allowed():
    bench = Bench(Budget(tiles=2), scene=scene_of(1, during=lambda turn: bench.tiles(1, turn, turn)), batch=2)
    bench.ask(2, DetectScene(9, "s.tif"))
    assert kinds(bench.work()) == [(1, 0, "BudgetError"), (2, 9, "Found")]
    assert bench.ledger.report().spent_tiles == 2


def test_a_scene_keeps_its_model_and_tiles_get_the_new_one():
    def swap(turn: int) -> None:
        if turn == 1:
            bench.service.engine.swap(Fake(), "two")
        bench.tiles(1, turn, turn)

    bench = Bench(scene=scene_of(2, during=swap))
    bench.ask(2, DetectScene(9, "s.tif"))
    assert [(a.request_id, a.digest) for _, a in bench.work()] == [(0, "one"), (1, "two"), (9, "one")]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ImageError("torn"), "ImageError"), (BudgetError("none"), "BudgetError"), (KeyError("x"), "OrbitloopError")],
)
def test_a_scene_that_fails_does_not_end_the_service(error: Exception, kind: str):
    bench = Bench(scene=scene_of(1, error))
    bench.ask(1, DetectScene(1, "s.tif"))
    bench.tiles(1, 2, 0)
    assert kinds(bench.work()) == [(1, 2, "Found"), (1, 1, kind)]


@pytest.mark.parametrize("odd", ["\udcff.tif", float("nan"), {1, 2}], ids=["no text", "no number", "no JSON"])
def test_an_answer_without_a_form_on_the_wire_does_not_end_the_service(odd: Any):
    bench = Bench(scene=lambda *_: (Detections.empty(), {"scene": odd}))
    bench.ask(1, DetectScene(1, "s.tif"))
    bench.tiles(1, 2, 0)
    assert kinds(bench.work()) == [(1, 2, "Found"), (1, 1, "OrbitloopError")]
    assert bench.service.status()["failed"] == 1


def empty_sea(pieces: int, during: Any) -> Any:
    """Return a scene of so many pieces in which no tile is worth a batch."""

    def look(engine: Any, name: str, ledger: Ledger, cpu_s: Any, give_way: Any) -> tuple[Detections, dict[str, Any]]:
        began_s = cpu_s()
        for turn in range(pieces):
            during(turn)
            give_way()
        return Detections.empty(), {"cpu_s": cpu_s() - began_s}

    return look


def test_a_scene_without_a_batch_keeps_no_tiles_waiting_and_is_not_charged_for_them():
    bench = Bench(scene=empty_sea(3, lambda turn: bench.tiles(1, turn, turn)))
    bench.ask(2, DetectScene(9, "s.tif"))
    answers = bench.work()
    assert kinds(answers) == [(1, 0, "Found"), (1, 1, "Found"), (1, 2, "Found"), (2, 9, "Found")]
    assert answers[3][1].about["cpu_s"] == 0


def test_a_scene_without_a_batch_ends_when_the_detector_does():
    done: list[int] = []

    def during(turn: int) -> None:
        done.append(turn)
        if turn == 1:
            bench.service.abort()

    bench = Bench(scene=empty_sea(99, during))
    bench.ask(2, DetectScene(9, "s.tif"))
    assert kinds(bench.work()) == [(2, 9, "BusyError")]
    assert done == [0, 1]


def test_without_scenes_they_are_refused():
    bench = Bench()
    bench.ask(1, DetectScene(1, "s.tif"))
    assert kinds(bench.work()) == [(1, 1, "ModelError")]


def test_closing_answers_what_waits_and_aborting_refuses_it():
    bench = Bench(scene=scene_of(2, during=lambda turn: bench.service.abort() if turn == 1 else None))
    bench.tiles(1, 1, 0)
    bench.service.close()
    bench.tiles(1, 2, 0)
    assert kinds(bench.work()) == [(1, 2, "BusyError"), (1, 1, "Found")]
    bench = Bench(scene=scene_of(2, during=lambda turn: bench.service.abort() if turn == 1 else None))
    bench.ask(1, DetectScene(3, "s.tif"))
    bench.ask(1, DetectScene(4, "s.tif"))
    assert kinds(bench.work()) == [(1, 4, "BusyError"), (1, 3, "BusyError")]
    assert not bench.service.work()


def test_every_request_gets_exactly_one_answer_whatever_comes():
    """A random mix of 300 requests, work and departures: none is lost, none is answered twice."""
    rng = np.random.default_rng(3)
    bench = Bench(Budget(tiles=200), scene=scene_of(1), queue=10, per_client=4, batch=3)
    asked: set[tuple[int, int]] = set()
    said: list[tuple[int, Any]] = []
    for number in range(1, 301):
        client = int(rng.integers(1, 5))
        asked.add((client, number))
        match int(rng.integers(0, 5)):
            case 0:
                bench.ask(client, AskStatus(number))
            case 1:
                bench.ask(client, DetectScene(number, "s"))
            case _:
                bench.tiles(client, number, *rng.integers(0, 99, rng.integers(1, 5)))
        if rng.random() < 0.3:
            bench.service.work()
    said = bench.work()
    assert sorted((c, a.request_id) for c, a in said) == sorted(asked)
    assert all(isinstance(a, (Found, Done)) or isinstance(a.error, OrbitloopError) for _, a in said)
    assert bench.ledger.report().spent_tiles <= 200
