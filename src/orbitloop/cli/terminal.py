"""What a command writes and where: results to stdout, everything else to stderr.

With `--json` stdout carries one object and nothing else, whatever a library may print. Texts from outside are stripped of what
a terminal would obey.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from orbitloop.errors import OrbitloopError

if TYPE_CHECKING:
    from rich.table import Table

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as a shell has it."""

_PLAIN = "\n\u00a0\u2009\u202f"
# Python calls the spaces that our own figures are grouped with unprintable.

PIPE_COLUMNS = 120
"""Width of what goes into a file or a pipe."""


def print_json(value: Any) -> None:
    """Write the one object of a command with `--json`."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def show(*parts: Any) -> None:
    """Write rich renderables and plain texts to stdout; texts are never read as markup."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    for part in parts:
        if isinstance(part, str):
            console.print(printable(part), soft_wrap=True)
        else:
            console.print(part)


def note(text: str) -> None:
    """Write a line to stderr."""
    typer.echo(printable(text), err=True)


def show_error(error: OrbitloopError) -> None:
    """Write an error as people meet it: `error: where: what`, and the remedy below."""
    note(f"error: {error}")


def printable(text: str) -> str:
    """Replace control and other characters that a terminal would obey or could not show."""
    return "".join(c if c.isprintable() or c in _PLAIN else "?" for c in text.encode("utf-8", "replace").decode())


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what anything prints meanwhile to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def table(*columns: str, title: str = "", wrap: tuple[str, ...] = ()) -> Table:
    """Return an empty table; `>` before a name sets its column to the right; only those in `wrap` may break lines."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=printable(title) or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True
    )
    for name in columns:
        side = "right" if name.startswith(">") else "left"
        made.add_column(name.removeprefix(">"), justify=side, no_wrap=name not in wrap, overflow="fold")  # type: ignore[arg-type]
    return made


def add_row(target: Table, *cells: object) -> None:
    """Add a row of plain texts, none read as markup."""
    from rich.text import Text

    target.add_row(*(Text(printable(str(cell))) for cell in cells))
