"""The command line of the resident detector: each option, what it takes, and what is said when it gets something else.

Role: one list, which the process reads, its `--help` shows, and `orbitloop onboard serve --help` and the reference page repeat.
It imports nothing but the standard library, for help must answer at once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

NO_SCREEN = "none"
MOST = 65536
_DAY_S = 86400
_Kind = TypeVar("_Kind")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m orbitloop.apps.detector", description="A resident detector on board.")
    add = made.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="folder of the model to begin with")
    add("--socket", type=Path, required=True, metavar="PATH", help="the socket; mode 0600")
    add("--models", type=Path, metavar="DIR", help="root of the models that may be swapped in; without it none may")
    _add_scenes(made)
    _add_computing(made)
    _add_limits(made)
    _add_budget(made)
    add("--json", action="store_true", help="write each line of the log as one JSON object")
    return made


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read a command line, by default this process's. A wrong one ends the process with 2, told on stderr."""
    made = parser()
    options = made.parse_args(arguments)
    if options.results is not None and options.scenes is None:
        made.error("argument --results: needs --scenes DIR, whose results they are")
    return options


def rows() -> list[tuple[str, str]]:
    """Return each option as it is written, and its help as a sentence, in order."""
    listed = [action for action in parser()._actions if action.dest != "help"]
    return [(f"{action.option_strings[0]} {action.metavar or ''}".strip(), _sentence(action.help or "")) for action in listed]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _add_scenes(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--scenes", type=Path, metavar="DIR", help="root of the scenes that may be named; without it only tiles are served")
    add(
        "--results",
        type=Path,
        metavar="DIR",
        help="write a scene's detections to DIR/NAME.geojson; an answer then names the file and has the best 10,000",
    )
    add(
        "--screen",
        default="cheap",
        metavar="NAME",
        help="first stage that drops tiles of scenes (default cheap); none: the network sees each tile",
    )
    add("--bands", type=_bands, metavar="R,G,B", help="bands of a scene for red, green and blue, from 1; one for grey")
    add("--stretch", type=_stretch, metavar="LOW,HIGH", help="values of a scene for black and white; with = if negative")


def _add_computing(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--engine", default="onnxruntime", metavar="NAME", help="onnxruntime, or an optional engine that is installed")
    add("--threads", type=_whole(1), default=1, metavar="N", help="threads of one inference (default 1)")
    add("--cpus", type=_cpus, metavar="A,B", help="run on these CPUs only")
    add("--nice", type=_whole(0, 19), default=0, metavar="N", help="be this much nicer than the parent (0 to 19)")
    add("--batch", type=_whole(1), default=1, metavar="N", help="tiles inferred together; more costs memory (default 1)")
    add(
        "--keep-mb",
        type=_whole(1),
        default=8,
        metavar="MIB",
        help="memory that is kept from tile to tile; less is slower (default 8)",
    )


def _add_limits(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--queue", type=_whole(1), default=64, metavar="N", help="requests that may wait (default 64)")
    add("--per-client", type=_whole(1), default=16, metavar="N", help="requests that one client may have waiting (default 16)")
    add("--request-tiles", type=_whole(1), default=8, metavar="N", help="tiles of one request (default 8)")
    add("--clients", type=_whole(1), default=32, metavar="N", help="connections at a time (default 32)")
    add(
        "--held-mb", type=_whole(1), default=16, metavar="MIB", help="memory of all requests that are read or wait (default 16)"
    )
    add("--timeout", type=_time, default=5.0, metavar="S", help="time for a frame to end, or to be read (default 5)")
    add("--grace", type=_time, default=30.0, metavar="S", help="time to answer what is under way at the end (default 30)")


def _add_budget(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--tiles", type=_whole(0, None), metavar="N", help="budget: tiles a period")
    add("--joules", type=_real, metavar="J", help="budget: joules a period")
    add("--seconds", type=_real, metavar="S", help="budget: CPU seconds a period")
    add("--period", type=_positive, metavar="S", help="length of a period; without it, until a budget is told")
    add("--joules-per-tile", type=_real, default=0.0, metavar="J", help="what a tile draws")
    add("--watts", type=_real, default=0.0, metavar="W", help="what a CPU second draws, instead of a price a tile")


def _whole(least: int, most: int | None = MOST) -> Callable[[str], int]:
    """Return what reads a whole number within bounds, both included."""
    upper = {None: "", MOST: f", {MOST} at most"}.get(most, f", {most} at most")

    def read(text: str) -> int:
        value = _number(int, text)
        if value is None or value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"needs a whole number of {least} or more{upper}, not {text[:40]!r}")
        return value

    return read


def _real(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"needs a number of 0 or more, not {text[:40]!r}")
    return value


def _positive(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"needs a number above 0, not {text[:40]!r}")
    return value


def _time(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0 < value <= _DAY_S:
        raise argparse.ArgumentTypeError(f"needs seconds above 0, {_DAY_S} at most, not {text[:40]!r}")
    return value


def _bands(text: str) -> tuple[int, ...]:
    numbers = [_number(int, part) for part in text.split(",")]
    known = tuple(number for number in numbers if number is not None and number >= 1)
    if len(known) != len(numbers) or len(known) not in (1, 3):
        raise argparse.ArgumentTypeError(f"needs three band numbers from 1, such as 3,2,1, or one for grey, not {text[:40]!r}")
    return known


def _stretch(text: str) -> tuple[float, float]:
    match [_number(float, part) for part in text.split(",")]:
        case [float(low), float(high)] if -math.inf < low < high < math.inf:
            return low, high
    raise argparse.ArgumentTypeError(f"needs two numbers, the first below the second, such as 200,3000, not {text[:40]!r}")


def _cpus(text: str) -> frozenset[int]:
    numbers = [_number(int, part) for part in text.split(",")]
    known = frozenset(number for number in numbers if number is not None and 0 <= number < MOST)
    if len(known) != len(set(numbers)):
        raise argparse.ArgumentTypeError(f"needs numbers of CPUs from 0, such as 0,2, not {text[:40]!r}")
    return known


def _number(kind: Callable[[str], _Kind], text: str) -> _Kind | None:
    try:
        return kind(text)
    except ValueError:
        return None
