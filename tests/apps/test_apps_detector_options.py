"""The detector's command line: what it takes, and in which words it refuses what it does not."""

from __future__ import annotations

import pytest

from orbitloop.apps.detector_options import parser, read_options, rows

NEEDED = ["--model", "m", "--socket", "s"]


def test_options_for_scenes() -> None:
    options = read_options([*NEEDED, "--bands", "4,3,2", "--stretch=-5,1e3", "--scenes", "in", "--results", "out"])
    assert (options.bands, options.stretch, str(options.results)) == ((4, 3, 2), (-5.0, 1000.0), "out")


def test_on_board_the_first_stage_is_the_cheap_one() -> None:
    assert read_options(NEEDED).screen == "cheap"
    assert read_options([*NEEDED, "--screen", "none"]).screen == "none"


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        *[("--threads", value, "a whole number of 1 or more, 65536 at most") for value in ("x", "0", "1.5", "65537", "")],
        *[("--nice", value, "a whole number of 0 or more, 19 at most") for value in ("20", "much")],
        *[("--tiles", value, "a whole number of 0 or more, not") for value in ("-5", "many", "9" * 5000)],
        *[("--joules", value, "a number of 0 or more") for value in ("x", "nan", "inf", "-1")],
        *[("--period", value, "a number above 0") for value in ("0", "nan", "day")],
        *[("--timeout", value, "seconds above 0, 86400 at most") for value in ("0", "soon", "1e9")],
        *[("--bands", value, "three band numbers from 1") for value in ("1,2", "0", "a", "1,,2", "")],
        *[
            ("--stretch", value, "two numbers, the first below the second")
            for value in ("5,1", "0,inf", "1", "a,b", "1,nan", "1,2,3")
        ],
        *[("--cpus", value, "numbers of CPUs from 0") for value in ("a", "-1", "1;2", "9" * 30, "")],
    ],
)
def test_what_an_option_needs_is_said(option: str, value: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read_options([*NEEDED, f"{option}={value}"])
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert f"argument {option}: needs {why}" in told
    assert "invalid" not in told


def test_results_without_scenes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read_options([*NEEDED, "--results", "out"])
    assert left.value.code == 2
    assert "--results: needs --scenes" in capsys.readouterr().err


def test_every_option_is_listed_with_its_help_and_a_default_that_is_so() -> None:
    known = {action.option_strings[0]: action for action in parser()._actions if action.dest != "help"}
    listed = {flags.split()[0]: text for flags, text in rows()}
    assert listed.keys() == known.keys()
    assert all(text.endswith(".") for text in listed.values())
    for name, text in listed.items():
        if "(default " in text:
            said = text.split("(default ")[1].split(")")[0]
            assert said == f"{known[name].default:g}" if name not in ("--screen",) else said == known[name].default
