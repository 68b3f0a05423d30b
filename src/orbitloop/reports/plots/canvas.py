"""What every picture shares: size, type, colours, and how it is written. The pictures themselves are the other modules' work.

matplotlib is imported when a picture is made, never before: a command without `--plot` does not wait for it. The figure is
built without pyplot, so that no global state and no window system is touched.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitloop.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#1c2430", "#66707d", "#dfe3e8", "#ffffff"
SERIES = ("#2563c9", "#d9822b", "#1f9d6b", "#b23a78", "#7a5cc7", "#0f8aa3", "#8a6d1f", "#c7433b")
"""Colours of series, in this order; told apart in greys by marker or line as well."""
GOOD, WARN, BAD = "#1f9d6b", "#d9822b", "#c7433b"
KINDS = ("png", "svg")

_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.hashsalt": "orbitloop",  # the same picture gives the same bytes
    "svg.fonttype": "none",
}


def figure(width_in: float = 9.0, height_in: float = 5.0) -> Figure:
    """Return an empty figure in the house's style; draw on it inside `style()`.

    Raises:
        DataError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("pictures need matplotlib", remedy="pip install 'orbitloop[space]'") from error
    return Figure(figsize=(width_in, height_in), facecolor=PAPER, layout="constrained")


def style() -> Any:
    """Return the context in which a picture is drawn and written."""
    import matplotlib

    settings: Any = _STYLE  # typed by matplotlib as a table of its every key
    return matplotlib.rc_context(settings)


def render(drawn: Figure, kind: str) -> bytes:
    """Return the picture's bytes, `png` or `svg`, without a date in them."""
    out = io.BytesIO()
    drawn.savefig(out, format=kind, dpi=144, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()


def kind_of(path: Path) -> str:
    """Return what a path asks for.

    Raises:
        DataError: its ending is neither `.png` nor `.svg`.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise DataError(f"a picture is written as .png or .svg, not {path.suffix or 'without an ending'!r}", where=str(path))
    return kind
