"""Figures: their JSON, their judgement, and the page made of them."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.errors import DataError
from orbitloop.reports.figures import BenchResult, Figure, figure_of, read_result, render_benchmarks

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"cpu": "a | b", "cores": 2}


def save(folder: Path, result: BenchResult) -> Path:
    path = folder / f"{result.bench}.json"
    path.write_text(json.dumps(result.to_json()))
    return path


def test_the_committed_page_is_the_rendering_of_the_committed_results():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == render_benchmarks(ROOT / "bench" / "results")


def test_a_bound_judges_the_value():
    assert figure_of("a", 5.0, "s", at_most=5).holds is True
    assert figure_of("a", 5.1, "s", at_most=5).holds is False
    assert figure_of("a", 600.0, "Mbit/s", at_least=600).aim == ">= 600"
    assert figure_of("a", 599.0, "Mbit/s", at_least=600).holds is False
    assert figure_of("a", 1.0, "s").holds is None


def test_a_result_round_trips_through_its_file(tmp_path):
    figures = (figure_of("a", 1.5, "s", at_most=2, peer="p", peer_value="died", note="n"), Figure("b", "text", ""))
    result = BenchResult("loop", MACHINE, figures)
    assert read_result(save(tmp_path, result)) == result


def test_the_page_shows_numbers_aims_and_notes(tmp_path):
    save(tmp_path, BenchResult("b", MACHINE, (Figure("x|y", 0.000123456, "s", note="why\nso"), Figure("n", 123456.7, "B"))))
    save(tmp_path, BenchResult("a", MACHINE, (figure_of("z", 1.0234, "x", at_most=1.02, peer="other", peer_value=1.6),)))
    page = render_benchmarks(tmp_path)
    assert page.index("## a") < page.index("## b")
    assert "| z | 1.023 | x | <= 1.02 | **no** | other | 1.6 |" in page
    assert "| x\\|y | 0.0001235 | s |  |  |  |  |" in page
    assert "| n | 123457 | B |" in page
    assert "- **x\\|y**: why so" in page
    assert "cpu a \\| b, cores 2" in page


def test_an_empty_folder_gives_the_introduction(tmp_path):
    assert render_benchmarks(tmp_path).startswith("# Benchmarks")


GOOD = BenchResult("b", MACHINE, (Figure("x", 1.0, "s"),)).to_json()
FIGURE = GOOD["figures"][0]
MALFORMED = {
    "empty": "",
    "not JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "not UTF-8": b"\xff\xfe\x00",
    "no machine": json.dumps({k: v for k, v in GOOD.items() if k != "machine"}),
    "machine is a list": json.dumps(GOOD | {"machine": [1]}),
    "machine holds a list": json.dumps(GOOD | {"machine": {"cpu": []}}),
    "bench is a number": json.dumps(GOOD | {"bench": 3}),
    "figures is null": json.dumps(GOOD | {"figures": None}),
    "unknown field": json.dumps(GOOD | {"figures": [FIGURE | {"colour": 1}]}),
    "missing field": json.dumps(GOOD | {"figures": [{"name": "x"}]}),
    "value is null": json.dumps(GOOD | {"figures": [FIGURE | {"value": None}]}),
    "value is a list": json.dumps(GOOD | {"figures": [FIGURE | {"value": [1]}]}),
    "value is NaN": json.dumps(GOOD | {"figures": [FIGURE | {"value": float("nan")}]}),
    "holds is text": json.dumps(GOOD | {"figures": [FIGURE | {"holds": "yes"}]}),
    "peer is a number": json.dumps(GOOD | {"figures": [FIGURE | {"peer": 1}]}),
    "note is null": json.dumps(GOOD | {"figures": [FIGURE | {"note": None}]}),
    "too large": b" " * (1 << 20) + json.dumps(GOOD).encode(),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_results_name_the_file(tmp_path, name):
    path = tmp_path / "bad.json"
    text = MALFORMED[name]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"bad\.json"):
        render_benchmarks(tmp_path)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, *FIGURE, "z"]), inner, max_size=9),
        max_leaves=20,
    )
)
def test_any_json_renders_or_raises_data_error(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("results")
    (folder / "x.json").write_text(json.dumps(value))
    with contextlib.suppress(DataError):
        render_benchmarks(folder)
