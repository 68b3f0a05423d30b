"""The `orbitloop` command: the tree of its commands, and the one place where an error becomes an exit code.

Modules of commands import only typer at their top and what they need inside a command, so that `--help` answers at once and
never waits for torch. `docs/reference/cli.md` is generated from this tree (`cli.reference`).
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import orbitloop
from orbitloop.cli import (
    catalog,
    check,
    conjunctions,
    constellation,
    detect,
    doctor,
    energy,
    health,
    inventory,
    mission,
    model,
    onboard,
    passes,
    pc,
    plan,
    quantise,
    screen,
    trust,
    update,
)
from orbitloop.cli.terminal import INTERRUPTED, note, show_error
from orbitloop.errors import OrbitloopError


class _Guarded(TyperGroup):
    """Turns errors into words and exit codes; `--debug` lets the traceback through."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # the reader of a pipe has gone; typer ends quietly
        except (OrbitloopError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            known = error if isinstance(error, OrbitloopError) else _from_system(error)
            show_error(known)
            raise typer.Exit(known.exit_code) from error


def _from_system(error: OSError) -> OrbitloopError:
    """Name what the system refused where no port has said more."""
    where = str(error.filename) if error.filename is not None else ""
    return OrbitloopError(error.strerror or str(error), where=where, remedy="check path, permissions and free space")


app = typer.Typer(
    name="orbitloop",
    cls=_Guarded,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orbitloop {orbitloop.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Close the learning loop between orbit and ground.

    \b
    Begin with:
      orbitloop doctor
      orbitloop run missions/farmland-demo.yaml

    \b
    Exit codes: 0 done; 1 a check failed, or the system refused; 2 a wrong
    command line; 10 to 28 one for each kind of error, see
    docs/reference/exit-codes.md; 130 interrupted.
    """


for _command in (
    mission.run,
    model.train,
    quantise.quantise,
    detect.detect,
    model.evaluate,
    passes.passes,
    plan.plan,
    mission.report,
    check.validate,
):
    app.command()(_command)
app.command()(inventory.plugins)
app.add_typer(catalog.app, name="catalog")
app.add_typer(constellation.app, name="constellation")
app.command()(energy.energy)
app.add_typer(update.app, name="update")
app.add_typer(trust.app, name="trust")
app.add_typer(onboard.app, name="onboard")
app.command()(screen.screen)
app.add_typer(conjunctions.app, name="conjunctions")
app.command()(pc.pc)
app.add_typer(health.app, name="health")
app.command("doctor")(doctor.doctor)
app.command("bench")(inventory.bench)


def main() -> None:
    """Run the command line of this process."""
    # Threads of a parallel region that spin while they wait cost a shared machine more than they gain; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="orbitloop")
