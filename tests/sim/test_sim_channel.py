"""One contact window: capacity, losses, budgets and resumption over windows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import LinkError
from orbitloop.link.events import Limits
from orbitloop.link.session import Endpoint
from orbitloop.records.contact import ContactWindow
from orbitloop.sim.channel import run_window


def window(down: int, up: int, aos_s: float = 1000.0) -> ContactWindow:
    return ContactWindow("sat", "station", aos_s, aos_s + 480.0, 45.0, down, up)


def ends(**limits: int) -> tuple[Endpoint, Endpoint]:
    return Endpoint({}, Limits(**limits)), Endpoint({}, Limits(**limits))


def payload(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng([size, seed]).bytes(size)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_both_directions_are_delivered_acknowledged_and_counted():
    space, ground = ends()
    samples = [space.offer("sample", payload(30_000, i), priority=5, now_s=0.0) for i in range(3)]
    update = ground.offer("update", payload(100_000), priority=1, now_s=0.0)
    result = run_window(space, ground, window(200_000, 150_000), 0.0, rng())
    assert [event.item_id for event in result.at_ground] == samples
    assert [event.item_id for event in result.at_satellite] == [update]
    assert [event.item_id for event in result.acknowledged_to_satellite] == samples
    assert [event.item_id for event in result.acknowledged_to_ground] == [update]
    assert all(1000.0 < event.at_s <= 1480.0 for event in result.at_ground)
    assert 90_000 < result.downlink_bytes < 90_000 * 1.04
    assert 100_000 < result.uplink_bytes < 100_000 * 1.03
    assert result.lost_pdus == 0
    assert space.queued_items == ground.queued_items == 0


def test_losses_are_repaired_within_the_window():
    space, ground = ends()
    for index in range(20):
        space.offer("sample", payload(20_000, index), priority=5, now_s=0.0)
    result = run_window(space, ground, window(600_000, 50_000), 0.1, rng())
    assert len(result.at_ground) == 20
    assert result.lost_pdus > 15
    assert result.downlink_bytes < 400_000 * 1.03 / 0.9 * 1.05
    assert space.accounts["sample"].resent_bytes > 0


def test_a_transfer_resumes_over_windows_without_repetition():
    space, ground = ends()
    ground.offer("update", payload(100_000), priority=1, now_s=0.0)
    up = []
    for index in range(20):
        result = run_window(space, ground, window(5_000, 12_000, 6000.0 * index), 0.0, rng())
        up.append(result.uplink_bytes)
        if result.at_satellite:
            break
    assert result.at_satellite[0].payload == payload(100_000)
    assert len(up) == 9
    assert ground.accounts["update"].resent_bytes == 0


@pytest.mark.parametrize(("down", "up"), [(0, 0), (0, 10_000), (10_000, 0), (1, 1), (60, 60), (500, 500)])
def test_tiny_and_zero_windows_work(down, up):
    space, ground = ends()
    space.offer("sample", payload(3000), priority=5, now_s=0.0)
    ground.offer("update", payload(3000, 1), priority=1, now_s=0.0)
    for index in range(3):
        result = run_window(space, ground, window(down, up, 6000.0 * index), 0.1, rng())
        assert result.downlink_bytes <= down
        assert result.uplink_bytes <= up
    result = run_window(space, ground, window(20_000, 20_000, 90_000.0), 0.0, rng())
    assert space.queued_items == ground.queued_items == 0


def test_one_way_delivers_though_nothing_can_be_acknowledged():
    space, ground = ends()
    space.offer("sample", payload(3000), priority=5, now_s=0.0)
    first = run_window(space, ground, window(100_000, 0), 0.0, rng())
    assert len(first.at_ground) == 1
    assert space.queued_items == 1
    second = run_window(space, ground, window(100_000, 0), 0.0, rng())
    assert second.at_ground == ()
    assert second.downlink_bytes < 300  # it asks, it does not repeat


def test_budgets_below_the_capacity_hold():
    space, ground = ends()
    space.offer("sample", payload(50_000), priority=5, now_s=0.0)
    ground.offer("update", payload(50_000, 1), priority=1, now_s=0.0)
    result = run_window(space, ground, window(90_000, 90_000), 0.0, rng(), max_uplink_bytes=7_000, max_downlink_bytes=9_000)
    assert 6_900 < result.uplink_bytes <= 7_000
    assert 8_900 < result.downlink_bytes <= 9_000


def test_the_same_seed_gives_the_same_window():
    results = []
    for _ in range(2):
        space, ground = ends()
        for index in range(10):
            space.offer("sample", payload(5_000, index), priority=5, value=float(index), now_s=0.0)
        results.append(run_window(space, ground, window(40_000, 3_000), 0.1, rng()))
    assert results[0] == results[1]


@pytest.mark.parametrize(("loss", "slices"), [(-0.1, 16), (1.0, 16), (0.1, 0)])
def test_impossible_arguments_are_refused(loss, slices):
    with pytest.raises(LinkError):
        run_window(*ends(), window(1, 1), loss, rng(), slices=slices)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1 << 32),
    loss=st.sampled_from([0.0, 0.01, 0.2, 0.5]),
    sizes=st.lists(st.integers(0, 6000), max_size=6, unique=True),
    down=st.integers(500, 20_000),
    up=st.integers(500, 20_000),
)
def test_any_window_keeps_its_capacity_and_in_the_end_all_is_there_once(seed, loss, sizes, down, up):
    draw = np.random.default_rng(seed)
    space, ground = ends(max_pdu_bytes=256)
    for size in sizes:
        space.offer("sample", payload(size), priority=5, now_s=0.0)
        ground.offer("update", payload(size, 1), priority=1, now_s=0.0)
    at_ground, at_satellite = Counter(), Counter()
    for index in range(300):
        result = run_window(space, ground, window(down, up, 6000.0 * index), loss, draw, slices=4)
        assert result.downlink_bytes <= down
        assert result.uplink_bytes <= up
        at_ground.update(event.payload for event in result.at_ground)
        at_satellite.update(event.payload for event in result.at_satellite)
        if not space.queued_items and not ground.queued_items:
            break
    assert at_ground == Counter(payload(size) for size in sizes)
    assert at_satellite == Counter(payload(size, 1) for size in sizes)
    assert space.queued_items == ground.queued_items == 0
