from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ManifestError
from orbitloop.ground.datasets.split import split_scenes
from orbitloop.records.label import Boxes
from orbitloop.sim import imagery
from orbitloop.sim.imagery import (
    MIN_SIDE_PX,
    FarmlandParameters,
    plan_dataset,
    render_dataset,
    render_farmland,
)
from orbitloop.sim.imagery_layout import Kind, Layout, Parcel, contains, lay_out, polygon_area
from orbitloop.sim.imagery_parameters import CROPS, RANGES, SEASONS, SOILS
from orbitloop.sim.imagery_weather import cloud_opacity

DOMAINS: dict[str, dict[str, Any]] = {
    "summer": {},
    "spring": {"season": "spring"},
    "autumn": {"season": "october", "soil": "chernozem"},
    "haze": {"haze": 0.6},
    "dry": {"soil": "red", "dryness": 0.9},
    "cloud": {"cloud": 0.4},
    "pivot": {"pivot_share": 1.0},
    "coarse": {"resolution": 3, "noise": 12, "sun": 0.1},
}


def scene(number: int = 0, size_px: int = 256, **changes: Any) -> tuple[np.ndarray, Boxes]:
    return render_farmland(FarmlandParameters.from_mapping(changes), size_px, np.random.default_rng(number))


@pytest.mark.parametrize("name", list(DOMAINS))
def test_a_scene_has_its_shape_and_boxes_inside_the_frame(name: str) -> None:
    pixels, boxes = scene(3, **DOMAINS[name])
    assert pixels.shape == (256, 256, 3)
    assert pixels.dtype == np.uint8
    assert (boxes.xyxy_px >= 0).all()
    assert (boxes.xyxy_px <= 256).all()
    assert ((boxes.xyxy_px[:, 2:] - boxes.xyxy_px[:, :2]) >= MIN_SIDE_PX).all()
    assert (boxes.classes == 0).all()


def test_the_same_generator_state_gives_the_same_scene_and_another_gives_another() -> None:
    first, again, other = scene(5), scene(5), scene(6)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1].xyxy_px, again[1].xyxy_px)
    assert not np.array_equal(first[0], other[0])


def test_a_default_scene_of_512_px_has_a_few_fields_to_many_of_a_useful_size() -> None:
    found = [scene(number, 512)[1] for number in range(12)]
    counts = [len(boxes) for boxes in found]
    sides = np.concatenate([(b.xyxy_px[:, 2:] - b.xyxy_px[:, :2]).ravel() for b in found])
    assert min(counts) >= 4
    assert max(counts) <= 24
    assert 8 <= np.median(counts) <= 16
    assert np.quantile(sides, 0.05) >= 30
    assert np.quantile(sides, 0.95) <= 130


@pytest.mark.parametrize("change", [{"season": "autumn"}, {"haze": 0.5}, {"soil": "red", "dryness": 0.9}, {"brightness": 0.6}])
def test_a_shift_changes_the_colours_and_not_the_frame(change: dict[str, Any]) -> None:
    plain = np.mean([scene(n)[0].mean(axis=(0, 1)) for n in range(4)], axis=0)
    shifted = np.mean([scene(n, **change)[0].mean(axis=(0, 1)) for n in range(4)], axis=0)
    assert np.abs(plain - shifted).max() > 8


def test_appearance_alone_moves_no_box() -> None:
    boxes = scene(2)[1]
    for change in ({"season": "winter"}, {"haze": 0.9}, {"noise": 30}, {"soil": "clay"}, {"contrast": 0.5}):
        assert np.array_equal(scene(2, **change)[1].xyxy_px, boxes.xyxy_px)


def test_haze_takes_contrast_away_and_a_coarse_sensor_takes_detail() -> None:
    assert scene(1, haze=0.9)[0].std() < 0.6 * scene(1, haze=0.0)[0].std()

    def detail(pixels: np.ndarray) -> float:
        return float(np.abs(np.diff(pixels.astype(np.float32), axis=1)).mean())

    assert detail(scene(1, resolution=4, noise=0)[0]) < 0.5 * detail(scene(1, noise=0)[0])


