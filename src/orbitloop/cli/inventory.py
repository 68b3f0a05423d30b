"""Commands on what there is by name: plug-ins and benchmarks."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from orbitloop.cli.options import Json
from orbitloop.cli.terminal import print_json, printable, show
from orbitloop.errors import PluginError


def plugins(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="screen, miner, selector, codec, labeller or monitor; without: all.")
    ] = "",
    json_output: Json = False,
) -> None:
    """List the plug-ins by kind: what a mission may name, what each does, and its parameters with their defaults.

    Built-ins and those of installed packages (entry points `orbitloop.<kind>`) stand side by side.

    \b
    Example:
      orbitloop plugins selector

    \b
    Exit codes: 0 done; 20 no such kind, or a plug-in cannot be imported.
    """
    from orbitloop.plugins.builtins import KINDS
    from orbitloop.plugins.registry import default_registry

    if kind and kind not in KINDS:
        raise PluginError(f"there is no plug-in kind {kind!r}", remedy=f"known: {', '.join(sorted(KINDS))}")
    registry = default_registry()
    rows: list[dict[str, Any]] = []
    for one in [kind] if kind else sorted(KINDS):
        for name in registry.names(one):
            parameters = {p.name: _default(p) for p in registry.parameters(one, name).values()}
            summary = str(getattr(registry.load(one, name), "summary", ""))
            origin = registry.entry(one, name).origin
            rows.append({"kind": one, "name": name, "summary": summary, "parameters": parameters, "origin": origin})
    if json_output:
        print_json({"plugins": rows})
        return
    for one in [kind] if kind else sorted(KINDS):
        show(f"{one}:")
        if not registry.names(one):
            show("  none that a mission could name")
        for row in (r for r in rows if r["kind"] == one):
            given = ", ".join(name if value is None else f"{name}={value}" for name, value in row["parameters"].items())
            origin = "" if row["origin"] == "orbitloop" else f"  [{row['origin']}]"
            show(f"  {row['name']}({given}){origin}", f"      {printable(row['summary'])}")


def _default(parameter: inspect.Parameter) -> Any:
    """Return a default that JSON has a word for; None where there is none."""
    value = None if parameter.default is inspect.Parameter.empty else parameter.default
    return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the benchmark.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="End within a minute; print only, save nothing.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the benchmarks, and what each measures.")] = False,
    json_output: Json = False,
) -> None:
    """Run a benchmark of the source checkout, print its figures against their aims, and save them.

    Without --quick the result is kept in bench/results and docs/benchmarks.md is written anew from all results.

    \b
    Examples:
      orbitloop bench --list
      orbitloop bench link --quick

    \b
    Exit codes: 0 done, whether aims hold or not; 2 no name; 20 no such benchmark;
    21 there is no source checkout.
    """
    from orbitloop.cli.bench import about_benches, bench_command

    if list_all:
        about = about_benches()
        if json_output:
            print_json({"benches": list(about), "about": about})
        else:
            width = max(map(len, about), default=0)
            show(*(f"{name:<{width}}  {line}".rstrip() for name, line in about.items()))
        return
    if not name:
        raise typer.BadParameter("name a benchmark, or give --list", param_hint="NAME")
    bench_command(name, quick, json_output)
