"""Measured figures: one form for every benchmark, and the page that is made of them.

A benchmark's result is one object `{"bench", "machine", "figures": [...]}`. It is printed, kept in `bench/results/`, and
rendered here as `docs/benchmarks.md`. Leaves to others: measuring (`bench/`), finding and running benchmarks (`cli.bench`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbitloop.errors import DataError

MAX_RESULT_BYTES = 1 << 20

_INTRO = """# Benchmarks

Generated from `bench/results/*.json` by `orbitloop bench`; do not edit. Run one again with `orbitloop bench NAME`: it measures
here, saves its result and rewrites this page. `--quick` ends within a minute and saves nothing. A peer's value that was not
measured in the same run says so in its note.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a benchmark found.

    `aim` is what it should be and `holds` whether it is (None: there is no aim). `peer` names who else does this, `peer_value`
    what they reach in the same unit. `note` says how it was measured and what the comparison leaves out.
    """

    name: str
    value: float | int | str
    unit: str
    aim: float | int | str | None = None
    holds: bool | None = None
    peer: str | None = None
    peer_value: float | int | str | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Figure:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError: a field is unknown, missing or of the wrong kind (the caller re-raises as DataError).
        """
        figure = cls(**value)
        for name in ("name", "unit", "note"):
            if not isinstance(getattr(figure, name), str):
                raise TypeError(f"{name} is not text")
        for name in ("value", "aim", "peer_value"):
            _check_value(name, getattr(figure, name))
        if figure.value is None or not isinstance(figure.holds, bool | None) or not isinstance(figure.peer, str | None):
            raise TypeError("value, holds or peer is of the wrong kind")
        return figure


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one benchmark found on one machine."""

    bench: str
    machine: Mapping[str, str | int]
    figures: tuple[Figure, ...]

    def to_json(self) -> dict[str, Any]:
        return {"bench": self.bench, "machine": dict(self.machine), "figures": [f.to_json() for f in self.figures]}


def figure_of(
    name: str,
    value: float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    peer: str | None = None,
    peer_value: float | int | str | None = None,
    note: str = "",
) -> Figure:
    """Make a figure whose aim is a bound, and judge it. At most one bound may be given."""
    if at_least is not None:
        return Figure(name, value, unit, f">= {_show(at_least)}", value >= at_least, peer, peer_value, note)
    if at_most is not None:
        return Figure(name, value, unit, f"<= {_show(at_most)}", value <= at_most, peer, peer_value, note)
    return Figure(name, value, unit, None, None, peer, peer_value, note)


def read_result(path: Path) -> BenchResult:
    """Read one saved result.

    Raises:
        DataError: the file is not readable, too large, or not a result.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_RESULT_BYTES + 1)
        if len(text) > MAX_RESULT_BYTES:
            raise ValueError(f"over {MAX_RESULT_BYTES} bytes")
        value = json.loads(text)
        machine = {str(key): _machine_value(entry) for key, entry in value["machine"].items()}
        figures = tuple(Figure.from_json(row) for row in value["figures"])
        if not isinstance(value["bench"], str):
            raise TypeError("bench is not text")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"not a benchmark result ({error!r})",
            where=path.name,
            remedy="run `orbitloop bench NAME` again, or delete the file",
        ) from error
    return BenchResult(value["bench"], machine, figures)


def render_benchmarks(results_dir: Path) -> str:
    """Return the Markdown page of all results in a folder, in order of their names.

    Raises:
        DataError: a result is malformed.
    """
    sections = [_render(read_result(path)) for path in sorted(results_dir.glob("*.json"))]
    return "\n".join([_INTRO, *sections])


def _render(result: BenchResult) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    lines = [
        f"## {result.bench}",
        "",
        f"Machine: {_cell(machine)}.",
        "",
        "| figure | value | unit | aim | holds | peer | peer's value |",
        "|---|---:|---|---|---|---|---:|",
    ]
    lines += [_row(figure) for figure in result.figures]
    notes = [f"- **{_cell(figure.name)}**: {_cell(figure.note)}" for figure in result.figures if figure.note]
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def _row(figure: Figure) -> str:
    holds = {True: "yes", False: "**no**", None: ""}[figure.holds]
    cells: Sequence[Any] = (figure.name, figure.value, figure.unit, figure.aim, holds, figure.peer, figure.peer_value)
    return "| " + " | ".join(_cell(_show(cell)) for cell in cells) + " |"


def _show(value: float | int | str | None) -> str:
    """Format a number to four significant digits without an exponent; text as it is; None as nothing."""
    if value is None:
        return ""
    if isinstance(value, str | int):
        return str(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _cell(text: str) -> str:
    """Keep a text inside its table cell."""
    return " ".join(text.replace("|", "\\|").split())


def _check_value(name: str, value: object) -> None:
    """Refuse what JSON readers disagree about."""
    if isinstance(value, bool) or not isinstance(value, float | int | str | None):
        raise TypeError(f"{name} is not a number or text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is not finite")


def _machine_value(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("a machine's entry is text or a whole number")
    return value