def test_cloud_hides_fields_and_only_shrinks_what_is_left() -> None:
    cloudy = [len(scene(n, 256, cloud=0.6)[1]) for n in range(8)]
    clear = [len(scene(n, 256)[1]) for n in range(8)]
    assert sum(cloudy) < 0.7 * sum(clear)
    bounds = scene(1)[1].xyxy_px
    for box in scene(1, cloud=0.5)[1].xyxy_px:
        assert any((box[:2] >= b[:2]).all() and (box[2:] <= b[2:]).all() for b in bounds)


@pytest.mark.parametrize("cover", [0.1, 0.5, 0.9])
def test_cloud_covers_the_asked_share(cover: float) -> None:
    opacity, (dx, dy) = cloud_opacity(256, cover, np.random.default_rng(0))
    assert np.mean(opacity[64:320, 64:320] >= 0.5) == pytest.approx(cover, abs=0.03)
    assert max(abs(dx), abs(dy)) <= 64


def square(x0: float, y0: float, x1: float, y1: float) -> Parcel:
    return Parcel(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), Kind.FIELD, 0.0)


def labelled(parcel: Parcel, hidden: np.ndarray | None = None) -> list[list[float]]:
    layout = Layout((parcel,), (), ())
    labels = imagery._draw_labels(layout, 100, 2, 3)
    return imagery._label(labels, layout, hidden).xyxy_px.tolist()


def test_the_box_is_tight() -> None:
    (box,) = labelled(square(10, 20, 50, 70))
    assert box == pytest.approx([10, 20, 51, 71], abs=1)


def test_a_pivot_is_boxed_by_its_circle() -> None:
    parcel = dataclasses.replace(square(10, 10, 90, 90), pivot=(50.0, 50.0, 30.0))
    (box,) = labelled(parcel)
    assert box == pytest.approx([20, 20, 80, 80], abs=1.5)


def test_a_field_mostly_outside_the_frame_is_no_label() -> None:
    assert labelled(square(-80, 10, 20, 60)) == []
    assert len(labelled(square(-20, 10, 80, 60))) == 1


def test_a_field_mostly_under_cloud_is_no_label_and_a_half_hidden_one_is_boxed_by_what_is_seen() -> None:
    hidden = np.zeros((100, 100), bool)
    hidden[:, :40] = True
    (box,) = labelled(square(10, 20, 70, 70), hidden)
    assert box == pytest.approx([40, 20, 71, 71], abs=1)
    hidden[:, :60] = True
    assert labelled(square(10, 20, 70, 70), hidden) == []


def test_a_sliver_is_no_label() -> None:
    assert labelled(square(10, 10, 90, 17)) == []


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(24, 200))
@settings(max_examples=20, deadline=None)
def test_parcels_are_convex_pieces_that_do_not_overlap(seed: int, irregular: float, field_px: float) -> None:
    parameters = FarmlandParameters(field_irregularity=irregular, field_size_px=field_px)
    layout = lay_out(parameters, 256, np.random.default_rng(seed))
    for parcel in layout.parcels[:20]:
        n = len(parcel.corners)
        centre = (sum(x for x, _ in parcel.corners) / n, sum(y for _, y in parcel.corners) / n)
        if polygon_area(parcel.corners) > 1:
            owners = [p for p in layout.parcels if contains(p.corners, *centre)]
            assert owners == [parcel]


def _values() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.floats(), st.integers(), st.text(max_size=8), st.none(), st.booleans(), st.lists(st.floats(), max_size=4),
        st.dictionaries(st.sampled_from([*CROPS, "corn"]), st.floats(), max_size=3),
    )  # fmt: skip


