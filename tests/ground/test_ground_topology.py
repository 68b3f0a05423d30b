"""The layer table: known parameter counts, and what each partition term names."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import ManifestError
from orbitloop.ground.topology import Layer, layer_of, layers, partition, scaled, tensor_names


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    kernel = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
    return {name: kernel if name == f"{layer.conv}.weight" else (layer.out_channels,) for name in layer.tensors}


def learned(classes: int, names: tuple[str, ...] | None = None, width: float = 1.0) -> int:
    """Learned parameters of the table; running means and variances are not learned."""
    table = {name: shape for layer in layers(width, classes) for name, shape in shapes(layer).items()}
    return sum(prod(s) for n, s in table.items() if (names is None or n in names) and not n.endswith((".mean", ".var")))


# Darknet's yolov3-tiny with 1, 4 and 80 classes; the last is the 8.85 M of every published COCO model.
@pytest.mark.parametrize(("classes", "count"), [(1, 8_669_876), (4, 8_676_806), (80, 8_852_366)])
def test_parameter_counts_of_the_full_network(classes: int, count: int) -> None:
    assert learned(classes) == count


def test_parameter_counts_of_the_partitions() -> None:
    # The seeds' choice (2.4 M of 8.7 M), the cheapest useful one (20,228), and the probe's best small one (412 k).
    assert learned(1, partition(["head"])) == 2_375_460
    assert learned(1, partition(["bn", "outputs"])) == 20_228
    assert round(learned(1, partition(["early:5", "bn", "outputs"])) / 1000) == 412
    assert learned(1, partition(["head"])) + learned(1, partition(["backbone"])) == 8_669_876


def test_the_table_is_the_published_one() -> None:
    table = layers(1.0, 80)
    assert [layer.index for layer in table] == list(range(24))
    convs = [(x.in_channels, x.out_channels, x.kernel) for x in table if x.kind == "conv"]
    backbone = [(3, 16, 3), (16, 32, 3), (32, 64, 3), (64, 128, 3), (128, 256, 3), (256, 512, 3), (512, 1024, 3)]
    assert convs == [*backbone, (1024, 256, 1), (256, 512, 3), (256, 128, 1), (384, 256, 3)]
    assert [(x.index, x.out_channels) for x in table if x.kind == "output"] == [(15, 255), (22, 255)]
    assert all(layer.source < layer.index for layer in table)


@given(st.floats(0.01, 3), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_every_layer_takes_what_its_sources_give(width: float, classes: int) -> None:
    given_out = {-1: 3}
    for layer in layers(width, classes):
        wide = given_out[layer.source] + (given_out[8] if layer.kind == "concat" else 0)
        if layer.kind in ("conv", "output"):
            assert layer.in_channels == wide
            wide = layer.out_channels
        given_out[layer.index] = wide
    assert given_out[15] == given_out[22] == 3 * (5 + classes)


@pytest.mark.parametrize(("channels", "width", "wanted"), [(16, 1, 16), (16, 0.05, 8), (1024, 0.05, 48), (64, 0.3, 16)])
def test_channels_scale_in_steps_of_eight(channels: int, width: float, wanted: int) -> None:
    assert scaled(channels, width) == wanted


def test_names_are_unique_ordered_and_know_their_layer() -> None:
    names = tensor_names()
    assert len(names) == len(set(names)) == 11 * 5 + 2 * 2
    assert [layer_of(n) for n in names] == sorted(layer_of(n) for n in names)
    assert layer_of("bn21.var") == 21


@pytest.mark.parametrize(
    ("terms", "wanted"),
    [
        (["outputs"], ["conv15.weight", "conv15.bias", "conv22.weight", "conv22.bias"]),
        (["early:2"], ["conv00.weight", "conv02.weight"]),
        (["conv0*.weight"], [f"conv0{i}.weight" for i in (0, 2, 4, 6, 8)]),
        (["bn13.*"], [f"bn13.{part}" for part in ("weight", "bias", "mean", "var")]),
        (["conv22.bias", "conv00.weight", "conv22.bias"], ["conv00.weight", "conv22.bias"]),
    ],
)
def test_terms_name_tensors_in_layer_order(terms: list[str], wanted: list[str]) -> None:
    assert list(partition(terms)) == wanted


def test_groups_cover_what_they_say() -> None:
    assert partition(["all"]) == tensor_names() == partition(["*"])
    assert set(partition(["head"])) | set(partition(["backbone"])) == set(tensor_names())
    assert not set(partition(["head"])) & set(partition(["backbone"]))
    assert {layer_of(n) for n in partition(["head"])} == {13, 14, 15, 18, 21, 22}
    assert len(partition(["bn"])) == 44
    assert partition(["early:11"]) == tuple(n for n in tensor_names() if n.startswith("conv") and layer_of(n) not in (15, 22))


@pytest.mark.parametrize(
    "term",
    [
        "",
        "tail",
        "early",
        "early:",
        "early:0",
        "early:-1",
        "early:five",
        "early:²",
        "early:5.0",
        "conv01.weight",
        "[",
        "HEAD",
        "bn*.var ",
    ],
)
def test_a_term_that_names_nothing_is_an_error_with_its_place(term: str) -> None:
    with pytest.raises(ManifestError, match="names no tensor") as caught:
        partition(["head", term], where="model.yaml:7: trainable")
    assert caught.value.where == "model.yaml:7: trainable"
    assert repr(term) in str(caught.value)
    assert "early:N" in caught.value.remedy


def test_no_term_at_all_is_an_error() -> None:
    with pytest.raises(ManifestError, match="trains nothing"):
        partition([])


@given(st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_term_names_tensors_or_raises_the_typed_error(term: str) -> None:
    try:
        found = partition([term])
    except ManifestError:
        return
    assert found
    assert set(found) <= set(tensor_names())
