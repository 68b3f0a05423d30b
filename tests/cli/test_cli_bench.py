"""The door to the benchmarks: finds, runs, prints one object, saves."""

import json

import pytest

import orbitloop.cli.bench as door
from orbitloop.errors import DataError, PluginError
from orbitloop.reports.figures import render_benchmarks

GOOD = """
from orbitloop.reports.figures import Figure, figure_of
def run(quick):
    print("talking")
    return [figure_of("speed", 1.0 if quick else 2.0, "m/s", at_least=1.5, peer="[snail]", peer_value=0.01, note="a [b] c")]
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with three benchmarks, of which one is good."""
    for folder in ("bench", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "bench" / "bench_speed.py").write_text(GOOD)
    (tmp_path / "bench" / "bench_norun.py").write_text("x = 1\n")
    (tmp_path / "bench" / "bench_text.py").write_text("def run(quick): return ['fast']\n")
    (tmp_path / "bench" / "bench_none.py").write_text("def run(quick): return []\n")
    (tmp_path / "bench" / "notes.md").touch()
    monkeypatch.setattr(door, "_ROOT", tmp_path)
    return tmp_path


def test_lists_what_is_there(checkout):
    assert door.list_benches() == ["none", "norun", "speed", "text"]


def test_what_each_measures_is_the_first_line_of_its_docstring_and_nothing_is_run(checkout):
    (checkout / "bench" / "bench_speed.py").write_text('"""How fast.\n\nMore."""\nraise SystemExit(1)\n')
    (checkout / "bench" / "bench_text.py").write_text('"""half\n')
    assert door.about_benches() == {"none": "", "norun": "", "speed": "How fast.", "text": ""}


def test_json_is_one_object_with_the_agreed_fields_and_quick_saves_nothing(checkout, capsys):
    door.bench_command("speed", True, True)
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert list(value) == ["bench", "machine", "figures"]
    assert list(value["figures"][0]) == ["name", "value", "unit", "aim", "holds", "peer", "peer_value", "note"]
    assert value["figures"][0]["holds"] is False
    assert set(value["machine"]) == {"cpu", "cores", "python", "platform"}
    assert err == "talking\n"
    assert not (checkout / "bench" / "results").exists()


def test_a_full_run_saves_its_result_and_rewrites_the_page(checkout, capsys):
    door.bench_command("speed", False, False)
    saved = json.loads((checkout / "bench" / "results" / "speed.json").read_text())
    assert saved["figures"][0]["value"] == 2.0
    assert (checkout / "docs" / "benchmarks.md").read_text() == render_benchmarks(checkout / "bench" / "results")
    out = capsys.readouterr().out
    assert "[snail]" in out
    assert "a [b] c" in out


@pytest.mark.parametrize("name", ["missing", "../bench/bench_speed", "speed.py", ""])
def test_an_unknown_name_is_answered_with_the_known_ones(checkout, name):
    with pytest.raises(PluginError, match="use one of: none, norun, speed, text"):
        door.bench_command(name, True, True)


@pytest.mark.parametrize("name", ["norun", "text", "none"])
def test_a_benchmark_that_breaks_its_contract_is_named(checkout, name):
    with pytest.raises(PluginError, match=f"bench_{name}.py"):
        door.bench_command(name, True, True)


def test_from_a_wheel_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(door, "_ROOT", tmp_path)
    with pytest.raises(DataError, match="clone the repository"):
        door.list_benches()


def test_the_link_benchmark_holds_what_does_not_depend_on_the_machine(capsys):
    door.bench_command("link", True, True)
    figures = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)["figures"]}
    machine_free = [f for f in figures.values() if "CPU" not in f["unit"]]
    assert len(machine_free) == 5
    assert all(figure["holds"] is not False for figure in machine_free)
