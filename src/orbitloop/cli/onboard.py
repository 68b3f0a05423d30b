"""Commands on the resident detector: start it, ask it, exchange its model, tell it a budget, stop it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from orbitloop.cli.options import Json
from orbitloop.cli.terminal import add_row, print_json, show, show_error, table
from orbitloop.errors import ImageError, LinkError, ManifestError, OrbitloopError, WireError

if TYPE_CHECKING:
    from orbitloop.apps.detector_client import DetectorClient
    from orbitloop.onboard.service_wire import Found

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run and ask the resident detector.")

Socket = Annotated[Path, typer.Option("--socket", metavar="PATH", help="The detector's socket.")]
DEFAULT_SOCKET = Path("detector.sock")


@app.callback()
def onboard() -> None:
    """Run and ask the resident detector: the process on board that keeps a model loaded."""


class _Serve(TyperCommand):
    """A command that hands on what it does not know, and shows what that may be."""

    def further_options(self) -> list[tuple[str, str]]:
        """Return the options of the detector that this command does not have itself, as written, with their help."""
        from orbitloop.apps.detector_options import rows

        own = {name for param in self.params for name in param.opts}
        return [(flags, help_text) for flags, help_text in rows() if flags.split()[0] not in own]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Options of the detector, handed on"):
            formatter.write_dl(self.further_options())


@app.command(cls=_Serve, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="Folder of the model to begin with.")],
    socket: Socket = DEFAULT_SOCKET,
    models: Annotated[
        Path | None, typer.Option("--models", metavar="DIR", help="Root of models that may be swapped in.")
    ] = None,
    scenes: Annotated[Path | None, typer.Option("--scenes", metavar="DIR", help="Root of scenes that may be named.")] = None,
    json_output: Json = False,
) -> None:
    """Keep a model loaded and detect for whoever asks, until stopped.

    This process becomes the detector: `python -m orbitloop.apps.detector`, which needs nothing of the ground's packages and
    takes the same options. It prints one line when it is ready, and one for each event. SIGTERM, Ctrl-C or `orbitloop onboard
    stop` end it once all is answered.

    \b
    Examples:
      orbitloop onboard serve --model runs/farmland-demo/model --models runs
      orbitloop onboard serve --model aircraft --scenes passes --results found --threads 2 --tiles 2000 --period 5700

    \b
    Exit codes: 0 stopped; 2 a wrong option; 13 model; 23 the socket or a
    budget cannot be used; 130 interrupted.
    """
    import os

    given: list[tuple[str, Path | None]] = [
        ("--model", model),
        ("--socket", socket),
        ("--models", models),
        ("--scenes", scenes),
    ]
    words = [str(word) for pair in given if pair[1] is not None for word in pair]
    words += ["--json"] if json_output else []
    # Replaced, not called: what the command line has loaded by now would stay in memory for as long as the detector runs.
    os.execv(sys.executable, [sys.executable, "-m", "orbitloop.apps.detector", *words, *context.args])


@app.command()
def detect(
    files: Annotated[list[str], typer.Argument(metavar="SCENE", help="Scenes, named below the detector's --scenes.")],
    socket: Socket = DEFAULT_SOCKET,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=1, help="How long to wait for each scene's answer.")
    ] = 600.0,
    json_output: Json = False,
) -> None:
    """Let the detector look at scenes that lie below its folder of scenes; boxes in scene pixels.

    A detector with --results writes all detections of a scene to a GeoJSON file, in WGS84 where the scene has a place; the file
    is named here, `out` in --json, and `detections` are the best 10,000 of `found`.

    A scene that is refused is named on stderr and the next one is taken; the exit code is then that of the last error.

    \b
    Example:
      orbitloop onboard detect pass-12/scene-3.tif --socket detector.sock

    \b
    Exit codes: 0 done; 12 image; 13 model; 18 nobody answers; 23 no such scene,
    or its file cannot be written; 24 busy, try again; 25 the budget does not
    allow it.
    """
    rows, failed = [], []
    with _client(socket, timeout) as client:
        classes = client.status()["model"]["classes"]
        for name in files:
            try:
                rows.append(_scene(name, client.scene(name), classes))
            except OrbitloopError as error:
                show_error(error)
                failed.append(error)
                if isinstance(error, LinkError | WireError):
                    break  # the connection is of no more use
    if json_output:
        errors = [{"what": e.what, "where": e.where, "exit_code": e.exit_code} for e in failed]
        print_json({"scenes": rows, "errors": errors})
    elif rows:
        show(_scene_table(rows), *(f"written: {row['out']}" for row in rows if "out" in row))
    if failed:
        raise typer.Exit(failed[-1].exit_code)


def _scene_table(rows: list[dict[str, Any]]) -> Any:
    listed = table("scene", ">tiles", ">dropped", ">refused", ">detections")
    for row in rows:
        tiles, found = row["tiles"], row.get("found", len(row["detections"]))
        add_row(listed, row["file"], tiles["tiles"], sum(tiles["dropped"].values()), tiles["refused"], found)
    return listed


@app.command()
def status(socket: Socket = DEFAULT_SOCKET, json_output: Json = False) -> None:
    """Show the detector's model, counters, memory, and what its budget has left.

    \b
    Example:
      orbitloop onboard status --socket detector.sock

    \b
    Exit codes: 0 done; 18 nobody answers.
    """
    with _client(socket) as client:
        state = client.status()
    if json_output:
        print_json(state)
        return
    model = state["model"]
    from orbitloop.reports.units import human_bytes, human_count

    show(
        f"model     {model['name']}: {', '.join(model['classes'])}; tiles of {state['tile_px']} px",
        f"digest    {model['digest']}",
        f"served    {human_count(state['tiles'])} tiles, {state['scenes']} scenes; {state['waiting']} requests wait",
        f"refused   {state['refused']} requests; {state['malformed']} were malformed; {state['failed']} failures in all",
        f"swaps     {state['swaps']}; a request waited for one {1e3 * state['longest_pause_s']:.3f} ms at most",
        f"process   {state['pid']}: {human_bytes(state['rss_bytes'])} now, {human_bytes(state['peak_rss_bytes'])} at most, "
        f"{state['cpu_s']:.1f} CPU s in {state['up_s']:.1f} s",
    )
    show(_budget_table(state["budget"]))


@app.command()
def swap(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's folder, named below the detector's --models.")],
    socket: Socket = DEFAULT_SOCKET,
    digest: Annotated[str, typer.Option(metavar="SHA256", help="The digest that the weights must have.")] = "",
    another: Annotated[bool, typer.Option("--another", help="Allow other classes or another tile size.")] = False,
    json_output: Json = False,
) -> None:
    """Exchange the detector's model while it works. No request is lost; the old model answers what it has begun.

    \b
    Example:
      orbitloop onboard swap aircraft-4 --socket detector.sock

    \b
    Exit codes: 0 done; 13 the model does not load, or is of another kind; 18
    nobody answers; 23 no such model; 24 another swap is under way.
    """
    with _client(socket) as client:
        told = client.swap(model, digest=digest, another=another)
    if json_output:
        print_json(told)
        return
    show(f"was {told['old']}", f"is  {told['digest']}", f"after {told['seconds']:.2f} s")


@app.command()
def budget(
    socket: Socket = DEFAULT_SOCKET,
    tiles: Annotated[int | None, typer.Option(metavar="N", min=0, help="Tiles a period.")] = None,
    joules: Annotated[float | None, typer.Option(metavar="J", min=0, help="Joules a period.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", min=0, help="CPU seconds a period.")] = None,
    period: Annotated[float | None, typer.Option(metavar="S", help="Length of a period; none: until told anew.")] = None,
    json_output: Json = False,
) -> None:
    """Tell the detector what it may spend from now on; a limit that is not named is none. A new period begins.

    \b
    Examples:
      orbitloop onboard budget --tiles 2000 --period 5700
      orbitloop onboard budget --seconds 120 --socket detector.sock

    \b
    Exit codes: 0 done; 10 no such budget; 18 nobody answers; 23 joules without
    a price.
    """
    from orbitloop.onboard.budget import Budget

    try:
        wanted = Budget(tiles, joules, seconds, period)
    except ValueError as error:
        raise ManifestError(str(error), where="budget", remedy="limits are 0 or more, a period above 0") from error
    with _client(socket) as client:
        report = client.budget(wanted)
    if json_output:
        print_json(report)
        return
    show(_budget_table(report))


@app.command()
def stop(socket: Socket = DEFAULT_SOCKET, json_output: Json = False) -> None:
    """End the detector, once it has answered what is under way.

    \b
    Example:
      orbitloop onboard stop --socket detector.sock

    \b
    Exit codes: 0 it is ending; 18 nobody answers.
    """
    with _client(socket) as client:
        told = client.stop()
    if json_output:
        print_json(told)
        return
    show(f"stopping; {told['waiting']} requests will be answered first")


def _client(path: Path, timeout_s: float = 60.0) -> DetectorClient:
    from orbitloop.apps.detector_client import DetectorClient

    return DetectorClient(path, timeout_s)


def _scene(name: str, found: Found, classes: list[str]) -> dict[str, Any]:
    (boxes,) = found.detections
    if len(boxes) and int(boxes.classes.max()) >= len(classes):
        raise ImageError("the detections have classes that the model has not", where=name)
    rows = [
        {"class": classes[int(kind)], "score": round(float(score), 4), "box_xyxy_px": [round(float(v), 2) for v in box]}
        for box, score, kind in zip(boxes.boxes_xyxy_px, boxes.scores, boxes.classes, strict=True)
    ]
    return {"file": name, "digest": found.digest, **(found.about or {}), "detections": rows}


def _budget_table(report: dict[str, Any]) -> Any:
    listed = table("budget", ">spent", ">left")
    for kind in ("tiles", "joules", "seconds"):
        left = report[kind]["left"]
        add_row(listed, kind, f"{report[kind]['spent']:g}", "no limit" if left is None else f"{left:g}")
    add_row(listed, "refused tiles", report["refused_tiles"], "")
    return listed
