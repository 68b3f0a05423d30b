"""The tree of commands: help that teaches, `--json` everywhere, start-up without torch, generated pages, exit codes."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import orbitloop
import orbitloop.cli.mission
import orbitloop.errors
from orbitloop.cli.main import app, main
from orbitloop.cli.reference import commands, commands_page, exit_codes, exit_codes_page
from orbitloop.cli.terminal import printable
from orbitloop.errors import ManifestError, OrbitloopError, StateError, TrustError
from orbitloop.reports.units import human_count

ROOT = Path(__file__).parents[2]
TREE = list(commands())
NAMES = [" ".join(words) for words, _ in TREE]


def invoke(*words: str | Path, **kwargs: Any) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words], **kwargs)


def test_the_promised_commands_are_there() -> None:
    promised = {"run", "train", "quantise", "detect", "evaluate", "passes", "report", "validate", "plugins", "doctor", "bench"}
    onboard = {f"onboard {name}" for name in ("serve", "detect", "status", "swap", "budget", "stop")}
    updates = {f"update {name}" for name in ("build", "inspect", "verify", "apply")}
    catalog = ("import", "list", "diff", "history", "check", "export", "keep", "ephemeris")
    conjunctions = ("import", "list", "show", "alerts", "avoid", "fit-uncertainty")
    space = {"plan", "energy", "screen", "pc", "constellation walker", "constellation show"}
    space |= {f"catalog {name}" for name in catalog} | {f"conjunctions {name}" for name in conjunctions}
    space |= {f"health {name}" for name in ("check", "evaluate", "beacons")}
    assert {name for name in NAMES if not name.startswith("trust ")} == promised | onboard | updates | space


@pytest.mark.parametrize(("words", "command"), TREE, ids=NAMES)
def test_each_command_has_json_and_help_with_example_and_exit_codes(words: tuple[str, ...], command: Any) -> None:
    assert any("--json" in p.opts for p in command.params if p.param_type_name == "option")
    assert all(p.help for p in command.params if p.param_type_name in ("option", "argument"))
    result = invoke(*words, "--help")
    assert result.exit_code == 0
    assert re.search(r"^  Examples?:$", result.output, re.MULTILINE)
    assert f"    orbitloop {' '.join(words)} " in result.output or f"    orbitloop {' '.join(words)}\n" in result.output
    assert "Exit codes: 0 " in result.output


@pytest.mark.parametrize(("words", "command"), TREE, ids=NAMES)
def test_examples_use_only_options_that_there_are(words: tuple[str, ...], command: Any) -> None:
    known = {name for p in command.params for name in p.opts}
    handed_on = getattr(command, "further_options", list)()  # to another program, such as the detector's
    known |= {word for flags, _ in handed_on for word in re.findall(r"--[a-z-]+", flags)}
    text = inspect.cleandoc(command.help).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("orbitloop ")]
    assert lines
    for line in lines:
        typed = shlex.split(line)
        assert typed[1 : 1 + len(words)] == list(words)
        assert {w for w in typed if w.startswith("--")} <= known


@pytest.mark.parametrize(("words", "command"), TREE, ids=NAMES)
def test_the_exit_codes_that_a_help_names_exist(words: tuple[str, ...], command: Any) -> None:
    named = inspect.cleandoc(command.help).split("Exit codes:")[1]
    codes = {int(code) for code in re.findall(r"(?:^|[;,\s])(\d{1,3})(?=[\s,])", named)}
    assert codes
    assert codes <= {code for code, _, _ in exit_codes()}


def test_without_a_command_the_help_is_shown() -> None:
    assert "Begin with:" in invoke().output
    assert invoke("--version").output == f"orbitloop {orbitloop.__version__}\n"


def test_help_comes_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['orbitloop', 'run', '--help']\nfrom orbitloop.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'onnxruntime', 'rich', 'sgp4', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import os\nprint(os.environ['OMP_WAIT_POLICY'], file=sys.stderr)"
    )
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=env)
    assert done.stderr == "PASSIVE\n"
    assert done.stdout.startswith("Usage: orbitloop run ")


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orbitloop", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"orbitloop {orbitloop.__version__}\n"


def test_main_leaves_a_chosen_wait_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setattr(sys, "argv", ["orbitloop", "--version"])
    with pytest.raises(SystemExit):
        main()
    import os

    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_pages_are_the_generated_ones() -> None:
    folder = ROOT / "docs" / "reference"
    assert (folder / "cli.md").read_text(encoding="utf-8") == commands_page(), "regenerate it: make docs"
    assert (folder / "exit-codes.md").read_text(encoding="utf-8") == exit_codes_page(), "regenerate it: make docs"


def test_every_error_has_its_own_code_and_stands_in_the_page() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    listed = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    kinds = [k for _, k in inspect.getmembers(orbitloop.errors, inspect.isclass) if issubclass(k, OrbitloopError)]
    assert listed == {k.__name__: k.exit_code for k in kinds}
    assert len(set(listed.values())) == len(kinds)
    assert not set(listed.values()) & {0, 2, 130}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|  \|", page, re.MULTILINE)} == {0, 2, 130}


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `orbitloop report` raise what a test says, from where the report is read."""

    def arm(error: BaseException) -> None:
        def broken(*_: Any) -> None:
            raise error

        monkeypatch.setattr("orbitloop.reports.write.read_report", broken)

    return arm


