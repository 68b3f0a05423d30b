"""The resident engine: swaps under load lose nothing and mix nothing, a scene keeps its model, memory holds two at most."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from orbitloop.errors import BusyError, ModelError
from orbitloop.onboard.resident import ResidentEngine
from orbitloop.records.model import ModelMetadata, Preprocessing
from orbitloop.records.prediction import Detections, Prediction

METADATA = ModelMetadata("fake", ("a",), 1.0, (8,), (((1.0, 1.0),),), Preprocessing(4, 0))


class Fake:
    """A model whose answer is its number and the tile's first value."""

    def __init__(self, number: int, metadata: ModelMetadata = METADATA) -> None:
        self.number, self.metadata = number, metadata

    def infer(self, tiles):
        return [Prediction(Detections.empty(), np.array([self.number, tile[0, 0, 0]], np.float32)) for tile in tiles]


def tiles(*values: int) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])


def said(found: list[Prediction]) -> list[tuple[int, int]]:
    return [(int(p.embedding[0]), int(p.embedding[1])) for p in found]


def test_it_is_an_engine_that_counts():
    resident = ResidentEngine(Fake(1), "one")
    assert resident.metadata is METADATA
    assert said(resident.infer(tiles(3, 4))) == [(1, 3), (1, 4)]
    report = resident.report()
    assert (report.digest, report.requests, report.tiles, report.swaps, report.loaded) == ("one", 1, 2, 0, 1)


def test_a_pin_keeps_its_model_and_later_requests_get_the_new_one():
    resident = ResidentEngine(Fake(1), "one")
    with resident.pinned() as scene:
        resident.swap(Fake(2), "two")
        assert (said(scene.infer(tiles(5))), scene.digest) == ([(1, 5)], "one")
        assert said(resident.infer(tiles(5))) == [(2, 5)]
        assert resident.report().loaded == 2
    assert resident.report().loaded == 1
    assert (resident.digest, scene.digest, scene.metadata) == ("two", "one", METADATA)


def test_the_old_model_is_let_go_with_its_last_request_and_at_once_when_there_is_none():
    first, second = Fake(1), Fake(2)
    gone = weakref.ref(first), weakref.ref(second)
    resident = ResidentEngine(first)
    with resident.pinned() as scene:
        resident.swap(second)
        del first, second
        gc.collect()
        assert gone[0]() is not None
    gc.collect()
    assert gone[0]() is None, "although the pin itself is still known"
    with pytest.raises(AttributeError):
        scene.infer(tiles(1))
    resident.swap(Fake(3))
    gc.collect()
    assert gone[1]() is None


def test_a_third_model_is_refused_before_it_is_loaded():
    resident = ResidentEngine(Fake(1))
    with resident.pinned():
        resident.swap(Fake(2))
        with pytest.raises(BusyError, match="still in use"):
            resident.replace(lambda: pytest.fail("it was loaded"), wait_s=0.01)
        assert said(resident.infer(tiles(0))) == [(2, 0)]
    resident.swap(Fake(3))
    assert said(resident.infer(tiles(0))) == [(3, 0)]


def test_a_third_model_can_wait():
    resident, swapped = ResidentEngine(Fake(1)), threading.Event()

    def wait() -> None:
        resident.swap(Fake(3), wait_s=None)
        swapped.set()

    thread = threading.Thread(target=wait)
    with resident.pinned():
        resident.swap(Fake(2))
        thread.start()
        assert not swapped.is_set()
    thread.join(10)
    assert swapped.is_set()
    assert said(resident.infer(tiles(0))) == [(3, 0)]


def test_while_one_loads_another_is_refused_and_a_failed_load_changes_nothing():
    resident = ResidentEngine(Fake(1), "one")

    def load():
        with pytest.raises(BusyError, match="being loaded"):
            resident.swap(Fake(2))
        assert resident.report().loaded == 2
        raise ModelError("damaged")

    with pytest.raises(ModelError, match="damaged"):
        resident.replace(load)
    assert (resident.digest, resident.report().swaps, resident.report().loaded) == ("one", 0, 1)
    resident.swap(Fake(2))


@pytest.mark.parametrize(
    "other",
    [replace(METADATA, classes=("a", "b")), replace(METADATA, preprocessing=Preprocessing(8, 0))],
    ids=["classes", "tile"],
)
def test_another_kind_of_model_only_when_it_is_asked_for(other):
    resident = ResidentEngine(Fake(1))
    with pytest.raises(ModelError, match="not"):
        resident.swap(Fake(2, other))
    assert resident.metadata is METADATA
    resident.swap(Fake(2, other), another=True)
    assert resident.metadata is other


def test_a_request_that_fails_lets_its_model_go():
    class Broken(Fake):
        def infer(self, tiles):
            raise ModelError("no")

    resident = ResidentEngine(Broken(1))
    with pytest.raises(ModelError):
        resident.infer(tiles(1))
    resident.swap(Fake(2))
    resident.swap(Fake(3))
    assert resident.report().loaded == 1


def test_swaps_under_load_lose_and_mix_nothing():
    """Four threads ask 2,000 times while a fifth swaps: each answer is of one model for that tile, and never an older one."""
    resident = ResidentEngine(Fake(0), "0", clock=iter(range(10**9)).__next__)
    newest, wrong, counts, swapped = [0], [], [], threading.Event()

    def ask(seed: int) -> None:
        values = np.random.default_rng(seed).integers(0, 256, 500)
        for turn, value in enumerate(values):
            if turn == 250:
                swapped.wait(60)  # so that some come after a swap, however the threads are scheduled
            at_least = newest[0]  # a swap that had returned before the request began
            ((model, seen),) = said(resident.infer(tiles(int(value))))
            if seen != value or model < at_least:
                wrong.append((model, at_least, seen, int(value)))
        counts.append(len(values))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    number = 0
    while any(thread.is_alive() for thread in threads):
        number += 1
        resident.swap(Fake(number), str(number), wait_s=None)
        newest[0] = number
        if number == 2:
            swapped.set()
    for thread in threads:
        thread.join()
    assert (wrong, sum(counts), resident.report().requests, resident.report().tiles) == ([], 2000, 2000, 2000)
    assert resident.report().swaps == number > 1
