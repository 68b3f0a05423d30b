"""SVG by hand: elements with everything escaped, scales and their ticks. Charts stand on it; it knows nothing of missions.

Colours are CSS classes, so that one sheet themes all charts for light, dark and print; no element carries a `style` attribute,
so that the page's content security policy can forbid them. Ticks follow the 1-2-5 rule; times use calendar steps (UTC).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import escape

from orbitloop.reports.units import utc

MAX_TICKS = 40
_CLOCK_STEPS_S = (
    60,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
    172800,
    432000,
    864000,
    2592000,
    7776000,
    31536000,
)


def num(value: float) -> str:
    """Write a coordinate: at most two decimals, none where none is needed."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "nan", "inf", "-inf") else text


def tag(name: str, content: str = "", /, **attributes: str | float | None) -> str:
    """Return an element. Attributes are escaped (`class_` -> class, `font_size` -> font-size); `content` is markup already."""
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = num(value) if isinstance(value, int | float) else str(escape(value))
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    opened = " ".join(parts)
    return f"<{opened}>{content}</{name}>" if content else f"<{opened}/>"


def text(x: float, y: float, words: str, css: str = "", anchor: str | None = None) -> str:
    """Return a text element; `words` are escaped."""
    return tag("text", str(escape(words)), x=x, y=y, class_=css or None, text_anchor=anchor)


def tip(words: str) -> str:
    """Return the child element that shows `words` when a pointer rests on its parent."""
    return tag("title", str(escape(words)))


def line(x0: float, y0: float, x1: float, y1: float, css: str) -> str:
    """Return a straight line."""
    return tag("line", x1=x0, y1=y0, x2=x1, y2=y1, class_=css)


def picture(width: float, height: float, body: str, *, label: str, css: str = "chart") -> str:
    """Return a whole SVG picture that scales with its container; `label` is what a screen reader says."""
    return tag("svg", body, viewBox=f"0 0 {num(width)} {num(height)}", role="img", aria_label=label, class_=css)


def path(points: Sequence[tuple[float, float]], *, step: bool = False) -> str:
    """Return path data through the points; `step` holds each value until the next point."""
    if not points:
        return ""
    moves = [f"M{num(points[0][0])} {num(points[0][1])}"]
    for x, y in points[1:]:
        moves.append(f"H{num(x)}V{num(y)}" if step else f"L{num(x)} {num(y)}")
    return "".join(moves)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels. A span of zero maps to the middle."""

    low: float
    high: float
    start_px: float
    end_px: float

    def __call__(self, value: float) -> float:
        if self.high <= self.low:
            return (self.start_px + self.end_px) / 2
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round values within [low, high], about `count` of them, by steps of 1, 2 or 5 times a power of ten."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(int(first), min(int(last), int(first) + MAX_TICKS) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten within [low, high] (both positive)."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**i for i in range(first, min(last, first + MAX_TICKS) + 1)]


def time_ticks(start_s: float, end_s: float, count: int = 7) -> list[tuple[float, str]]:
    """Return (UTC seconds, label) at calendar steps: hours within a day, dates beyond; a new day shows its date."""
    span = end_s - start_s
    if not math.isfinite(span) or span <= 0:
        return [(start_s, utc(start_s, "%H:%M"))] if math.isfinite(start_s) else []
    step = next((s for s in _CLOCK_STEPS_S if span / s <= count), None)
    if step is None:
        return [(t, utc(t, "%Y-%m-%d")) for t in ticks(start_s, end_s, count)]
    moments = [i * step for i in range(math.ceil(start_s / step), math.floor(end_s / step) + 1)][:MAX_TICKS]
    return [(float(t), utc(t, "%d %b" if t % 86400 == 0 else "%H:%M")) for t in moments]


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting rectangle of a chart, with its axes."""

    x: Scale
    y: Scale

    def grid(self, y_ticks: Sequence[float], y_label: Callable[[float], str]) -> str:
        """Return horizontal grid lines and their labels."""
        left, right = self.x.start_px, self.x.end_px
        parts = []
        for value in y_ticks:
            y = self.y(value)
            parts.append(line(left, y, right, y, "grid") + text(left - 8, y + 4, y_label(value), "tick", "end"))
        return "".join(parts)

    def time_axis(self, count: int = 7) -> str:
        """Return the lower axis with calendar ticks."""
        base = self.y.start_px
        parts = [line(self.x.start_px, base, self.x.end_px, base, "axis")]
        for at_s, label in time_ticks(self.x.low, self.x.high, count):
            x = self.x(at_s)
            day = " day" if ":" not in label else ""
            parts.append(line(x, base, x, base + 5, "axis") + text(x, base + 19, label, "tick" + day, "middle"))
        return "".join(parts)


def spread(wanted_px: Sequence[float], gap_px: float, low_px: float, high_px: float) -> list[float]:
    """Move labels apart until each has `gap_px` of room, keeping their order and staying within the bounds where they fit."""
    order = sorted(range(len(wanted_px)), key=lambda i: wanted_px[i])
    placed = [0.0] * len(wanted_px)
    floor = low_px
    for i in order:
        placed[i] = max(wanted_px[i], floor)
        floor = placed[i] + gap_px
    ceiling = high_px
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap_px
    return placed