@pytest.mark.parametrize("kind", [ManifestError, TrustError, StateError, OrbitloopError])
def test_an_error_is_words_on_stderr_and_its_own_code(breaking: Any, kind: type[OrbitloopError]) -> None:
    breaking(kind("it is broken", where="over\x1b[31m there", remedy="mend it"))
    result = invoke("report", "x", "--json")
    assert result.exit_code == kind.exit_code
    assert result.stdout == ""
    assert result.stderr == "error: over?[31m there: it is broken\n  -> mend it\n"


def test_what_the_system_refuses_is_no_traceback_either(breaking: Any) -> None:
    breaking(PermissionError(13, "Permission denied", "/some/where"))
    result = invoke("report", "x")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: /some/where: Permission denied\n  -> ")


def test_ctrl_c_ends_with_130(breaking: Any) -> None:
    breaking(KeyboardInterrupt())
    result = invoke("report", "x")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_debug_lets_the_traceback_through(breaking: Any) -> None:
    breaking(StateError("broken"))
    assert isinstance(invoke("--debug", "report", "x").exception, StateError)


def test_a_mistake_of_ours_is_not_hidden(breaking: Any) -> None:
    breaking(ZeroDivisionError())
    assert isinstance(invoke("report", "x").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "words", [["nope"], ["run"], ["run", "--nope", "x"], ["bench"], ["update", "nope"], ["run", "x", "--seed", "-1"]]
)
def test_a_wrong_command_line_exits_with_2_and_says_nothing_on_stdout(words: list[str]) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


def test_printable_keeps_words_and_lines_only() -> None:
    assert printable("a\nb\x07\x1b[2J\u202eé\udc80") == "a\nb??[2J?é?"
    assert printable(human_count(3456)) == human_count(3456)


def test_what_to_try_next_speaks_of_the_same_mission() -> None:
    same = orbitloop.cli.mission._settings(Path("d e"), 3, ["Model.trainable=[head]"])
    assert orbitloop.cli.mission._settings(Path("data"), None, None) == []
    lines = orbitloop.cli.mission._next(Path("m x.yaml"), Path("out"), same)
    assert "orbitloop evaluate out/model 'm x.yaml' --data 'd e' --seed 3 --set 'Model.trainable=[head]'" in lines
    assert lines[-1].startswith(
        "orbitloop run 'm x.yaml' --out out-random --data 'd e' --seed 3 --set 'Model.trainable=[head]' "
    )


def test_json_is_strict_json(capsys: pytest.CaptureFixture[str]) -> None:
    from orbitloop.cli.terminal import print_json

    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"x": float("nan")})
    print_json({"x": "é"})
    assert json.loads(capsys.readouterr().out) == {"x": "é"}


def test_what_only_looks_loads_no_torch() -> None:
    mission = str(ROOT / "missions" / "farmland-demo.yaml")
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom orbitloop.cli.main import app\n"
        f"mission = {mission!r}\n"
        "for words in (['passes', mission], ['validate', mission], ['plugins'], ['detect', 'x.png', '--model', 'x']):\n"
        "    print(CliRunner().invoke(app, words).exit_code)\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "0", "0", "13"]
