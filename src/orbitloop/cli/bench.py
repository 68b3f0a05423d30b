"""`orbitloop bench NAME`: the one door to every benchmark.

A benchmark is `bench/bench_NAME.py` in the source checkout with one function, `run(quick: bool) -> list[Figure]`. It is not
part of the wheel: benchmarks need peers, data and the tree they measure. This module finds, runs, prints, saves; it measures
nothing. With `quick` a benchmark ends within 60 s, and its figures are printed but not saved.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orbitloop.errors import DataError, PluginError
from orbitloop.reports.figures import BenchResult, Figure, render_benchmarks

_FILE = re.compile(r"bench_([a-z0-9_]+)\.py")
_ROOT = Path(__file__).resolve().parents[3]


def bench_command(name: str, quick: bool, json_output: bool) -> None:
    """Run one benchmark and print it, as a table or as one JSON object; without `quick`, save it and rewrite the page.

    Raises:
        DataError: there is no source checkout.
        PluginError: there is no benchmark of that name, or it does not keep its contract.
    """
    root = checkout()
    with contextlib.redirect_stdout(sys.stderr):  # a benchmark may talk; stdout carries the one object
        result = BenchResult(name, machine(), tuple(_load(root, name)(quick)))
    _check(result)
    text = json.dumps(result.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if not quick:
        results = root / "bench" / "results"
        results.mkdir(exist_ok=True)
        (results / f"{name}.json").write_text(text, encoding="utf-8")
        (root / "docs" / "benchmarks.md").write_text(render_benchmarks(results), encoding="utf-8")
    if json_output:
        sys.stdout.write(text)
    else:
        _print(result)


def list_benches() -> list[str]:
    """Return the names of all benchmarks, sorted.

    Raises:
        DataError: there is no source checkout.
    """
    found = (_FILE.fullmatch(path.name) for path in (checkout() / "bench").iterdir())
    return sorted(match[1] for match in found if match)


def about_benches() -> dict[str, str]:
    """Return what each benchmark measures, the first line of its docstring, by name; nothing is imported.

    Raises:
        DataError: there is no source checkout.
    """
    return {name: _first_line(checkout() / "bench" / f"bench_{name}.py") for name in list_benches()}


def _first_line(source: Path) -> str:
    try:
        text = ast.get_docstring(ast.parse(source.read_bytes()))
    except (OSError, SyntaxError, ValueError):
        return ""
    return text.partition("\n")[0] if text else ""


def checkout() -> Path:
    """Return the root of the source checkout that this module runs from.

    Raises:
        DataError: the module runs from an installed wheel.
    """
    if not (_ROOT / "bench").is_dir() or not (_ROOT / "pyproject.toml").is_file():
        raise DataError(
            "benchmarks are not part of the installed package",
            where="orbitloop bench",
            remedy="clone the repository and install it with `pip install -e '.[dev]'`",
        )
    return _ROOT


def machine() -> dict[str, str | int]:
    """Say what the figures were measured on: no host name, no path."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _load(root: Path, name: str) -> Callable[[bool], list[Figure]]:
    """Import the benchmark by its path and return its `run`."""
    if name not in list_benches():
        known = ", ".join(list_benches()) or "none yet"
        raise PluginError(f"there is no benchmark {name!r}", where="orbitloop bench", remedy=f"use one of: {known}")
    path = root / "bench" / f"bench_{name}.py"
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # a large benchmark has modules of its own beside it
    spec = importlib.util.spec_from_file_location(f"orbitloop_bench_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling of workers look the module up by name
    spec.loader.exec_module(module)
    run: Any = getattr(module, "run", None)
    if not callable(run):
        raise PluginError("a benchmark has a function run(quick: bool) -> list[Figure]", where=f"bench/{path.name}")
    return run  # type: ignore[no-any-return]


def _check(result: BenchResult) -> None:
    try:
        if not result.figures:
            raise ValueError("no figures")
        for figure in result.figures:
            Figure.from_json(figure.to_json())
    except (AttributeError, TypeError, ValueError) as error:
        raise PluginError(f"run() returned what is no list of figures ({error})", where=f"bench_{result.bench}.py") from error


def _print(result: BenchResult) -> None:
    console = Console()
    console.print(_table(result))
    for figure in result.figures:
        if figure.note:
            console.print(f"[bold]{escape(figure.name)}[/]: {escape(figure.note)}", highlight=False)


def _table(result: BenchResult) -> Table:
    table = Table(title=f"{result.bench}  ({', '.join(str(value) for value in result.machine.values())})")
    for column in ("figure", "value", "unit", "aim", "holds", "peer", "peer's value"):
        table.add_column(column, justify="right" if "value" in column else "left", overflow="fold")
    for f in result.figures:
        holds = {True: "[green]yes", False: "[red]no", None: ""}[f.holds]
        texts = [escape(text) for text in (f.name, _short(f.value), f.unit, _short(f.aim), f.peer or "", _short(f.peer_value))]
        table.add_row(*texts[:4], holds, *texts[4:])
    return table


def _short(value: float | int | str | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