@given(st.dictionaries(st.one_of(st.sampled_from([*RANGES, "soil", "crops"]), st.text(max_size=6)), _values(), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_mapping_is_read_or_refused_by_the_one_typed_error(values: dict[str, Any]) -> None:
    try:
        read = FarmlandParameters.from_mapping(values, "domains.x")
    except ManifestError:
        return
    assert all(low <= getattr(read, name) <= high for name, (low, high) in RANGES.items())


@given(st.fixed_dictionaries({name: st.floats(low, high) for name, (low, high) in RANGES.items() if name != "field_size_px"}))
@settings(max_examples=15, deadline=None)
def test_every_allowed_domain_can_be_drawn(values: dict[str, float]) -> None:
    pixels, boxes = render_farmland(FarmlandParameters.from_mapping(values), 96, np.random.default_rng(0))
    assert pixels.shape == (96, 96, 3)
    assert np.isfinite(boxes.xyxy_px).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seeson": 0.5}, "did you mean 'season'"),
        ({"hase": 0.5}, "did you mean 'haze'"),
        ({"season": "sumer"}, "did you mean 'summer'"),
        ({"soil": "lome"}, "did you mean 'loam'"),
        ({"soil": [1, 2]}, "names: loam"),
        ({"soil": [1, 2, 256]}, "names: loam"),
        ({"cloud": 1.5}, "0 .. 0.95"),
        ({"cloud": "much"}, "0 .. 0.95"),
        ({"cloud": True}, "0 .. 0.95"),
        ({"cloud": float("nan")}, "0 .. 0.95"),
        ({"noise": 10**400}, "0 .. 60"),
        ({"crops": {"whaet": 1}}, "did you mean 'wheat'"),
        ({"crops": {"wheat": -1}}, "from 0 up"),
        ({"crops": {"wheat": 0}}, "no weight"),
        ({"crops": {}}, "no weight"),
        ({"crops": "wheat"}, "crops: wheat"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=r".") as caught:
        FarmlandParameters.from_mapping(values, "mission.yaml: domains.a")
    assert words in str(caught.value)
    assert caught.value.where.startswith("mission.yaml: domains.a")


def test_names_of_seasons_soils_and_crops_are_read() -> None:
    read = FarmlandParameters.from_mapping({"season": "October", "soil": "red", "crops": {"rape": 2}})
    assert read.season == SEASONS["october"]
    assert read.soil == SOILS["red"]
    assert read.crops == (("rape", 2.0),)


def test_the_constructor_checks_too() -> None:
    with pytest.raises(ManifestError, match="haze"):
        FarmlandParameters(haze=2)
    with pytest.raises(ManifestError, match="not a mapping"):
        FarmlandParameters.from_mapping([1])  # type: ignore[arg-type]


def test_a_data_set_is_planned_lazily_and_drawn_the_same_in_any_order() -> None:
    domains = {"a": FarmlandParameters(), "b": FarmlandParameters(season=0.8)}
    plan = plan_dataset(domains, 96, 3, seed=4)
    assert [s.image_id for s in plan] == ["a-000", "a-001", "a-002", "b-000", "b-001", "b-002"]
    backwards = {s.image_id: s.render() for s in reversed(plan)}
    for image in render_dataset(domains, 96, 3, seed=4):
        assert np.array_equal(image.pixels, backwards[image.image_id].pixels)
        assert image.domain == image.image_id[0]
    assert len({image.pixels.tobytes() for image in backwards.values()}) == 6


def test_a_domain_that_joins_changes_no_other_scene() -> None:
    alone = render_dataset({"a": FarmlandParameters()}, 96, 1, seed=4)[0]
    joined = render_dataset({"z": FarmlandParameters(), "a": FarmlandParameters()}, 96, 1, seed=4)[1]
    assert np.array_equal(alone.pixels, joined.pixels)


@pytest.mark.parametrize(("size", "count", "seed"), [(10, 1, 0), (10_000, 1, 0), (96, 0, 0), (96, 1, -1)])
def test_an_impossible_data_set_is_refused(size: int, count: int, seed: int) -> None:
    with pytest.raises(ManifestError):
        plan_dataset({"a": FarmlandParameters()}, size, count, seed)


def test_rendered_scenes_are_split_by_the_code_that_splits_real_ones() -> None:
    domains = {"summer": FarmlandParameters(), "autumn": FarmlandParameters(season=0.84)}
    split = split_scenes(plan_dataset(domains, 96, 10, 0), ["summer"], [["autumn"]], 0.2, 0.2, 0)
    assert (len(split.base_train), len(split.base_gate), len(split.base_held_out)) == (6, 2, 2)
    assert (len(split.phases[0]), len(split.new_held_out[0])) == (8, 2)
    assert split.base_train[0].render().pixels.shape == (96, 96, 3)
